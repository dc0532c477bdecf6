"""handgrad check: the proof of the gradients, as a table."""

from dataclasses import dataclass

from handgrad.checking import COMPILED_TOLERANCE, TAPE_TOLERANCE, TOLERANCE, Result, check_gradients
from handgrad.cli.arguments import parse
from handgrad.cli.console import make_console
from handgrad.cli.main import FAILED, OK

_PART_WIDTH = 48


@dataclass
class Arguments:
    """Prove every gradient on this machine: each operation, each layer and a whole GPT, in float64 against central
    differences, on shapes whose sizes all differ; the tape against these; and the compiled kernels, in float32,
    against what is so proven."""


def run(argv: list[str]) -> int:
    parse(Arguments, argv, "check")
    console = make_console()
    console.print(f"{'error of the gradient of':{_PART_WIDTH}}  by hand  on the tape  compiled", style="bold")
    subject, results = None, []
    for result in check_gradients():
        if result.subject != subject:
            subject = result.subject
            console.print(subject, style="bold")
        console.print(_row(result), style="green" if result.passed else "bold red")
        results.append(result)
    wrong = [result for result in results if not result.passed]
    if wrong:
        names = "; ".join(f"{result.subject}: {result.part}" for result in wrong)
        console.print(f"\n{len(wrong)} of {len(results)} results are wrong: {names}")
        return FAILED
    gradients = [result.error for result in results if result.error is not None]
    tapes = [result.tape for result in results if result.tape is not None]
    kernels = [result.compiled for result in results if result.compiled is not None]
    console.print(
        f"\nall {len(gradients)} gradients are right: largest error {max(gradients):.1e}, "
        f"{sum(error <= 1e-9 for error in gradients)} within 1e-9 "
        f"(max|a - n| / max(max|a|, max|n|, 1e-3); above {TOLERANCE:.0e} is wrong)\n"
        f"all {len(tapes)} gradients on the tape are those by hand: largest difference {max(tapes):.1e}, "
        f"{tapes.count(0.0)} equal to the last bit (max|t - a| / max(max|t|, max|a|, 1e-3); "
        f"above {TAPE_TOLERANCE:.0e} is wrong)"
    )
    if kernels:
        console.print(
            f"all {len(kernels)} results of compiled kernels, in float32, agree with them: largest difference "
            f"{max(kernels):.1e} (max|a - b| / max(1, max|b|); above {COMPILED_TOLERANCE:.0e} is wrong)"
        )
    return OK


def _row(result: Result) -> str:
    columns = [f"  {result.part:{_PART_WIDTH - 2}}"]
    for error, width in ((result.error, 7), (result.tape, 11), (result.compiled, 8)):
        columns.append(f"{'' if error is None else f'{error:.1e}':{width}}")
    return "  ".join(columns).rstrip() + ("" if result.passed else "  WRONG")
