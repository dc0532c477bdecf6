"""nanoGPT's recipes for tiny Shakespeare in PyTorch, beside the rungs of handgrad's speedrun.

    python benchmarks/speedrun.py nanogpt-cpu --text FILE           steps of all sides in turn, in both precisions
    python benchmarks/speedrun.py nanogpt-gpu --text FILE           the same for the recipe for a GPU, few steps of each
    python benchmarks/speedrun.py nanogpt-cpu --whole --text FILE   the whole recipe in PyTorch: its time and its loss

FILE is tiny Shakespeare. Every side trains its own model on its own batches from it, as ``handgrad speedrun`` does. The
time of a whole recipe is the median time of a step × its steps, except with --whole, which makes all steps.

PyTorch's side is our model in PyTorch. nanoGPT's own has the exact GELU, no biases in its norms and four tokens fewer.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from handgrad.system.processor import choose_blas_kernels

choose_blas_kernels()  # before NumPy is imported, as the command line does

from handgrad.benchmarking import Case, Contender, alternate, machine, pytorch_contender, pytorch_contenders
from handgrad.benchmarking.contenders import BF16, EAGER, OURS, closing, why_no_bfloat16
from handgrad.data import Corpus, TokenData, encode_corpus, load_text, random_batch, sequential_batches
from handgrad.data.batches import Batch
from handgrad.experiments.speedrun import Rung, Track, check_is_the_text, read_rungs, track_called
from handgrad.models import new_model
from handgrad.ops.precision import Precision
from handgrad.runs import TrainConfig, choose_shards
from handgrad.system.errors import InputError
from handgrad.system.files import write_json
from handgrad.tokenizers import CharTokenizer
from handgrad.training.evaluation import windows_per_batch
from handgrad.training.replicas import cores_for
from handgrad.training.step import Stepper, batch_generator

ROUNDS = {"nanogpt-cpu": 9, "nanogpt-gpu": 2}
STEPS_OF_A_TURN = {"nanogpt-cpu": None, "nanogpt-gpu": 1}


@dataclass(frozen=True)
class Recipe(Case):
    """A case whose batches are those that training draws from a text."""

    data: TokenData

    def batch(self, step: int) -> Batch:
        rng = batch_generator(self.train.seed, step)
        return random_batch(self.data.train, self.batch_size, self.tokens, rng)


@dataclass(frozen=True)
class Timed:
    """One side's steps."""

    name: str
    seconds: tuple[float, ...]
    """Of a step, one number for each round."""
    median: float
    steps: int
    """Of the whole recipe."""
    whole: float
    """Seconds of the whole recipe, extrapolated: the median × the steps."""
    ratio: float
    """The whole recipe of PyTorch, eager, in float32 ÷ this one, the median over the rounds."""


@dataclass(frozen=True)
class Trained:
    """A recipe that PyTorch has trained."""

    seed: int
    losses: tuple[float, ...]
    """Of each step's batch, before its update."""
    seconds: float
    """Of all steps, without the evaluation."""
    loss: float
    """Nats per character over the whole validation split."""


def recipe_of(track: Track, corpus: Corpus, seed: int) -> Recipe:
    """nanoGPT's recipe, which the track is named after: the first rung of its ladder."""
    data = encode_corpus(corpus, CharTokenizer().train(corpus.split()[0]))
    return recipe_with(replace(read_rungs(track)[0].config, seed=seed), data)


def recipe_with(train: TrainConfig, data: TokenData) -> Recipe:
    return Recipe("nanoGPT's recipe", train, data.tokenizer.vocab_size, train.block_size, data)


def rungs_beside(track: Track) -> tuple[Rung, ...]:
    """Those that are timed beside PyTorch: the record, and the first rung if its steps are short."""
    rungs = read_rungs(track)
    return (*rungs[:1], *rungs[1:][-1:]) if track.name == "nanogpt-cpu" else rungs[-1:]


def rung_contender(rung: Rung, data: TokenData, seed: int, precision: Precision) -> Contender:
    """A step of a rung, as a run of it makes it. Of a rung that averages several models, a step of one of them."""
    config = replace(rung.config, seed=seed, precision=precision)
    model = new_model(config.model_config(data.tokenizer.vocab_size), seed=seed).train()
    optimizer = config.make_optimizer(model.decay_groups(config.weight_decay))
    average = config.make_average(model.arena.data)
    if average is not None:
        average.start()
    shards = choose_shards(config.shards, config.batch_size)
    checks = data.check_content()[0].check_windows
    stepper = Stepper(config, shards, data, model, optimizer, checks, average)
    schedule = config.make_schedule()
    step = 0

    def train() -> float:
        nonlocal step
        loss, grad_norm, _ = stepper.gradient(step)
        stepper.update(schedule(step), grad_norm, step)
        step += 1
        return loss

    name = f"{OURS}, {rung}{BF16 if precision == 'bfloat16' else ''}"
    return Contender(name, train, lambda: cores_for(shards), close=stepper.close)


def time_in_turn(
    recipe: Recipe,
    rungs: Iterable[Rung],
    *,
    rounds: int,
    steps: int | None,
    compiled: bool,
    say: Callable[[str], None],
) -> list[Timed]:
    """PyTorch's steps of the recipe, and ours of the rungs. ``steps``: how many are timed in a turn; None for as many
    as fit into a quarter of a second.

    Raises InputError if PyTorch is not installed.
    """
    theirs = pytorch_contenders(recipe, "training", compiled, True, say)
    lengths = {contender.name: recipe.train.max_steps for contender in theirs}
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    if (why := why_no_bfloat16()) is not None:
        say(f"{OURS}{BF16} is left out, because {why}")
        precisions = ("float32",)
    ours = []
    for rung in rungs:
        for precision in precisions:
            ours.append(contender := rung_contender(rung, recipe.data, recipe.train.seed, precision))
            lengths[contender.name] = rung.config.max_steps * rung.members
    with closing([*theirs, *ours]) as contenders:
        times = alternate(contenders, rounds, steps, say)
    return [
        Timed(
            name,
            tuple(times.seconds[name]),
            times.median(name),
            length,
            times.median(name) * length,
            times.ratio(EAGER, name) * lengths[EAGER] / length,
        )
        for name, length in lengths.items()
    ]


