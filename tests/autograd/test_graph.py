"""The graph that the tape recorded: right values and gradients, before and after the backward, as text and picture."""

import gc
import re
import sys
import weakref
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import handgrad
from handgrad import Tensor, nn
from handgrad.autograd.drawing.graph import Graph
from handgrad.autograd.drawing.layers import Box, in_layers
from handgrad.models import GPT, GPTConfig


def number(value: float) -> Tensor:
    return handgrad.tensor(value, requires_grad=True)


def of_micrograd() -> dict[str, Tensor]:
    """The first example of micrograd's lecture."""
    a, b, c, f = number(2.0), number(-3.0), number(10.0), number(-2.0)
    e = a * b
    d = e + c
    return {"a": a, "b": b, "c": c, "f": f, "e": e, "d": d, "L": d * f}


def items(graph: Graph) -> dict[str, tuple[Any, Any]]:
    """Value and gradient by expression."""

    def plain(value: Any) -> Any:
        return value.tolist() if isinstance(value, np.ndarray) else value

    return {item.expression: (plain(item.value), plain(item.gradient)) for item in graph.items}


def test_values_and_gradients_of_the_lecture() -> None:
    named = of_micrograd()
    graph = handgrad.graph(named["L"], names=named)
    assert all(gradient is None for _, gradient in items(graph).values())
    named["L"].backward()
    assert items(graph) == {
        "a": (2.0, 6.0),
        "b": (-3.0, -4.0),
        "e = multiply(a, b)": (-6.0, -2.0),
        "c": (10.0, -2.0),
        "d = add(e, c)": (4.0, -2.0),
        "f": (-2.0, 4.0),
        "L = multiply(d, f)": (-8.0, 1.0),
    }


def test_the_text_draws_the_ways() -> None:
    x = handgrad.tensor([1.0, 2.0, 3.0], requires_grad=True)
    y = (x * handgrad.exp(x)).sum()
    graph = handgrad.graph(y, names={"x": x, "y": y})
    before = """\
                        shape  value
○    x                  (3,)   [1, 2, 3]
├─╮
│ ●  exp(x)             (3,)   [2.718, 7.389, 20.09]
├─╯
●    multiply(x, exp)   (3,)   [2.718, 14.78, 60.26]
●    y = sum(multiply)  ()     77.75"""
    assert str(graph) == repr(graph) == before
    y.backward()
    gradients = ["gradient", "[5.437, 22.17, 80.34]", "", "[1, 2, 3]", "", "[1, 1, 1]", "1"]
    expected = [f"{a:54}{b}" if b else a for a, b in zip(before.splitlines(), gradients, strict=True)]
    assert str(graph).splitlines() == expected


def test_ways_cross_join_and_end() -> None:
    x1, x2 = number(0.5), number(0.25)
    z = (x1 - x2 * x1) + (x1 * x2).sin() * x2
    assert (
        str(handgrad.graph(z, names={"x1": x1, "x2": x2}))
        == """\
                                shape  value
○      x2                       ()     0.25
│ ○    x1                       ()     0.5
├─┼─╮
│ │ ●  multiply(x2, x1)         ()     0.125
│ ├─┤
│ │ ●  subtract(x1, multiply)   ()     0.375
├─┤ │
│ ● │  multiply(x1, x2)         ()     0.125
│ ● │  sin(multiply)            ()     0.1247
├─╯ │
●   │  multiply(sin, x2)        ()     0.03117
├───╯
●      add(subtract, multiply)  ()     0.4062"""
    )


def test_a_graph_takes_nothing_from_the_tape_and_adds_nothing_to_it() -> None:
    def gradients(draw: bool) -> list[np.ndarray]:
        handgrad.manual_seed(0)
        net = nn.MLP([3, 5, 2])
        loss = nn.mse_loss(net(handgrad.randn(4, 3)), handgrad.randn(4, 2))
        graph = handgrad.graph(loss) if draw else None
        loss.backward()
        assert graph is None or "norm" in str(graph)
        return [parameter.grad for parameter in net.parameters() if parameter.grad is not None]

    for with_graph, without in zip(gradients(True), gradients(False), strict=True):
        np.testing.assert_array_equal(with_graph, without)


