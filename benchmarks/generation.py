"""The cost of generation: tokens per second, in turn with what each figure is compared with, medians over the rounds.

    python benchmarks/generation.py                 all of it, which takes some minutes
    python benchmarks/generation.py transformers    500 tokens of a small model, beside transformers with its cache
    python benchmarks/generation.py bandwidth       a token of gpt2's sizes, beside reading its weights from memory
    python benchmarks/generation.py batch           32 texts at once, beside one
    python benchmarks/generation.py prompt          the first token after a long prompt, beside its loss

Weights are random, and every token is the likeliest. All sides use all cores, in float32.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from handgrad import generation
from handgrad.autograd import no_grad
from handgrad.benchmarking import (
    Case,
    Contender,
    Times,
    alternate,
    case_of,
    handgrad_contender,
    has_torch,
    transformers_contender,
)
from handgrad.benchmarking.contenders import has_transformers, new_tokens
from handgrad.generation import generate
from handgrad.models import GPTConfig, LanguageModel
from handgrad.runs import PRESETS
from handgrad.system.arrays import Array
from handgrad.system.processor import available_cores
from handgrad.system.threads import Team

SMALL = Case(
    "4 layers, 4 heads, 128 wide, block 512",
    replace(PRESETS["gpt2"], n_layer=4, n_head=4, n_embd=128, block_size=512),
    vocab_size=65,
    tokens=512,
)
GPT2 = case_of("gpt2")
ROUNDS, ROUNDS_OF_GPT2 = 9, 5
TEXTS = 32
TOKENS_OF_A_BATCH = {SMALL.name: 500, GPT2.name: 16}
PROMPT = 1000
ARRAY_BYTES = 500_000_000


def bytes_read(config: GPTConfig) -> int:
    """Bytes of the float32 weights that one token needs: all but the tables, of which it looks up a row.

    A table that is also the output head is read whole.
    """
    positions = config.block_size if config.positions == "learned" else 0
    tables = positions + (0 if config.tie_weights else config.vocab_size)
    return 4 * (config.n_parameters - tables * config.n_embd)


def reading(size: int, team: Team) -> Contender:
    """All cores read an array of ``size`` bytes once, each a share of it: BLAS multiplies it by itself."""
    array = np.ones(size // 4, np.float32)
    shares = np.array_split(array, team.size)
    return Contender(
        "reading",
        lambda: float(sum(team.map(lambda share: np.dot(share, share), shares))),
        lambda: threadpool_limits(1, user_api="blas"),
    )


def one_text(model: LanguageModel, prompt: Sequence[int] | Array, tokens: int) -> Contender:
    """One text, as most people write it."""
    return Contender("one text", lambda: float(sum(generate(model, prompt, tokens, temperature=0))))


def texts_at_once(model: LanguageModel, prompts: list[list[int]], tokens: int) -> Contender | None:
    """All texts as one batch; None if this version of handgrad writes one text at a time."""
    write: Callable[..., Iterator[list[Any]]] | None = getattr(generation, "generate_texts", None)
    if write is None:
        return None

    def run() -> float:
        steps = write(model, prompts, tokens, seeds=list(range(len(prompts))), temperature=0)
        return float(sum(token.id for step in steps for token in step))

    return Contender(f"{len(prompts)} texts", run)


def timed(contenders: list[Contender], rounds: int) -> Times:
    """The times of the contenders in turn; a call takes long, so a turn is one."""
    with ExitStack() as stack:
        for contender in contenders:
            stack.callback(contender.close)
        return alternate(contenders, rounds, calls=1)


def beside_transformers(case: Case = SMALL, rounds: int = ROUNDS) -> None:
    """Prints the rates of both, and the ratio of the times."""
    tokens, ours = new_tokens(case), handgrad_contender(case, "generation")
    print(f"\n{case.name}: {tokens} tokens after the first")
    if not (has_torch() and has_transformers()):
        print("transformers is not installed, so handgrad is timed alone")
        print(f"  handgrad: {tokens / timed([ours], rounds).median(ours.name):,.0f} tokens/s")
        return
    theirs = transformers_contender(case)
    times = timed([ours, theirs], rounds)
    for name, seconds in times.medians().items():
        print(f"  {name}: {tokens / seconds:,.0f} tokens/s")
    same = "the same tokens" if times.apart(ours.name, theirs.name) == 0 else "other tokens"
    print(f"  handgrad's time ÷ transformers': {times.ratio(ours.name, theirs.name):.2f}, {same}")


def beside_bandwidth(case: Case = GPT2, rounds: int = ROUNDS_OF_GPT2, size: int = ARRAY_BYTES) -> None:
    """Prints the rate, and the rate at which the memory delivers the weights."""
    tokens, ours, weights = new_tokens(case), handgrad_contender(case, "generation"), bytes_read(case.model_config)
    with Team(available_cores()) as team:
        memory = reading(size, team)
        times = timed([ours, memory], rounds)
    bytes_per_second = size / times.median(memory.name)
    rate, most = tokens / times.median(ours.name), bytes_per_second / weights
    share = times.ratio(memory.name, ours.name) * weights * tokens / size
    print(f"\n{case.name}: {tokens} tokens after the first, beside reading {size / 1e6:,.0f} MB on all cores")
    print(
        f"  memory: {bytes_per_second / 1e9:.1f} GB/s, or {most:.1f} times a second {weights / 1e6:,.0f} MB of weights"
    )
    print(f"  handgrad: {rate:.1f} tokens/s, {share:.0%} of that")


def batch_beside_one(case: Case, tokens: int, rounds: int, texts: int = TEXTS) -> None:
    """Prints the rates of one text and of several at once."""
    model = case.make_model().eval()
    prompts = [[number % case.vocab_size] for number in range(texts)]
    one, several = one_text(model, prompts[0], tokens), texts_at_once(model, prompts, tokens)
    print(f"\n{case.name}: {tokens} tokens after the first, one text and {texts} at once")
    if several is None:
        print("  this version of handgrad writes one text at a time")
        return
    times = timed([one, several], rounds)
    print(f"  one: {tokens / times.median(one.name):,.1f} tokens/s")
    print(f"  {texts} at once: {texts * tokens / times.median(several.name):,.1f} tokens/s")
    print(f"  tokens/s of {texts} ÷ tokens/s of one: {texts * times.ratio(one.name, several.name):.1f}")


def first_token_beside_loss(case: Case = GPT2, rounds: int = ROUNDS_OF_GPT2, length: int = PROMPT) -> None:
    """Prints the time until the first token after a prompt, and the time of the loss of the same tokens."""
    model = case.make_model().eval()
    text = case.stream(length + 1)
    x, y = text[None, :-1], text[None, 1:]

    def loss() -> float:
        with no_grad():
            return model.loss(x, y)

    first, evaluation = one_text(model, text[:-1], 1), Contender("loss", loss)
    times = timed([first, evaluation], rounds)
    print(f"\n{case.name}: the first token after a prompt of {length:,}, beside the loss of these tokens")
    for name, seconds in (("first token", times.median(first.name)), ("loss", times.median(evaluation.name))):
        print(f"  {name}: {seconds * 1000:,.0f} ms")
    print(f"  first token ÷ loss: {times.ratio(first.name, evaluation.name):.2f}")


def batches() -> None:
    batch_beside_one(SMALL, TOKENS_OF_A_BATCH[SMALL.name], ROUNDS)
    batch_beside_one(GPT2, TOKENS_OF_A_BATCH[GPT2.name], ROUNDS_OF_GPT2)


PARTS: dict[str, Callable[[], None]] = {
    "transformers": beside_transformers,
    "bandwidth": beside_bandwidth,
    "batch": batches,
    "prompt": first_token_beside_loss,
}


def main() -> None:
    parser = argparse.ArgumentParser(description="times generation, in turn with what it is compared with")
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)}; all by default")
    chosen = parser.parse_args().parts or list(PARTS)
    if unknown := [name for name in chosen if name not in PARTS]:
        parser.error(f"unknown part {unknown[0]!r}; choose from {', '.join(PARTS)}")
    for name in chosen:
        PARTS[name]()


if __name__ == "__main__":
    main()
