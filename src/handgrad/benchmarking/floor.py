"""The floor of a training step: the time of its matrix products alone, on the same shapes."""

from collections.abc import Callable

import numpy as np

from handgrad.benchmarking.cases import Case
from handgrad.benchmarking.contenders import Contender
from handgrad.models import Product
from handgrad.runs import choose_replicas
from handgrad.system.threads import Team
from handgrad.training.replicas import cores_for


def flops_of(case: Case) -> int:
    """Multiplications and additions in the matrix products of a whole step."""
    return sum(product.flops for product in case.products(1))


def products_contender(case: Case, replicas: int = 0) -> Contender:
    """Computes only the products of a step, in as many single-threaded callers as there are replicas."""
    count = choose_replicas(replicas, case.batch_size)
    work, team = multiplier(case.products(count), count), Team(count)

    def run() -> float:
        team.map(work, range(count))
        return 0.0

    return Contender("matrix products alone", run, lambda: cores_for(count), close=team.close)


def multiplier(products: list[Product], callers: int) -> Callable[[int], None]:
    """A function of a caller's number that computes all products once, in arrays of that caller's own."""
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