def test_a_graph_does_not_keep_the_tape_nor_the_tape_the_graph() -> None:
    x = number(2.0)
    y = x.exp().sin()
    node, graph = weakref.ref(y._node), handgrad.graph(y)
    reference = weakref.ref(graph.items[0])
    del y
    gc.collect()
    assert node() is None
    assert items(graph)["sin(exp)"][0] == pytest.approx(np.sin(np.exp(2.0)))
    y = x.exp()
    temporary = handgrad.graph(y)
    reference = weakref.ref(temporary.items[-1])
    del temporary
    gc.collect()
    assert reference() is None
    y.backward()  # nobody listens any more
    assert x.grad == pytest.approx(np.exp(2.0))


def test_gradients_of_large_arrays_are_norms() -> None:
    x = Tensor(np.arange(12.0).reshape(3, 4), requires_grad=True)
    loss = (x * x).sum()
    graph = handgrad.graph(loss, names={"x": x})
    loss.backward()
    found = items(graph)
    assert found["x"] == (None, pytest.approx(np.linalg.norm(2 * x.data)))
    assert found["multiply(x, x)"] == (None, pytest.approx(np.sqrt(12)))
    assert re.search(r"○  x +\(3, 4\) +norm 44\.99$", str(graph), flags=re.MULTILINE)


def test_a_gradient_that_a_tensor_keeps_is_shown_and_adds_up_as_there() -> None:
    x = number(3.0)
    y = x * x
    y.retain_grad()
    z = y * 2.0
    for _ in range(2):
        z.backward(retain_graph=True)
    graph = handgrad.graph(z, names={"x": x, "y": y})  # made after the backward
    assert items(graph) == {"x": (3.0, 24.0), "y = multiply(x, x)": (9.0, 4.0), "multiply(y, –)": (18.0, None)}
    z.backward()
    assert items(graph)["multiply(y, –)"] == (18.0, 1.0)


def test_a_value_is_that_of_the_forward() -> None:
    x = number(3.0)
    y = x * 2.0
    z = y + 1.0
    y += 10.0
    graph = handgrad.graph(z + y)
    found = items(graph)
    assert found["multiply(leaf, –)"][0] == 6.0
    assert found["add(multiply, –)"][0] == 16.0  # two of this name: z is 7, and the changed y is 16
    assert [item.value.item() for item in graph.items if item.value is not None] == [3.0, 6.0, 7.0, 16.0, 16.0, 23.0]


def test_views_and_several_outputs_have_their_place() -> None:
    x = handgrad.tensor([[1.0, 2.0], [3.0, 4.0]], requires_grad=True)
    y = x * 1.0
    first, second = handgrad.split(y, 1)
    row = y[0]
    y[1] = 5.0
    loss = (first * second).sum() + row.sum()
    graph = handgrad.graph(loss, names={"x": x, "row": row})
    loss.backward()
    assert str(graph).splitlines()[1:] == [
        "○      x                         (2, 2)  [[1, 2], [3, 4]]  [[6, 6], [0, 0]]",
        "●      multiply(x, –)            (2, 2)  [[1, 2], [3, 4]]  [[6, 6], [0, 0]]",
        "●      setitem(multiply, –)      (2, 2)  [[1, 2], [5, 5]]  [[6, 6], [1, 2]]",
        "●      astype(setitem)           (2, 2)  [[1, 2], [5, 5]]  [[6, 6], [1, 2]]",
        "├─╮",
        "│ ●    a view                    (1, 2)  [[1, 2]]          [[5, 5]]",
        "├─│─╮",
        "│ │ ●  a view                    (1, 2)  [[5, 5]]          [[1, 2]]",
        "│ ├─╯",
        "│ ●    multiply(a view, a view)  (1, 2)  [[5, 10]]         [[1, 1]]",
        "│ ●    sum(multiply)             ()      15                1",
        "● │    row = a view              (2,)    [1, 2]            [1, 1]",
        "● │    sum(row)                  ()      3                 1",
        "├─╯",
        "●      add(sum, sum)             ()      18                1",
    ]
    pieces = handgrad.split(x, 1)
    split = handgrad.graph(pieces[0].sum() + pieces[1].sum(), names={"x": x})
    assert "●    split(x)       (1, 2), (1, 2)" in str(split)


