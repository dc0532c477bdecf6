"""The architecture of a GPT, described once: its settings, its sizes, and the matrix products that follow from them."""

from dataclasses import dataclass, replace
from typing import NamedTuple, get_args

from handgrad.models.matrix_products import Product, products_of_attention, products_of_map
from handgrad.nn.layers import Activation
from handgrad.nn.transformer import Norm, new_norm
from handgrad.ops.shapes import integer
from handgrad.system.errors import InputError

_TOO_LARGE = 1 << 31


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The settings of a GPT apart from its sizes. Every default is what GPT-2 does."""

    dropout: float = 0.0
    """Probability of dropping an activation in training."""
    bias: bool = True
    """Add biases to the linear layers."""
    norm: Norm = "layer"
    """Normalisation before each part of a block and before the output head."""
    activation: Activation = "gelu"
    """Nonlinearity of the feed-forward network; gelu is the tanh approximation."""
    tie_weights: bool = True
    """Share the token embedding's weights with the output head."""


class LinearMap(NamedTuple):
    """A linear layer of the model: the attribute that holds it, its sizes, and the number of such layers."""

    part: str
    inputs: int
    outputs: int
    copies: int
    bias: bool


@dataclass(frozen=True)
class GPTConfig(Architecture):
    """The shape of a GPT.

    ``bias`` applies to the linear layers, and to an output head that is not tied to the token embedding; LayerNorm
    always has weight and bias. ``activation`` is gelu (the tanh approximation), gelu_exact or relu.

    Raises InputError for invalid sizes and settings.
    """

    vocab_size: int
    block_size: int
    n_layer: int
    n_head: int
    n_embd: int

    def __post_init__(self) -> None:
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            value = getattr(self, name)
            if type(value) is not int:
                number = None if isinstance(value, bool) else integer(value)
                if number is None:
                    raise InputError(f"{name} must be an integer, not {value!r}")
                object.__setattr__(self, name, value := number)  # Python's, so that JSON can hold it
            if value < 1:
                raise InputError(f"{name} must be at least 1, not {value}")
            if value >= _TOO_LARGE:
                raise InputError(f"{name} must be less than {_TOO_LARGE:,}, not {str(value)[:30]}")
        if self.n_embd % self.n_head:
            raise InputError(f"n_embd {self.n_embd} must be a multiple of n_head {self.n_head}")
        for name in ("bias", "tie_weights"):
            if type(getattr(self, name)) is not bool:
                raise InputError(f"{name} must be true or false, not {str(getattr(self, name))[:80]!r}")
        if type(self.dropout) not in (float, int) or not 0 <= self.dropout < 1:
            raise InputError(f"dropout must lie in [0, 1), not {str(self.dropout)[:80]}")
        for name, choices in (("activation", get_args(Activation)), ("norm", get_args(Norm))):
            if getattr(self, name) not in choices:
                raise InputError(f"{name} must be {' or '.join(choices)}, not {getattr(self, name)!r}")

    @property
    def maps(self) -> tuple[LinearMap, ...]:
        """Every kind of linear layer in the model."""
        C, hidden, L = self.n_embd, 4 * self.n_embd, self.n_layer
        return (
            LinearMap("project_in", C, 3 * C, L, self.bias),
            LinearMap("project_out", C, C, L, self.bias),
            LinearMap("expand", C, hidden, L, self.bias),
            LinearMap("contract", hidden, C, L, self.bias),
            LinearMap("head", C, self.vocab_size, 1, self.bias and not self.tie_weights),
        )

    @property
    def n_parameters(self) -> int:
        """Number of parameters of a model of this shape, computed without making it."""
        C = self.n_embd
        in_maps = sum(each.copies * each.outputs * (each.inputs + each.bias) for each in self.maps)
        shared = C * self.vocab_size if self.tie_weights else 0
        tables = (self.vocab_size + self.block_size) * C
        vectors = sum(parameter.size for parameter in new_norm(self.norm, 1).parameters())  # gain, perhaps a bias
        norms = (2 * self.n_layer + 1) * vectors * C
        return in_maps - shared + tables + norms

    @property
    def n_in_matrices(self) -> int:
        """Number of parameters of the role "matrix": the weights of all linear maps but the output head."""
        return sum(each.copies * each.inputs * each.outputs for each in self.maps if each.part != "head")

    def products(self, windows: int, length: int) -> list[Product]:
        """All matrix products of a training step on ``windows`` windows of ``length`` tokens.

        Each is named after the attribute that holds the part of the model that computes it.
        """
        products = []
        for each in self.maps:
            by_rows = each.part == "head"  # its weight has shape (V, C)
            products += products_of_map(each.part, windows * length, each.inputs, each.outputs, each.copies, by_rows)
        heads, D = windows * self.n_head * self.n_layer, self.n_embd // self.n_head
        return products + products_of_attention("attend", length, D, heads)

    def smallest(self) -> "GPTConfig":
        """The smallest model of the same kind: it runs the same code."""
        return replace(self, vocab_size=2, block_size=2, n_layer=1, n_head=1, n_embd=2)
