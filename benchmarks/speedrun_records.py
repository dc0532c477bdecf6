"""Replays rungs of the speedrun with several seeds, and writes their records into the rungs' files.

    python benchmarks/speedrun_records.py nanogpt-cpu --text FILE                   every rung in its own precision
    python benchmarks/speedrun_records.py nanogpt-cpu --text FILE --rungs 3 12      some of them
    python benchmarks/speedrun_records.py nanogpt-cpu --text FILE --rungs 12 --precision float32

New records take the place of those of the same precision and processor. The machine should be quiet.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

from handgrad.system.processor import choose_blas_kernels

choose_blas_kernels()  # before NumPy is imported, as the command line does: other kernels give other bits

from handgrad.data import Corpus, TokenData, load_text
from handgrad.experiments.speedrun import (
    Record,
    Rung,
    Stopwatch,
    Track,
    check_is_the_text,
    read_rungs,
    replay,
    rung_called,
    track_called,
    trained_member,
    write_records,
)
from handgrad.runs import Run, TrainConfig
from handgrad.training import Reporter, compile_kernels


def trained(the_run: Run, data: TokenData) -> Stopwatch | None:
    compile_kernels(the_run)
    return trained_member(the_run, data, Reporter())


def recorded(track: Track, rung: Rung, config: TrainConfig, corpus: Corpus) -> Record:
    with tempfile.TemporaryDirectory(prefix="handgrad-") as directory:
        result = replay(track, rung, config, corpus, Path(directory) / "run", trained)
    assert result is not None  # nothing stops it
    return result.record


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("track")
    parser.add_argument("--text", type=Path, required=True)
    parser.add_argument("--rungs", nargs="+")
    parser.add_argument("--precision", choices=("float32", "bfloat16"))
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    track = track_called(arguments.track)
    corpus = load_text(arguments.text)
    check_is_the_text(corpus)
    rungs = read_rungs(track)
    for rung in [rung_called(rungs, name) for name in arguments.rungs] if arguments.rungs else rungs:
        config = replace(rung.config, precision=arguments.precision or rung.config.precision)
        records = []
        for seed in range(config.seed, config.seed + arguments.seeds):
            records.append(record := recorded(track, rung, replace(config, seed=seed), corpus))
            print(f"{rung}, {config.precision}, seed {seed}: {record.loss:.4f}, {record.seconds} s", flush=True)
        write_records(rung, records)


if __name__ == "__main__":
    main()
