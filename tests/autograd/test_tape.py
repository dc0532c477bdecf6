"""The tape: what it records, what a backward refuses, what it frees, and what happens to shared memory."""

import copy
import gc
import inspect
import threading
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

import handgrad
from handgrad import Tensor, nn, no_grad, ops, optim
from handgrad.autograd.tape import Node
from handgrad.backend import Call, watching


def leaf(*shape: int) -> Tensor:
    return Tensor(np.random.default_rng(len(shape)).standard_normal(shape), requires_grad=True)


def test_gradients_add_up_over_uses_and_over_backwards() -> None:
    x = leaf(3)
    (x * x + 2 * x).sum().backward()
    np.testing.assert_allclose(x.grad, 2 * x.data + 2)
    (3 * x).sum().backward()
    np.testing.assert_allclose(x.grad, 2 * x.data + 5)
    x.zero_grad()
    assert x.grad is None
    x.backward(np.ones(3))
    np.testing.assert_array_equal(x.grad, 1)
    x.grad = np.zeros(3)
    with pytest.raises(ValueError, match=r"Tensor: grad of shape \(2,\) cannot be assigned to one of shape \(3,\)"):
        x.grad = np.ones(2)


def test_only_what_requires_a_gradient_gets_one() -> None:
    x, constant = leaf(3), handgrad.ones(3)
    y = x * constant
    assert y.requires_grad
    assert not y.is_leaf
    y.sum().backward()
    assert constant.grad is None
    assert y.grad is None
    assert not (constant * 2).requires_grad
    assert not x.detach().requires_grad
    assert not (x > 0).requires_grad
    assert not x.argmax().requires_grad


def test_a_computed_tensor_keeps_its_gradient_when_asked() -> None:
    x = leaf(3)
    y = x * 2
    y.retain_grad()
    (y * y).sum().backward()
    np.testing.assert_allclose(y.grad, 2 * y.data)
    with pytest.raises(RuntimeError, match="retain_grad: this Tensor requires no gradient"):
        handgrad.ones(2).retain_grad()


def test_a_gradient_is_the_callers_alone() -> None:
    # Both terms of a sum get the same array; what one leaf does to it must not affect the other.
    a, b = leaf(2), leaf(2)
    seed = np.ones(2)
    (a + b).backward(seed)
    a.grad += 5
    np.testing.assert_array_equal(b.grad, 1)
    np.testing.assert_array_equal(seed, 1)


@pytest.mark.parametrize("make", [lambda: handgrad.tensor([1, 2], requires_grad=True), lambda: nn.Parameter([1, 2])])
def test_integers_cannot_require_a_gradient(make: Callable[[], Tensor]) -> None:
    with pytest.raises(TypeError, match=r"a tensor of int64 has no gradient.*astype\(handgrad.float32\)"):
        make()
    with pytest.raises(TypeError, match="a tensor of bool has no gradient"):
        handgrad.tensor([True]).requires_grad = True


def test_requires_grad_can_be_set_on_leaves_alone() -> None:
    x = handgrad.ones(2).requires_grad_()
    y = x * 2
    with pytest.raises(RuntimeError, match=r"detach\(\) gives one that does not"):
        y.requires_grad = False
    x.requires_grad = False
    assert not (x * 2).requires_grad


def test_a_graph_is_freed_by_its_backward_unless_it_is_kept() -> None:
    x = leaf(3)
    y = (x * x).sum()
    y.backward(retain_graph=True)
    y.backward()
    np.testing.assert_allclose(x.grad, 4 * x.data)
    with pytest.raises(RuntimeError, match=r"was freed by an earlier backward.*retain_graph=True"):
        y.backward()


def test_half_a_freed_graph_changes_no_gradient() -> None:
    x, w = leaf(3), leaf(3)
    shared = x * x
    shared.sum().backward()
    x.zero_grad()
    with pytest.raises(RuntimeError, match="the graph behind multiply was freed"):
        (shared * w).sum().backward()
    assert w.grad is None
    assert x.grad is None


def test_backward_needs_a_number_or_a_gradient_of_the_same_shape() -> None:
    x = leaf(2, 3)
    with pytest.raises(RuntimeError, match=r"a tensor of shape \(2, 3\) is not a single number.*sum\(\) or mean\(\)"):
        (x * 2).backward()
    with pytest.raises(ValueError, match=r"backward: a gradient of shape \(3,\)"):
        (x * 2).backward(np.ones(3))
    (x * 2).backward(handgrad.ones(2, 3))
    np.testing.assert_array_equal(x.grad, 2)
    (x[:1, :1] * 3).backward()  # one element is a single number
    assert x.grad[0, 0] == 5
    with pytest.raises(RuntimeError, match="requires no gradient: it was computed under no_grad"):
        handgrad.ones(2).sum().backward()


