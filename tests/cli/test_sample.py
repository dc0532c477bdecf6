"""handgrad sample: several texts at once, each as if it were alone, and how likely the model finds its tokens."""

import ast
import math
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import TEXT, TINY, Output

from handgrad.cli import sample
from handgrad.cli.sample import one_after_another
from handgrad.data import Corpus, encode_corpus
from handgrad.generation import Piece, Token, generate_texts, pieces_of, start_of
from handgrad.runs import Run, create_run, open_run
from handgrad.tokenizers import CharTokenizer
from handgrad.training import compile_generation, train

Handgrad = Callable[..., Output]


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that has hardly learned: its texts are various. Its kernels are compiled first, as ``handgrad train`` does:
    with them a sample compiles nothing, and says nothing, whether other tests ran before or not.
    """
    data = encode_corpus(Corpus(TEXT, "test text"), CharTokenizer().train(TEXT))
    config = TINY.updated({"max_steps": 5, "n_layer": 1, "shards": 1}, "test")
    made = create_run(tmp_path_factory.mktemp("runs") / "run", config, data, None, 1, None)
    compile_generation(made)
    train(made, data)
    return made


def text_of(run: Run, number: int, tokens: int, prompt: str = "", **options: Any) -> str:
    """Sample ``number`` (from 0) with seed 0, written alone."""
    opened = open_run(run.path)
    model, _ = opened.model("best")
    start = start_of(opened.tokenizer(), prompt, begins=opened.begins)
    return "".join(pieces_of(model, opened.tokenizer(), start, tokens, seed=[0, number], **options))


def samples_in(printed: str) -> list[str]:
    """The texts between the headings, which are numbered from 1."""
    parts = re.split(r"^--- sample (\d+) ---\n", printed, flags=re.M)
    assert parts[0] == ""
    assert parts[1::2] == [str(number + 1) for number in range(len(parts) // 2)]
    return [part.removesuffix("\n") for part in parts[2::2]]


def test_each_of_many_samples_is_what_it_would_be_alone(handgrad: Handgrad, run: Run) -> None:
    done = handgrad("sample", run.path, "--samples", 35, "--tokens", 12)  # more than are written together
    assert done.err == ""
    texts = samples_in(done.out)
    assert len(texts) == 35
    for number in (0, 1, 31, 32, 34):
        assert texts[number] == text_of(run, number, 12)
    assert len(set(texts)) == 35
    assert handgrad("sample", run.path, "--tokens", 12).out == texts[0] + "\n"


def test_prompts_of_different_lengths_have_a_text_each(handgrad: Handgrad, run: Run) -> None:
    prompts = ("the quick brown fox", "z", "jumps ")
    flags = [word for prompt in prompts for word in ("--prompt", prompt)]
    texts = samples_in(handgrad("sample", run.path, *flags, "--tokens", 15, "--samples", 2).out)
    expected = [text_of(run, number, 15, prompt) for prompt in prompts for number in (0, 1)]
    assert texts == expected
    alone = handgrad("sample", run.path, "--prompt", prompts[2], "--tokens", 15)
    assert alone.out == expected[4] + "\n"  # the same whatever other prompts there are
    unknown = handgrad("sample", run.path, "--prompt", "aΩ", "--prompt", "漢", "--tokens", 2)
    assert unknown.err == "handgrad: warning: the vocabulary lacks 'Ω', '漢'; the model sees <unk> instead\n"


@pytest.mark.parametrize(
    ("flags", "options"),
    [
        (("--min-p", 0.5), {"min_p": 0.5}),
        (("--repetition-penalty", 3), {"repetition_penalty": 3.0}),
        (("--repetition-penalty", 0.5, "--temperature", 0), {"repetition_penalty": 0.5, "temperature": 0.0}),
        (
            ("--temperature", 2, "--top-k", 20, "--top-p", 0.9, "--min-p", 0.1, "--repetition-penalty", 1.2),
            {"temperature": 2.0, "top_k": 20, "top_p": 0.9, "min_p": 0.1, "repetition_penalty": 1.2},
        ),
        (("--stop", "e", "--stop", "th"), {"stops": ["e", "th"]}),
    ],
)
def test_options_reach_the_model(
    handgrad: Handgrad, run: Run, flags: tuple[object, ...], options: dict[str, Any]
) -> None:
    texts = samples_in(handgrad("sample", run.path, "--tokens", 40, "--samples", 2, *flags).out)
    assert texts == [text_of(run, number, 40, **options) for number in (0, 1)]
    assert texts[0] != text_of(run, 0, 40)


def test_log_probabilities_are_printed_token_by_token(handgrad: Handgrad, run: Run) -> None:
    done = handgrad("sample", run.path, "--logprobs", "--tokens", 25, "--samples", 2, "--temperature", 1.5)
    opened = open_run(run.path)
    start, tokenizer = start_of(opened.tokenizer(), begins=opened.begins), opened.tokenizer()
    steps = generate_texts(
        *(opened.model("best")[0], [start.ids] * 2, 25),
        temperature=1.5,
        seeds=[[0, 0], [0, 1]],
        exclude=start.excluded,
        logprobs=True,
    )
    tokens = [token for step in steps for token in step]
    for number, printed in enumerate(samples_in(done.out)):
        *lines, mean = printed.split("\n")
        mine = [token for token in tokens if token.text == number]
        assert len(lines) == 25
        for line, token in zip(lines, mine, strict=True):
            logprob, probability, shown = line.split(maxsplit=2)
            assert float(logprob) == pytest.approx(token.logprob, abs=5.1e-5)
            assert float(probability.removesuffix("%")) == pytest.approx(100 * math.exp(token.logprob), abs=5.1e-4)
            assert ast.literal_eval(shown) == tokenizer.decode([token.id])
        average = sum(token.logprob for token in mine) / 25
        assert mean == f"mean log-probability {average:.4f}, perplexity {math.exp(-average):.4g}, 25 tokens"
    assert (done.code, done.err) == (0, "")


def test_a_token_of_some_bytes_or_of_escape_codes_is_printable(capsys: pytest.CaptureFixture[str]) -> None:
    tokenizer = CharTokenizer("\x1b\u202e\n é", byte_fallback=True)
    ids = [*tokenizer.encode("\x1b\u202e\n é").tolist(), *tokenizer.encode("漢").tolist()]
    pieces = [Piece(0, "x"), *(Piece(0, "", Token(0, number, -1e4)) for number in ids), Piece(0, "", is_last=True)]
    assert sample._show_logprobs(pieces, tokenizer) == 8
    *lines, mean = capsys.readouterr().out.splitlines()
    shown = [line.split("%  ")[1] for line in lines]
    assert shown == [r"'\x1b'", r"'\u202e'", r"'\n'", "' '", "'é'", "'<E6>'", "'<BC>'", "'<A2>'"]
    assert lines[0] == r"-10000.0000    0.000%  '\x1b'"
    assert mean == "mean log-probability -10000.0000, perplexity 1.014e+304, 8 tokens"
    assert sample._show_logprobs([Piece(0, "x", is_last=True)], tokenizer) == 0  # a text without tokens has no mean
    assert capsys.readouterr().out == ""


def test_the_first_text_is_shown_as_it_is_written_and_the_others_in_their_turn() -> None:
    given: list[Piece] = []

    def written() -> Any:
        order = ((0, "a", 0), (1, "b", 0), (2, "c", 0), (1, "d", 1), (0, "e", 0), (2, "f", 0), (0, "g", 1), (2, "h", 1))
        for text, characters, is_last in order:
            given.append(Piece(text, characters, is_last=bool(is_last)))
            yield given[-1]

    shown = [(piece.characters, len(given)) for piece in one_after_another(written())]
    # Each with the number of pieces that had been written when it was shown.
    assert shown == [("a", 1), ("e", 5), ("g", 7), ("b", 7), ("d", 7), ("c", 7), ("f", 7), ("h", 8)]


def test_who_watches_a_long_text_is_told_how_fast_it_was(
    handgrad: Handgrad, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = ("sample", run.path, "--tokens", 7, "--samples", 3)
    plain = handgrad(*arguments)
    monkeypatch.setattr(sample, "_LONG", 0.0)
    in_a_pipe = handgrad(*arguments)
    assert (in_a_pipe.out, in_a_pipe.err) == (plain.out, "")
    monkeypatch.setattr(sample, "is_terminal", lambda stream: stream is sys.stderr)
    watched = handgrad(*arguments)
    assert watched.out == plain.out
    assert re.fullmatch(r"handgrad: 21 tokens in \d+\.\d s, [\d,]+ tokens per second\n", watched.err)
    monkeypatch.setattr(sample, "_LONG", 1e9)
    assert handgrad(*arguments).err == ""


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (("--min-p", "1.5"), "min_p must lie in [0, 1], not 1.5"),
        (("--min-p", "x"), "sample: --min-p must be a number, not 'x'; see handgrad sample --help"),
        (("--repetition-penalty", "0"), "repetition_penalty must be a finite number above 0, not 0.0"),
        (("--repetition-penalty", "nan"), "repetition_penalty must be a finite number above 0, not nan"),
        (("--repeat-penalty", "1.1"), "sample: unknown flag --repeat-penalty; did you mean --repetition-penalty?"),
        (("--stop-strings", "x"), "sample: unknown flag --stop-strings; did you mean --stop?"),
        (("--log-probs",), "sample: unknown flag --log-probs; did you mean --logprobs?"),
    ],
)
def test_values_that_cannot_be_are_refused_before_the_run_is_read(
    handgrad: Handgrad, tmp_path: Path, flags: tuple[str, ...], says: str
) -> None:
    refused = handgrad("sample", tmp_path / "missing", *flags)
    assert (refused.code, refused.out, refused.err) == (2, "", f"handgrad: {says}\n")