def test_layers_and_models_name_their_parameters() -> None:
    net = nn.Sequential(nn.Linear(3, 4), nn.Tanh(), nn.Linear(4, 1, bias=False))
    x = handgrad.randn(5, 3)
    loss = nn.mse_loss(net(x), handgrad.zeros(5, 1))
    without = {item.expression for item in handgrad.graph(loss).items}
    assert without == {
        "Linear.weight", "Linear.bias", "linear(–, weight, bias)", "tanh(linear)", "linear(tanh, weight, –)",
        "mse(linear, –)",
    }  # fmt: skip
    for names, prefix in ((net, ""), ({"net": net, "x": x, "other": 3}, "net."), (locals(), "net.")):
        leaves = [item.expression for item in handgrad.graph(loss, names=names).items if item.is_leaf]
        assert leaves == [f"{prefix}{name}" for name in ("0.weight", "0.bias", "2.weight")]


def test_an_operation_of_ones_own_is_in_the_graph() -> None:
    def double(x: np.ndarray) -> Any:
        return 2 * x, ()

    x = number(3.0)
    y = handgrad.apply((double, lambda dy, saved: 2 * dy), x)
    graph = handgrad.graph(y, names={"x": x})
    y.backward()
    assert items(graph) == {"x": (3.0, 2.0), "double(x)": (6.0, 1.0)}


def test_a_leaf_alone_is_a_graph() -> None:
    x = number(3.0)
    assert str(handgrad.graph(x, names={"x": x})).splitlines()[1:] == ["○  x  ()     3"]


def gpt_graph() -> Graph:
    model = GPT(GPTConfig(vocab_size=11, block_size=7, n_layer=2, n_head=2, n_embd=6), seed=3)
    ids, targets = np.random.default_rng(0).integers(0, 11, (2, 3, 7))
    loss = model.loss(Tensor(ids), Tensor(targets))
    graph = handgrad.graph(loss, names=model)
    loss.backward()
    return graph


def test_a_whole_gpt_fits_into_80_columns() -> None:
    lines = str(gpt_graph()).splitlines()
    assert max(map(len, lines)) <= 80
    assert lines[-1].startswith("●          cross_entropy(unembedding)")
    assert sum("○" in line for line in lines) == 28  # every parameter once
    assert not any("●" in line and line.endswith(("…)", "None")) for line in lines)


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_line_is_wider_than_it_should_be(width: int) -> None:
    many = sum((number(0.1 * i) * number(-1e-7 * i) for i in range(40)), number(0.0))
    wide = handgrad.stack([number(1e-12 * i) for i in range(8)]).exp().reshape(2, 2, 2)
    for graph in (gpt_graph(), handgrad.graph(many), handgrad.graph(wide)):
        assert max(map(len, graph.text(width).splitlines())) <= width


def test_a_graph_of_many_ways_is_a_list() -> None:
    leaves = [number(float(i)) for i in range(30)]
    graph = handgrad.graph(handgrad.stack(leaves), names={f"x{i}": leaf for i, leaf in enumerate(leaves)})
    lines = str(graph).splitlines()
    assert len(lines) == 32
    assert [line.split()[:2] for line in lines[1:4]] == [["○", "x0"], ["○", "x1"], ["○", "x2"]]
    assert lines[-1].startswith("●  stack(x0, x1, ")


