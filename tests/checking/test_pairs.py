"""A user's own pair is proven or refuted, from Python and from the command line; a refusal is one sentence."""

import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support import Output

from handgrad import Tensor, ops
from handgrad.checking import check_pair
from handgrad.system.errors import InputError

Array = np.ndarray
Handgrad = Callable[..., Output]
rng = np.random.default_rng(31)
X, W, B = rng.standard_normal((2, 3, 5)), rng.standard_normal((5, 7)), rng.standard_normal(7)


def affine(x: Array, w: Array, b: Array, *, scale: float = 1.0) -> tuple[Array, tuple]:
    """scale · tanh(x W + b)."""
    y = np.tanh(x @ w + b)
    return scale * y, (x, w, y, scale)


def affine_backward(dy: Array, saved: tuple) -> tuple[Array, Array, Array]:
    x, w, y, scale = saved
    d = dy * scale * (1 - y * y)
    return d @ w.T, np.einsum("btc,btd->cd", x, d), d.sum(axis=(0, 1))


def square(x: Array) -> tuple[Array, Array]:
    return np.matmul(x, x), x


def pair(backward: Callable[[Array, Any], Any], forward: Callable[..., Any] = square) -> tuple[Any, Any]:
    def square_backward(dy: Array, saved: Any) -> Any:
        return backward(dy, saved)

    return forward, square_backward


def test_a_right_pair_is_proven() -> None:
    verdict = check_pair(affine, X, W, B, scale=0.5)
    assert verdict
    assert verdict.passed
    assert verdict.faults == []
    assert [result.part for result in verdict.results] == ["x", "w", "b"]
    for result in verdict.results:
        assert result.error is not None
        assert result.error < 1e-9
        assert result.tape == 0
    assert repr(verdict) == str(verdict)  # as a session shows it
    said = str(verdict).splitlines()
    assert said[0].split() == ["error", "of", "the", "gradient", "of", "by", "hand", "on", "the", "tape"]
    assert said[1] == "affine"
    assert re.fullmatch(r"  w +\d\.\de-1\d  0\.0e\+00", said[3])
    assert said[-2] == "affine_backward is right (max|a - n| / max(max|a|, max|n|, 1e-3); above 1e-06 is wrong)"
    assert all(len(line) <= 100 for line in said)


def test_the_pair_may_be_given_in_several_ways() -> None:
    for verdict in (
        check_pair(affine, X, W, B),
        check_pair((affine, affine_backward), X, W, B),
        check_pair(affine, X, W, B, backward=affine_backward),
        check_pair(partial(affine, scale=0.5), X, W, B, backward=affine_backward),
    ):
        assert verdict.passed
        assert verdict.results[0].subject == "affine"


def test_inputs_may_be_tensors_numbers_and_float32() -> None:
    def scaled(x: Array, factor: Array) -> tuple[Array, tuple]:
        return x * factor, (x, factor)

    def scaled_backward(dy: Array, saved: tuple) -> tuple[Array, Array]:
        x, factor = saved
        return dy * factor, (dy * x).sum()

    x = Tensor(X.astype(np.float32))
    assert check_pair((scaled, scaled_backward), x, 1.5)
    wrong = check_pair((scaled, lambda dy, saved: (dy * saved[1], (dy * saved[0]).mean())), x, 1.5)
    assert wrong.faults == ["the gradient for factor is 1/30 times what it should be"]
    assert wrong.results[1].furthest == "factor"


@pytest.mark.parametrize("name", ["gelu", "layer_norm", "softmax", "cross_entropy"])
def test_pairs_of_ours_pass(name: str) -> None:
    calls: dict[str, tuple[tuple[Array, ...], dict[str, Any]]] = {
        "gelu": ((X,), {"approximate": "none"}),
        "layer_norm": ((X, W[:, 0], W[:, 1]), {}),
        "softmax": ((X,), {"axis": 1}),
        "cross_entropy": ((W,), {"targets": np.array([3, 0, 6, 6, 1])}),
    }
    inputs, options = calls[name]
    assert check_pair(getattr(ops, name), *inputs, **options), name


