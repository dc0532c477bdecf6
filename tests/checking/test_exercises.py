"""Exercises: each can be solved, each typical mistake is found and named, and no answer is ever lost."""

import ast
import inspect
import re
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from support import Output

import handgrad as package
from handgrad import ops
from handgrad.checking import (
    Exercise,
    Verdict,
    all_exercises,
    check_answer,
    exercise_named,
    relative_error,
    write_exercise,
)
from handgrad.checking.hints import _plain
from handgrad.system.arrays import Array
from handgrad.system.errors import InputError

Handgrad = Callable[..., Output]
SOLUTIONS = Path(__file__).parent / "solutions"
ROOT = Path(__file__).parent.parent.parent
NAMES = [exercise.name for exercise in all_exercises()]

# An exercise, a wrong body of its backward, and the message for each wrong gradient, in order.
MISTAKES = {
    "dy forgotten": (
        "silu",
        "x, s = saved; return s * (1 + x * (1 - s))",
        ["the gradient for x does not depend on dy: by the chain rule it enters every gradient"],
    ),
    "sign": (
        "silu",
        "x, s = saved; return -dy * s * (1 + x * (1 - s))",
        ["the gradient for x is the negative of what it should be"],
    ),
    "the product's second term forgotten": (
        "silu",
        "x, s = saved; return dy * s",
        [
            r"the gradient for x is wrong: y\[1, 1, 0\] moves -0.04209 "
            r"times as far as x\[1, 1, 0\], where the gradient takes dy\[1, 1, 0\] times 0.1817"
        ],
    ),
    "dy added": (
        "silu",
        "x, s = saved; return dy * s + x * s * (1 - s)",
        ["the gradient for x is not linear in dy: what dy is multiplied with .*"],
    ),
    "only for a dy without zeros": (
        "silu",
        "x, s = saved; assert dy.all(); return dy * s",
        [r"the gradient for x is wrong: furthest at x\[0, 2, 0\], where it is -1.724 and should be -2.201"],
    ),
    "right for each dy alone": (
        "silu",
        "x, s = saved; return dy * s * (1 + x * (1 - s)) * (1 + 0.1 * (np.count_nonzero(dy) > 1) * (x > 0))",
        [r"the gradient for x is wrong: furthest at x\[0, 2, 0\], where it is -2.421 and should be -2.201"],
    ),
    "a little off": (
        "silu",
        "x, s = saved; return dy * s * (1 + x * (1 - s)) * (1 + 1e-5 * (x > 0))",
        [
            r"the gradient for x is wrong: y\[1, 2, 4\] moves 1.03297 "
            r"times as far as x\[1, 2, 4\], where the gradient takes dy\[1, 2, 4\] times 1.03298"
        ],
    ),
    "zeros": ("silu", "return np.zeros_like(dy)", ["the gradient for x is zero throughout"]),
    "not a number": ("silu", "return dy * np.nan", ["the gradient for x holds NaN"]),
    "infinite": ("silu", "return dy + np.inf", ["the gradient for x holds infinity"]),
    "exchanged": (
        "swiglu",
        "g, s, v = saved; return dy * g * s, dy * v * s * (1 + g * (1 - s))",
        [
            "the gradient for gate is that for value: they are returned in order, gate, value",
            "the gradient for value is that for gate: they are returned in order, gate, value",
        ],
    ),
    "one of two is wrong": (
        "swiglu",
        "g, s, v = saved; return dy * v * s * (1 + g * (1 - s)), dy * s",
        [
            r"the gradient for value is wrong: y\[0, 1, 0\] moves 1.877 "
            r"times as far as value\[0, 1, 0\], where the gradient takes dy\[0, 1, 0\] times 0.8914"
        ],
    ),
    "turned forwards": (
        "rotary",
        "c, s = saved; e, o = dy[..., ::2], dy[..., 1::2]; "
        "return np.stack([e * c - o * s, e * s + o * c], axis=-1).reshape(dy.shape)",
        [
            r"the gradient for x is wrong: y\[0, 2, 0\] moves -0.9093 "
            r"times as far as x\[0, 2, 1\], where the gradient takes dy\[0, 2, 0\] times 0.9093"
        ],
    ),
    "halves for pairs": (
        "rotary",
        "c, s = saved; e, o = dy[..., ::2], dy[..., 1::2]; "
        "return np.concatenate([e * c + o * s, o * c - e * s], axis=-1)",
        ["the gradient for x holds the right numbers in the wrong places, .*"],
    ),
    "the sine forgotten": (
        "rotary",
        "return dy * np.repeat(saved[0], 2, axis=-1)",
        [
            r"the gradient for x is wrong: y\[0, 1, 0\] depends on x\[0, 1, 1\], but dy\[0, 1, 0\] does not reach "
            "the gradient there: a path is missing"
        ],
    ),
    "weight not summed": (
        "rms_norm",
        "x, g, r = saved; d = dy * g; h = x * r; return (d - h * (d * h).mean(-1, keepdims=True)) * r, dy * h",
        [
            r"the gradient for weight has shape \(2, 3, 5\) where weight has \(5,\); its sum over axes 0 and 1 would "
            "be right: .*"
        ],
    ),
    "weight averaged": (
        "rms_norm",
        "x, g, r = saved; d = dy * g; h = x * r; "
        "return (d - h * (d * h).mean(-1, keepdims=True)) * r, (dy * h).mean(axis=(0, 1))",
        ["the gradient for weight is 1/6 times what it should be"],
    ),
    "the norm taken for a constant": (
        "rms_norm",
        "x, g, r = saved; return dy * g * r, (dy * x * r).sum(axis=(0, 1))",
        [
            r"the gradient for x is wrong: y\[0, 0, 0\] depends on x\[0, 0, 1\], but dy\[0, 0, 0\] does not reach "
            "the gradient there: a path is missing"
        ],
    ),
    "the mean's 1/N forgotten within": (
        "rms_norm",
        "x, g, r = saved; d = dy * g; h = x * r; "
        "return (d - h * (d * h).sum(-1, keepdims=True)) * r, (dy * h).sum(axis=(0, 1))",
        [
            r"the gradient for x is wrong: y\[0, 1, 2\] moves 0.1493 "
            r"times as far as x\[0, 1, 2\], where the gradient takes dy\[0, 1, 2\] times -1.808"
        ],
    ),
    "eps forgotten": (
        "rms_norm",
        "x, g, r = saved; r = 1 / np.sqrt((x * x).mean(-1, keepdims=True)); d = dy * g; h = x * r; "
        "return (d - h * (d * h).mean(-1, keepdims=True)) * r, (dy * x * saved[2]).sum(axis=(0, 1))",
        [
            r"the gradient for x is wrong: y\[0, 2, 2\] moves 1.251 "
            r"times as far as x\[0, 2, 2\], where the gradient takes dy\[0, 2, 2\] times 1.447"
        ],
    ),
    "a length forgotten": (
        "cosine_similarity",
        "a, b, m, n, y = (p[..., None] if p.ndim < 3 else p for p in saved); d = dy[..., None]; "
        "return d * (b / n - y * a / m), d * (a / (m * n) - y * b / n**2)",
        [r"each row of the gradient for a is a multiple of what it should be, by factors from \d\.\d+ to \d\.\d+"],
    ),
    "the lengths taken for constants": (
        "cosine_similarity",
        "a, b, m, n, y = saved; d = (dy / (m * n))[..., None]; return d * b, d * a",
        [
            r"the gradient for a is wrong: y\[0, 2\] moves -0.1383 "
            r"times as far as a\[0, 2, 3\], where the gradient takes dy\[0, 2\] times 0.1893",
            r"the gradient for b is wrong: y\[1, 1\] moves -0.07583 "
            r"times as far as b\[1, 1, 1\], where the gradient takes dy\[1, 1\] times 0.1784",
        ],
    ),
    "the mean's 1/N forgotten": (
        "smoothed_cross_entropy",
        "l, t, e = saved; d = np.exp(l) - e / 7; d[np.arange(4), t] -= 1 - e; return d * d_loss",
        ["the gradient for logits is 4 times what it should be"],
    ),
    "d_loss forgotten": (
        "smoothed_cross_entropy",
        "l, t, e = saved; d = np.exp(l) - e / 7; d[np.arange(4), t] -= 1 - e; return d / 4",
        ["the gradient for logits does not depend on d_loss: .*"],
    ),
    "labels not smoothed": (
        "smoothed_cross_entropy",
        "l, t, e = saved; d = np.exp(l); d[np.arange(4), t] -= 1; return d * d_loss / 4",
        [
            r"the gradient for logits is wrong: loss moves -0.1391 "
            r"times as far as logits\[0, 3\], where the gradient takes d_loss times -0.2034"
        ],
    ),
    "a token's gradient alone": (
        "smoothed_cross_entropy",
        "return np.exp(saved[0])[0] * d_loss",
        [r"the gradient for logits has shape \(7,\) where logits has \(4, 7\)"],
    ),
    # The fault of a published NumPy GPT: Qᵀ·dS where dSᵀ·Q belongs.
    "key gradient, Qᵀ·dS": (
        "linear_attention",
        "q, k, v, s = saved; d = np.tril(dy @ v.mT) / 3**0.5; return d @ k, q.mT @ d, s.mT @ dy",
        [r"the gradient for k has shape \(2, 3, 5\) where k has \(2, 5, 3\); with its last two axes swapped .* right"],
    ),
    "key gradient, Qᵀ·dS reshaped": (
        "linear_attention",
        "q, k, v, s = saved; d = np.tril(dy @ v.mT) / 3**0.5; return d @ k, (q.mT @ d).reshape(k.shape), s.mT @ dy",
        [
            "the gradient for k holds the right numbers in the wrong places, "
            "as after a reshape where a transpose belongs"
        ],
    ),
    "key gradient, transpose left out": (
        "linear_attention",
        "q, k, v, s = saved; d = np.tril(dy @ v.mT) / 3**0.5; return d @ k, d @ q, s.mT @ dy",
        [
            r"the gradient for k is wrong: y\[0, 1, 0\] depends on k\[0, 0, 0\], but dy\[0, 1, 0\] does not reach the "
            "gradient there: a path is missing"
        ],
    ),
    "mask forgotten": (
        "linear_attention",
        "q, k, v, s = saved; d = dy @ v.mT / 3**0.5; return d @ k, d.mT @ q, s.mT @ dy",
        [
            r"the gradient for q is wrong: y\[0, 1, 3\] moves 0.07015 "
            r"times as far as q\[0, 1, 2\], where the gradient takes dy\[0, 1, 3\] times -2.031",
            r"the gradient for k is wrong: dy\[0, 0, 0\] reaches the gradient for k\[0, 1, 0\], but y\[0, 0, 0\] does "
            r"not depend on k\[0, 1, 0\]",
        ],
    ),
    "scale forgotten": (
        "linear_attention",
        "q, k, v, s = saved; d = np.tril(dy @ v.mT); return d @ k, d.mT @ q, s.mT @ dy",
        [f"the gradient for {name} is 1.732 times what it should be" for name in "qk"],
    ),
    "one gradient too few": (
        "swiglu",
        "return dy",
        ["swiglu_backward returns 1 gradient; 2 are needed, for gate, value"],
    ),
    "one gradient too many": ("silu", "return dy, dy", ["silu_backward returns 2 gradients; 1 is needed, for x"]),
    "None": ("silu", "pass", [r"the gradient for x must be an array of floating numbers, of shape .*, not NoneType"]),
    "integers": ("silu", "return dy.astype(int)", ["the gradient for x must be an array of floating .*, not int64"]),
    "one number": ("silu", "return dy.sum()", [r"the gradient for x has shape \(\) where x has \(2, 3, 5\)"]),
    "float32 of float64": (
        "silu",
        "x, s = saved; return (dy * s * (1 + x * (1 - s))).astype(np.float32)",
        ["the gradient for x is float32 where x is float64; it must keep the dtype"],
    ),
    "float64 of float32": (
        "silu",
        "x, s = saved; return dy * s * (1 + x * (1 - s)) * np.float64(1)",
        ["the gradient for x is float64 where x is float32; it must keep the dtype"],
    ),
    "dy overwritten": (
        "silu",
        "x, s = saved; dy *= s * (1 + x * (1 - s)); return dy",
        ["silu_backward changes dy in place; let it make a new array"],
    ),
    "an input overwritten": (
        "silu",
        "x, s = saved; y = s * (1 + x * (1 - s)); x *= 2; return dy * y",
        ["silu_backward changes x in place; let it make a new array"],
    ),
    "what was saved overwritten": (
        "silu",
        "x, s = saved; y = s * (1 + x * (1 - s)); s[0] = 0; return dy * y",
        ["silu_backward changes what was saved in place; let it make a new array"],
    ),
}


