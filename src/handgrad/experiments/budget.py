"""How long each model of a comparison is trained."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Self, get_args

from handgrad.data import TokenData
from handgrad.runs import TrainConfig, choose_shards
from handgrad.system.errors import InputError
from handgrad.training import seconds_per_step

Unit = Literal["steps", "characters", "seconds", "minutes"]
_FORM = re.compile(r"(?:([a-z-]+)=)?(\d+(?:_\d+)*(?:\.\d+)?(?:e\d{1,2})?) ?([a-z]*)")
_MOST = 1e15


@dataclass(frozen=True)
class Budget:
    """A number of steps, of characters of training text seen, or of seconds or minutes of training on this machine."""

    amount: float
    unit: Unit = "steps"

    def __post_init__(self) -> None:
        if self.unit not in get_args(Unit):
            raise InputError(f"a budget is in {', '.join(get_args(Unit))}, not {self.unit!r}")
        if not 0 < self.amount < _MOST:
            raise InputError(f"a budget must be above 0 and below {_MOST:g}, not {self.amount:g} {self.unit}")

    def __str__(self) -> str:
        return f"{self.amount:{',.0f' if self.amount == round(self.amount) else ','}} {self.unit}"

    def steps(self, config: TrainConfig, data: TokenData) -> int:
        """The budget in steps, at least one. Times become steps by timing some of them, without
        evaluations."""
        if self.unit == "steps":
            return max(1, round(self.amount))
        if self.unit == "characters":
            tokens = config.batch_size * config.block_size * config.grad_accum_steps
            return max(1, math.ceil(self.amount / (tokens * characters_per_token(data))))
        shards = choose_shards(config.shards, config.batch_size)
        seconds = self.amount * (60 if self.unit == "minutes" else 1)
        return max(1, round(seconds / seconds_per_step(config, data, shards, seconds)))

    @classmethod
    def parse(cls, text: str) -> tuple[str | None, Self]:
        """The name, if there is one, and the amount: ``8000steps``, ``word=2.5e6characters``, ``bpe=10minutes``.

        Raises InputError for any other form.
        """
        found = _FORM.fullmatch(text)
        if found is None:
            raise InputError(
                f"a budget is written like 8000steps, word=2.5e6characters or bpe=600seconds, not {text[:80]!r}"
            )
        name, amount, unit = found.groups()
        return name, cls(float(amount), unit or "steps")  # type: ignore[arg-type]  # checked in __post_init__


def budgets_for(names: Sequence[str], said: Sequence[str], default: Budget) -> Mapping[str, Budget]:
    """The budget of each name: its own, the common one, or the default.

    Raises InputError if a budget is for a name that is not compared, or is given twice.
    """
    common: dict[str | None, Budget] = {}
    for text in said:
        name, budget = Budget.parse(text)
        if name is not None and name not in names:
            raise InputError(
                f"the budget {text!r} is for {name!r}, which is not compared; choose from {', '.join(names)}"
            )
        if name in common:
            raise InputError(f"the budget {text!r} is the second for {name or 'all'}; give one")
        common[name] = budget
    return {name: common.get(name, common.get(None, default)) for name in names}


def characters_per_token(data: TokenData) -> float:
    """Of the training text."""
    return data.meta.train_characters / data.meta.train_tokens
