"""What the heads of a trained model look at: the character model of the experiment with three tokenizers."""

import argparse
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pages
import style
from matplotlib.figure import Figure

from handgrad.autograd import no_grad
from handgrad.backend import Call, watching
from handgrad.experiments.report import markdown_table
from handgrad.models import GPT, GPTConfig
from handgrad.runs import open_run
from handgrad.system.arrays import Array
from handgrad.system.backend_setting import forced_backend, use_backend

RUN = pages.ROOT / "runs" / "tokenizers" / "runs" / "char"
"""Where the experiment's command puts it; HANDGRAD_LESSON_RUN overrides it."""
LINE = "\nThe gentle rain from heaven\nUpon the place"
"""From a play that is not in the training text."""
SHOWN = ("the word's first letter", "the end of the line before")
_WINDOWS, _SKIPPED = 60, 16
"""Windows of the validation text, and queries skipped at the beginning of each, which see too little."""


def weights_of(model: GPT, ids: Array) -> list[Array]:
    """The attention of every head: for each block (n_head, T, T), a row for each query."""
    found: list[Array] = []

    def watch(call: Call, run: Callable[[], Any]) -> Any:
        output, saved = run()
        if call.operation == "multi_head_attention":
            found.append(saved.attention.weights[0])
        return output, saved

    with in_numpy(), watching(watch), no_grad():
        model(ids[None])
    return found


@contextmanager
def in_numpy() -> Iterator[None]:
    """The kernels leave the weights above the diagonal unwritten; NumPy's attention has zeros there."""
    before = forced_backend()
    use_backend("numpy")
    try:
        yield
    finally:
        use_backend(before)


def looks(text: str) -> dict[str, Array]:
    """For each kind of place: boolean (T, T), true at the positions of that kind for each query t, none after t."""
    T = len(text)
    t, s = np.arange(T)[:, None], np.arange(T)
    letters = np.array(list(text))
    is_border = np.isin(letters, list(" \n"))
    border, line = _last_before(is_border), _last_before(letters == "\n")
    same = letters[:, None] == letters
    after_same = np.zeros((T, T), dtype=bool)
    after_same[:, 1:] = same[:, :-1]
    found = {
        "itself": s == t,
        "one back": s == t - 1,
        "two back": s == t - 2,
        "three to five back": (s <= t - 3) & (s >= t - 5),
        "the border before this word": s == border[:, None],
        "the word's first letter": s == border[:, None] + 1,
        "the word's letters so far": (s > border[:, None]) & (s < t),
        "the end of the line before": s == line[:, None],
        "the same character, earlier": same & (s < t),
        "what came after the same character": after_same & (s <= t - 1),
    }
    return {name: places & (s <= t) for name, places in found.items()}


def _last_before(is_there: Array) -> Array:
    """For each position the last true one before it, or -1 if there is none."""
    last = np.maximum.accumulate(np.where(is_there, np.arange(len(is_there)), -1))
    return np.concatenate([[-1], last[:-1]])


def measure() -> dict[str, Any]:
    return measure_run(Path(os.environ.get("HANDGRAD_LESSON_RUN", RUN)))


def measure_run(path: Path) -> dict[str, Any]:
    run = open_run(path)
    model, checkpoint = run.model("best")
    token_data, T = run.data(), run.config.block_size
    shares: dict[str, list[Array]] = {}
    chance: dict[str, list[float]] = {}
    starts = np.linspace(0, len(token_data.validation) - T, _WINDOWS).astype(int)
    for start in starts:
        ids = np.asarray(token_data.validation[start : start + T], dtype=np.int64)
        weights = np.stack(weights_of(model, ids))[:, :, _SKIPPED:]
        seen = 1 / (np.arange(T)[_SKIPPED:, None] + 1)
        for name, places in looks(token_data.tokenizer.decode(ids)).items():
            chosen = places[_SKIPPED:]
            shares.setdefault(name, []).append((weights * chosen).sum(axis=-1).mean(axis=-1))
            chance.setdefault(name, []).append(float((chosen * seen).sum(axis=-1).mean()))
    data: dict[str, Any] = {
        "line": LINE,
        "checkpoint": checkpoint.name,
        "shares": {name: np.mean(values, axis=0, dtype=float).round(3).tolist() for name, values in shares.items()},
        "chance": {name: round(float(np.mean(values)), 3) for name, values in chance.items()},
    }
    line = weights_of(model, token_data.tokenizer.encode(LINE).astype(np.int64))
    shown = {best(data, look)[0] for look in SHOWN}
    data["weights"] = {
        f"{layer}.{head}": [[round(float(w), 3) for w in row[: t + 1]] for t, row in enumerate(matrix)]
        for layer, block in enumerate(line, start=1)
        for head, matrix in enumerate(block, start=1)
        if f"{layer}.{head}" in shown
    }
    return data