@pytest.fixture
def checked(tmp_path: Path) -> Callable[..., Verdict]:
    """Checks an answer: the reader's file, with the body of its backward, or more, replaced."""

    def check(name: str, body: str, **replaced: str) -> Verdict:
        exercise, path = exercise_named(name), tmp_path / f"{name}.py"
        assert write_exercise(exercise, path)
        path.write_text(completed(path.read_text(encoding="utf-8"), body, **replaced), encoding="utf-8")
        return check_answer(exercise, path)

    return check


def completed(text: str, body: str, old: str = "", new: str = "") -> str:
    text, count = re.subn(r"raise NotImplementedError\(.*\)", lambda _: body, text)
    assert count == 1
    assert old in text
    return text.replace(old, new) if old else text


@pytest.mark.parametrize("exercise", all_exercises(), ids=NAMES)
def test_every_exercise_can_be_solved(exercise: Exercise) -> None:
    verdict = check_answer(exercise, SOLUTIONS / f"{exercise.name}.py")
    assert verdict.faults == []
    assert [result.part for result in verdict.results] == list(exercise.inputs)
    assert all(result.passed and result.error is not None and result.error < 1e-9 for result in verdict.results)


@pytest.mark.parametrize("exercise", all_exercises(), ids=NAMES)
def test_what_the_reader_is_given_is_not_yet_written(exercise: Exercise, tmp_path: Path) -> None:
    path = tmp_path / "new" / "mine.py"
    assert write_exercise(exercise, path)
    verdict = check_answer(exercise, path)
    line = (
        path.read_text(encoding="utf-8")
        .splitlines()
        .index(f'    raise NotImplementedError("{exercise.name}_backward is not yet written")')
    )
    assert verdict == Verdict([], [f"{path}, line {line + 1}: {exercise.name}_backward is not yet written"])
    assert [entry.name for entry in path.parent.iterdir()] == ["mine.py"]  # and no cache beside it


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_found_and_named(mistake: str, checked: Callable[..., Verdict]) -> None:
    name, body, said = MISTAKES[mistake]
    verdict = checked(name, body)
    assert len(verdict.faults) == len(said), verdict.faults
    for fault, pattern in zip(verdict.faults, said, strict=True):
        assert re.search(pattern + "$", fault), fault


