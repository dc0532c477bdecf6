"""Dataclasses made from what a file holds, which may be anything."""

import pytest

from handgrad.runs.checkpoint import Progress
from handgrad.system.dataclasses_from_json import dataclass_from_json


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], "it must hold an object, not a list"),
        ({"step": 1.0}, "step must be int, not '1.0'"),
        ({"step": True}, "step must be int, not 'True'"),
        ({"seconds": float("nan")}, "seconds must be finite float, not 'nan'"),
        ({"seconds": 10**400}, "seconds must be finite float"),
        ({"best_step": "x"}, "best_step must be int or null, not 'x'"),
        ({"colour": 1}, "it has an unknown field 'colour'"),
    ],
)
def test_values_of_another_name_or_type_are_refused(values: object, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        dataclass_from_json(Progress, values)
    assert dataclass_from_json(Progress, {"seconds": 2}).seconds == 2.0
