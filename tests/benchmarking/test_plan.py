"""The plan: what a step would take in many processes."""

from collections.abc import Callable

import pytest
from support import Output

from handgrad.benchmarking.plan import Measured, Network, plan

MEASURED = Measured(gradient=1.0, update=0.2, n_parameters=1_000_000, batch_size=12)


def test_two_processes_by_hand() -> None:
    one = plan(MEASURED, Network(latency=1e-3, bandwidth=1e8), 2)
    # Two messages to the other, four small exchanges, and half of gradient and weights: 4 MB in 40 ms.
    assert one.network == pytest.approx(6e-3 + 0.04)
    assert one.weak == pytest.approx(1.0 + 0.1 + one.network)
    assert one.weak_efficiency == pytest.approx(1.2 / one.weak)
    assert one.strong == pytest.approx(0.5 + 0.1 + one.network)
    assert one.speedup == pytest.approx(1.2 / (0.6 + one.network))


def test_many_processes() -> None:
    network = Network(latency=1e-9, bandwidth=1e15)
    assert plan(MEASURED, network, 8).strong == pytest.approx(2 / 12 + 0.2 / 8)  # some have two of the 12 windows
    assert (plan(MEASURED, network, 16).strong, plan(MEASURED, network, 16).speedup) == (None, None)
    costs = [plan(MEASURED, Network(2e-6, 1e10), 1 << power).network for power in range(1, 11)]
    assert costs == sorted(costs)
    # At most all gradients and all weights go in and out of a process.
    assert costs[-1] < 8 * 1_000_000 / 1e10 + 2e-6 * (2 * 1024 + 40)


def test_bench_shows_a_plan(handgrad: Callable[..., Output]) -> None:
    shown = handgrad("bench", "shakespeare-cpu", "--plan", "--rounds", 1, "--latency", 3, "--bandwidth", 12.5)
    assert shown.code == 0, shown.err
    assert "a message takes 3 µs and 12.5 GB/s" in shown.out
    rows = [line.split() for line in shown.out.splitlines() if line.strip()[:1].isdigit()]
    assert [row[0] for row in rows] == ["2", "4", "8", "16", "32", "64", "128", "256", "512", "1,024"]
    assert [len(row) for row in rows] == [6] * 3 + [4] * 7  # a batch has 12 windows


@pytest.mark.parametrize(
    "flags",
    [
        ("--plan", "--profile"),
        ("--plan", "--work", "evaluation"),
        ("--plan", "--latency", 0),
        ("--plan", "--bandwidth", "inf"),
        ("--latency", 3),
        ("--bandwidth", 3),
    ],
)
def test_bench_refuses_a_plan_that_means_nothing(flags: tuple[object, ...], handgrad: Callable[..., Output]) -> None:
    refused = handgrad("bench", *flags)
    assert (refused.code, refused.out) == (2, "")
