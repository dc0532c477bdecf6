"""handgrad eval: measures how well a trained model predicts a text."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from handgrad.cli.arguments import parse
from handgrad.cli.console import compiling_is_said, counted, say, warn
from handgrad.cli.main import FAILED, OK
from handgrad.cli.progress import describe_bits
from handgrad.cli.terminal import show
from handgrad.data import count_unknown
from handgrad.data.token_files import why_not_lossless
from handgrad.ops.precision import Precision
from handgrad.runs import Run, open_run
from handgrad.system.arrays import Array
from handgrad.system.errors import InputError
from handgrad.system.files import read_text
from handgrad.system.processor import available_cores
from handgrad.system.threads import Team
from handgrad.training import bits_per_character, evaluate
from handgrad.training.evaluation import check_stride
from handgrad.training.replicas import cores_for


@dataclass
class Arguments:
    """Measure how well a trained model predicts a text: loss, perplexity and bits per character."""

    run: Annotated[tyro.conf.Positional[Path], tyro.conf.arg(metavar="RUN")]
    """The run's directory."""
    text: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A text file; the validation split of the run by default."""
    checkpoint: Annotated[str, tyro.conf.arg(metavar="NAME")] = "best"
    """best, last, or the name of a checkpoint."""
    stride: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """Tokens from the beginning of one window to the next, at most block_size, the default; fewer give more context."""
    precision: Precision | None = None
    """Precision of the matrix products; that of the run by default."""


def run(argv: list[str]) -> int:
    arguments = parse(Arguments, argv, "eval")
    the_run = open_run(arguments.run)
    block_size = the_run.model_config.block_size
    stride = block_size if arguments.stride is None else arguments.stride
    check_stride(stride, block_size)
    tokens, tokens_per_character, what, why_not = _tokens(the_run, arguments.text)
    if len(tokens) < 2:
        raise InputError(f"{what} has too few tokens, {len(tokens)}; at least 2 are needed, the second to be predicted")
    end = the_run.tokenizer().eos_id if the_run.config.boundaries == "respect" else None
    model, checkpoint = the_run.model(arguments.checkpoint, warn)
    model = model.in_precision(arguments.precision or model.config.precision)
    threads = available_cores()
    with compiling_is_said(), cores_for(threads), Team(threads) as team:
        loss = evaluate(model, tokens, team, end=end, stride=stride)
    if not math.isfinite(loss):
        say(f"handgrad: the loss of {checkpoint.name} on {what} is {loss}: its training diverged")
        return FAILED
    rows = {
        "text": what,
        "tokens": f"{len(tokens):,}, of which {count_unknown(the_run.tokenizer(), tokens):,} unknown",
        "window": f"{counted(block_size, 'token')}, a new one every {counted(stride, 'token')}",
        "checkpoint": checkpoint.name,
        "precision": model.config.precision,
        "loss": f"{loss:.4f} nats per token",
        "perplexity": f"{math.exp(min(loss, 700)):.4g} per token",
        "bits": why_not or describe_bits(bits_per_character(loss, tokens_per_character)),
    }
    for name, value in rows.items():
        show(f"{name:12}{value}")
    return OK


def _tokens(the_run: Run, text_file: Path | None) -> tuple[Array, float | None, str, str | None]:
    """The tokens to predict, their number per character, their source, and why there are no bits per character."""
    if text_file is None:
        data = the_run.data()
        data.check_ids(data.validation)
        what = f"the validation split of {data.meta.source}"
        return data.validation, data.targets_per_character(the_run.config.boundaries), what, data.why_no_bits
    text, tokenizer = read_text(text_file), the_run.tokenizer()
    respects = the_run.config.boundaries == "respect"
    lines = respects and the_run.documents == "lines"
    documents = [line for line in text.splitlines() if line.strip()] if lines else [text]
    encoded = [tokenizer.encode(document) for document in documents]
    lossless = all(tokenizer.decode(ids) == document for ids, document in zip(encoded, documents, strict=True))
    end = [] if tokenizer.eos_id is None else [tokenizer.eos_id]
    ids = np.concatenate([part for document in encoded for part in (document, end)][:-1]).astype(np.int32)
    if lossless:
        characters = sum(map(len, documents))
        return ids, (len(ids) + respects) / characters, str(text_file), None
    return ids, None, str(text_file), why_not_lossless(tokenizer, ids, "this text")
