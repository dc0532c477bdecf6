"""handgrad check: the proof of the gradients, as a table."""

from dataclasses import dataclass

from rich.console import Console

from handgrad.checking import TOLERANCE, check_gradients
from handgrad.cli.arguments import parse
from handgrad.cli.main import FAILED, OK

_PART_WIDTH = 48


@dataclass
class Arguments:
    """Prove every gradient on this machine: each operation, each layer and a whole GPT, in float64 against central
    differences, on shapes whose sizes all differ."""


def run(argv: list[str]) -> int:
    parse(Arguments, argv, "check")
    console = Console(highlight=False, soft_wrap=True)
    console.print(f"{'gradient of':{_PART_WIDTH}}  by hand, error against central differences", style="bold")
    subject, results = None, []
    for result in check_gradients():
        if result.subject != subject:
            subject = result.subject
            console.print(subject, style="bold", markup=False)
        verdict = "" if result.passed else "  WRONG"
        style = "green" if result.passed else "bold red"
        console.print(f"  {result.part:{_PART_WIDTH - 2}}  {result.error:.1e}{verdict}", style=style, markup=False)
        results.append(result)
    wrong = [result for result in results if not result.passed]
    if wrong:
        names = "; ".join(f"{result.subject}: {result.part}" for result in wrong)
        console.print(
            f"\n{len(wrong)} of {len(results)} gradients are wrong (error above {TOLERANCE:.0e}): {names}", markup=False
        )
        return FAILED
    exact = sum(result.error <= 1e-9 for result in results)
    console.print(
        f"\nall {len(results)} gradients are right: largest error {max(r.error for r in results):.1e}, "
        f"{exact} within 1e-9 (max|a - n| / max(max|a|, max|n|, 1e-3); above {TOLERANCE:.0e} is wrong)"
    )
    return OK