def test_every_exercise_has_a_mistake_that_is_named() -> None:
    assert {name for name, _, _ in MISTAKES.values()} == set(NAMES)


def test_rows_of_what_is_wrong_and_of_what_is_right(checked: Callable[..., Verdict]) -> None:
    name, body, _ = MISTAKES["weight averaged"]
    assert [(result.part, result.passed) for result in checked(name, body).results] == [("x", True), ("weight", False)]


def test_what_is_saved_is_the_readers_to_change(checked: Callable[..., Verdict]) -> None:
    body = 's = saved["s"]; return dy * s * (1 + saved["x"][0] * (1 - s))'
    verdict = checked("silu", body, old="(x, sigmoid)\n", new='{"x": [x], "s": sigmoid}\n')
    assert verdict.faults == []


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("x * sigmoid,", "2 * x * sigmoid,", "silu no longer computes what it did; what it saves is yours to change"),
        ("x * sigmoid,", "(x * sigmoid)[0],", r"silu must return an output of shape \(2, 3, 5\), not an array of"),
        ("x * sigmoid,", "None,", r"silu must return an output of shape \(2, 3, 5\), not a NoneType"),
        ("x * sigmoid, (x, sigmoid)", "x * sigmoid", "silu must return a pair, the output and what is saved, not an"),
        ("np.exp(-x)", "np.exp(-x.astype(np.float64))", "silu makes float64 of float32"),
        ("return x *", "x += 1; return (x - 1) *", "silu changes x in place"),
        ("return x *", "raise NotImplementedError; return x *", r"silu\.py, line 18: NotImplementedError$"),
    ],
)
def test_a_forward_that_was_broken(old: str, new: str, said: str, checked: Callable[..., Verdict]) -> None:
    verdict = checked(
        "silu", "x, s = saved[0], 1 / (1 + np.exp(-saved[0])); return dy * s * (1 + x * (1 - s))", old=old, new=new
    )
    assert len(verdict.faults) == 1
    assert re.search(said, verdict.faults[0]), verdict.faults


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("return dy @ saved[0]", r"silu\.py, line 23: ValueError: matmul: "),
        ("return sigmoid", r"silu\.py, line 23: NameError: name 'sigmoid' is not defined$"),
        ("return saved[0].mean(axis=3)", r"silu\.py, line 23: AxisError: "),  # raised within NumPy
        ("exit(3)", r"silu\.py, line 23: SystemExit: 3$"),
        ("raise ValueError('of\\n two  lines')", r"silu\.py, line 23: ValueError: of two lines$"),
        ("assert dy is None", r"silu\.py, line 23: AssertionError$"),
    ],
)
def test_an_answer_that_raises(body: str, said: str, checked: Callable[..., Verdict]) -> None:
    verdict = checked("silu", body)
    assert verdict.results == []
    assert re.search(said, verdict.faults[0]), verdict.faults


