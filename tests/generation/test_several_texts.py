"""Several texts that a model writes together: the same as each alone, and nothing is computed for those that ended."""

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import groupby
from typing import Any

import numpy as np
import pytest

from handgrad.generation import Piece, Start, Strategy, Token, generate, generate_texts, pieces_of, pieces_of_texts
from handgrad.generation.contexts import Contexts
from handgrad.models import GPT, GPTConfig
from handgrad.ops import log_softmax
from handgrad.system.arrays import Array
from handgrad.system.errors import InputError
from handgrad.tokenizers import BPETokenizer, CharTokenizer

CONFIG = GPTConfig(vocab_size=11, block_size=6, n_layer=2, n_head=2, n_embd=12, tie_weights=False)
PROMPTS = [[3], [1, 4, 1, 5, 9, 2, 6, 5], [7, 7], [10, 0, 2, 8, 4, 6], [5, 3, 9]]  # shorter and longer than a block
OPTIONS: list[dict[str, Any]] = [
    {},
    {"temperature": 0},
    {"temperature": 1.7, "top_k": 6, "top_p": 0.95, "min_p": 0.02, "repetition_penalty": 1.3, "exclude": [3, 8]},
    {"temperature": 0, "repetition_penalty": 1.5},
]


def gpt(dtype: type = np.float64, vocab_size: int = CONFIG.vocab_size) -> GPT:
    """A GPT with preferences of its own."""
    made = GPT(replace(CONFIG, vocab_size=vocab_size), dtype=dtype)
    rng = np.random.default_rng(6)
    for parameter in made.parameters():
        if parameter.ndim == 2:
            parameter.data = (rng.standard_normal(parameter.shape) * 0.6).astype(dtype)
    return made


