"""Where texts begin and end: at the boundaries of documents, at given texts, and how much is held back meanwhile."""

from collections.abc import Iterator, Sequence

import pytest

from handgrad.generation import Start, pieces_of, start_of, write
from handgrad.generation.stopping import StopSearch
from handgrad.models import GPT, GPTConfig
from handgrad.system.errors import InputError
from handgrad.tokenizers import BPETokenizer, CharTokenizer

TOKENIZER = CharTokenizer("abc\n")  # <pad> <unk> <bos> <eos> \n a b c
EOS = 3


def model_of(follows: dict[int, int]) -> GPT:
    """A model whose likeliest token after token i is follows[i], wherever it stands."""
    model = GPT(GPTConfig(vocab_size=8, block_size=5, n_layer=1, n_head=1, n_embd=8, tie_weights=False, bias=False))
    for parameter in model.parameters():
        if parameter.role == "matrix":
            parameter.data = parameter.data * 0
    model.position_embedding.weight.data = model.position_embedding.weight.data * 0
    for before, after in follows.items():
        model.token_embedding.weight.data[before] = [8.0 * (i == before) for i in range(8)]
        model.head.weight.data[:, before] = [8.0 * (i == after) for i in range(8)]
    return model


LOOP = {EOS: 5, 5: 6, 6: 7, 7: EOS, 4: 5}  # <eos> a b c <eos>; a line break is followed by a


def greedy(start: Start, tokens: int = 20, **options: object) -> str:
    return "".join(pieces_of(model_of(LOOP), TOKENIZER, start, tokens, temperature=0, **options))  # type: ignore[arg-type]


def test_with_documents_a_text_begins_and_ends_at_a_boundary() -> None:
    start = start_of(TOKENIZER, documents=True)
    assert start == Start((EOS,), "", ends=(EOS,), excluded=(0, 1, 2))
    assert greedy(start) == "abc"
    assert greedy(start, tokens=2) == "ab"  # the number of tokens stays the limit
    assert write(model_of(LOOP), TOKENIZER, 20, temperature=0, start=start) == "abc"


def test_a_prompt_is_the_beginning_of_a_document() -> None:
    start = start_of(TOKENIZER, "b", documents=True)
    assert start.ids == (EOS, 6)
    assert greedy(start) == "bc"


def test_a_text_can_go_on_into_the_next_document() -> None:
    start = start_of(TOKENIZER, documents=True, until_end=False)
    assert greedy(start, tokens=6) == "abc<eos>ab"


def test_without_documents_a_text_begins_as_the_training_text_and_shows_it() -> None:
    start = start_of(TOKENIZER, begins=[6])
    assert start == Start((6,), "b", excluded=(0, 1, 2, 3))
    assert greedy(start, tokens=1) == "bc"
    assert start_of(TOKENIZER, "ca", begins=[6]) == Start((7, 5), "ca", excluded=(0, 1, 2, 3))


def test_a_run_that_does_not_say_what_its_text_begins_with_continues_a_line_break() -> None:
    start = start_of(TOKENIZER)
    assert (start.ids, start.shown) == ((4,), "")
    assert greedy(start, tokens=3) == "abc" == write(model_of(LOOP), TOKENIZER, 3, temperature=0)


def test_special_tokens_in_a_prompt_are_named_only_where_allowed() -> None:
    assert start_of(TOKENIZER, "<eos>b").ids == (1, 1, 1, 1, 1, 6)
    assert start_of(TOKENIZER, "<eos>b", allow_special=True).ids == (EOS, 6)
    assert start_of(TOKENIZER, "<eos>b", documents=True, allow_special=True).ids == (EOS, 6)  # one boundary, not two
    assert start_of(TOKENIZER, "<bos>", documents=True, allow_special=True).ids == (EOS, 2)


def test_documents_need_a_token_that_ends_them() -> None:
    class Endless(CharTokenizer):
        eos_id = None

    with pytest.raises(InputError, match="this char tokenizer has no token that ends a document, such as <eos>"):
        start_of(Endless("a"), documents=True)


def test_the_end_of_another_librarys_vocabulary_ends_a_document() -> None:
    gpt2 = BPETokenizer(special_tokens=["<|endoftext|>"])
    assert gpt2.eos_id == EOS  # <eos> comes first
    assert start_of(gpt2, documents=True).ends == (EOS,)


def until(pieces: Sequence[str], stops: Sequence[str]) -> Iterator[str]:
    """What becomes certain with each piece, and what waits until the end."""
    search = StopSearch(stops)
    for piece in pieces:
        yield search.add(piece)
        if search.found:
            return
    yield search.rest()


@pytest.mark.parametrize(
    ("pieces", "stops", "text"),
    [
        (["ab", "cd"], [], "abcd"),
        (["ab", "cd"], ["c"], "ab"),
        (["ab", "cd"], ["bc"], "a"),  # across two pieces
        (["a", "b", "x"], ["abc"], "abx"),  # only the beginning of a stop
        (["a", "b"], ["abc"], "ab"),
        (["aab"], ["ab"], "a"),
        (["abcabd"], ["abd"], "abc"),
        (["hello"], ["lo", "el"], "h"),  # the first place, whichever stop it is
        (["\n", "\n", "x"], ["\n\n"], ""),
        (["a"], [""], "a"),
        ([], ["a"], ""),
    ],
)
def test_a_text_ends_before_a_stop(pieces: list[str], stops: list[str], text: str) -> None:
    assert "".join(until(pieces, stops)) == text


def test_only_what_may_begin_a_stop_waits() -> None:
    assert list(until(["ab", "a", "cX"], ["acY"])) == ["ab", "", "acX", ""]


def test_what_waits_for_a_stop_that_never_comes_is_written_at_the_end() -> None:
    start = start_of(TOKENIZER, documents=True)
    assert greedy(start, stops=["cab", "bcb"]) == "abc"  # <eos> ends the text while bc waits
    assert greedy(start, tokens=2, stops=["abx"]) == "ab"


def test_a_stop_ends_the_text_and_spares_the_tokens_after_it() -> None:
    assert greedy(start_of(TOKENIZER, "a"), stops=["c"]) == "ab"
    assert greedy(start_of(TOKENIZER, "a"), stops=["bc", "c"]) == "a"
    assert greedy(start_of(TOKENIZER, "bc"), tokens=2, stops=["bc"]).startswith("bc")  # stops are for what is written