def test_an_answer_of_other_arguments_is_said_where_it_begins(checked: Callable[..., Verdict]) -> None:
    verdict = checked(
        "silu", "return dy", old="def silu_backward(dy: Array, saved: tuple[Any, ...])", new="def silu_backward(dy)"
    )
    assert re.search(r"silu\.py, line 21: TypeError: silu_backward\(\) takes 1 positional argument", verdict.faults[0])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"def silu(x:\n    return x\n", r"mine\.py, line 1, is not Python: '\(' was never closed$"),
        (b"def silu(x):\nreturn x\n", r"mine\.py, line 2, is not Python: expected an indented block .*$"),
        (b"x = '\xff'\n", r"mine\.py.* is not Python: .*"),
        (b"x = '\0'\n", r"mine\.py.* is not Python: .*null bytes$"),
        (b"", r"mine\.py defines no function silu; it needs silu and silu_backward$"),
        (b"def silu(x): ...\n", r"mine\.py defines no function silu_backward; .*"),
        (b"silu = silu_backward = 3\n", r"mine\.py defines no function silu; .*"),
        (b"\nimport nothing_of_this_name\n", r"mine\.py, line 2: ModuleNotFoundError: No module named .*"),
        (b"exit()\n", r"mine\.py, line 1: SystemExit.*$"),
    ],
)
def test_a_file_that_holds_no_answer_is_bad_input(
    content: bytes, said: str, tmp_path: Path, handgrad: Handgrad
) -> None:
    path = tmp_path / "mine.py"
    path.write_bytes(content)
    with pytest.raises(InputError, match=said):
        check_answer(exercise_named("silu"), path)
    done = handgrad("check", "--exercise", "silu", "--answer", path)
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1)
    assert path.read_bytes() == content


def test_no_file_is_overwritten(tmp_path: Path, handgrad: Handgrad) -> None:
    exercise, link = exercise_named("silu"), tmp_path / "link.py"
    mine = tmp_path / "mine.py"
    mine.write_text("mine", encoding="utf-8")
    link.symlink_to(tmp_path / "nothing.py")
    for path in (mine, link, tmp_path):
        assert not write_exercise(exercise, path)
        assert handgrad("check", "--exercise", "silu", "--answer", path).code == 2
    assert mine.read_text(encoding="utf-8") == "mine"
    assert link.is_symlink()


