"""What the bits of a result depend on besides the run's settings: shards, backend, libraries, processor."""

import math
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from threadpoolctl import threadpool_info

from handgrad.system.backend_setting import current_backend
from handgrad.system.dataclasses_from_json import dataclass_from_json
from handgrad.system.processor import available_cores
from handgrad.system.version import __version__

# The run stores their versions, but they compute no numbers.
_WITHOUT_NUMBERS = ("python", "safetensors", "threadpoolctl")


# A difference in the first follows from a difference in the second, which alone is reported.
_FOLLOWS = {"compiler": "backend", "blas_threads": "backend"}

_MOST_THREADS = 4096


@dataclass(frozen=True)
class Environment:
    """If this is equal in two processes, the second continues a run of the first bit for bit."""

    shards: int
    """Parts into which each batch is cut."""
    backend: str
    compiler: str
    """The compiler of the kernels and the processor that it compiles for; none if NumPy runs alone."""
    blas: str
    """The library that multiplies matrices, its version, and the processor that its kernels were made for."""
    blas_threads: int
    """Threads that share a product inside BLAS: more than 1 only if NumPy alone computes a single shard."""
    processor: str
    """The processor, with the extensions by which NumPy chooses its loops."""
    system: str
    versions: dict[str, str]

    @classmethod
    def here(cls, shards: int) -> "Environment":
        """The environment of this process."""
        blas = _blas_of_numpy()
        found = np.show_config(mode="dicts").get("SIMD Extensions", {})
        threads = max((library["num_threads"] for library in blas), default=1)
        libraries = installed_versions("numpy", "safetensors", "threadpoolctl")
        return cls(
            shards=shards,
            backend=current_backend(),
            compiler=_compiler() if current_backend() == "numba" else "none",
            blas=name_of_blas(),
            blas_threads=threads if blas_shares_products(shards) else 1,
            processor=" ".join([platform.machine(), *found.get("baseline", ()), *found.get("found", ())]),
            system=" ".join((platform.system(), *platform.libc_ver())),
            versions={"handgrad": __version__, "python": platform.python_version(), **libraries},
        )

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> "Environment":
        """From what ``asdict`` gave. Raises ValueError if the fields or their types differ."""
        versions = content.get("versions")
        if not isinstance(versions, dict) or not all(isinstance(text, str) for text in versions.values()):
            raise ValueError("versions must be an object whose values are texts")
        environment = dataclass_from_json(
            cls, {name: value for name, value in content.items() if name != "versions"}, versions=versions
        )
        if environment.shards < 1:
            raise ValueError(f"shards must be at least 1, not {environment.shards}")
        return environment

    def differences(self, now: "Environment") -> list[str]:
        """What is different now, in words; empty if a run continues bit for bit."""
        before, after = self._flat(), now._flat()
        different = [name for name in dict.fromkeys((*before, *after)) if before.get(name) != after.get(name)]
        return [
            f"{name.replace('_', ' ')} was {before.get(name, 'not installed')} and is now "
            f"{after.get(name, 'not installed')}"
            for name in different
            if _FOLLOWS.get(name) not in different
        ]

    def _flat(self) -> dict[str, Any]:
        values = {name: value for name, value in asdict(self).items() if name != "versions"}
        return values | {name: text for name, text in self.versions.items() if name not in _WITHOUT_NUMBERS}


def choose_shards(wanted: int, batch_size: int, cores: int | None = None) -> int:
    """``wanted``, but at most one for each window in a batch; if it is 0, the number of cores decides.

    ``cores``: those of all processes together, if several work together; None for those of this one.

    With fewer cores than windows, some shards have one window more than others, and all cores wait for them. The result
    is the smallest number of shards that is as fast.
    """
    if wanted:
        return min(wanted, batch_size)
    windows_each = math.ceil(batch_size / min(cores or available_cores(), batch_size))
    return math.ceil(batch_size / windows_each)


def choose_threads(wanted: int, shards: int, cores: int | None = None) -> int:
    """``wanted``, or one for each core if it is 0; more than there are shards and cores would have nothing to do.

    ``cores``: None for all that this process may use.
    """
    cores = cores or available_cores()
    return min(wanted, max(shards, cores), _MOST_THREADS) if wanted else cores


def blas_shares_products(parts: int) -> bool:
    """Whether BLAS uses threads of its own for work of so many parts that are computed by themselves.

    Several parts have a thread each. A single one has its products cut into tiles, for which the kernels are needed.
    """
    return parts == 1 and current_backend() != "numba"


def name_of_blas() -> str:
    """The library that multiplies NumPy's matrices, its version, and the processor that its kernels were made for."""
    blas = _blas_of_numpy()
    names = (f"{library['internal_api']} {library['version']} {library.get('architecture')}" for library in blas)
    return ", ".join(dict.fromkeys(names)) or "unknown"


def kernels_of_openblas() -> list[str]:
    """The processors for which the kernels that OpenBLAS runs were made; empty if NumPy has another library."""
    return [library.get("architecture") or "" for library in _blas_of_numpy() if library["internal_api"] == "openblas"]


def _blas_of_numpy() -> list[dict[str, Any]]:
    """The BLAS that came with NumPy, if any; else all that are loaded, as NumPy may share one."""
    loaded = [library for library in threadpool_info() if library["user_api"] == "blas"]
    beside = str(Path(np.__file__).parent)  # …/numpy, and …/numpy.libs
    return [library for library in loaded if library["filepath"].startswith(beside)] or loaded


def _compiler() -> str:
    from llvmlite.binding import get_host_cpu_name
    from numba.core import config

    versions = installed_versions("numba", "llvmlite")
    # The environment variables NUMBA_CPU_NAME, NUMBA_CPU_FEATURES, NUMBA_OPT and NUMBA_DISABLE_JIT change these.
    target = [config.CPU_NAME or get_host_cpu_name(), config.CPU_FEATURES or "", f"O{config.OPT}"]
    disabled = ["not compiled"] if config.DISABLE_JIT else []
    return ", ".join([*(f"{name} {number}" for name, number in versions.items()), *filter(None, target), *disabled])


def installed_versions(*packages: str) -> dict[str, str]:
    """The versions of those packages that are installed. A folder that has a package's name does not count."""
    versions = {}
    for package in packages:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions
