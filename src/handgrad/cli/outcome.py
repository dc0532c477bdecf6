"""Trains a run, shows how it goes, and prints what came of it."""

from contextlib import nullcontext

from rich.console import Console

from handgrad.cli.console import compiling_is_said, warn, warn_of_slow_products
from handgrad.cli.interrupts import Interrupts
from handgrad.cli.invocation import command
from handgrad.cli.main import FAILED, OK
from handgrad.cli.precision_flag import slow_precision
from handgrad.cli.progress import TrainingDisplay
from handgrad.data import TokenData
from handgrad.generation import start_of, write
from handgrad.models.formats.model_in_checkpoint import read_pointer
from handgrad.runs import Run
from handgrad.runs.checkpoint import read_progress
from handgrad.system.errors import InputError
from handgrad.system.processes import Processes
from handgrad.training import DivergedError, compile_generation, compile_kernels, train

_FINAL_TOKENS = 300
_SAMPLE_LINES = 10
"""Documents to show, if each is a line."""


def train_and_show(the_run: Run, data: TokenData, console: Console, processes: Processes) -> int:
    """Trains to the end, or until a signal asks to stop; returns the exit code. Only process 0 of several speaks.

    Raises InputError if files cannot be written.
    """
    if processes.is_first:
        if slow := slow_precision(the_run.config.precision):
            warn(slow)
        warn_of_slow_products()
    with compiling_is_said() if processes.is_first else nullcontext():
        compile_kernels(the_run, processes)
    display = TrainingDisplay(the_run, console, best_is_sampled=True)
    again = command("train", "--resume", the_run.path)
    try:
        with Interrupts(speaks=processes.is_first) as interrupts:
            outcome = train(the_run, data, reporter=display, should_stop=lambda: interrupts.asked, processes=processes)
            # Any of the processes may have received the signal.
            code = max(processes.gathered(interrupts.exit_code)) if not outcome.finished else OK
    except DivergedError as error:
        if processes.is_first:
            console.print(str(error))
        return FAILED
    except OSError as error:
        kept = _last_checkpoint(the_run)
        raise InputError(
            f"cannot continue in {error.filename or the_run.path}: {error.strerror or error}; {kept}"
        ) from None
    finally:
        display.close()
    if not processes.is_first:
        return code
    if not outcome.finished:
        console.print(f"stopped at step {outcome.progress.step:,} and saved; continue with: {again}")
        return code
    from handgrad.plotting import plot_runs  # matplotlib is slow to import

    plot_runs({the_run.path.name: the_run}, the_run.curves_path)
    with compiling_is_said("the kernels that write texts"):
        compile_generation(the_run)
    _print_result(the_run, data, console)
    return OK


def _print_result(the_run: Run, data: TokenData, console: Console) -> None:
    model, best = the_run.model("best", warn)
    progress = read_progress(best)
    described = f"checkpoint {best.name}"
    if progress.best_step == progress.step:  # otherwise it replaces a damaged best one
        described = f"best checkpoint {best.name}, validation loss {progress.best_val_loss:.4f}"
    console.print(f"\n{described}; it writes:\n")
    start = start_of(data.tokenizer, documents=the_run.has_documents, begins=the_run.begins)
    seed = the_run.config.seed
    for seeds in [[seed, number] for number in range(_SAMPLE_LINES)] if the_run.documents == "lines" else [seed]:
        console.print(write(model, data.tokenizer, _FINAL_TOKENS, seed=seeds, start=start))
    console.print(f"\ncurves: {the_run.curves_path}\nmore:   {command('sample', the_run.path)}")


def _last_checkpoint(the_run: Run) -> str:
    last = read_pointer(the_run.path, "last")
    return f"its last checkpoint is {last}" if last else "it has no checkpoint"