def train_in_pytorch(recipe: Recipe, steps: int | None = None) -> Trained:
    """Trains the recipe in PyTorch, eager, in float32, and evaluates it; ``steps``: only the first of them.

    Raises InputError if PyTorch is not installed.
    """
    contender = pytorch_contender(recipe)
    begun = time.perf_counter()
    losses = tuple(contender.run() for _ in range(steps or recipe.train.max_steps))
    seconds = time.perf_counter() - begun
    return Trained(recipe.train.seed, losses, seconds, loss_in_pytorch(contender.model, recipe.data))


def loss_in_pytorch(model: Any, data: TokenData) -> float:
    """The mean loss over the validation split: all tokens but the first, windows of block_size that do not overlap."""
    import torch

    block_size, total = model.config.block_size, 0.0
    model.eval()
    with torch.no_grad():
        for x, y in sequential_batches(data.validation, windows_per_batch(block_size), block_size):
            total += float(model.loss(torch.from_numpy(x), torch.from_numpy(y))) * y.size
    return total / (len(data.validation) - 1)


def print_times(track: Track, timed: list[Timed]) -> None:
    wide = max(len(one.name) for one in timed)
    print(f"\n{'':{wide}}  ms a step   steps   ms a step × steps   PyTorch eager's ÷ this")
    for one in timed:
        print(f"{one.name:{wide}}  {one.median * 1000:9,.1f}  {one.steps:6,}  {one.whole:15,.1f} s  {one.ratio:20.2f}")
    print("\nwhole recipes are extrapolated from the median step, and leave out evaluations")
    if track.name == "nanogpt-gpu":
        print(
            f"nanoGPT states {track.target} as the best loss of its run, and does not say at which step: "
            "at the last one or before"
        )


def print_trained(recipe: Recipe, trained: Trained) -> None:
    of = recipe.train.max_steps
    made = f"all {of:,} steps" if len(trained.losses) == of else f"the first {len(trained.losses):,} of {of:,} steps"
    print(f"{EAGER}, float32, seed {trained.seed}: {made} in {trained.seconds:,.1f} s, without the evaluation")
    print(f"{trained.loss:.4f} nats per character over the whole validation split")


def run(arguments: argparse.Namespace) -> None:
    """Raises InputError for what cannot be measured."""
    track = track_called(arguments.track)
    if arguments.whole and track.name != "nanogpt-cpu":
        raise InputError(f"--whole is for nanogpt-cpu, not {track.name}, which takes PyTorch hours on a CPU")
    for name in ("rounds", "steps"):
        if (given := getattr(arguments, name)) is not None and given < 1:
            raise InputError(f"--{name} must be at least 1, not {given}")
    if arguments.seed < 0:
        raise InputError(f"--seed must be at least 0, not {arguments.seed}")
    if arguments.json is not None and not arguments.json.absolute().parent.is_dir():
        raise InputError(f"{arguments.json}: there is no directory {arguments.json.absolute().parent}")
    corpus = load_text(arguments.text)
    check_is_the_text(corpus)
    recipe = recipe_of(track, corpus, arguments.seed)
    found: dict[str, Any]
    if arguments.whole:
        if (arguments.steps or 0) > recipe.train.max_steps:
            raise InputError(f"--steps must be at most {recipe.train.max_steps}, not {arguments.steps}")
        trained = train_in_pytorch(recipe, arguments.steps)
        print_trained(recipe, trained)
        found = {"trained": asdict(trained)}
    else:
        timed = time_in_turn(
            recipe,
            rungs_beside(track),
            rounds=arguments.rounds or ROUNDS[track.name],
            steps=arguments.steps or STEPS_OF_A_TURN[track.name],
            compiled=track.name == "nanogpt-cpu" if arguments.compiled is None else arguments.compiled,
            say=print,
        )
        print_times(track, timed)
        found = {"seed": arguments.seed, "timed": [asdict(one) for one in timed]}
    if arguments.json is not None:
        format_ = {"format": "handgrad-speedrun-benchmark", "version": 1}
        write_json(arguments.json, {**format_, "machine": machine(), "track": track.name, **found})


def main() -> None:
    parser = argparse.ArgumentParser(description="times nanoGPT's recipes in PyTorch beside handgrad's speedrun")
    parser.add_argument("track", choices=list(ROUNDS))
    parser.add_argument("--text", type=Path, required=True, metavar="FILE", help="the file of tiny Shakespeare")
    parser.add_argument("--whole", action="store_true", help="train the whole recipe in PyTorch instead")
    parser.add_argument("--seed", type=int, default=TrainConfig().seed, help="of the weights and the batches")
    parser.add_argument("--rounds", type=int, help="9 for nanogpt-cpu and 2 for nanogpt-gpu by default")
    parser.add_argument("--steps", type=int, help="timed steps of a turn; with --whole, train only the first ones")
    parser.add_argument(
        "--compiled",
        action=argparse.BooleanOptionalAction,
        help="time PyTorch compiled too; for nanogpt-cpu the default",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures, and the machine, to a file")
    try:
        run(parser.parse_args())
    except InputError as error:
        print(f"speedrun: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
