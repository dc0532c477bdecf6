"""The exponential average of the weights."""

import numpy as np
import pytest

from handgrad.optim import WeightAverage
from handgrad.system.threads import Team


def test_the_average_by_hand() -> None:
    weights = np.array([1.0, -2.0])
    average = WeightAverage(weights, 0.5)
    expected = weights.copy()
    for steps, d in ((0, 1 / 10), (1, 2 / 11), (2, 3 / 12), (7, 8 / 17), (8, 0.5), (100, 0.5)):
        weights += 1
        average.update(steps)
        expected = d * expected + (1 - d) * weights
        np.testing.assert_allclose(average.values, expected, rtol=1e-12)
    assert weights.tolist() == [7, 4]


def test_the_two_sets_of_weights_change_places_and_back() -> None:
    weights = np.array([1.0, 2.0])
    view = weights[:1]
    average = WeightAverage(weights, 0.9)
    weights += 10
    with average.exchanged():
        assert (weights.tolist(), average.values.tolist()) == ([1, 2], [11, 12])
        assert view.item() == 1  # a model's parameters are such views
    assert (weights.tolist(), average.values.tolist()) == ([11, 12], [1, 2])
    with pytest.raises(KeyError), average.exchanged():
        raise KeyError
    assert weights.tolist() == [11, 12]
    average.start()
    assert average.values.tolist() == [11, 12]


def test_threads_give_the_same_bits() -> None:
    found = []
    for threads in (1, 3):
        rng = np.random.default_rng(0)
        weights = rng.standard_normal(40_001).astype(np.float32)
        average = WeightAverage(weights, 0.99)
        with Team(threads) as team:
            for step in range(3):
                weights += rng.standard_normal(weights.size).astype(np.float32)
                average.update(step, team)
        assert average.values.dtype == np.float32
        found.append(average.values.tobytes())
    assert found[0] == found[1]


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.1, float("nan")])
def test_a_decay_that_averages_nothing_is_refused(decay: float) -> None:
    with pytest.raises(ValueError, match="WeightAverage: decay must lie between 0 and 1, not"):
        WeightAverage(np.ones(2), decay)
