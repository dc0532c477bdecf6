"""The gain from a second thread, measured here, and from more cores, counted from the work.

    python benchmarks/scaling.py

Times in turn one thread, one shard whose products all threads share, one shard for each core, and eight shards, which
a run has that is planned for more cores. Then counts how a step divides over as many threads as shards. Matrix products
and elementwise work divide by their number. Every shard has gradients of its own, which are cleared, filled and summed.
Python's work for the threads runs one at a time.
"""

import argparse
import statistics
import time
from contextlib import ExitStack
from dataclasses import replace

from handgrad.system.processor import available_cores, choose_blas_kernels

choose_blas_kernels()  # before NumPy is imported, as the command line does

from handgrad.benchmarking import alternate, case_of, handgrad_contender
from handgrad.benchmarking.cases import Case

SIZES = ("explicit-char", "autograd-char", "shakespeare-cpu")
ROUNDS = 15
EIGHT = 8


def python_seconds(case: Case) -> float:
    """Python's share of a thread's step: the time of a model of the same depth and the smallest width."""
    train = replace(case.train, n_embd=2, n_head=1, block_size=2, batch_size=1)
    contender = handgrad_contender(replace(case, train=train, vocab_size=2, tokens=2), shards=1)
    times = []
    with contender.around():
        for _ in range(100):
            begun = time.perf_counter()
            contender.run()
            times.append(time.perf_counter() - begun)
    contender.close()
    return statistics.median(times)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    cores = available_cores()
    for name in SIZES:
        case = case_of(name)
        alone = replace(handgrad_contender(case, shards=1, threads=1), name="one thread")
        one = replace(handgrad_contender(case, shards=1), name=f"one shard on {cores} threads")
        shared = replace(handgrad_contender(case), name=f"{cores} shards on {cores} threads")
        more = replace(handgrad_contender(case, shards=EIGHT), name=f"{EIGHT} shards on {cores} threads")
        contenders = [alone, one, shared, more]
        with ExitStack() as stack:
            for contender in contenders:
                stack.callback(contender.close)
            times = alternate(contenders, ROUNDS)
        single, python = times.median(alone.name), python_seconds(case)
        print(f"\n{name}: one thread {single * 1000:.0f} ms, of it Python {python * 1000:.1f} ms")
        for contender in contenders[1:]:
            print(f"  {contender.name}: {times.ratio(alone.name, contender.name):.2f} times as fast")
        print(f"  {EIGHT} shards take {times.ratio(more.name, shared.name):.2f} of the time of {cores}")
        gradients = 4 * case.make_model().n_parameters
        for count in (4, 8, 16):
            windows = -(-case.batch_size // count)
            used = -(-case.batch_size // windows)
            shared_out = (single - python) * windows / case.batch_size
            print(
                f"  {count} cores, counted: {used} shards of {windows} windows, {shared_out * 1000:.1f} ms each of "
                f"arithmetic; Python, one at a time, {used * python * 1000:.0f} ms in all; "
                f"{used * gradients / 2**20:.0f} MiB of gradients cleared, filled and summed"
            )


if __name__ == "__main__":
    main()
