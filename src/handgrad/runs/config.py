"""The settings of a run: the model's shape, the optimizer, the schedule, the intervals."""

import math
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from handgrad.models import Architecture, GPTConfig
from handgrad.models.config import WITHOUT_WEIGHTS
from handgrad.optim import SGD, Adam, AdamW, Combined, Muon, Optimizer, WeightAverage, schedules
from handgrad.optim.schedules import DecayShape
from handgrad.system.arrays import Array
from handgrad.system.encodings import decoded
from handgrad.system.errors import InputError
from handgrad.system.files import read_file

_LARGEST_FILE = 1 << 20
"""Bytes of a TOML file; settings take a few hundred."""
MODEL_FIELDS = tuple(field.name for field in fields(GPTConfig) if field.name != "vocab_size")

GIVEN_BY_WEIGHTS = (
    *(name for name in MODEL_FIELDS if name not in WITHOUT_WEIGHTS),
    "tokenizer",
    "vocab_size",
)
"""Settings that a run has from the weights that it starts with."""


@dataclass(frozen=True)
class TrainConfig(Architecture):
    """The settings of a run; the defaults are those of a small model of characters.

    Raises InputError for an invalid value.
    """

    block_size: int = 64
    """Context length: the number of tokens that the model sees at once."""
    n_layer: int = 4
    """Number of transformer blocks."""
    n_head: int = 4
    """Number of attention heads in each block."""
    n_embd: int = 128
    """Embedding size: the width of the residual stream."""

    tokenizer: Literal["char", "word", "bpe"] = "char"
    """How text is split into tokens: characters, words or byte pairs."""
    vocab_size: int | None = None
    """Largest vocabulary that the tokenizer may build, special tokens included."""
    byte_fallback: bool = False
    """Encode unknown characters as their bytes, so that none are lost. The tokenizers word and bpe always do."""

    batch_size: int = 16
    """Sequences of block_size tokens in a batch."""
    boundaries: Literal["ignore", "respect"] = "ignore"
    """respect joins no document to another: each is a sequence of its own, from position 0. Short ones are padded."""
    sampling: Literal["random", "epochs"] = "random"
    """random draws each sequence anywhere in the text; epochs shows all of it once before any part a second time."""
    grad_accum_steps: int = 1
    """Batches whose gradients are averaged for one step."""
    max_steps: int = 1500
    """Total number of training steps."""
    optimizer: Literal["adamw", "muon", "adam", "sgd"] = "adamw"
    """Rule that updates the weights; muon is Muon for the matrices and AdamW for everything else."""
    lr: float = 2e-3
    """Peak learning rate; with muon, that of AdamW's part."""
    muon_lr: float = 0.02
    """Peak learning rate of Muon; the schedule changes both rates in proportion."""
    muon_momentum: float = 0.95
    """Muon's decay rate of the mean gradient."""
    min_lr: float = 2e-4
    """Final learning rate of the cosine and trapezoid schedules."""
    warmup_steps: int = 50
    """Steps in which the learning rate rises linearly to its peak."""
    schedule: Literal["cosine", "constant", "step", "trapezoid"] = "cosine"
    """How the learning rate changes after the warm-up; trapezoid stays at the peak, then falls to min_lr."""
    decay_fraction: float = 0.4
    """Share of the steps, at the end, in which the "trapezoid" schedule falls."""
    decay_shape: DecayShape = "linear"
    """How the "trapezoid" schedule falls: evenly, or as 1 - sqrt, quickly at first."""
    step_size: int = 500
    """Steps between the decays of the "step" schedule."""
    step_gamma: float = 0.5
    """Factor of each decay of the "step" schedule."""
    beta1: float = 0.9
    """Adam's decay rate of the mean gradient; for sgd, the momentum."""
    beta2: float = 0.99
    """Adam's decay rate of the mean squared gradient."""
    nesterov: bool = False
    """Use Nesterov momentum; only for sgd."""
    weight_decay: float = 0.1
    """Weight decay of matrices and embeddings."""
    cautious: bool = False
    """Decay only the weights that the step moves toward zero; only for adamw and muon."""
    ema: float = 0.0
    """Decay rate of an average of the weights, which evaluation, samples and checkpoints use; 0 uses the weights."""
    grad_clip: float = 1.0
    """Largest norm of the gradient; 0 turns clipping off."""

    eval_interval: int = 250
    """Steps between evaluations."""
    eval_batches: int = 0
    """Estimate the validation loss from this many batches; 0 uses the whole split."""
    checkpoint_interval: int = 250
    """Steps between checkpoints."""
    keep: int = 2
    """Number of newest checkpoints to keep, besides the best."""
    log_interval: int = 10
    """Steps between lines of metrics.jsonl."""
    sample_interval: int = 0
    """Steps between text samples; 0 shows none."""
    on_nan: Literal["stop", "skip"] = "stop"
    """If the loss or gradient is NaN or infinite: stop, or skip the step and count it."""
    tensorboard: bool = False
    """Also write the metrics as TensorBoard event files; needs tensorboardX."""
    seed: int = 1337
    """Seed of the initial weights, the batches and dropout."""
    shards: int = 0
    """Parts into which each batch is cut, for threads and processes to share. The bits of the weights depend on their
    number; 0 chooses it from cores and batch when the run begins."""
    replicas: int = 0
    """Threads that compute the shards; 0 uses one per core. Their number changes the speed, never the bits."""

    def __post_init__(self) -> None:
        self._check_types()
        positive = ("batch_size", "grad_accum_steps", "max_steps", "step_size", "eval_interval")
        for name in (*positive, "checkpoint_interval", "log_interval", "keep"):
            self._require(name, getattr(self, name) >= 1, "must be at least 1")
        for name in ("warmup_steps", "eval_batches", "sample_interval", "shards", "replicas", "seed"):
            self._require(name, getattr(self, name) >= 0, "must be at least 0")
        for name in ("min_lr", "weight_decay", "grad_clip"):
            self._require(name, 0 <= getattr(self, name) < math.inf, "must be a finite number of at least 0")
        for name in ("lr", "muon_lr", "step_gamma"):
            self._require(name, 0 < getattr(self, name) < math.inf, "must be a finite number above 0")
        for name in ("beta1", "beta2", "muon_momentum", "ema"):
            self._require(name, 0 <= getattr(self, name) < 1, "must lie in [0, 1)")
        self._require("decay_fraction", 0 < self.decay_fraction <= 1, "must lie in (0, 1]")
        self._require(
            "nesterov",
            not self.nesterov or (self.optimizer == "sgd" and self.beta1 > 0),
            "must be False unless optimizer is sgd and beta1 is above 0",
        )
        self._require(
            "cautious",
            not self.cautious or self.optimizer in ("adamw", "muon"),
            "must be False unless optimizer is adamw or muon",
        )
        self.model_config(self.vocab_size or 1)

    def model_config(self, vocab_size: int) -> GPTConfig:
        """The model's configuration for a tokenizer with a vocabulary of this size."""
        return GPTConfig(vocab_size=vocab_size, **{name: getattr(self, name) for name in MODEL_FIELDS})

    def make_optimizer(self, groups: list[dict[str, Any]]) -> Optimizer:
        """The optimizer over a model's parameter groups, such as ``decay_groups`` makes."""
        kind, arguments = OPTIMIZERS[self.optimizer]
        if kind is not Muon:
            return kind(groups, lr=self.lr, **arguments(self))
        matrices = _of_role(groups, is_matrix=True)
        others = _of_role(groups, is_matrix=False)
        rest = AdamW(others, lr=self.lr, **_of_adamw(self))
        return Combined([Muon(matrices, lr=self.muon_lr, **arguments(self)), rest])

    def make_average(self, weights: Array) -> WeightAverage | None:
        """The average of a model's flat weights; None without ``ema``."""
        return WeightAverage(weights, self.ema) if self.ema else None

    def make_schedule(self) -> schedules.Schedule:
        """The learning rate ``lr`` as a function of the step; that of Muon moves in proportion."""
        if self.schedule == "cosine":
            return schedules.cosine(self.lr, self.min_lr, self.max_steps, self.warmup_steps)
        if self.schedule == "step":
            return schedules.step_decay(self.lr, self.step_size, self.step_gamma, self.warmup_steps)
        if self.schedule == "trapezoid":
            fall = (self.decay_fraction, self.decay_shape)
            return schedules.trapezoid(self.lr, self.min_lr, self.max_steps, self.warmup_steps, *fall)
        return schedules.constant(self.lr, self.warmup_steps)

    @classmethod
    def stored(cls, values: Mapping[str, Any], source: str) -> "TrainConfig":
        """The settings that a file of a run or of a comparison holds.

        Files of before the shards name the number of shards ``replicas``: each had a thread of its own.

        Raises InputError, naming ``source``, for an unknown field or an invalid value.
        """
        if "shards" not in values:
            values = {**values, "shards": values.get("replicas", 0), "replicas": 0}
        return cls().updated(values, source)

    def updated(self, values: Mapping[str, Any], source: str) -> "TrainConfig":
        """A copy with other values for some fields.

        Raises InputError, naming ``source``, for an unknown field or an invalid value.
        """
        known = {field.name for field in fields(self)}
        for name in values:
            if name not in known:
                raise InputError(f"{source}: unknown field {name!r}; choose from {', '.join(sorted(known))}")
        try:
            return replace(self, **values)
        except InputError as error:
            raise InputError(f"{source}: {error}") from None

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            raise InputError(f"{name} {rule}, not {str(getattr(self, name))[:200]}")

    def _check_types(self) -> None:
        """Values from TOML and JSON may have any type."""
        for name, hint in get_type_hints(TrainConfig).items():
            value = getattr(self, name)
            if get_origin(hint) is Literal:
                choices = get_args(hint)
                self._require(name, value in choices, f"must be {' or '.join(choices)}")
            elif float in (allowed := get_args(hint) or (hint,)) and type(value) is int:
                object.__setattr__(self, name, float(value))
            else:
                names = " or ".join("none" if kind is type(None) else kind.__name__ for kind in allowed)
                self._require(name, type(value) in allowed, f"must be of type {names}")
                self._require(name, type(value) is not int or abs(value) < 1 << 63, "must be less than 2⁶³")


