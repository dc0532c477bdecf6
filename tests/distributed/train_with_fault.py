"""The command line, with a fault in one process before it computes the gradient of a step.

    python train_with_fault.py FAULT RANK STEP ARGUMENTS...

FAULT is one of: none; error, which raises what handgrad says in one sentence; bug, which raises what gives a traceback;
silence, a process that waits for ever, while the others have a patience of five seconds; the name of a signal, which
the process sends to itself.
"""

import os
import signal
import sys
import time
from typing import Any

from handgrad.cli import train
from handgrad.cli.main import main
from handgrad.system.processes import place_among_processes
from handgrad.training.step import Stepper

if __name__ == "__main__":
    fault, rank, step, *arguments = sys.argv[1:]
    gradient = Stepper.gradient

    def faulty(self: Stepper, number: int) -> Any:
        if number == int(step):
            if fault == "error":
                raise MemoryError("a planted error")
            if fault == "bug":
                raise ZeroDivisionError("a planted bug")
            if fault == "silence":
                time.sleep(3600)
            os.kill(os.getpid(), signal.Signals[fault])
        return gradient(self, number)

    if fault == "silence":
        train._PATIENCE = 5.0
    if fault != "none" and place_among_processes().rank == int(rank):
        Stepper.gradient = faulty  # type: ignore[method-assign]
    sys.exit(main(arguments))
