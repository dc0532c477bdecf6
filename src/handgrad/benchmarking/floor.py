"""The floor of a training step: its matrix products alone, at the rate of those very shapes."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from handgrad.benchmarking.cases import Case
from handgrad.benchmarking.contenders import Contender
from handgrad.threads import Team
from handgrad.training import choose_replicas
from handgrad.training.replicas import cores_for


@dataclass(frozen=True)
class Product:
    """``count`` products (rows, inner) @ (inner, columns) of one replica's step."""

    operation: str
    rows: int
    inner: int
    columns: int
    count: int
    rows_first: bool = True
    """How the first lies in memory: by rows, or transposed; likewise the second."""
    columns_first: bool = True

    @property
    def flops(self) -> int:
        """Multiplications and additions."""
        return 2 * self.rows * self.inner * self.columns * self.count


def products_of(case: Case, replicas: int) -> list[Product]:
    """All matrix products of one replica's share of a training step, by operation; of causal attention the half that
    is needed.

    y = x W, dx = dy Wᵀ and dW = xᵀ dy are one product each for every linear map; attention has q kᵀ and P v forward,
    dy vᵀ, Pᵀ dy, dS k and dSᵀ q backward.
    """
    config, T = case.model_config, case.tokens
    windows = -(-case.batch_size // replicas)
    N, C, L = windows * T, config.n_embd, config.n_layer
    maps = {
        "project_in": (C, 3 * C, L),
        "project_out": (C, C, L),
        "expand": (C, 4 * C, L),
        "contract": (4 * C, C, L),
        "head": (C, config.vocab_size, 1),
    }
    products = []
    for name, (inputs, outputs, count) in maps.items():
        products += [
            Product(name, N, inputs, outputs, count, True, name != "head"),
            Product(f"{name} backward", N, outputs, inputs, count, True, name == "head"),
            Product(f"{name} backward", inputs, N, outputs, count, False, True),
        ]
    D, heads, half = C // config.n_head, windows * config.n_head * L, -(-T // 2)
    products += [
        Product("attention", T, D, half, heads, True, False),
        Product("attention", T, half, D, heads),
        Product("attention backward", T, D, half, heads, True, False),
        Product("attention backward", T, half, D, 2 * heads, False, True),
        Product("attention backward", T, half, D, heads),
    ]
    return products


def flops_of(case: Case) -> int:
    """Multiplications and additions in the matrix products of a whole step."""
    return sum(product.flops for product in products_of(case, 1))


def floor(case: Case, replicas: int = 0) -> Contender:
    """Does the products of a step and nothing else, in as many single-threaded callers as there are replicas."""
    count = choose_replicas(replicas, case.batch_size)
    work, team = multiplier(products_of(case, count), count), Team(count)

    def run() -> float:
        team.map(work, range(count))
        return 0.0

    return Contender("matrix products alone", run, lambda: cores_for(count), close=team.close)


def multiplier(products: list[Product], callers: int) -> Callable[[int], None]:
    """A function that does all products once, for the caller of a number, who has arrays of its own."""
    arrays = [[_arrays(product) for product in products] for _ in range(callers)]

    def multiply(caller: int) -> None:
        for product, (a, b, c) in zip(products, arrays[caller], strict=True):
            for _ in range(product.count):
                np.matmul(a, b, out=c)

    return multiply


def _arrays(product: Product) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)

    def matrix(rows: int, columns: int, by_rows: bool) -> np.ndarray:
        shape = (rows, columns) if by_rows else (columns, rows)
        values = rng.standard_normal(shape, dtype=np.float32)
        return values if by_rows else values.T

    a = matrix(product.rows, product.inner, product.rows_first)
    b = matrix(product.inner, product.columns, product.columns_first)
    return a, b, np.empty((product.rows, product.columns), np.float32)
