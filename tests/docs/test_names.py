"""docs/names.md lists every public name; tests/parity compares the page with what its script would write."""

import re
from pathlib import Path

import handgrad
from handgrad import Tensor, nn, optim
from handgrad.autograd import functions

PAGE = (Path(__file__).parent.parent.parent / "docs" / "names.md").read_text(encoding="utf-8")


def listed(title: str) -> set[str]:
    section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
    return set(re.findall(r"^\| `([^`]+)` \|", section, flags=re.MULTILINE))


def test_every_public_name_is_listed() -> None:
    assert listed("handgrad.Tensor") == {name for name in dir(Tensor) if not name.startswith("_")}
    assert set(functions.__all__) <= listed("handgrad")
    assert {name for name in handgrad.autograd.__all__ if name != "TensorLike"} <= listed("handgrad")
    for title, room in (("nn", nn), ("nn.functional", nn.functional), ("optim", optim)):
        assert listed(title) == set(room.__all__) - {"functional", "init", "lr_scheduler", "schedules"}
    assert {"kaiming_uniform", "kaiming_uniform_", "calculate_gain"} <= listed("nn.init")
    assert {"StepLR", "CosineAnnealingLR"} <= listed("optim.lr_scheduler")