# What is wrong in the backward of affine, and the sentence about it.
PLANTED: dict[str, tuple[Callable[..., Any], str]] = {
    "transposed": (
        lambda dx, dw, db: (dx, np.ascontiguousarray(dw.T), db),
        "the gradient for w has shape (7, 5) where w has (5, 7); with its last two axes swapped it would be right",
    ),
    "reshaped": (
        lambda dx, dw, db: (dx, dw.T.reshape(5, 7), db),
        "the gradient for w holds the right numbers in the wrong places, as after a reshape where a transpose belongs",
    ),
    "a factor": (lambda dx, dw, db: (dx, dw, db / 6), "the gradient for b is 1/6 times what it should be"),
    "a sign": (lambda dx, dw, db: (-dx, dw, db), "the gradient for x is the negative of what it should be"),
    "zeros": (lambda dx, dw, db: (dx * 0, dw, db), "the gradient for x is zero throughout"),
    "nothing": (lambda dx, dw, db: (dx, None, db), "the gradient for w is None, but the output depends on w"),
    "NaN": (lambda dx, dw, db: (dx, dw, db * np.nan), "the gradient for b holds NaN"),
    "order": (
        lambda dx, dw, db: (dx, db, dw),
        "the gradient for w has shape (7,) where w has (5, 7)",
    ),
    "too few": (
        lambda dx, dw, db: (dx, dw),
        "affine_backward returns 2 gradients; 3 are needed, for x, w, b",
    ),
    "float32": (
        lambda dx, dw, db: (dx, dw, db.astype(np.float32)),
        "the gradient for b is float32 where b is float64; it must keep the dtype",
    ),
}


@pytest.mark.parametrize("planted", PLANTED)
def test_a_planted_mistake_is_found_and_named(planted: str) -> None:
    change, said = PLANTED[planted]

    def wrong_backward(dy: Array, saved: tuple) -> Any:
        return change(*affine_backward(dy, saved))

    verdict = check_pair(affine, X, W, B, backward=wrong_backward)
    assert not verdict
    assert verdict.faults[0] == said
    assert "WRONG" in str(verdict) or not verdict.results or planted == "float32"


def test_a_broadcast_that_is_not_summed_is_named() -> None:
    def wrong_backward(dy: Array, saved: tuple) -> Any:
        x, w, y, scale = saved
        d = dy * scale * (1 - y * y)
        return d @ w.T, np.einsum("btc,btd->cd", x, d), d

    verdict = check_pair(affine, X, W, B, backward=wrong_backward)
    assert verdict.faults == [
        "the gradient for b has shape (2, 3, 7) where b has (7,); its sum over axes 0 and 1 would be right: what is "
        "used many times gets the sum over its uses"
    ]


def test_a_forgotten_path_is_named_with_the_element_that_is_furthest_off() -> None:
    x = rng.standard_normal((3, 3))
    verdict = check_pair(pair(lambda dy, x: dy @ x.T), x)  # x is used twice in x @ x
    (result,) = verdict.results
    assert re.fullmatch(r"x\[\d, \d\]", result.furthest)
    assert f"WRONG, most at {result.furthest}" in str(verdict)
    assert re.match(r"the gradient for x is wrong: y\[.*\] depends on x\[", verdict.faults[0])
    assert check_pair(pair(lambda dy, x: dy @ x.T + x.T @ dy), x)


def test_changes_in_place_are_named() -> None:
    def forward(x: Array) -> Any:
        x *= 2
        return x * x, x

    def changing_dy(dy: Array, x: Array) -> Array:
        dy *= 2
        return dy * x

    def changing_saved(dy: Array, x: Array) -> Array:
        x *= 2
        return dy * x

    plain = lambda x: (x * x, x.copy())  # noqa: E731
    assert check_pair((forward, lambda dy, x: 4 * dy * x / 2), X).faults == [
        "forward changes x in place; let it make a new array"
    ]
    assert check_pair((plain, changing_dy), X).faults == ["changing_dy changes dy in place; let it make a new array"]
    assert check_pair((plain, changing_saved), X).faults == [
        "changing_saved changes what was saved in place; let it make a new array"
    ]


@pytest.mark.parametrize(
    ("forward", "said"),
    [
        (lambda x: x * x, "<lambda> must return a pair, the output and what is saved, not an array of shape (2, 3, 5)"),
        (lambda x: (x.tolist(), x), "<lambda> must return an output of floating numbers, not a list"),
        (lambda x: (x.astype(np.float32) ** 2, x), "<lambda> makes float32 of float64; the output must keep the dtype"),
        (lambda x: (np.square(x, dtype=np.float64), x), "<lambda> makes float64 of float32; the output must keep"),
    ],
)
def test_a_forward_that_breaks_the_contract_is_named(forward: Any, said: str) -> None:
    verdict = check_pair((forward, lambda dy, x: 2 * dy * x), X)
    assert not verdict
    assert verdict.faults[0].startswith(said)


def test_a_gradient_that_widens_float32_is_named() -> None:
    verdict = check_pair(pair(lambda dy, x: 2.0 * np.float64(1) * dy * x, lambda x: (x * x, x)), X)
    assert verdict.faults == ["the gradient for x is float64 where x is float32; it must keep the dtype"]
    assert all(result.passed for result in verdict.results)


