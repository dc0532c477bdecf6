"""One GPT, the same weights and batches, under several optimizers, schedules and clippings.

The text is the language reference that comes with every Python, so that anybody can make these runs. It differs from
release to release, and the runs with it, so ``check`` compares only if the text is the same.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import style
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from threadpoolctl import threadpool_limits

from handgrad.data import load_dataset, random_batch
from handgrad.experiments.report import markdown_table
from handgrad.models import GPT, GPTConfig
from handgrad.optim import SGD, Adam, AdamW, Combined, Muon, Optimizer, clip_grad_norm, schedules
from handgrad.optim.common_rate import CommonRate
from handgrad.tokenizers import CharTokenizer
from handgrad.training import evaluate

STEPS, WINDOW, BATCH_SIZE, BLOCK_SIZE = 400, 10, 12, 64
TOLERANCE = 2e-3
"""In nats: other processors round differently, and a few steps amplify that."""

KINDS = ("SGD", "momentum 0.9", "Adam", "AdamW", "Muon")
"""The kinds of optimizers; each runs at several constant rates. With Muon, AdamW moves what is no matrix, at 0.001."""
CALM = ("SGD, lr 0.03", "momentum 0.9, lr 0.01", "AdamW, lr 0.001", "Muon, lr 0.01", "warm-up, cosine and clipping")
"""Runs whose first steps can be compared. Others jump in the first steps, and a last bit decides where to."""


@dataclass(frozen=True)
class Setting:
    """One run: its optimizer, its learning rates, and the norm at which its gradients are clipped."""

    make: Callable[[GPT], Optimizer]
    schedule: schedules.Schedule
    clip: float = math.inf
    peak: float | None = None
    """The rate of the first group, if the others have rates of their own in proportion to it."""


def _sgd(model: GPT, momentum: float = 0.0) -> Optimizer:
    return SGD(model.parameters(), momentum=momentum)


def _adam(model: GPT) -> Optimizer:
    return Adam(model.parameters(), betas=(0.9, 0.99))


def _adamw(model: GPT) -> Optimizer:
    return AdamW(model.decay_groups(weight_decay=0.1), betas=(0.9, 0.99))


def _muon(model: GPT, lr: float) -> Optimizer:
    roles = model.parameters_by_role()
    vectors = {"params": roles["vector"], "weight_decay": 0.0}
    others = AdamW([{"params": roles["embedding"]}, vectors], lr=0.001, betas=(0.9, 0.99), weight_decay=0.1)
    return Combined([Muon(roles["matrix"], lr=lr, weight_decay=0.1), others])


SETTINGS: dict[str, Setting] = {
    **{f"SGD, lr {lr}": Setting(_sgd, schedules.constant(lr)) for lr in (0.03, 0.1, 0.3, 1.0)},
    **{
        f"momentum 0.9, lr {lr}": Setting(lambda model: _sgd(model, 0.9), schedules.constant(lr))
        for lr in (0.01, 0.03, 0.1, 0.3)
    },
    **{f"Adam, lr {lr}": Setting(_adam, schedules.constant(lr)) for lr in (0.0003, 0.001, 0.003, 0.01)},
    **{f"AdamW, lr {lr}": Setting(_adamw, schedules.constant(lr)) for lr in (0.001, 0.003, 0.01)},
    **{
        f"Muon, lr {lr}": Setting(lambda model, lr=lr: _muon(model, lr), schedules.constant(lr), peak=lr)
        for lr in (0.003, 0.01, 0.03, 0.1)
    },
    "warm-up": Setting(_adamw, schedules.constant(0.003, 40)),
    "warm-up and cosine": Setting(_adamw, schedules.cosine(0.003, 0.0003, STEPS, 40)),
    "warm-up, cosine and clipping": Setting(_adamw, schedules.cosine(0.003, 0.0003, STEPS, 40), 1.0),
    "momentum 0.9, lr 0.3, clipped": Setting(lambda model: _sgd(model, 0.9), schedules.constant(0.3), 1.0),
}


@cache
def _text() -> tuple[CharTokenizer, np.ndarray, np.ndarray, str]:
    corpus = load_dataset("pydoc")
    learned, unseen = corpus.split()
    tokenizer = CharTokenizer().train(learned)
    return tokenizer, tokenizer.encode(learned), tokenizer.encode(unseen)[:20_000], corpus.sha256


Watch = Callable[[GPT, Optimizer], None]


def run(
    name: str, steps: int = STEPS, watch: Watch = lambda model, optimizer: None
) -> tuple[list[float], list[float], float | None]:
    """The loss and the gradient's norm at each step, and the loss on unseen text at the end.

    A run ends when its loss is no longer finite; the last loss is then None. BLAS has one thread: for products as small
    as these a second costs more than it gives. ``watch`` is called after each step.
    """
    with threadpool_limits(1, user_api="blas"):
        return _run(name, steps, watch)


def _run(name: str, steps: int, watch: Watch) -> tuple[list[float], list[float], float | None]:
    setting, (tokenizer, train, validation, _) = SETTINGS[name], _text()
    model = GPT(GPTConfig(tokenizer.vocab_size, BLOCK_SIZE, n_layer=4, n_head=4, n_embd=128, bias=False), seed=1)
    optimizer, losses, norms = setting.make(model), [], []
    rate = None if setting.peak is None else CommonRate(optimizer, setting.peak)
    for step in range(steps):
        x, y = random_batch(train, BATCH_SIZE, BLOCK_SIZE, np.random.default_rng([1, step]))
        for group in optimizer.param_groups if rate is None else ():
            group["lr"] = setting.schedule(step)
        if rate is not None:
            rate.set(setting.schedule(step))
        model.zero_grad()
        with np.errstate(over="ignore", invalid="ignore"):
            losses.append(model.loss(x, y))
            model.backward()
            norms.append(clip_grad_norm(model.parameters(), setting.clip))
        if not math.isfinite(losses[-1] + norms[-1]):
            return losses[:-1], norms[:-1], None
        optimizer.step()
        watch(model, optimizer)
    return losses, norms, evaluate(model, validation)


def measure() -> dict[str, Any]:
    runs = {}
    for name in SETTINGS:
        begun = time.perf_counter()
        losses, norms, final = run(name)
        runs[name] = {
            "loss": _means(losses),
            "grad_norm": _means(norms),
            "val_loss": None if final is None or not math.isfinite(final) else round(final, 4),
            "steps": len(losses),
        }
        print(f"{name}: {runs[name]['val_loss']} after {len(losses)} steps, {time.perf_counter() - begun:.0f} s")
    return {"text_sha256": _text()[3], "window": WINDOW, "runs": runs}


def _means(values: list[float]) -> list[float]:
    """Over windows of WINDOW steps."""
    windows = [values[start : start + WINDOW] for start in range(0, len(values), WINDOW)]
    return [round(math.fsum(window) / len(window), 4) for window in windows]


def check(data: dict[str, Any]) -> str | None:
    assert data["runs"].keys() == SETTINGS.keys()
    if data["text_sha256"] != load_dataset("pydoc").sha256:
        return "the text of this Python is not that of the runs"
    for name in CALM:
        losses, norms, _ = run(name, WINDOW)
        assert abs(_means(losses)[0] - data["runs"][name]["loss"][0]) < TOLERANCE
        assert abs(_means(norms)[0] / data["runs"][name]["grad_norm"][0] - 1) < 0.02
    for name, one in data["runs"].items():
        if one["val_loss"] is None:
            # Last bits decide when the numbers overflow, but not that the run is lost.
            losses, _, final = run(name, 2 * one["steps"])
            assert final is None or final > 1000 * losses[0]
    return None


def at_constant_rates(kind: str) -> dict[float, str]:
    """The names of the runs of one kind of optimizer, by their learning rates."""
    beginning = f"{kind}, lr "
    names = [name for name in SETTINGS if name.startswith(beginning) and "clipped" not in name]
    return {float(name.removeprefix(beginning)): name for name in names}


def draw(data: dict[str, Any]) -> dict[str, Figure]:
    pairs = {"-optimizers": _draw_optimizers, "-schedules": _draw_schedules}
    return {
        suffix: figure for name, draw_pair in pairs.items() for suffix, figure in style.two_ways(name, draw_pair, data)
    }


def _draw_optimizers(optimizers: Axes, against_rate: Axes, data: dict[str, Any]) -> None:
    for kind, color in zip(KINDS, style.COLORS, strict=False):
        names = at_constant_rates(kind)
        ended = {rate: loss for rate, name in names.items() if (loss := data["runs"][name]["val_loss"]) is not None}
        _curve(optimizers, data, names[min(ended, key=ended.__getitem__)], "loss", color)
        against_rate.semilogx(list(ended), list(ended.values()), color=color, marker="o", markersize=4, label=kind)
    style.plain(optimizers, "training loss, each at its best rate", "step", "nats per token")
    style.plain(against_rate, f"validation loss after {STEPS} steps", "learning rate", "")


def _draw_schedules(rates: Axes, norms: Axes, data: dict[str, Any]) -> None:
    names = ("AdamW, lr 0.003", "warm-up", "warm-up and cosine", "warm-up, cosine and clipping")
    for name, color in zip(names, style.COLORS, strict=False):
        label = f"{name.replace('AdamW, lr 0.003', 'constant')} ({data['runs'][name]['val_loss']:.3f})"
        _curve(rates, data, name, "loss", color, label)
    rates.set_ylim(2.0, 3.6)
    for name, color in zip(("momentum 0.9, lr 0.3", "momentum 0.9, lr 0.3, clipped"), style.COLORS[3:], strict=False):
        _curve(norms, data, name, "grad_norm", color)
    norms.set_yscale("log")
    style.plain(rates, "training loss of AdamW (validation at the end)", "step", "nats per token")
    style.plain(norms, "gradient norm before clipping", "step", "")


def _curve(axes: Any, data: dict[str, Any], name: str, field: str, color: str, label: str | None = None) -> None:
    values = data["runs"][name][field]
    ends = [min(data["window"] * (number + 1), data["runs"][name]["steps"]) for number in range(len(values))]
    steps = [(data["window"] * number + end) / 2 for number, end in enumerate(ends)]
    axes.plot(steps, values, color=color, linewidth=1.2, label=label or name)


def tables(data: dict[str, Any]) -> dict[str, str]:
    """Validation losses at the end, a row for each kind of optimizer and a column for each rate."""
    names = {kind: at_constant_rates(kind) for kind in KINDS}
    rates = sorted({rate for those in names.values() for rate in those})
    rows = [[kind, *(_cell(data["runs"].get(those.get(rate))) for rate in rates)] for kind, those in names.items()]
    return {"rates": markdown_table([["", *map(str, rates)], *rows])}


def _cell(one: dict[str, Any] | None) -> str:
    if one is None:
        return ""
    return f"ended at step {one['steps']}" if one["val_loss"] is None else f"{one['val_loss']:.3f}"
