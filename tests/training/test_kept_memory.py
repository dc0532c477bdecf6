"""Freed memory is kept for the next step, also by threads that follow others."""

import platform
import subprocess
import sys

import pytest

STEPS = """
import resource
import numpy as np
from handgrad.models import GPT, GPTConfig
from handgrad.system.backend_setting import use_backend
from handgrad.training.replicas import Replicas, cores_for

use_backend("numpy")
ids = np.zeros((8, 256), np.int64)
before = Replicas(GPT(GPTConfig(65, 8, 1, 1, 4)), 2)  # as the kernels are compiled before a run
before.loss_and_gradients([(ids[:, :8], ids[:, :8])])
before.close()
faults = []
with cores_for(2):
    replicas = Replicas(GPT(GPTConfig(65, 256, 3, 4, 192)), 2)
    for _ in range(9):
        begun = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        replicas.loss_and_gradients([(ids, ids)])
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - begun)
    replicas.close()
print(*faults)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="only the GNU C library has the option")
def test_steps_take_no_new_pages_from_the_system() -> None:
    """A thread with a heap of its own would return it to the system after each step, thousands of pages."""
    done = subprocess.run([sys.executable, "-c", STEPS], capture_output=True, text=True, check=True, timeout=120)
    faults = [int(number) for number in done.stdout.split()]
    assert faults[0] > 1000  # so large is the memory of a step
    # Most steps: by chance the two threads may need more memory at once than in any step before.
    assert sorted(faults[2:])[3] < 500, faults