def test_what_a_function_raises_is_named_with_its_line() -> None:
    def raising_backward(dy: Array, saved: Any) -> Any:
        return np.reshape(dy, (4, 4))

    line = raising_backward.__code__.co_firstlineno + 1
    (fault,) = check_pair(pair(raising_backward), rng.standard_normal((3, 3))).faults
    assert re.fullmatch(rf".*test_pairs\.py, line {line}: ValueError: cannot reshape array of size 9 .*", fault)

    def unwritten_backward(dy: Array, saved: Any) -> Any:
        raise NotImplementedError

    (fault,) = check_pair((square, unwritten_backward), rng.standard_normal((3, 3))).faults
    assert fault.endswith("unwritten_backward is not yet written")


def test_a_generator_among_the_options_draws_the_same_numbers_each_time() -> None:
    def dropped(x: Array, rng: np.random.Generator) -> tuple[Array, Array]:
        kept = rng.random(x.shape) < 0.5
        return x * kept, kept

    def dropped_backward(dy: Array, kept: Array) -> Array:
        return dy * kept

    assert check_pair((dropped, dropped_backward), X, rng=np.random.default_rng(3))
    unseeded = np.random.default_rng(3)
    with pytest.raises(InputError, match="<lambda> returns something else each time; pass the generator"):
        check_pair((lambda x: dropped(x, unseeded), dropped_backward), X)


def test_several_outputs() -> None:
    def split(x: Array) -> tuple[tuple[Array, Array], tuple[int, ...]]:
        return (x[..., :2] * 3, x[..., 2:]), x.shape

    def split_backward(dys: tuple[Array, Array], shape: tuple[int, ...]) -> Array:
        return np.concatenate([3 * dys[0], dys[1]], axis=-1)

    assert check_pair((split, split_backward), X)
    verdict = check_pair((split, lambda dys, shape: np.concatenate(dys, axis=-1)), X)
    assert "furthest at x[" in verdict.faults[0]


@pytest.mark.parametrize("at", [0.0, 1e-4, -1e-4, 3e-4])
def test_of_a_kink_nothing_is_said(at: float) -> None:
    def relu(x: Array) -> tuple[Array, Array]:
        return np.maximum(x, 0), x > 0

    x = np.array([0.7, at, -0.4])
    verdict = check_pair((relu, lambda dy, positive: dy * positive), x)
    assert not verdict
    assert verdict.faults == [
        f"nothing can be said of the gradient for x: relu is not smooth near x[1], {at:.4g}, as at a kink or a jump; "
        "choose inputs away from it"
    ]
    assert check_pair((relu, lambda dy, positive: dy * positive), x[[0, 2]])


def no_generator(x: Array) -> tuple[Array, Array]:
    return np.log(x), x


