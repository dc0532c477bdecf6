"""The names that PyTorch's users type, on the tape, against PyTorch."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tape_oracle import FLOATS, SEED, Shape, agree, draw_array, repeatedly

import handgrad

X = np.random.default_rng(0).standard_normal((2, 3, 4))
ROW = np.random.default_rng(1).standard_normal(4)
MASK = X > 0

# The same call of a tensor of either library.
ON_BOTH: dict[str, Callable[[Any], Any]] = {
    "clamp": lambda x: x.clamp(-0.5, 0.5),
    "clamp, one bound": lambda x: x.clamp(min=0.1),
    "mul": lambda x: x.mul(3),
    "sub": lambda x: x.sub(x * x),
    "sub, alpha": lambda x: x.sub(x * x, alpha=0.5),
    "div": lambda x: x.div(3),
    "div, floor": lambda x: x.div(0.3, rounding_mode="floor"),
    "pow": lambda x: x.abs().pow(1.5),
    "neg": lambda x: x.neg(),
    "add": lambda x: x.add(1),
    "amax": lambda x: x.amax(dim=1),
    "amin": lambda x: x.amin(dim=(0, 2), keepdim=True),
    "bmm": lambda x: x.bmm(x.transpose(1, 2)),
    "outer": lambda x: x[0, 0].outer(x[1, 1]),
    "expand": lambda x: x[:, :1].expand(2, 5, -1),
    "expand, new axes": lambda x: x[0, :, :1].expand(6, 3, 4),
    "t": lambda x: x[0].t(),
    "t of a vector": lambda x: x[0, 0].t(),
    "mT": lambda x: x.mT,
    "to": lambda x: x.to("cpu"),
    "float": lambda x: x.float(),
    "double": lambda x: x.float().double(),
    "long": lambda x: (3 * x).long(),
    "int": lambda x: (3 * x).int(),
    "bool": lambda x: x.bool(),
    "flip": lambda x: x.flip((0, 2)),
    "flip, dims": lambda x: x.flip(dims=(1,)),
    "log1p": lambda x: x.abs().log1p(),
    "expm1": lambda x: x.expm1(),
    "topk": lambda x: x.topk(2),
    "topk, smallest along an axis": lambda x: x.topk(3, dim=1, largest=False),
    "topk, none": lambda x: x.topk(0, 0),
    "argsort": lambda x: x.argsort(dim=1),
    "argsort, descending": lambda x: x.argsort(descending=True),
    "sum": lambda x: x.sum(dim=1, keepdim=True),
    "mean": lambda x: x.mean(dim=(0, 2)),
    "prod": lambda x: x.prod(dim=1),
    "all": lambda x: (x > -1).all(dim=1),
    "any": lambda x: (x > 1).any(dim=1, keepdim=True),
    "argmax": lambda x: x.argmax(dim=1),
    "argmin": lambda x: x.argmin(dim=1, keepdim=True),
    "cumsum": lambda x: x.cumsum(dim=1),
    "cumprod": lambda x: x.cumprod(dim=2),
    "norm": lambda x: x.norm(dim=1),
    "norm, p": lambda x: x.norm(p=1, dim=2, keepdim=True),
    "softmax": lambda x: x.softmax(dim=1),
    "squeeze": lambda x: x[:, :1].squeeze(dim=1),
    "unsqueeze": lambda x: x.unsqueeze(dim=1),
    "diagonal": lambda x: x.diagonal(offset=1, dim1=1, dim2=2),
    "eq": lambda x: x.eq(x),
    "gt": lambda x: x.gt(0).logical_not(),
}


@pytest.mark.parametrize("name", ON_BOTH)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_same_call_gives_the_same(name: str, dtype: str) -> None:
    agree(ON_BOTH[name], ON_BOTH[name], [X.astype(dtype)])


FUNCTIONS: dict[str, tuple[Callable[..., Any], Callable[..., Any]]] = {
    "tile": (lambda x: handgrad.tile(x, (2, 1, 3)), lambda x: torch.tile(x, (2, 1, 3))),
    "tile, new axes": (lambda x: x.tile(2, 2, 1, 1), lambda x: x.repeat(2, 2, 1, 1)),
    "tile, the last axis": (lambda x: x.tile(2), lambda x: x.tile(2)),
    "tile, nothing": (lambda x: x.tile(0), lambda x: x.tile(0)),
    "sort": (lambda x: x.sort(dim=1), lambda x: x.sort(dim=1).values),
    "sort, descending": (lambda x: x.sort(descending=True), lambda x: x.sort(descending=True).values),
    "sort, flat": (lambda x: handgrad.sort(x, None), lambda x: x.reshape(-1).sort().values),
    "var": (lambda x: x.var(dim=1, ddof=1), lambda x: x.var(dim=1)),
    "std": (lambda x: x.std(dim=1, keepdim=True), lambda x: x.std(dim=1, keepdim=True, correction=0)),
    "max": (lambda x: x.max(dim=1), lambda x: x.max(dim=1).values),
    "concatenate": (lambda x: handgrad.concatenate([x, x], dim=2), lambda x: torch.concatenate([x, x], dim=2)),
    "one_hot": (
        lambda x: handgrad.one_hot((x > 0).long(), 3),
        lambda x: torch.nn.functional.one_hot((x > 0).long(), 3),
    ),
    "one_hot, as many as needed": (
        lambda x: handgrad.one_hot(x.argsort(1)),
        lambda x: torch.nn.functional.one_hot(x.argsort(1)),
    ),
    "from_numpy": (lambda x: x + handgrad.from_numpy(ROW), lambda x: x + torch.from_numpy(ROW)),
}


@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_same_by_another_call(name: str) -> None:
    agree(*FUNCTIONS[name], [X])


@repeatedly
@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), FLOATS, st.data(), SEED)
def test_gather_and_take_along_axis(sizes: list[int], dtype: str, data: st.DataObject, seed: int) -> None:
    shape: Shape = tuple(sizes)
    axis = data.draw(st.integers(-len(shape), len(shape) - 1))
    # On the other axes the index may be shorter for gather; for take_along_axis it has x's size, or 1.
    part = tuple(data.draw(st.integers(0, size)) for size in shape)
    whole = tuple(data.draw(st.integers(0, 5)) if i == axis % len(shape) else n for i, n in enumerate(shape))
    rng = np.random.default_rng(seed)
    x = draw_array(seed, shape, dtype)
    picked = rng.integers(0, shape[axis], part)
    agree(lambda x: x.gather(axis, picked), lambda x: x.gather(axis, torch.tensor(picked)), [x])
    indices = rng.integers(0, shape[axis], whole)
    agree(
        lambda x: handgrad.take_along_axis(x, indices, axis),
        lambda x: torch.take_along_dim(x, torch.tensor(indices), axis),
        [x],
    )
    np.testing.assert_array_equal(
        handgrad.take_along_axis(x, indices - shape[axis], axis).data, np.take_along_axis(x, indices, axis)
    )


def test_take_along_axis_broadcasts_as_numpy_does() -> None:
    indices = np.array([[[1], [0], [2]]])
    agree(
        lambda x: handgrad.take_along_axis(x, handgrad.tensor(indices), axis=-1),
        lambda x: torch.take_along_dim(x, torch.tensor(indices), -1),
        [X],
    )
    flat = np.array([5, 0, 5])
    agree(lambda x: handgrad.take_along_axis(x, flat, None), lambda x: torch.take(x, torch.tensor(flat)), [X])


@repeatedly
@given(st.integers(1, 6), FLOATS, SEED)
def test_sorting_keeps_the_order_of_equal_elements(size: int, dtype: str, seed: int) -> None:
    x = draw_array(seed, (size, 5), dtype, rounded=True)
    for descending in (False, True):
        agree(
            lambda x, d=descending: x.argsort(0, descending=d),
            lambda x, d=descending: x.argsort(dim=0, stable=True, descending=d),
            [x],
        )
        agree(
            lambda x, d=descending: x.sort(0, descending=d),
            lambda x, d=descending: x.sort(dim=0, stable=True, descending=d).values,
            [x],
        )


IN_PLACE: dict[str, Callable[[Any], Any]] = {
    "add_": lambda x: x.add_(2),
    "add_, alpha": lambda x: x.add_(x.exp(), alpha=-0.5),
    "sub_": lambda x: x.sub_(x * 3),
    "mul_": lambda x: x.mul_(x.exp()),
    "div_": lambda x: x.div_(3),
    "pow_": lambda x: x.pow_(2),
    "clamp_": lambda x: x.clamp_(-0.5, 0.5),
    "fill_": lambda x: x.fill_(3),
    "zero_": lambda x: x[1].zero_(),
    "copy_": lambda x: x[0].copy_(x[1] * 2),
    "copy_, other dtype": lambda x: x.copy_(x.long()),
}


@pytest.mark.parametrize("name", IN_PLACE)
def test_changes_in_place(name: str) -> None:
    def changed(x: Any) -> Any:
        y = x * 1
        IN_PLACE[name](y)
        return y * y

    agree(changed, changed, [X])
    x = handgrad.tensor(X)
    assert IN_PLACE[name](x).data.base is x.data or IN_PLACE[name](x) is x


def test_a_leaf_that_requires_a_gradient_is_changed_only_without_recording() -> None:
    for library in (handgrad, torch):
        leaf = library.ones(3, requires_grad=True)
        with pytest.raises(RuntimeError):
            leaf.add_(1)
        with library.no_grad():
            leaf.add_(library.ones(3), alpha=-0.5).mul_(3)
        assert leaf.tolist() == [1.5, 1.5, 1.5]


def test_what_is_drawn() -> None:
    handgrad.manual_seed(0)
    assert sorted(handgrad.randperm(9).tolist()) == list(range(9))
    drawn = handgrad.normal(3.0, 0.5, (200, 100))
    assert (drawn.dtype, drawn.shape) == ("float32", (200, 100))
    assert abs(drawn.mean().item() - 3) < 0.02
    assert abs(drawn.std().item() - 0.5) < 0.02
    assert handgrad.normal(handgrad.zeros(4), handgrad.ones(3, 1)).shape == (3, 4)
    drawn = handgrad.uniform(-1, 3, (200, 100))
    assert -1 <= drawn.min().item() < -0.99
    assert 2.99 < drawn.max().item() < 3
    assert (handgrad.empty(2, 3).shape, handgrad.empty_like(np.ones((2, 3))).dtype) == ((2, 3), "float64")
    assert handgrad.numel(handgrad.zeros(2, 3)) == torch.numel(torch.zeros(2, 3)) == 6


@pytest.mark.parametrize("replacement", [True, False])
def test_multinomial_draws_as_often_as_the_weights_say(replacement: bool) -> None:
    weights = np.array([[1.0, 0, 3, 6], [2, 2, 0, 0]])
    handgrad.manual_seed(0)
    rows = np.repeat(weights, 20_000, axis=0)
    drawn = handgrad.multinomial(rows, 2, replacement).numpy().reshape(2, 20_000, 2)
    torch.manual_seed(0)
    theirs = torch.multinomial(torch.tensor(rows), 2, replacement).numpy().reshape(2, 20_000, 2)
    for row in range(2):
        for place in range(2):
            counts, expected = (np.bincount(d[row, :, place], minlength=4) / 20_000 for d in (drawn, theirs))
            np.testing.assert_allclose(counts, expected, atol=0.02)
    if not replacement:
        assert (drawn[..., 0] != drawn[..., 1]).all()
        with pytest.raises(ValueError, match="3 samples without replacement need as many weights above 0, there are 2"):
            handgrad.multinomial(weights, 3)
    for wrong in ([-1.0, 2.0], [0.0, 0.0], [np.nan, 1.0], [[[1.0]]]):
        with pytest.raises(ValueError, match="multinomial: weights must"):
            handgrad.multinomial(wrong, 1)


def test_dtypes_have_pytorchs_names() -> None:
    for name in ("float", "double", "int", "long", "float32", "int64"):
        assert handgrad.zeros(1, dtype=getattr(handgrad, name)).dtype == str(getattr(torch, name)).split(".")[1]
    x = handgrad.tensor(X)
    assert x.to(handgrad.float).dtype == x.to(dtype="float32").dtype == x.to(handgrad.zeros(1)).dtype == "float32"
    assert x.double() is x


def test_a_tensor_over_an_array() -> None:
    array = np.zeros(3)
    assert handgrad.from_numpy(array).add_(1) is not None
    assert array.tolist() == [1, 1, 1]
    with pytest.raises(TypeError, match="takes a NumPy array, not list"):
        handgrad.from_numpy([1.0])
    with pytest.raises(TypeError, match="a tensor of float16 would need a copy"):
        handgrad.from_numpy(np.zeros(3, np.float16))


def test_recording_is_switched_on_and_off_alike() -> None:
    for library in (handgrad, torch):
        x = library.tensor([1.0, 2.0], requires_grad=True)
        with library.no_grad():
            assert not library.is_grad_enabled()
            assert not (2 * x).requires_grad
            with library.enable_grad():
                assert library.is_grad_enabled()
                assert (2 * x).requires_grad
            with library.set_grad_enabled(True):
                assert (2 * x).requires_grad
            assert not library.is_grad_enabled()
        recorded = library.no_grad()(library.enable_grad()(lambda: (2 * x).requires_grad))  # noqa: B023
        assert recorded()


def test_datasets_give_the_same_items() -> None:
    class Squares:
        def __len__(self) -> int:
            return 5

        def __getitem__(self, i: int) -> Any:
            return np.full(2, i**2, np.float32)

    class Ours(Squares, handgrad.nn.Dataset):
        pass

    class Theirs(Squares, torch.utils.data.Dataset):  # type: ignore[type-arg]
        pass

    x, y = np.arange(12, dtype=np.float32).reshape(4, 3), np.arange(4)
    pairs = [
        (handgrad.nn.TensorDataset(x, y), torch.utils.data.TensorDataset(torch.tensor(x), torch.tensor(y))),
        (Ours(), Theirs()),
    ]
    for ours, theirs in pairs:
        assert len(ours) == len(theirs)
        for i in (0, 2, 3):
            for a, b in zip(ours[i], theirs[i], strict=True):
                np.testing.assert_array_equal(np.asarray(a), np.asarray(b))
        batches = list(handgrad.nn.DataLoader(ours, batch_size=3)), list(torch.utils.data.DataLoader(theirs, 3))
        assert len(batches[0]) == len(batches[1])
        for a, b in zip(*batches, strict=True):
            for one, other in zip(a, b, strict=True):
                np.testing.assert_array_equal(np.asarray(one), np.asarray(other))