def test_a_deep_graph_needs_no_recursion_and_says_what_is_left_out() -> None:
    x = y = number(0.5)
    for _ in range(20_000):
        y = y.sin()
    assert sys.getrecursionlimit() < 20_000
    graph = handgrad.graph(y, limit=5)
    y.backward()
    lines = str(graph).splitlines()
    assert lines[0] == "… 19996 earlier operations and leaves are left out"
    assert len(lines) == 7
    assert "●  sin(…)" in lines[2]
    assert "; 19996 earlier operations and leaves are left out" in graph.svg()
    assert graph.items[-2].gradient == pytest.approx(np.cos(graph.items[-2].value))
    assert len(handgrad.graph(x.exp()).items) == 2


@pytest.mark.parametrize(
    ("make", "kind", "said"),
    [
        (lambda: np.ones(3), TypeError, "graph: a Tensor is needed, such as a loss computed from Tensors, not ndarray"),
        (lambda: handgrad.ones(3), RuntimeError, "graph: the tape recorded nothing for this tensor"),
        (lambda: number(1.0).exp().detach(), RuntimeError, "graph: the tape recorded nothing for this tensor"),
        (lambda: freed(), RuntimeError, "graph: the graph behind exp was freed by backward(); make the graph before"),
    ],
)  # fmt: skip
def test_what_has_no_graph_is_said(make: Any, kind: type[Exception], said: str) -> None:
    with pytest.raises(kind, match=re.escape(said)):
        handgrad.graph(make())


def freed() -> Tensor:
    y = number(1.0).exp()
    y.backward()
    return y


def test_names_of_another_kind_are_refused() -> None:
    with pytest.raises(TypeError, match="graph: names must be a module or a dictionary of tensors, not list"):
        handgrad.graph(number(1.0), names=["x"])


# -- the picture

SVG = "{http://www.w3.org/2000/svg}"


def test_the_picture_shows_every_item_and_every_way() -> None:
    named = of_micrograd()
    named["a<b>&"] = named.pop("a")
    graph = handgrad.graph(named["L"], names=named)
    named["L"].backward()
    picture = graph._repr_svg_()
    assert picture == graph.svg()
    root = ElementTree.fromstring(picture)
    group = root.find(f"{SVG}g")
    assert group is not None
    assert len(group.findall(f"{SVG}rect")) == 7
    assert len(group.findall(f"{SVG}path")) == 6
    texts = [text.text for text in group.iter(f"{SVG}text")]
    assert texts[:6] == ["a<b>&", "2", "6", "b", "-3", "-4"]
    assert texts[-3:] == ["L = multiply(d, f)", "-8", "1"]
    assert "http" not in picture.replace('xmlns="http://www.w3.org/2000/svg"', "")  # it loads nothing
    rules = picture[picture.index("<style>") : picture.index("</style>")].splitlines()[1:]
    assert all(rule.startswith(".handgrad-graph ") for rule in rules if rule)


def test_boxes_are_after_their_inputs_and_do_not_overlap() -> None:
    for graph, most in ((gpt_graph(), 9), (gpt_graph(), 99)):
        sizes = [(60.0 + 7 * (i % 5), 30.0 + 5 * (i % 3)) for i in range(len(graph.items))]
        boxes, paths, width, height = in_layers(graph.items, sizes, most)
        by_item = {id(item): box for item, box in zip(graph.items, boxes, strict=True)}
        n = 0
        for item, box in zip(graph.items, boxes, strict=True):
            for source in {id(one) for one in item.inputs if one is not None}:
                assert by_item[source].layer < box.layer
                n += 1
        assert len(paths) == n
        for i, a in enumerate(boxes):
            assert a.x - a.width / 2 >= -1e-6
            assert a.x + a.width / 2 <= width + 1e-6
            assert a.y + a.height / 2 <= height + 1e-6
            assert not any(overlap(a, b) for b in boxes[:i])


def overlap(a: Box, b: Box) -> bool:
    return abs(a.x - b.x) < (a.width + b.width) / 2 and abs(a.y - b.y) < (a.height + b.height) / 2