def no_generator_backward(dy: Array, x: Array) -> Array:
    return dy / x


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: check_pair(square, X), "there is no square_backward beside square; pass both"),
        (lambda: check_pair("affine", X), "the first argument is a function or a pair of functions, not a str"),
        (lambda: check_pair((affine,), X), "a pair is two functions, (f, f_backward)"),
        (lambda: check_pair(affine, X, W, B, backward=3), "the backward of affine must be a function, not int"),
        (lambda: check_pair(affine), "affine needs at least one differentiable input"),
        (lambda: check_pair(affine, X), "does not take these inputs and options: missing a required argument: 'w'"),
        (lambda: check_pair(affine, X, W, B, eps=1), "got an unexpected keyword argument 'eps'"),
        (lambda: check_pair(affine, X, W, np.arange(7)), "b holds int64, and only floating numbers have gradients"),
        (lambda: check_pair(affine, X, W, None), "b holds object, and only floating numbers have gradients"),
        (lambda: check_pair(affine, X, W, B * np.nan), "b holds NaN or infinity"),
        (lambda: check_pair(affine, X[:0], W, B), "x has no element"),
        (lambda: check_pair(affine, np.ones((40, 100, 5)), W, B), "the inputs have 20042 elements"),
        (lambda: check_pair(no_generator, -np.ones(3)), "no_generator is not finite on these inputs"),
        (lambda: check_pair(no_generator, np.array([1.0, 1e-3])), "is not finite if x[1], 0.001, moves by 0.002"),
    ],
)  # fmt: skip
def test_inputs_on_which_nothing_can_be_proven_are_refused(call: Callable[[], Any], said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        call()


# -- the command line

OWN = """
from dataclasses import dataclass

import numpy as np

import beside


@dataclass
class Settings:
    scale: "float" = 2.0


def cube(x, *, scale=1.0):
    return scale * x**3, (x, scale)


def cube_backward(dy, saved):
    x, scale = saved
    return FACTOR * dy * scale * x * x


cube_inputs = np.random.default_rng(0).standard_normal((2, 3))
cube_options = {"scale": Settings().scale}


def add(a, b):
    return a + b, ()


def add_backward(dy, saved):
    return dy, dy.sum(axis=0)


def alone(x):
    return x, ()


def raising(x):
    return x * 1, ()


def raising_backward(dy, saved):
    raise ValueError("of\\ntwo lines")
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file with pairs, in the current directory."""
    folder = tmp_path / "project"
    folder.mkdir()
    (folder / "beside.py").write_text("", encoding="utf-8")
    monkeypatch.chdir(folder)
    monkeypatch.syspath_prepend(folder)
    path = folder / "own_pairs.py"
    path.write_text(OWN.replace("FACTOR", "3"), encoding="utf-8")
    return path


def test_the_command_proves_a_pair_of_a_file_and_of_a_module(
    own: Path, handgrad: Handgrad, monkeypatch: pytest.MonkeyPatch
) -> None:
    for place in ("own_pairs.py:cube", f"{own}:cube", "own_pairs:cube"):
        done = handgrad("check", "--pair", place)
        assert (done.code, done.err) == (0, "")
        assert "\ncube_backward is right (max|a - n|" in done.out
    monkeypatch.chdir(own.parent.parent)
    assert handgrad("check", "--pair", "project/own_pairs.py:cube").code == 0
    assert sorted(path.name for path in own.parent.glob("own*")) == ["own_pairs.py"]


def test_shapes_draw_the_inputs(own: Path, handgrad: Handgrad) -> None:
    done = handgrad("check", "--pair", "own_pairs.py:add", "--shapes", "3,5", "5")
    assert (done.code, done.err) == (0, "")
    assert [line.split()[0] for line in done.out.splitlines()[2:4]] == ["a", "b"]
    assert handgrad("check", "--pair", "own_pairs.py:cube", "--shapes", "()").code == 0


def test_a_wrong_pair_exits_with_1(own: Path, handgrad: Handgrad) -> None:
    own.write_text(OWN.replace("FACTOR", "-3"), encoding="utf-8")
    done = handgrad("check", "--pair", "own_pairs.py:cube")
    assert (done.code, done.err) == (1, "")
    assert re.search(r"\n  x +2\.0e\+00  0\.0e\+00  WRONG, most at x\[\d, \d\]\n", done.out)
    assert done.out.endswith("\n\nthe gradient for x is the negative of what it should be\n")
    done = handgrad("check", "--pair", "own_pairs.py:raising", "--shapes", "2,3")
    assert (done.code, done.err) == (1, "")
    line = OWN.splitlines().index('    raise ValueError("of\\ntwo lines")') + 1
    assert done.out == f"own_pairs.py, line {line}: ValueError: of two lines\n"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--pair", "own_pairs.py"], "--pair takes module:f or path/to/file.py:f, not 'own_pairs.py'"),
        (["--pair", "own_pairs.py:"], "--pair takes module:f or path/to/file.py:f, not 'own_pairs.py:'"),
        (["--pair", "own_pairs.py:cubes"], "defines no function cubes; a pair is cubes and cubes_backward"),
        (["--pair", "own_pairs.py:alone"], "own_pairs.py defines no function alone_backward"),
        (["--pair", "own_pairs.py:add"], "does not say on which inputs to check add: define add_inputs = "),
        (["--pair", "own_pairs.py:add", "--shapes", "3,5"], "add does not take these inputs and options: missing"),
        (["--pair", "own_pairs.py:add", "--shapes", "3,x", "5"], "--shapes 3,x is no shape; write sizes with commas"),
        (["--pair", "own_pairs.py:add", "--shapes", "0,5", "5"], "--shapes 0,5 is no shape"),
        (["--shapes", "3,5"], "--shapes 3,5 needs a pair of functions, --pair MODULE:F"),
        (["--pair", "own_pairs.py:add", "--exercise", "silu"], "--pair and --exercise cannot go together"),
        (["--pair", "nowhere.py:f"], "nowhere.py: "),
        (["--pair", "nowhere:f"], "there is no module nowhere; name a file, as in path/to/nowhere.py, or a module"),
        (["--pair", "os.nowhere:f"], "there is no module os.nowhere"),
        (["--pair", "broken.py:f"], "broken.py, line 2: NameError: name 'nothing' is not defined"),
        (["--pair", "broken:f"], "broken.py, line 2: NameError: name 'nothing' is not defined"),
        (["--pair", "odd.py:f"], "odd.py: f_options must be a dictionary, not a list"),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(arguments: list[str], said: str, own: Path, handgrad: Handgrad) -> None:
    (own.parent / "broken.py").write_text("import beside\nnothing\n", encoding="utf-8")
    (own.parent / "odd.py").write_text("def f(x): ...\ndef f_backward(dy, s): ...\nf_options = [1]\n", encoding="utf-8")
    done = handgrad("check", *arguments)
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1), done.err
    assert said in done.err