def check(data: dict[str, Any]) -> str | None:
    """The trained weights are not kept. Checks that the rows are attention, and that ``weights_of`` is right."""
    for rows in data["weights"].values():
        assert [len(row) for row in rows] == list(range(1, len(data["line"]) + 1))
        for row in rows:
            assert min(row) >= 0
            assert abs(sum(row) - 1) < 5e-4 * len(row) + 1e-9
    model = GPT(GPTConfig(13, 9, n_layer=2, n_head=3, n_embd=12), seed=5, dtype=np.float64)
    for parameter in model.parameters():
        parameter.data[...] = np.random.default_rng(parameter.size).standard_normal(parameter.shape)
    ids = np.array([3, 1, 4, 1, 5, 9, 2])
    x = model.token_embedding(ids) + model.position_embedding(np.arange(7))
    for block, found in zip(model.blocks, weights_of(model, ids), strict=True):
        q, k, _ = np.split(block.norm_1(x) @ block.attention.project_in.weight.data, 3, axis=-1)
        bias = np.split(block.attention.project_in.bias.data, 3)
        for head in range(3):
            part = slice(4 * head, 4 * head + 4)
            scores = (q + bias[0])[:, part] @ (k + bias[1])[:, part].T / 2
            scores[np.triu_indices(7, 1)] = -np.inf
            by_definition = np.exp(scores) / np.exp(scores).sum(axis=-1, keepdims=True)
            np.testing.assert_allclose(found[head], by_definition, atol=1e-12)
        model.forget()
        x = block(x[None])[0]
        model.forget()
    return None


def best(data: dict[str, Any], look: str) -> tuple[str, float]:
    """The head, as layer.head, that looks most at this kind of place, and the share of its attention."""
    shares = np.array(data["shares"][look])
    layer, head = np.unravel_index(shares.argmax(), shares.shape)
    return f"{layer + 1}.{head + 1}", float(shares.max())


def draw(data: dict[str, Any]) -> dict[str, Figure]:
    line = style.new_figure(11, 6.2)
    for axes, look in zip(line.subplots(1, len(SHOWN)), SHOWN, strict=True):
        _draw_head(axes, data, look)
        axes.set_ylabel("looking" if look == SHOWN[0] else "")
    narrow = style.new_figure(5, 10.4)
    for axes, look in zip(narrow.subplots(len(SHOWN), 1), SHOWN, strict=True):
        _draw_head(axes, data, look)
    one = style.new_figure(5.4, 5.6)
    _draw_head(one.subplots(), data, SHOWN[0])
    return {
        "-line": line,
        "-line-narrow": narrow,
        "-one": one,
        "-table": _draw_table(data),
        "-table-narrow": _draw_narrow_table(data),
    }


def _draw_head(axes: Any, data: dict[str, Any], look: str) -> None:
    """The attention of the head that looks most at this kind of place, over the line."""
    names = ["⏎" if c == "\n" else "·" if c == " " else c for c in data["line"]]
    head, share = best(data, look)
    matrix = np.zeros((len(names), len(names)))
    for t, row in enumerate(data["weights"][head]):
        matrix[t, : t + 1] = row
    axes.imshow(style.shaded(matrix))
    axes.set_xticks(range(len(names)), names)
    axes.set_yticks(range(len(names)), names)
    style.plain(axes, f"head {head}: {look} ({share:.0%})", "looked at", "looking")
    axes.tick_params(labelsize=8, length=0, pad=2)
    axes.grid(visible=False)


def _draw_table(data: dict[str, Any]) -> Figure:
    table = style.new_figure(10, 4.6)
    axes = table.subplots()
    looks_, rows = list(data["shares"]), np.array(list(data["shares"].values()))
    rows = rows.reshape(len(looks_), -1)
    _draw_shares(axes, rows, 7.5)
    n_head = len(data["shares"][looks_[0]][0])
    heads = [f"{i // n_head + 1}.{i % n_head + 1}" for i in range(rows.shape[1])]
    axes.set_xticks(range(len(heads)), heads)
    axes.set_yticks(range(len(looks_)), [f"{look}\n(by chance {data['chance'][look]:.0%})" for look in looks_])
    style.plain(axes, "share of each head's attention in per cent, over the validation text", "layer.head", "")
    axes.grid(visible=False)
    return table


def _draw_narrow_table(data: dict[str, Any]) -> Figure:
    """The same with a row for each head."""
    table = style.new_figure(5, 8)
    axes = table.subplots()
    looks_, columns = list(data["shares"]), np.array(list(data["shares"].values()))
    n_head = columns.shape[2]
    rows = columns.reshape(len(looks_), -1).T
    _draw_shares(axes, rows, 8.5)
    axes.xaxis.tick_top()
    axes.set_xticks(range(len(looks_)), looks_, rotation=90)
    axes.set_yticks(range(len(rows)), [f"{i // n_head + 1}.{i % n_head + 1}" for i in range(len(rows))])
    style.plain(axes, "", "", "layer.head")
    axes.spines[["top", "bottom"]].set_visible(False)
    axes.tick_params(length=0)
    axes.grid(visible=False)
    return table


def _draw_shares(axes: Any, rows: Array, fontsize: float) -> None:
    axes.imshow(style.shaded(rows), aspect="auto")
    for (row, column), share in np.ndenumerate(rows):
        ink = "white" if share > 0.6 else style.INK
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=fontsize, color=ink)


def tables(data: dict[str, Any]) -> dict[str, str]:
    """For each kind of place, the head that looks at it most."""
    rows = [["where it looks", "by chance", "head with the largest share", "its share"]]
    for look, chance in data["chance"].items():
        head, share = best(data, look)
        rows.append([look, f"{chance:.0%}", head, f"{share:.0%}"])
    return {"heads": markdown_table(rows)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Prints what the heads of a run look at.")
    parser.add_argument("run", type=Path)
    for name, shares in measure_run(parser.parse_args().run)["shares"].items():
        print(f"{name:40}", *(f"{share:4.0%}" for row in shares for share in row))