def test_no_grad_is_a_context_and_a_decorator() -> None:
    x = leaf(2)

    @no_grad()
    def doubled() -> Tensor:
        return x * 2

    @no_grad
    def tripled() -> Tensor:
        with handgrad.enable_grad():
            assert (x * 3).requires_grad
        return x * 3

    assert not doubled().requires_grad
    assert not tripled().requires_grad
    assert handgrad.is_grad_enabled()
    with no_grad():
        assert not handgrad.is_grad_enabled()
        assert not (x * 2).requires_grad
    with pytest.raises(KeyError), no_grad():
        raise KeyError
    assert (x * 2).requires_grad


def test_threads_record_each_for_itself() -> None:
    x, seen = leaf(2), []
    with no_grad():
        thread = threading.Thread(target=lambda: seen.append((x * 2).requires_grad))
        thread.start()
        thread.join()
    assert seen == [True]


# What was saved is changed in place


def change(x: Tensor) -> None:
    x += 1


def change_a_view(x: Tensor) -> None:
    x.reshape(-1)[1:] *= 2


def change_an_element(x: Tensor) -> None:
    x[0, 1] = 3.0


def change_the_detached(x: Tensor) -> None:
    x.detach()[0] = 0.0


def change_without_recording(x: Tensor) -> None:
    with no_grad():
        view = x.T[1:]  # a view of a view
        view -= 1


def change_by_assigning_data(x: Tensor) -> None:
    x.data = np.zeros(x.shape)


CHANGES = (
    change,
    change_a_view,
    change_an_element,
    change_the_detached,
    change_without_recording,
    change_by_assigning_data,
)
SAVING: dict[str, Callable[[Tensor], Tensor]] = {
    "an input": lambda x: x * x,
    "an input, of two": lambda x: x @ leaf(3, 2),
    "a view of the input": lambda x: handgrad.sin(x[0]),
    "inside a nested tuple": lambda x: handgrad.attention(x, x, x),
}


@pytest.mark.parametrize("changed", CHANGES)
@pytest.mark.parametrize("saved", SAVING)
def test_a_backward_through_what_was_changed_raises(saved: str, changed: Callable[[Tensor], None]) -> None:
    root = leaf(2, 3)
    x = root * 1
    y = SAVING[saved](x)
    changed(x)
    with pytest.raises(RuntimeError, match=r"saved a tensor that was changed in place.*change a copy\(\)"):
        y.sum().backward()
    assert root.grad is None


@pytest.mark.parametrize("changed", CHANGES)
def test_a_changed_output_that_was_saved_raises_too(changed: Callable[[Tensor], None]) -> None:
    y = handgrad.exp(leaf(2, 3))
    total = y.sum()
    changed(y)
    with pytest.raises(RuntimeError, match="exp saved a tensor that was changed in place"):
        total.backward()


def test_what_nobody_saved_may_be_changed() -> None:
    x = leaf(2, 3)
    y = x * 2
    z = y + 1
    y += 5
    y[0] = 0.0
    z.sum().backward(retain_graph=True)
    np.testing.assert_array_equal(x.grad, 2)
    x.zero_grad()
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [[0, 0, 0], [2, 2, 2]])


def test_an_index_that_is_changed_later_picks_what_it_picked() -> None:
    x, index = leaf(4), handgrad.tensor([0, 0, 2])
    y = x[index]
    index[0] = 3
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [2, 0, 1, 0])


@pytest.mark.parametrize("step", ["optimizer", "load_state_dict", "init"])
def test_optimizers_and_loading_count_as_changes(step: str) -> None:
    layer = nn.Linear(3, 2)
    optimizer = optim.SGD(layer.parameters(), lr=0.1)
    x = leaf(4, 3)
    loss = (layer(x.astype("float32")) ** 2).sum()
    for parameter in layer.parameters():
        parameter.grad = np.ones(parameter.shape)
    if step == "optimizer":
        optimizer.step()
    elif step == "load_state_dict":
        layer.load_state_dict(layer.state_dict())
    else:
        nn.init.ones(layer.weight)
    with pytest.raises(RuntimeError, match="linear saved a tensor that was changed in place"):
        loss.backward()