def _of_adam(config: TrainConfig) -> dict[str, Any]:
    return {"betas": (config.beta1, config.beta2)}


def _of_adamw(config: TrainConfig) -> dict[str, Any]:
    return {**_of_adam(config), "cautious": config.cautious}


def _of_muon(config: TrainConfig) -> dict[str, Any]:
    return {"momentum": config.muon_momentum, "cautious": config.cautious, "precision": config.precision}


def _of_sgd(config: TrainConfig) -> dict[str, Any]:
    return {"momentum": config.beta1, "nesterov": config.nesterov}


OPTIMIZERS: dict[str, tuple[type[Any], Callable[[TrainConfig], dict[str, Any]]]] = {
    "adamw": (AdamW, _of_adamw),
    "muon": (Muon, _of_muon),
    "adam": (Adam, _of_adam),
    "sgd": (SGD, _of_sgd),
}
"""Each optimizer's class, and its arguments besides lr. Muon moves the matrices alone; AdamW moves what is left."""


def _of_role(groups: list[dict[str, Any]], is_matrix: bool) -> list[dict[str, Any]]:
    """The groups without the parameters of other roles; none that would be empty."""
    kept = [{**group, "params": [p for p in group["params"] if (p.role == "matrix") is is_matrix]} for group in groups]
    return [group for group in kept if group["params"]]


def read_config_file(path: Path | None) -> dict[str, Any]:
    """The fields in a TOML file; none without a file. Raises InputError if it is missing or not TOML."""
    if path is None:
        return {}
    try:
        return tomllib.loads(decoded(read_file(path, _LARGEST_FILE), path))
    except InputError:
        raise
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path} is not valid TOML: {error}") from None