def test_from_the_first_call_to_the_next_exercise(
    handgrad: Handgrad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, later in zip(NAMES, [*NAMES[1:], None], strict=True):
        path = tmp_path / "exercises" / f"{name}.py"
        first = handgrad("check", "--exercise", name)
        assert (first.code, first.err) == (0, "")
        assert first.out.startswith(f"wrote {path.relative_to(tmp_path)}: ")
        assert first.out.endswith(f"\nwrite {name}_backward there, then run the same command again\n")
        second = handgrad("check", "--exercise", name)
        assert (second.code, second.err) == (1, "")
        assert re.fullmatch(rf"exercises.{name}\.py, line \d+: {name}_backward is not yet written\n", second.out)
        path.write_text((SOLUTIONS / path.name).read_text(encoding="utf-8"), encoding="utf-8")
        third = handgrad("check", "--exercise", name)
        assert (third.code, third.err) == (0, "")
        assert f"\n{name}_backward is right (max|a - n|" in third.out
        last = f"next: handgrad check --exercise {later}" if later else "that was the last exercise"
        assert third.out.splitlines()[-1] == last
        assert third.out.count("e-1") == len(exercise_named(name).inputs)


def test_a_wrong_answer_has_its_rows_its_sentence_and_exit_code_1(handgrad: Handgrad, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    text = completed(exercise_named("rms_norm").text, MISTAKES["weight averaged"][1])
    path.write_text(text, encoding="utf-8")
    done = handgrad("check", "--exercise", "rms_norm", "--answer", path)
    assert (done.code, done.err) == (1, "")
    _, subject, x, weight, empty, sentence = done.out.splitlines()
    assert (subject, empty) == ("rms_norm", "")
    assert "WRONG" not in x
    assert re.fullmatch(r"  weight +8\.3e-01 +WRONG", weight)
    assert sentence == "the gradient for weight is 1/6 times what it should be"


def test_what_an_answer_prints_is_shown_once(
    checked: Callable[..., Verdict], capsys: pytest.CaptureFixture[str]
) -> None:
    # Hints call it many times more.
    assert checked("silu", 'print("here"); return dy * saved[1]').faults
    assert capsys.readouterr().out == "here\n"


def test_the_list_names_every_exercise_with_its_idea(handgrad: Handgrad) -> None:
    done = handgrad("check", "--exercise", "list")
    assert done.code == 0
    assert [line.split()[0] for line in done.out.splitlines()] == NAMES
    for line, exercise in zip(done.out.splitlines(), all_exercises(), strict=True):
        assert line[24:] == exercise.summary
        assert len(line) <= 120


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--exercise", "gelu"], f"unknown exercise 'gelu'; choose from {', '.join(NAMES)}"),
        (["--exercise", ""], "unknown exercise ''; choose from silu"),
        (["--exercise", "../silu"], "unknown exercise '../silu'; choose from silu"),
        (["--exercise"], "needs a value"),
        (["--answer", "mine.py"], "--answer mine.py needs the name of an exercise, --exercise NAME"),
        (["--exercise", "list", "--answer", "mine.py"], "--answer mine.py needs the name of an exercise"),
        (["silu"], "unexpected argument 'silu'"),
    ],
)
def test_bad_flags_are_one_sentence(arguments: list[str], said: str, handgrad: Handgrad) -> None:
    done = handgrad("check", *arguments)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
    assert len(done.err.splitlines()) == 1


def test_a_place_that_cannot_be_written_is_one_sentence(handgrad: Handgrad, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    done = handgrad("check", "--exercise", "silu", "--answer", tmp_path / "file" / "silu.py")
    assert (done.code, len(done.err.splitlines())) == (2, 1)


def test_inputs_have_sizes_that_all_differ_and_options_that_are_not_the_default() -> None:
    for exercise in all_exercises():
        for array in exercise.inputs.values():
            assert len(set(array.shape)) == array.ndim
            assert array.dtype == np.float64
        defaults = exercise.forward.__defaults__ or ()
        given = [value for value in exercise.options().values() if isinstance(value, float)]
        assert len(given) == len(defaults)
        assert not set(given) & set(defaults)


@pytest.mark.parametrize("exercise", all_exercises(), ids=NAMES)
def test_forwards_keep_float32_in_what_they_save(exercise: Exercise) -> None:
    """Otherwise a right backward would return float64."""
    inputs = [array.astype(np.float32) for array in exercise.inputs.values()]
    output, saved = exercise.forward(*inputs, **exercise.options())
    floats = {part.dtype for part in (output, *saved) if isinstance(part, np.ndarray) and part.dtype.kind == "f"}
    assert floats == {np.dtype(np.float32)}


def test_forwards_are_what_their_names_say() -> None:
    """The formulas again, written as plainly as possible."""
    forwards = {exercise.name: exercise.forward for exercise in all_exercises()}
    rng = np.random.default_rng(23)
    a, b = rng.standard_normal((2, 4, 6))
    sigmoid = ops.sigmoid(a)[0]
    turned = np.empty_like(a)
    for t in range(4):
        for i in range(3):
            pair = complex(a[t, 2 * i], a[t, 2 * i + 1]) * np.exp(1j * t * 10000 ** (-2 * i / 6))
            turned[t, 2 * i : 2 * i + 2] = pair.real, pair.imag
    targets = np.array([5, 0, 2, 2])
    q = np.where(np.arange(6) == targets[:, None], 0.9, 0) + 0.1 / 6
    scores = ops.masked_fill(a @ b.T / 6**0.5, np.asarray(0.0), mask=np.triu(np.ones((4, 4)), k=1) == 1)[0]
    expected = {
        "silu": ((a,), a * sigmoid),
        "swiglu": ((a, b), a * sigmoid * b),
        "rotary": ((a,), turned),
        "rms_norm": ((a, b[0]), a / np.sqrt(np.linalg.norm(a, axis=1, keepdims=True) ** 2 / 6 + 1e-5) * b[0]),
        "cosine_similarity": (
            (a, b),
            np.diag(a @ b.T) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1),
        ),
        "smoothed_cross_entropy": ((a, targets), -(q * ops.log_softmax(a)[0]).sum() / 4),
        "linear_attention": ((a[None], b[None], a[None, :, :3]), (scores @ a[:, :3])[None]),
    }
    assert set(expected) == set(NAMES)
    for name, (inputs, right) in expected.items():
        assert relative_error(np.asarray(forwards[name](*inputs)[0]), np.asarray(right)) < 1e-14, name


