"""The proof of the gradients: every operation, every layer and a whole GPT, in float64 against central differences."""

from collections.abc import Iterator

from handgrad.checking.modules import check_module, gpt_cases, layer_cases
from handgrad.checking.numerical import central_differences, relative_error
from handgrad.checking.operations import check_operation, operation_cases
from handgrad.checking.results import TOLERANCE, Result


def check_gradients() -> Iterator[Result]:
    """Checks everything, from the operations up; yields each result as it is found."""
    for operation in operation_cases():
        yield from check_operation(operation)
    for module in (*layer_cases(), *gpt_cases()):
        yield from check_module(module)


__all__ = ["TOLERANCE", "Result", "central_differences", "check_gradients", "relative_error"]