def test_a_leaf_that_requires_a_gradient_is_changed_without_recording_alone() -> None:
    x = leaf(2, 3)
    for changed in (change, change_a_view, change_an_element):
        with pytest.raises(RuntimeError, match=r"a leaf that requires a gradient.*under no_grad\(\)"):
            changed(x)
    with no_grad():
        x -= x
    assert x.requires_grad
    np.testing.assert_array_equal(x.data, 0)


def test_memory_shared_without_its_history_takes_no_recorded_change() -> None:
    w, base, computed = leaf(3), handgrad.zeros(2, 3, dtype="float64"), leaf(2, 3) * 1
    with no_grad():
        view, other = base[0], computed[0]
    for tensor, value in ((view, w), (other, w), (other, 2.0)):
        with pytest.raises(RuntimeError, match=r"shares the memory of another but not its history.*change a copy\(\)"):
            tensor += value
    view += 1  # nothing to record
    np.testing.assert_array_equal(base.data, [[1, 1, 1], [0, 0, 0]])


def test_in_place_results_must_fit() -> None:
    x, whole = handgrad.ones(2, 3), handgrad.arange(3)
    with pytest.raises(ValueError, match=r"the result has shape \(4, 2, 3\), which does not fit into \(2, 3\)"):
        x += handgrad.ones(4, 2, 3)
    for wrong in (lambda: whole.__iadd__(0.5), lambda: whole.__itruediv__(2)):
        with pytest.raises(TypeError, match="same_kind"):
            wrong()
    with pytest.raises(TypeError, match=r"the float 0\.5 cannot be put into a tensor of int64"):
        whole[0] = 0.5
    with pytest.raises(TypeError, match="float32 cannot be put into a tensor of int64"):
        whole[0] = handgrad.tensor(1.0)
    assert whole.tolist() == [0, 1, 2]
    x *= np.ones(3)  # float64 into float32
    assert x.dtype == "float32"


def test_a_store_that_is_filled_row_by_row() -> None:
    x = leaf(4, 3)
    rows = handgrad.zeros(4, 3, dtype="float64")
    for i in range(4):
        rows[i] = x[i] * (i + 1)
    (rows * rows).sum().backward()
    scale = np.arange(1, 5)[:, None]
    np.testing.assert_allclose(x.grad, 2 * x.data * scale**2)


def test_recorded_changes_through_views_of_any_layout() -> None:
    x, w = leaf(3, 4), leaf(3)

    def filled(transposed: bool) -> Tensor:
        base = (x.T * 2).T if transposed else x * 2  # columns next to each other in memory, or rows
        base[:, ::-2][1:, 0] = w[1:]
        base.T[0, ::-1] *= w
        return base

    for transposed in (True, False):
        x.zero_grad()
        w.zero_grad()
        y = filled(transposed)
        y.sum().backward()
        gradient = np.full((3, 4), 2.0)
        gradient[1:, 3] = 0
        gradient[:, 0] = 2 * w.data[::-1]
        np.testing.assert_allclose(x.grad, gradient)
        np.testing.assert_allclose(w.grad, [2 * x.data[2, 0], 1 + 2 * x.data[1, 0], 1 + 2 * x.data[0, 0]])


# Memory


def chain(x: Tensor, length: int) -> tuple[Tensor, list[weakref.ref[Node]]]:
    """x + 1 + 1 + …, and references to its nodes that do not keep them alive."""
    y, nodes = x, []
    for _ in range(length):
        y = y + 1.0
        assert y._node is not None
        nodes.append(weakref.ref(y._node))
    return y, nodes


def alive(nodes: list[weakref.ref[Node]]) -> int:
    return sum(node() is not None for node in nodes)


