"""handgrad check: the proof of the gradients, as a table."""

from dataclasses import dataclass

from handgrad.checking import KERNEL_TOLERANCE, TOLERANCE, check_gradients
from handgrad.cli.arguments import parse
from handgrad.cli.console import make_console
from handgrad.cli.main import FAILED, OK

_PART_WIDTH = 48


@dataclass
class Arguments:
    """Prove every gradient on this machine: each operation, each layer and a whole GPT, in float64 against central
    differences, on shapes whose sizes all differ; and the compiled kernels, in float32, against what is so proven."""


def run(argv: list[str]) -> int:
    parse(Arguments, argv, "check")
    console = make_console()
    console.print(f"{'gradient of':{_PART_WIDTH}}  by hand, error against central differences", style="bold")
    subject, results = None, []
    for result in check_gradients():
        if result.subject != subject:
            subject = result.subject
            console.print(subject, style="bold")
        verdict = "" if result.passed else "  WRONG"
        style = "green" if result.passed else "bold red"
        console.print(f"  {result.part:{_PART_WIDTH - 2}}  {result.error:.1e}{verdict}", style=style)
        results.append(result)
    wrong = [result for result in results if not result.passed]
    if wrong:
        names = "; ".join(f"{result.subject}: {result.part}" for result in wrong)
        console.print(f"\n{len(wrong)} of {len(results)} results are wrong: {names}")
        return FAILED
    gradients = [result.error for result in results if result.tolerance == TOLERANCE]
    kernels = [result.error for result in results if result.tolerance != TOLERANCE]
    console.print(
        f"\nall {len(gradients)} gradients are right: largest error {max(gradients):.1e}, "
        f"{sum(error <= 1e-9 for error in gradients)} within 1e-9 "
        f"(max|a - n| / max(max|a|, max|n|, 1e-3); above {TOLERANCE:.0e} is wrong)"
    )
    if kernels:
        console.print(
            f"all {len(kernels)} results of compiled kernels agree with them: largest error {max(kernels):.1e} "
            f"(max|a - b| / max(1, max|b|); above {KERNEL_TOLERANCE:.0e} is wrong)"
        )
    return OK
