"""Peak memory of a training step, each side in a process of its own."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from handgrad.benchmarking.cases import Case, case_of
from handgrad.benchmarking.contenders import (
    BF16,
    EAGER,
    JAX,
    OURS,
    Contender,
    handgrad_contender,
    jax_contender,
    pytorch_contender,
)
from handgrad.system.backend_setting import current_backend

SIDES = (OURS, f"{OURS}{BF16}", EAGER, f"{EAGER}{BF16}", JAX)
"""PyTorch compiled is not measured: its compiler runs in the same process."""
STEPS = 12
_EARLY = 4


@dataclass(frozen=True)
class Memory:
    """Resident bytes, and page faults."""

    imported: int
    """Of the libraries, before a model is made."""
    early: int
    """The peak after four steps."""
    peak: int
    """After all steps."""
    faults_per_step: float
    """Pages that the system provides during a step, the mean of the later steps."""


def measure_memory(case: str, side: str, shards: int = 0, replicas: int = 0) -> Memory | None:
    """``side``: a contender's name, one of ``SIDES``. None if the system reports no peak, or if the process failed."""
    if not Path("/proc/self/status").exists():
        return None
    command = [sys.executable, "-m", __name__, case, side, str(shards), str(replicas)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return Memory(**json.loads(done.stdout)) if done.returncode == 0 else None


def _main(name: str, side: str, shards: str, replicas: str) -> None:
    case = case_of(name)
    _import_libraries(side)
    imported = _peak()
    contender = _contender(side, case, int(shards), int(replicas))
    early = faults = 0
    with contender.around():
        for step in range(STEPS):
            contender.run()
            if step == _EARLY - 1:
                early, faults = _peak(), _faults()
    contender.close()
    per_step = (_faults() - faults) / (STEPS - _EARLY)
    print(json.dumps({"imported": imported, "early": early, "peak": _peak(), "faults_per_step": per_step}))


def _import_libraries(side: str) -> None:
    if side.startswith(EAGER):
        import torch  # noqa: F401
    elif side == JAX:
        import jax  # noqa: F401
    else:
        current_backend()  # imports Numba if it is the backend


def _contender(side: str, case: Case, shards: int, replicas: int) -> Contender:
    bfloat16 = side.endswith(BF16)
    if side == JAX:
        return jax_contender(case)
    if side.startswith(EAGER):
        return pytorch_contender(case, bfloat16=bfloat16)
    return handgrad_contender(case, shards=shards, threads=replicas, bfloat16=bfloat16)


def _peak() -> int:
    """The peak of resident memory, in bytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmHWM:"))


def _faults() -> int:
    import resource  # not on every system

    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt


if __name__ == "__main__":
    _main(*sys.argv[1:])