@pytest.fixture
def rows_computed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of texts of each step, from now on."""
    seen: list[int] = []
    next_logits: Callable[[Contexts], Array] = Contexts.next_logits

    def watched(self: Contexts) -> Array:
        logits = next_logits(self)
        seen.append(len(logits))
        return logits

    monkeypatch.setattr(Contexts, "next_logits", watched)
    return seen


def by_text(steps: Sequence[Sequence[Token]], n_texts: int) -> list[list[int]]:
    return [[token.id for step in steps for token in step if token.text == text] for text in range(n_texts)]


# Tokens


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("cached", [True, False])
def test_each_text_is_what_it_would_be_alone(dtype: type, options: dict[str, Any], cached: bool) -> None:
    model = gpt(dtype)
    seeds = [4, [4, 1], 0, 9, [1, 2, 3]]
    steps = list(generate_texts(model, PROMPTS, 25, seeds=seeds, cached=cached, **options))
    assert [[token.text for token in step] for step in steps] == [[0, 1, 2, 3, 4]] * 25
    together = by_text(steps, 5)
    for prompt, seed, text in zip(PROMPTS, seeds, together, strict=True):
        assert text == list(generate(model, prompt, 25, seed=seed, cached=cached, **options))
    assert len({tuple(text) for text in together}) == 5 or options.get("temperature") == 0


def test_the_same_token_follows_from_the_logits_of_the_whole_model() -> None:
    """The reference: calls the model on one window at a time, and keeps no state but the text."""
    model, options = gpt(), OPTIONS[2]
    strategy = Strategy(**{name: value for name, value in options.items() if name != "exclude"})
    expected = []
    for prompt, seed in zip(PROMPTS, range(5), strict=True):
        text, rng = list(prompt), np.random.default_rng(seed)
        for _ in range(15):
            logits = model(np.array([text[-6:]]))[0, -1].copy()
            logits[options["exclude"]] = -np.inf
            text.append(strategy.choose(logits, rng, text))
        expected.append(text[len(prompt) :])
    assert by_text(list(generate_texts(model, PROMPTS, 15, **options)), 5) == expected


def test_the_penalty_is_for_the_whole_prompt_and_for_what_is_written() -> None:
    model = gpt()
    for parameter in model.parameters():
        parameter.data = parameter.data * 0  # whatever the text is, the logits are 1, 1.1 and so on up to 2
    model.norm.bias.data = np.eye(12)[0]
    model.head.weight.data = np.outer(np.linspace(1, 2, 11), np.eye(12)[0])
    prompt = [10, 9, *[0] * 8]  # 10 and 9, the likeliest, lie outside the window of 6
    assert list(generate(model, prompt, 3, temperature=0)) == [10, 10, 10]
    assert list(generate(model, prompt, 3, temperature=0, repetition_penalty=100.0)) == [8, 7, 6]
    # A token that ends a text is not part of it: documents begin with one, and would be longer than they should be.
    assert list(generate(model, prompt, 3, temperature=0, repetition_penalty=100.0, ends=[10])) == []
    # Ids that the model does not have end no text, and are no reason to fail.
    assert list(generate(model, prompt, 3, temperature=0, repetition_penalty=100.0, ends=[99, -1])) == [8, 7, 6]


def test_an_end_drops_a_text_and_is_not_written(rows_computed: list[int]) -> None:
    model, ends = gpt(), [2, 9]
    steps = list(generate_texts(model, PROMPTS, 40, temperature=2.0, repetition_penalty=1.1, ends=ends))
    together, computed = by_text(steps, 5), list(rows_computed)
    alone = [
        list(generate(model, prompt, 40, temperature=2.0, repetition_penalty=1.1, seed=seed, ends=ends))
        for seed, prompt in enumerate(PROMPTS)
    ]
    assert together == alone
    assert len({len(text) for text in together}) > 2  # they end at different steps
    assert not any(set(text) & set(ends) for text in together)
    # A text that has written n tokens was computed n times, and once more if an end followed.
    last = max(map(len, together))
    assert computed == [sum(len(text) >= step for text in together) for step in range(min(last + 1, 40))]
    for step in steps:
        assert [token.text for token in step] == sorted(token.text for token in step)


def test_texts_that_end_at_the_same_step_are_all_dropped(rows_computed: list[int]) -> None:
    model, prompts, seeds = gpt(), [[3], [7, 7], [3], [7, 7], [3]], [0, 1, 0, 1, 0]  # three equal texts, and two
    options: dict[str, Any] = {"temperature": 2.0, "ends": [9], "repetition_penalty": 1.2}
    together = by_text(list(generate_texts(model, prompts, 40, seeds=seeds, **options)), 5)
    computed = set(rows_computed)
    alone = [
        list(generate(model, prompt, 40, seed=seed, **options)) for prompt, seed in zip(prompts, seeds, strict=True)
    ]
    assert together == alone
    assert len(alone[0]) != len(alone[1])
    assert computed == {5, 3 if len(alone[0]) > len(alone[1]) else 2}


def test_a_text_that_its_reader_ends_is_computed_no_further(rows_computed: list[int]) -> None:
    model = gpt()
    steps = generate_texts(model, PROMPTS, 6, repetition_penalty=1.2)
    written = [next(steps)]
    steps.end(1)
    written.append(next(steps))
    steps.end(1)  # again: nothing happens
    steps.end(4)
    steps.end(0)
    written += steps
    assert rows_computed == [5, 4, 2, 2, 2, 2]
    alone = [list(generate(model, prompt, 6, repetition_penalty=1.2, seed=seed)) for seed, prompt in enumerate(PROMPTS)]
    kept = [2, 1, 6, 6, 2]
    assert by_text(written, 5) == [text[:length] for text, length in zip(alone, kept, strict=True)]
    last = generate_texts(model, PROMPTS[:2], 6)
    next(last)
    last.end(0)
    last.end(1)
    assert list(last) == []


def test_log_probabilities_are_the_models_own() -> None:
    model, options = gpt(), OPTIONS[2]
    steps = list(generate_texts(model, PROMPTS, 10, logprobs=True, **options))
    texts = [list(prompt) for prompt in PROMPTS]
    for step in steps:
        for token in step:
            logits = model(np.array([texts[token.text][-6:]]))[0, -1]
            assert token.logprob == pytest.approx(log_softmax(logits)[0][token.id], rel=1e-12)
            assert type(token.logprob) is float
            texts[token.text].append(token.id)
    plain = list(generate_texts(model, PROMPTS, 10, **options))
    assert all(math.isnan(token.logprob) for step in plain for token in step)
    assert by_text(plain, 5) == by_text(steps, 5)  # to ask for them changes nothing


def test_log_probabilities_of_a_float32_model_are_computed_in_float64() -> None:
    model = gpt(np.float32)
    [[token]] = generate_texts(model, [[3]], 1, logprobs=True)
    logits = model(np.array([[3]]))[0, -1].astype(np.float64)
    assert token.logprob == pytest.approx(log_softmax(logits)[0][token.id], rel=1e-6)
    assert np.float64(np.float32(token.logprob)) != token.logprob


def test_nothing_is_computed_before_the_first_step(rows_computed: list[int]) -> None:
    steps = generate_texts(gpt(), PROMPTS, 3)
    assert rows_computed == []
    next(steps)
    assert rows_computed == [5]
    assert list(generate_texts(gpt(), [], 3)) == []
    assert list(generate_texts(gpt(), PROMPTS, 0)) == []
    assert rows_computed == [5]


def test_every_text_has_one_seed_and_the_default_is_its_number() -> None:
    model = gpt()
    assert list(generate_texts(model, PROMPTS, 9)) == list(generate_texts(model, PROMPTS, 9, seeds=range(5)))
    with pytest.raises(ValueError, match="generate_texts: each of the 5 prompts needs a seed; there are 2"):
        generate_texts(model, PROMPTS, 9, seeds=[1, 2])


def test_impossible_prompts_are_refused_at_the_call() -> None:
    with pytest.raises(ValueError, match="generate_texts: prompt 1: at least one id is needed to continue from"):
        generate_texts(gpt(), [[1], []], 5)
    with pytest.raises(InputError, match=r"^generate_texts: prompt 0: ids must be integers$"):
        generate_texts(gpt(), [["a"], [1]], 5)  # type: ignore[list-item]
    with pytest.raises(InputError, match=r"^min_p must lie in \[0, 1\], not 2.0$"):
        generate_texts(gpt(), [[1]], 5, min_p=2.0)


# Characters

LETTERS = CharTokenizer("abcdefgh\n")  # with <pad> <unk> <bos> <eos> before them
EXCLUDED = (0, 1, 2)


def starts_of(*texts: str, ends: tuple[int, ...] = (3,)) -> list[Start]:
    return [Start(tuple(LETTERS.encode(text).tolist()), text, ends, EXCLUDED) for text in texts]


def joined(pieces: Sequence[Piece]) -> list[str]:
    texts = groupby(sorted(pieces, key=lambda piece: piece.text), key=lambda piece: piece.text)
    return ["".join(piece.characters for piece in of_one) for _, of_one in texts]


@pytest.mark.parametrize(
    "option",
    [{"temperature": 3.0}, {"top_k": 2}, {"top_p": 0.2}, {"min_p": 0.5}, {"repetition_penalty": 3.0}, {"seed": 4}],
)
def test_options_reach_the_tokens(option: dict[str, Any]) -> None:
    model, [start] = gpt(vocab_size=LETTERS.vocab_size), starts_of("ab")
    plain: dict[str, Any] = {"temperature": 1.5, "seed": 3}
    written = "".join(pieces_of(model, LETTERS, start, 30, **plain | option))
    ids = list(generate(model, start.ids, 30, exclude=start.excluded, ends=start.ends, **plain | option))
    assert written == "ab" + LETTERS.decode(ids)
    assert written != "".join(pieces_of(model, LETTERS, start, 30, **plain))
    seeds = {"seeds": [{**plain, **option}["seed"]]}
    options = {name: value for name, value in {**plain, **option, **seeds}.items() if name != "seed"}
    assert joined(list(pieces_of_texts(model, LETTERS, [start], 30, **options))) == [written]


@pytest.mark.parametrize("stops", [[], ["a"], ["ab", "hg", "c"], ["bbbbbbbb"]])
def test_texts_together_are_the_texts_alone(stops: list[str]) -> None:
    model = gpt(vocab_size=LETTERS.vocab_size)
    starts = starts_of("ab", "h", "cde\n", "dd")
    options: dict[str, Any] = {"stops": stops, "temperature": 1.5, "min_p": 0.01, "repetition_penalty": 0.9}
    pieces = list(pieces_of_texts(model, LETTERS, starts, 30, seeds=[5, 6, 7, 8], **options))
    alone = [list(pieces_of(model, LETTERS, start, 30, seed=5 + n, **options)) for n, start in enumerate(starts)]
    assert joined(pieces) == ["".join(text) for text in alone]
    assert len(set(map(len, joined(pieces)))) > 1
    assert [(piece.text, piece.characters) for piece in pieces[:4]] == [(0, "ab"), (1, "h"), (2, "cde\n"), (3, "dd")]
    for text in range(4):
        assert [piece.is_last for piece in pieces if piece.text == text] == [False] * len(alone[text][1:]) + [True]
        assert [piece.characters for piece in pieces if piece.text == text] == alone[text]


def test_a_text_that_meets_a_stop_is_computed_no_further(rows_computed: list[int]) -> None:
    model = gpt(vocab_size=LETTERS.vocab_size)
    starts = starts_of("ab", "h", "cd", ends=())
    pieces = list(pieces_of_texts(model, LETTERS, starts, 20, stops=["f"], temperature=4.0, logprobs=True))
    # The token of the stop is the last that was chosen, but it is not written.
    chosen = [[piece.token for piece in pieces if piece.text == text and piece.token is not None] for text in range(3)]
    lengths = [len(tokens) for tokens in chosen]
    stopped = [LETTERS.token(tokens[-1].id) == "f" for tokens in chosen]
    assert True in stopped
    assert len(set(lengths)) > 1
    assert rows_computed == [sum(length > step for length in lengths) for step in range(max(lengths))]
    assert not any("f" in text for text in joined(pieces))
    assert all(piece.token.logprob < 0 for piece in pieces if piece.token is not None)


def test_characters_of_several_tokens_wait_in_each_text_for_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = BPETokenizer()
    ids = [tokenizer.encode(text).tolist() for text in ("é漢", "aé🦓")]

    def written(*_: Any, **__: Any) -> Any:
        class Steps(list[list[Token]]):
            def end(self, text: int) -> None:
                pytest.fail("nothing ends")

        return Steps(
            [Token(text, numbers[n]) for text, numbers in enumerate(ids) if n < len(numbers)] for n in range(6)
        )

    monkeypatch.setattr("handgrad.generation.writing.generate_texts", written)
    start = Start((9,))
    pieces = list(pieces_of_texts(gpt(), tokenizer, [start, start], 6))
    assert [piece.characters for piece in pieces if piece.text == 0] == ["", "", "é", "", "", "漢", ""]
    # The second text is cut off in the middle of its last character.
    assert [piece.characters for piece in pieces if piece.text == 1] == [
        "",
        "a",
        "",
        "é",
        "",
        "",
        "",
        "\N{REPLACEMENT CHARACTER}",
    ]


def test_starts_that_end_in_different_ways_are_refused() -> None:
    starts = [*starts_of("a"), *starts_of("b", ends=())]
    with pytest.raises(
        ValueError, match="pieces_of_texts: the starts differ in what ends a text or in what is exclude"
    ):
        list(pieces_of_texts(gpt(), LETTERS, starts, 5))