@pytest.mark.parametrize("exercise", all_exercises(), ids=NAMES)
def test_the_file_holds_a_forward_and_a_backward_that_is_not_written(exercise: Exercise) -> None:
    functions = [node for node in ast.walk(ast.parse(exercise.text)) if isinstance(node, ast.FunctionDef)]
    assert [function.name for function in functions] == [exercise.name, f"{exercise.name}_backward"]
    docstring, only = functions[1].body
    assert isinstance(docstring, ast.Expr)
    assert isinstance(only, ast.Raise)
    with pytest.raises(NotImplementedError):
        exercise.backward(None, None)


@pytest.mark.parametrize("exercise", all_exercises(), ids=NAMES)
def test_the_file_needs_the_array_type_and_numpy_alone(exercise: Exercise) -> None:
    nodes = list(ast.walk(ast.parse(exercise.text)))
    found = {node.module for node in nodes if isinstance(node, ast.ImportFrom)}
    found |= {alias.name for node in nodes if isinstance(node, ast.Import) for alias in node.names}
    assert found <= {"math", "typing", "numpy", "handgrad.system.arrays"}


def solution_of(name: str) -> ModuleType:
    spec = spec_from_file_location(f"solution_{name}", SOLUTIONS / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def put_into_ops(monkeypatch: pytest.MonkeyPatch, name: str, forward: Any, backward: Any) -> None:
    """Makes two functions an operation of ``ops`` until the test ends."""
    for place, function in ((name, forward), (f"{name}_backward", backward)):
        monkeypatch.setattr(function, "__module__", f"handgrad.ops.{name}")
        monkeypatch.setattr(ops, place, function, raising=False)
    monkeypatch.setattr(ops, "__all__", [*ops.__all__, name, f"{name}_backward"])


@pytest.fixture(params=["without", "with"])
def operations(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """``ops`` without any operation that is an exercise, then with one for each of them, whose backward is right."""
    for name in NAMES:
        if request.param == "with":
            solution = solution_of(name)
            put_into_ops(monkeypatch, name, partial(getattr(solution, name)), getattr(solution, f"{name}_backward"))
        else:
            monkeypatch.delattr(ops, name, raising=False)
            monkeypatch.delattr(ops, f"{name}_backward", raising=False)
    return str(request.param)


def given_away(name: str, text: str) -> list[str]:
    """The parts of an exercise's answer that a text shows: statements of the backward and formulas of its derivation.

    The answer is the solution's, and also the one in ``ops`` if that contains the operation.
    """
    backward, shown = f"{name}_backward", "".join(text.split())
    sources = [inspect.getsource(getattr(solution_of(name), backward))]
    if hasattr(ops, backward):
        sources.append(inspect.getsource(getattr(ops, backward)))
    return [part for source in sources for part in answer_parts(source) if "".join(part.split()) in shown]


def answer_parts(source: str) -> list[str]:
    """A backward's statements and the formulas of its docstring.

    Statements of one operator are left out, as many backwards share them, and formulas without a derivative, as they
    may repeat what the forward says.
    """
    function = ast.parse(source).body[0]
    assert isinstance(function, ast.FunctionDef)
    formulas = re.findall(r"^ {4}(.+)", ast.get_docstring(function) or "", flags=re.MULTILINE)
    parts = [formula for formula in formulas if re.search(r"\bd\w|∂", formula)]
    for node in ast.walk(function):
        operators = sum(isinstance(inner, ast.operator) for inner in ast.walk(node))
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign | ast.Return) and operators >= 2:
            parts.append(ast.get_source_segment(source, node) or "")
    return parts


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_that_is_shown_is_found(name: str) -> None:
    backward = inspect.getsource(getattr(solution_of(name), f"{name}_backward"))
    parts = answer_parts(backward)
    assert parts
    assert given_away(name, backward)[: len(parts)] == parts
    for part in parts:
        assert part in given_away(name, f"before\n    {part}\nafter")


@pytest.mark.parametrize("name", NAMES)
def test_nothing_that_the_reader_is_shown_holds_the_answer(
    name: str, operations: str, handgrad: Handgrad, tmp_path: Path
) -> None:
    exercise, path = exercise_named(name), tmp_path / "mine.py"
    assert hasattr(ops, name) == hasattr(ops, f"{name}_backward") == (operations == "with")
    call = ("check", "--exercise", name, "--answer", path)
    outputs = [handgrad("check", "--help"), handgrad("check", "--exercise", "list"), handgrad(*call), handgrad(*call)]
    given = path.read_text(encoding="utf-8")
    assert given == exercise.text
    for mistaken, body, _ in MISTAKES.values():
        if mistaken == name:
            path.write_text(completed(given, body), encoding="utf-8")
            outputs.append(handgrad(*call))
    path.write_text((SOLUTIONS / f"{name}.py").read_text(encoding="utf-8"), encoding="utf-8")
    outputs.append(handgrad(*call))
    assert [output.code for output in outputs] == [0, 0, 0, 1, *[1] * (len(outputs) - 5), 0]
    for text in (given, exercise.summary, *(output.out + output.err for output in outputs)):
        assert given_away(name, text) == []


@pytest.mark.parametrize("name", NAMES)
def test_no_page_that_presents_exercises_holds_the_answer_or_leads_to_it(name: str, operations: str) -> None:
    """The lesson may derive what an exercise shares with it, as attention does; the section on exercises may not."""
    pages = [path.read_text(encoding="utf-8") for path in (ROOT / "README.md", *(ROOT / "docs").rglob("*.md"))]
    sections = [section for page in pages for section in re.split(r"(?m)^(?=## )", page) if "--exercise" in section]
    assert any(section.startswith("## Exercises\n") for section in sections)
    for section in sections:
        assert given_away(name, section) == []
    for page in pages:
        if "--exercise" in page:
            assert f"def {name}_backward" not in page
            assert links_to_operation(name, page) == []


def links_to_operation(name: str, page: str) -> list[str]:
    """The links to an operation's file in ``ops``, or to its place in the reference."""
    targets = re.findall(r"\]\(([^)\s]+)|^\[[^\]]+\]: *(\S+)|href=\"([^\"]+)", page, flags=re.MULTILINE)
    links = ["".join(target) for target in targets]
    return [link for link in links if re.search(rf"\bops\b.*(?<![a-z]){name}(?![a-z])", link)]


@pytest.mark.parametrize(
    "link",
    [
        "[silu](../src/handgrad/ops/silu.py)",
        "[`silu`](reference/ops.md#handgrad.ops.silu)",
        "[its backward](reference/ops.md#handgrad.ops.elementwise.silu_backward)",
        "[1]: reference/ops.md#handgrad.ops.silu",
        '<a href="reference/ops.html#handgrad.ops.silu_backward">',
    ],
)
def test_a_link_to_the_operation_is_found(link: str) -> None:
    assert len(links_to_operation("silu", f"[gelu](../src/handgrad/ops/gelu.py) and\n{link}\n")) == 1
    assert links_to_operation("swiglu", link) == []


def never_called(*_: Any, **__: Any) -> Any:
    raise AssertionError("an answer was checked by means of ops")


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_named_the_same_with_the_operation_in_ops(
    mistake: str, checked: Callable[..., Verdict], monkeypatch: pytest.MonkeyPatch
) -> None:
    name, body, said = MISTAKES[mistake]
    put_into_ops(monkeypatch, name, never_called, never_called)
    verdict = checked(name, body)
    assert len(verdict.faults) == len(said), verdict.faults
    for fault, pattern in zip(verdict.faults, said, strict=True):
        assert re.search(pattern + "$", fault), fault


def silu_of_ops(x: Array) -> tuple[Array, tuple[Array]]:
    return x / (1 + np.exp(-x)), (x,)


def silu_backward_of_ops(dy: Array, saved: tuple[Array]) -> Array:
    sigmoid = 1 / (1 + np.exp(-saved[0]))
    return dy * (sigmoid + saved[0] * sigmoid * (1 - sigmoid))


def wrong_silu_of_ops(x: Array) -> tuple[Array, tuple[Array]]:
    return x / (1 + np.exp(-x)) * (1 + 1e-9), (x,)


def wrong_silu_backward_of_ops(dy: Array, saved: tuple[Array]) -> Array:
    return -dy


@pytest.mark.parametrize(
    ("forward", "backward"), [(silu_of_ops, silu_backward_of_ops), (wrong_silu_of_ops, wrong_silu_backward_of_ops)]
)
def test_the_command_says_the_same_with_the_operation_in_ops(
    forward: Any, backward: Any, handgrad: Handgrad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "answer.py"
    mistake = completed(exercise_named("silu").text, MISTAKES["sign"][1])
    right = (SOLUTIONS / "silu.py").read_text(encoding="utf-8")

    def outputs() -> list[Output]:
        path.unlink(missing_ok=True)
        call = ("check", "--exercise", "silu", "--answer", path)
        found = [handgrad("check", "--exercise", "list"), handgrad(*call), handgrad(*call)]
        for content in (mistake, right):
            path.write_text(content, encoding="utf-8")
            found.append(handgrad(*call))
        return found

    before = outputs()
    put_into_ops(monkeypatch, "silu", forward, backward)
    assert ops.silu is forward
    after = outputs()
    assert after == before
    assert [output.code for output in after] == [0, 0, 1, 1, 0]
    assert "silu_backward is not yet written" in after[2].out
    assert "the gradient for x is the negative of what it should be" in after[3].out
    assert "silu_backward is right" in after[4].out


@pytest.mark.parametrize(
    ("content", "origin"),
    [
        ("from handgrad.ops import silu, silu_backward\n", "handgrad.ops.silu"),
        ("from handgrad.ops import *\n\ndef silu_backwards(dy, saved): ...\n", "handgrad.ops.silu"),
        ("from handgrad import ops\nsilu, silu_backward = ops.silu, ops.silu_backward\n", "handgrad.ops.silu"),
        ("from handgrad.checking.exercises.silu import *\n", "handgrad.checking.exercises.silu"),
    ],
)
def test_a_backward_of_handgrad_is_not_the_readers(
    content: str, origin: str, handgrad: Handgrad, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mine.py"
    put_into_ops(monkeypatch, "silu", silu_of_ops, silu_backward_of_ops)
    path.write_text(content, encoding="utf-8")
    done = handgrad("check", "--exercise", "silu", "--answer", path)
    assert (done.code, done.out) == (2, "")
    assert f"{path} imports silu_backward from {origin}; write it yourself" in done.err
    # A function that the reader writes below the import is the reader's own.
    own = "\ndef silu_backward(dy, saved):\n    x = saved[0]\n    s = 1 / (1 + np.exp(-x))\n"
    path.write_text(f"{content}import numpy as np\n{own}    return dy * s * (1 + x * (1 - s))\n", encoding="utf-8")
    assert handgrad("check", "--exercise", "silu", "--answer", path).code == 0
    path.write_text(f"{content}import numpy as np\n{own}    return dy * s\n", encoding="utf-8")
    assert handgrad("check", "--exercise", "silu", "--answer", path).code == 1


def error_beside_ops(exercise: Exercise) -> float | None:
    """How far the forward is from the operation of the same name in ``ops``; None if that takes other arguments."""
    operation, inputs, options = getattr(ops, exercise.name), exercise.inputs.values(), exercise.options()
    try:
        inspect.signature(operation).bind(*inputs, **options)
    except TypeError:
        return None
    expected = exercise.output()
    if (
        exercise.name == "rotary"
    ):  # the exercise turns the paper's pairs, 2i and 2i + 1; ops those of models, i and i + 3
        order = [0, 2, 4, 1, 3, 5]
        inputs, expected = [x[..., order] for x in inputs], expected[..., order]
    return relative_error(expected, np.asarray(operation(*inputs, **options)[0]))


@pytest.mark.parametrize("name", [name for name in NAMES if hasattr(ops, name)])
def test_the_operation_of_the_same_name_computes_the_same(name: str) -> None:
    error = error_beside_ops(exercise_named(name))
    if error is None:
        pytest.skip(f"ops.{name} takes other arguments than the exercise")
    assert error < 1e-12


def test_an_operation_that_computes_something_else_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    silu, rms_norm = exercise_named("silu"), exercise_named("rms_norm")
    put_into_ops(monkeypatch, "silu", silu_of_ops, silu_backward_of_ops)
    assert error_beside_ops(silu) < 1e-12
    put_into_ops(monkeypatch, "silu", wrong_silu_of_ops, wrong_silu_backward_of_ops)
    assert error_beside_ops(silu) > 1e-12
    for takes, error in (
        (lambda x, weight, eps=1e-5, wanted=None: rms_norm.forward(x, weight, eps), 0),
        (lambda x, weight, eps=1e-5: rms_norm.forward(x, weight), pytest.approx(0.06, rel=0.5)),  # ignores eps
        (lambda x, weight, bias: rms_norm.forward(x, weight), None),
    ):
        monkeypatch.setattr(ops, "rms_norm", takes, raising=False)
        assert error_beside_ops(rms_norm) == error


def test_ctrl_c_in_an_answer_is_an_interruption(handgrad: Handgrad, tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(completed(exercise_named("silu").text, "raise KeyboardInterrupt"), encoding="utf-8")
    assert handgrad("check", "--exercise", "silu", "--answer", path).code == 130


def test_factors_are_written_as_one_would() -> None:
    assert [_plain(factor) for factor in (2.0, -3, 1 / 6, -0.5, 1.25, 3**0.5, 1e-9)] == [
        "2", "-3", "1/6", "-1/2", "1.25", "1.732", "1/1000000000",
    ]  # fmt: skip


def test_the_file_is_whole_in_an_installed_package(tmp_path: Path) -> None:
    """It is read from the package, not from the current directory; tested in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-m", "handgrad", "check", "--exercise", "rotary"],
        cwd=tmp_path, capture_output=True, text=True, check=False,
        env={"PYTHONPATH": str(Path(package.__file__).parents[1]), "PYTHONOPTIMIZE": "2", "PATH": ""},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    written = (tmp_path / "exercises" / "rotary.py").read_text(encoding="utf-8")
    assert written == exercise_named("rotary").text
