"""The architecture of a GPT, described once: its settings, its sizes, and the matrix products that follow from them."""

import math
from dataclasses import dataclass, replace
from typing import Any, Literal, NamedTuple, get_args

from handgrad.models.matrix_products import Product, products_of_attention, products_of_map
from handgrad.nn.transformer import FeedForwardActivation, Norm, expanded_size, hidden_size, new_norm
from handgrad.ops.precision import Precision
from handgrad.ops.shapes import integer
from handgrad.system.errors import InputError

_TOO_LARGE = 1 << 31

Positions = Literal["learned", "rotary", "none"]
"""How a model knows the order of its tokens."""


WITHOUT_WEIGHTS = ("dropout", "precision")
"""Settings that a user may choose anew for weights that exist. All others belong to the weights."""


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """The settings of a GPT apart from its sizes. Every default is what GPT-2 does."""

    dropout: float = 0.0
    """Probability of dropping an activation in training."""
    bias: bool = True
    """Add biases to the linear layers."""
    norm: Norm = "layer"
    """Normalisation before each part of a block and before the output head; rms has a gain and no mean or bias."""
    norm_eps: float = 1e-5
    """Added to the variance, or the mean square, that a norm divides by."""
    positions: Positions = "learned"
    """learned adds a vector for each position, rotary turns queries and keys by it, none leaves order to the mask."""
    rope_base: float = 10000.0
    """Base of rotary's angles: the slowest plane of a head turns once in about 6 rope_base positions."""
    qk_norm: bool = False
    """Bring queries and keys to a root mean square of 1, before rotary turns them."""
    n_kv_head: int | None = None
    """Number of heads of keys and values, which query heads share; as many as query heads by default."""
    head_dim: int | None = None
    """Components of a head; n_embd / n_head by default."""
    window: int = 0
    """Number of latest tokens that a token attends to, itself included; 0 for all."""
    attention_scale: float | None = None
    """Factor of the attention scores; 1 / √head_dim by default."""
    activation: FeedForwardActivation = "gelu"
    """Nonlinearity of the feed-forward network; gelu is the tanh approximation."""
    n_hidden: int | None = None
    """Width of the feed-forward network; 4 n_embd by default, with swiglu about 8/3 n_embd."""
    embedding_scale: float = 1.0
    """Factor of the token embedding."""
    embedding_norm: bool = False
    """Bring the embeddings to a root mean square of 1 before the first block."""
    token_shift: bool = False
    """Add to each token's embedding a learned share, for each component, of that of the token before it."""
    logit_cap: float = 0.0
    """Soft limit of the logits: cap · tanh(logits / cap); 0 for none."""
    tie_weights: bool = True
    """Share the token embedding's weights with the output head."""
    embedding_std: float = 0.02
    """Standard deviation of the initial embeddings."""
    matrix_std: float = 0.02
    """Standard deviation of the initial matrices; those that write to the residual stream have it over √(2 n_layer)."""
    zero_init: bool = False
    """Start at zero the matrices that write to the residual stream, and an output head of its own."""
    precision: Precision = "float32"
    """What the operands of matrix products are rounded to; sums, weights and everything else stay float32. As a
    flag, auto takes bfloat16 if this processor multiplies it faster."""


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
    always has weight and bias.

    Raises InputError for invalid sizes and settings.
    """

    vocab_size: int
    block_size: int
    n_layer: int
    n_head: int
    n_embd: int

    def __post_init__(self) -> None:
        for name in ("vocab_size", "block_size", "n_layer", "n_head", "n_embd"):
            self._check_size(name, 1)
        for name in ("n_kv_head", "head_dim", "n_hidden"):
            if getattr(self, name) is not None:
                self._check_size(name, 1)
        self._check_size("window", 0)
        self._check_heads()
        for name in ("bias", "tie_weights", "qk_norm", "embedding_norm", "token_shift", "zero_init"):
            if type(getattr(self, name)) is not bool:
                raise InputError(f"{name} must be true or false, not {str(getattr(self, name))[:80]!r}")
        self._check_number("dropout", 0, "lie in [0, 1)", below=1)
        for name in ("norm_eps", "rope_base", "embedding_scale"):
            self._check_number(name, math.ulp(0), "be a finite number above 0")
        if self.attention_scale is not None:
            self._check_number("attention_scale", math.ulp(0), "be a finite number above 0")
        for name in ("logit_cap", "embedding_std", "matrix_std"):
            self._check_number(name, 0, "be a finite number of at least 0")
        named = {"activation": FeedForwardActivation, "norm": Norm, "positions": Positions, "precision": Precision}
        for name, choices in named.items():
            if getattr(self, name) not in get_args(choices):
                raise InputError(f"{name} must be {' or '.join(get_args(choices))}, not {getattr(self, name)!r}")

    def _check_size(self, name: str, least: int) -> None:
        value = getattr(self, name)
        if type(value) is not int:
            number = None if isinstance(value, bool) else integer(value)
            if number is None:
                raise InputError(f"{name} must be an integer, not {value!r}")
            object.__setattr__(self, name, value := number)  # Python's, so that JSON can hold it
        if value < least:
            raise InputError(f"{name} must be at least {least}, not {value}")
        if value >= _TOO_LARGE:
            raise InputError(f"{name} must be less than {_TOO_LARGE:,}, not {str(value)[:30]}")

    def _check_number(self, name: str, least: float, rule: str, below: float = math.inf) -> None:
        value = getattr(self, name)
        if type(value) not in (float, int) or not least <= value < below:
            raise InputError(f"{name} must {rule}, not {str(value)[:80]}")

    def _check_heads(self) -> None:
        if self.head_dim is None and self.n_embd % self.n_head:
            raise InputError(f"n_embd {self.n_embd} must be a multiple of n_head {self.n_head}")
        if self.n_head % self.kv_heads:
            raise InputError(f"n_head {self.n_head} must be a multiple of n_kv_head {self.n_kv_head}")
        if self.positions == "rotary" and self.head_size % 2:
            raise InputError(f"rotary positions need heads of an even size, not {self.head_size}")

    @property
    def kv_heads(self) -> int:
        """Number of heads of keys, and of values."""
        return self.n_head if self.n_kv_head is None else self.n_kv_head

    @property
    def head_size(self) -> int:
        """Components of a head."""
        return self.n_embd // self.n_head if self.head_dim is None else self.head_dim

    @property
    def reads_any_length(self) -> bool:
        """Whether a text may be longer than block_size: no position is learned, and no token sees beyond its window, so
        that no distance occurs that training has not shown.
        """
        return self.positions != "learned" and 0 < self.window <= self.block_size

    @property
    def hidden(self) -> int:
        """Width of the feed-forward network."""
        return hidden_size(self.n_embd, self.activation) if self.n_hidden is None else self.n_hidden

    @property
    def attention(self) -> dict[str, Any]:
        """Options of every block's MultiHeadAttention, by their names there."""
        return {
            "n_kv_head": self.n_kv_head,
            "head_dim": self.head_dim,
            "window": self.window,
            "scale": self.attention_scale,
            "qk_norm_eps": self.norm_eps if self.qk_norm else None,
            "rope_base": self.rope_base if self.positions == "rotary" else None,
        }

    @property
    def maps(self) -> tuple[LinearMap, ...]:
        """Every kind of linear layer in the model."""
        C, L, H, D = self.n_embd, self.n_layer, self.n_head, self.head_size
        return (
            LinearMap("project_in", C, (H + 2 * self.kv_heads) * D, L, self.bias),
            LinearMap("project_out", H * D, C, L, self.bias),
            LinearMap("expand", C, expanded_size(self.hidden, self.activation), L, self.bias),
            LinearMap("contract", self.hidden, C, L, self.bias),
            LinearMap("head", C, self.vocab_size, 1, self.bias and not self.tie_weights),
        )

    @property
    def n_parameters(self) -> int:
        """Number of parameters of a model of this shape, computed without making it."""
        C = self.n_embd
        in_maps = sum(each.copies * each.outputs * (each.inputs + each.bias) for each in self.maps)
        shared = C * self.vocab_size if self.tie_weights else 0
        tables = (self.vocab_size + (self.block_size if self.positions == "learned" else 0)) * C
        vectors = sum(parameter.size for parameter in new_norm(self.norm, 1).parameters())  # gain, perhaps a bias
        norms = (2 * self.n_layer + 1) * vectors * C
        return in_maps - shared + tables + norms + C * self.token_shift

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
        heads = windows * self.n_head * self.n_layer
        return products + products_of_attention("attend", length, self.head_size, heads, self.window)

    def smallest(self) -> "GPTConfig":
        """The smallest model of the same kind: it runs the same code."""
        sizes: dict[str, Any] = {"vocab_size": 2, "block_size": 2, "n_layer": 1, "n_head": 1, "n_embd": 2}
        return replace(self, **sizes, n_kv_head=None, head_dim=None, n_hidden=None)