@pytest.fixture
def without_garbage_collector() -> Iterator[None]:
    """What is dropped here must be freed at once, so it may not be part of a reference cycle."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.slow
@pytest.mark.usefixtures("without_garbage_collector")
def test_a_chain_of_100_000_additions_goes_back_and_is_let_go() -> None:
    x = handgrad.tensor(1.0, requires_grad=True)
    y, nodes = chain(x, 100_000)
    assert alive(nodes) == 100_000
    y.backward()
    assert x.grad == 1
    assert alive(nodes) == 1  # y's own, which records that the graph was freed
    assert y.item() == 100_001


@pytest.mark.slow
@pytest.mark.usefixtures("without_garbage_collector")
def test_a_chain_that_is_dropped_without_a_backward_is_let_go_too() -> None:
    y, nodes = chain(leaf(1), 100_000)
    del y
    assert alive(nodes) == 0


def test_what_a_backward_needed_is_let_go_as_it_goes() -> None:
    x = leaf(10)
    hidden = x * x
    node = hidden._node
    assert node is not None
    hidden.sum().backward()
    assert node.saved is None
    assert node.edges == ()


def test_leaves_can_be_copied_and_computed_tensors_not() -> None:
    x = leaf(3)
    x.grad = np.ones(3)
    twin = copy.deepcopy(x)
    twin.data[0] = 9
    assert x.data[0] != 9
    assert twin.requires_grad
    np.testing.assert_array_equal(twin.grad, 1)
    with pytest.raises(RuntimeError, match=r"copy detach\(\) instead"):
        copy.deepcopy(x * 2)


def test_copy_has_memory_of_its_own_and_passes_the_gradient() -> None:
    x = leaf(3)
    y = x.copy()
    y[0] = 0.0
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [0, 1, 1])


def test_the_slope_at_a_point_without_one_warns_of_nothing() -> None:
    x = handgrad.tensor([0.0, 1.0], requires_grad=True)
    x.sqrt().sum().backward()
    assert x.grad.tolist() == [float("inf"), 0.5]


def test_operations_on_arrays_and_numbers_alone_give_tensors() -> None:
    results: list[Any] = [handgrad.exp(1), handgrad.add(1, 2.5), handgrad.matmul(np.eye(2), np.eye(2))]
    assert all(isinstance(result, Tensor) for result in results)
    assert results[1].item() == 3.5
    assert results[1].dtype == "float32"


def test_a_gradient_that_two_uses_share_is_not_added_into() -> None:
    x, w = leaf(3), leaf(3)
    u, v = x * 1, w * 1
    p = u * 3
    s = u + v  # u and v get the same array as gradient; u's then grows by that of p
    (s.sum() + p.sum()).backward()
    np.testing.assert_array_equal(w.grad, 1)
    np.testing.assert_array_equal(x.grad, 4)


def test_tensors_in_a_list_keep_their_history() -> None:
    a, b = leaf(3), leaf(3)
    handgrad.mean([a.sum() * 2, b.sum() * 3]).backward()
    np.testing.assert_allclose(a.grad, 1)
    np.testing.assert_allclose(b.grad, 1.5)
    c = leaf()
    (leaf(2) * [c * 2, c * 3]).sum().backward()
    assert c.grad is not None
    for lossy in (np.asarray, lambda x: np.concatenate([x, x]), lambda x: np.stack([x])):
        with pytest.raises(RuntimeError, match="which would be lost there"):
            lossy(a)
    with no_grad():
        assert np.asarray(a).shape == (3,)


def test_an_option_that_would_have_to_learn_is_refused() -> None:
    logits, weight = leaf(2, 4), handgrad.ones(4, dtype="float64", requires_grad=True)
    with pytest.raises(RuntimeError, match="weighted_cross_entropy: weight requires a gradient, but gets none here"):
        handgrad.cross_entropy(logits, [1, 3], weight=weight)
    with handgrad.no_grad():
        handgrad.cross_entropy(logits, [1, 3], weight=weight)


def test_options_are_guarded_too() -> None:
    x, mask = leaf(2, 3), handgrad.tensor([True, False, True])
    y = x.masked_fill(mask, 0.0)
    mask[1] = True
    with pytest.raises(RuntimeError, match="masked_fill saved a tensor that was changed in place"):
        y.sum().backward()


def test_repeats_that_are_changed_later_change_nothing() -> None:
    x, repeats = leaf(2), handgrad.tensor([1, 3])
    y = x.repeat(repeats)
    repeats[0], repeats[1] = 3, 1
    (y * handgrad.tensor([1.0, 2, 3, 4])).sum().backward()
    np.testing.assert_array_equal(x.grad, [1, 9])


def test_an_index_array_that_is_changed_later_picks_what_it_picked() -> None:
    x, index = leaf(4), np.array([0, 0, 2])
    y = x[index]
    index[:] = 3
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, [2, 0, 1, 0])


def test_retained_gradients_follow_the_tensor_through_changes() -> None:
    x = leaf(2)
    y = x * 2
    y.retain_grad()
    y.retain_grad()
    y *= 3
    (y * 5).sum().backward()
    np.testing.assert_array_equal(y.grad, 5)
    z = leaf(3) * 1
    view = z[1:]
    view.retain_grad()
    z *= 2  # gives the view another node
    (view * 7).sum().backward()
    np.testing.assert_array_equal(view.grad, 7)


@pytest.mark.usefixtures("without_garbage_collector")
def test_a_retained_gradient_holds_no_tensor() -> None:
    y = leaf(2) * 2
    y.retain_grad()
    node = weakref.ref(y._node)
    del y
    assert node() is None


def test_constants_are_neither_saved_nor_given_gradients() -> None:
    x, constant = leaf(3, 2), Tensor(np.ones((4, 3)))
    y = constant @ x
    assert y._node is not None
    assert not any(array is x.data for array in y._node.saved)
    h = leaf(3) * 1
    z = Tensor(np.full(3, 2.0)) * h
    h += 1  # no backward needs the old value
    z.sum().backward()
    with no_grad():
        assert (x * x)._node is None


def test_a_detached_tensor_has_a_history_of_its_own() -> None:
    x, w = leaf(3), leaf(3)
    h = (x * 2).detach()
    h += w
    h.sum().backward()
    np.testing.assert_array_equal(w.grad, 1)
    assert x.grad is None


def test_threads_lose_no_gradient() -> None:
    x = Tensor(np.ones(500_000), requires_grad=True)

    def work() -> None:
        for _ in range(10):
            (x * 1).sum().backward()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    np.testing.assert_array_equal(x.grad, 40)


def test_a_mode_can_be_entered_again_and_holds_inside_a_generator() -> None:
    mode = no_grad()
    for _ in range(2):
        with mode, mode:
            assert not handgrad.is_grad_enabled()
    assert handgrad.is_grad_enabled()

    @no_grad()
    def drawn(n: int) -> Iterator[bool]:
        for _ in range(n):
            yield handgrad.is_grad_enabled()

    for inside in drawn(3):
        assert not inside
        assert handgrad.is_grad_enabled()


def test_gradients_between_nodes_keep_their_dtype() -> None:
    seen: list[str] = []

    def watch(call: Call, run: Callable[[], Any]) -> Any:
        result = run()
        if call.is_backward:
            seen.extend(str(gradient.dtype) for gradient in (call.inputs[0], *result) if gradient is not None)
        return result

    x = handgrad.randn(2, 3, requires_grad=True)
    wide = (x.tanh() * 2).astype("float64").exp()
    with watching(watch):
        wide.sum().backward()
    # float64 from the sum through exp to the cast, float32 before it: tanh is undone in float32.
    assert seen[-2:] == ["float32", "float32"]
    assert x.grad.dtype == np.float32
    seen.clear()
    model_input = handgrad.randn(2, 3, requires_grad=True)
    with watching(watch):
        handgrad.layer_norm(model_input * 2, 3, np.ones(3)).sum().backward()
    assert seen[-1] == "float32"


def test_operations_that_take_wanted_are_named() -> None:
    forwards = {getattr(ops, name.removesuffix("_backward")) for name in ops.__all__ if name.endswith("_backward")}
    assert {forward for forward in forwards if "wanted" in inspect.signature(forward).parameters} == ops.TAKE_WANTED


def test_recording_is_set_from_now_on_or_for_a_context() -> None:
    assert handgrad.is_grad_enabled()
    handgrad.set_grad_enabled(False)
    assert not handgrad.is_grad_enabled()
    with handgrad.set_grad_enabled(True):
        assert (leaf(2) * 2).requires_grad
    assert not handgrad.is_grad_enabled()
    handgrad.set_grad_enabled(True)

    @handgrad.set_grad_enabled(False)
    def doubled(x: Tensor) -> Tensor:
        return 2 * x

    assert handgrad.is_grad_enabled()
    assert not doubled(leaf(2)).requires_grad
    for call in (handgrad.enable_grad, handgrad.no_grad):
        with pytest.raises(
            TypeError, match="takes a function to decorate, not False; set_grad_enabled takes a boolean"
        ):
            call(False)
    with pytest.raises(TypeError, match="set_grad_enabled: takes a boolean, not"):
        handgrad.set_grad_enabled(doubled)


def test_gradients_of_gradients_are_refused_in_one_sentence() -> None:
    loss = leaf(3).square().sum()
    with pytest.raises(
        NotImplementedError, match="backward: create_graph asks for gradients of gradients, which do not"
    ):
        loss.backward(create_graph=True)
    loss.backward()  # nothing was freed
