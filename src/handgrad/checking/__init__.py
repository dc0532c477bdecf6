"""The proof of the gradients: every operation, every layer and a whole GPT, in float64 against central differences.

The gradients that the tape finds are compared with those by hand.

If compiled kernels train in place of the operations, they are checked against the operations so proven. The same proof
checks a user's own pair of functions (``check_pair``), and a reader's gradients in exercises.
"""

from collections.abc import Iterator

from handgrad.checking.answers import check_answer, write_exercise
from handgrad.checking.bfloat16 import check_kernels_in_bfloat16, check_rounding
from handgrad.checking.exercises import Exercise, all_exercises, exercise_named
from handgrad.checking.generation import check_generation
from handgrad.checking.kernels import OTHER_CODE, check_kernel, check_kernel_at_the_edges, kernel_cases
from handgrad.checking.modules import check_module, gpt_cases, layer_cases
from handgrad.checking.numerical import central_differences, relative_error
from handgrad.checking.operations import check_operation, operation_cases
from handgrad.checking.pairs import check_pair, check_pair_at
from handgrad.checking.results import (
    COMPILED_TOLERANCE,
    PART_WIDTH,
    TAPE_TOLERANCE,
    TOLERANCE,
    Result,
    Verdict,
    in_columns,
)
from handgrad.system.backend_setting import current_backend


def check_gradients() -> Iterator[Result]:
    """Checks everything, from the operations up; yields each result as it is found, all of an operation in a row."""
    cases = operation_cases()
    order = list(dict.fromkeys(case.operation for case in cases))
    for case in sorted(cases, key=lambda case: order.index(case.operation)):
        yield from check_operation(case)
    for module in (*layer_cases(), *gpt_cases()):
        yield from check_module(module)
    yield from check_rounding()
    if current_backend() == "numba":
        in_bfloat16 = list(check_kernels_in_bfloat16())
        for name, (inputs, options) in kernel_cases().items():
            yield from check_kernel(name, inputs, options)
            if name in OTHER_CODE:
                yield from check_kernel(name, inputs, {**options, **OTHER_CODE[name]})
            yield from check_kernel_at_the_edges(name, inputs, options)
            yield from (result for result in in_bfloat16 if result.subject.partition(",")[0] == f"kernel {name}")
        yield from sorted(check_generation(), key=lambda result: result.subject)


__all__ = [
    "COMPILED_TOLERANCE",
    "PART_WIDTH",
    "TAPE_TOLERANCE",
    "TOLERANCE",
    "Exercise",
    "Result",
    "Verdict",
    "all_exercises",
    "central_differences",
    "check_answer",
    "check_gradients",
    "check_pair",
    "check_pair_at",
    "exercise_named",
    "in_columns",
    "relative_error",
    "write_exercise",
]
