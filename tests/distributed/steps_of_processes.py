"""Makes some steps with several models, alone or under mpiexec, and prints a hash of everything that came of each.

python steps_of_processes.py THREADS
"""

import hashlib
import json
import sys
from dataclasses import replace

import numpy as np
from support import TINY
from training_kinds import KINDS

from handgrad.models import GPT
from handgrad.runs import TrainConfig
from handgrad.system.processes import Processes, processes_of_run
from handgrad.training import replicas as replicas_module
from handgrad.training.division import Division
from handgrad.training.replicas import Replicas, cores_for

_PIECE = 1000
"""So small that the gradient has several pieces, which processes do not share evenly."""


def hash_after_steps(config: TrainConfig, threads: int, processes: Processes) -> str:
    model = GPT(config.model_config(17), seed=3)
    optimizer, found = config.make_optimizer(model.decay_groups(0.1)), hashlib.sha256()
    division = None if processes.size == 1 else Division(model, optimizer, processes)
    replicas = Replicas(model, config.shards, threads, division)
    try:
        with cores_for(config.shards):
            for step in range(3):
                rng = np.random.default_rng(step)
                tokens = rng.integers(0, 17, (config.grad_accum_steps, config.batch_size, 9))
                batches = [(ids[:, :-1], ids[:, 1:]) for ids in tokens]
                loss, norm = replicas.loss_and_gradients(batches, (7, step))
                replicas.update(optimizer, norm, 1.0)
                found.update(np.array([loss, norm]).tobytes() + model.arena.data.tobytes())
    finally:
        replicas.close()
    assert len(set(processes.gathered(found.hexdigest()))) == 1
    state = optimizer.state_dict() if division is None else division.whole_state(optimizer)
    for index in sorted(state["state"]):
        values = state["state"][index]
        found.update(str([index, values["step"]]).encode())
        for name in sorted(set(values) - {"step"}):
            found.update(name.encode() + values[name].tobytes())
    return found.hexdigest()


if __name__ == "__main__":
    replicas_module._PIECE = _PIECE
    processes = processes_of_run()
    hashes = {
        name: hash_after_steps(replace(TINY, **changes), int(sys.argv[1]), processes) for name, changes in KINDS.items()
    }
    if processes.is_first:
        print(json.dumps(hashes))
