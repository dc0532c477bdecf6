"""The proof of the gradients: every operation, every layer and a whole GPT, in float64 against central differences.

What the tape makes of the same is compared with what was found by hand.

Where compiled kernels train in their place, these are checked against the text so proven. What proves the house's
gradients also checks a reader's, in exercises.
"""

from collections.abc import Iterator

from handgrad.checking.answers import Verdict, check_answer, write_exercise
from handgrad.checking.exercises import Exercise, all_exercises, exercise_named
from handgrad.checking.kernels import check_kernel, kernel_cases
from handgrad.checking.modules import check_module, gpt_cases, layer_cases
from handgrad.checking.numerical import central_differences, relative_error
from handgrad.checking.operations import check_operation, operation_cases
from handgrad.checking.results import COMPILED_TOLERANCE, TAPE_TOLERANCE, TOLERANCE, Result
from handgrad.system.backend_setting import current_backend


def check_gradients() -> Iterator[Result]:
    """Checks everything, from the operations up; yields each result as it is found."""
    for operation in operation_cases():
        yield from check_operation(operation)
    for module in (*layer_cases(), *gpt_cases()):
        yield from check_module(module)
    if current_backend() == "numba":
        for name, (inputs, options) in kernel_cases().items():
            yield from check_kernel(name, inputs, options)


__all__ = [
    "COMPILED_TOLERANCE",
    "TAPE_TOLERANCE",
    "TOLERANCE",
    "Exercise",
    "Result",
    "Verdict",
    "all_exercises",
    "central_differences",
    "check_answer",
    "check_gradients",
    "exercise_named",
    "relative_error",
    "write_exercise",
]
