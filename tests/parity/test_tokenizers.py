"""Byte-pair encoding compared with the ``tokenizers`` library and ``tiktoken``: the same pieces, merges, ids, files."""

import base64
import json
import os
import random
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from support import SHAKESPEARE, TEXT

from handgrad.system import backend_setting
from handgrad.system.errors import InputError
from handgrad.tokenizers import BPETokenizer
from handgrad.tokenizers.splitting import splitter

try:
    import tiktoken
    import tiktoken.load
    import tokenizers as theirs
    from tokenizers import models, pre_tokenizers, trainers
except ImportError:
    if os.environ.get("HANDGRAD_REQUIRE_TORCH") == "1":
        raise
    pytest.skip("tokenizers or tiktoken is not installed: nothing to compare with", allow_module_level=True)

# The splitting pattern of cl100k_base, as its tokenizer.json writes it.
GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MULTILINGUAL = "Größe, naïve – it's 3,14; 日本語と한국어، عربي १२३ 👩‍💻's\r\n\tok  \n"


def pre_tokenizer(pattern: str) -> Any:
    if pattern != "gpt4":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=pattern == "gpt2")
    split = pre_tokenizers.Split(theirs.Regex(GPT4), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def assigned_in_unicode_14() -> list[str]:
    """All characters of Unicode 14. Libraries and Python versions disagree on those added later."""
    if unicodedata.unidata_version != "14.0.0":
        pytest.skip(f"this Python knows Unicode {unicodedata.unidata_version}, not 14")
    assigned = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
    assert len(assigned) > 280_000
    return assigned


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4"])
def test_every_code_point_that_this_unicode_assigns_is_cut_alike(pattern: str) -> None:
    ours, library = splitter(pattern), pre_tokenizer(pattern)
    assigned = assigned_in_unicode_14()
    for start in range(0, len(assigned), 500):
        text = "".join(f"a{c}b1{c}2 {c} {c}{c}!{c}\n" for c in assigned[start : start + 500])
        assert ours(text) == [text[first:last] for _, (first, last) in library.pre_tokenize_str(text)]


def trained(lines: list[str], before: Any, every_byte: bool = True, **options: Any) -> Any:
    """A tokenizer trained by the library."""
    library = theirs.Tokenizer(models.BPE(unk_token=options.pop("unk_token", None)))
    library.pre_tokenizer = before
    alphabet = pre_tokenizers.ByteLevel.alphabet() if every_byte else []
    library.train_from_iterator(
        lines, trainers.BpeTrainer(min_frequency=2, initial_alphabet=alphabet, show_progress=False, **options)
    )
    return library


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4"])
@pytest.mark.parametrize("which", ["small", "multilingual", "shakespeare"])
def test_the_same_merges_and_ids(pattern: str, which: str) -> None:
    if which == "shakespeare" and not SHAKESPEARE.is_file():
        pytest.skip(f"tiny Shakespeare is not at {SHAKESPEARE}")
    text = {"small": TEXT, "multilingual": MULTILINGUAL * 30}.get(which) or Path(SHAKESPEARE).read_text("utf-8")
    size = 8192 if which == "shakespeare" else 400
    lines = text.splitlines(keepends=True)
    library = trained(lines, pre_tokenizer(pattern), vocab_size=size)
    ours = BPETokenizer(max_vocab_size=size + 4, pattern=pattern).train(lines)

    merges = [tuple(merge) for merge in json.loads(library.to_str())["model"]["merges"]]
    assert [tuple(merge.split(" ")) for merge in ours._content()["merges"]] == merges
    # Their ids start with the bytes, ours with the four special tokens.
    assert (ours.encode(text) - 4).tolist() == library.encode(text).ids
    assert (ours.encode(MULTILINGUAL) - 4).tolist() == library.encode(MULTILINGUAL).ids


TEXTS = [
    "",
    " ",
    "  two  spaces",
    "\nline\r\n",
    TEXT,
    MULTILINGUAL,
    "unseen \0 \x1c\u3000 \U0010ffff e\u0301 ſ's 'ſ 12345",
    "a<eos>b <user><pad> <user",
    "ab" * 3000,
]


def rendered(assigned: list[str]) -> list[str]:
    return ["".join(f"a{c}1{c} {c}" for c in assigned[i : i + 500]) for i in range(0, len(assigned), 500)]


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4", "none"])
def test_the_library_reads_our_file_and_gives_the_same_ids(
    pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = BPETokenizer(max_vocab_size=500, pattern=pattern, special_tokens=["<user>"]).train([TEXT, MULTILINGUAL * 9])
    ours.to_huggingface(tmp_path / "tokenizer.json")
    library = theirs.Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert library.get_vocab_size() == ours.vocab_size
    for wanted in ("numpy", "numba"):
        monkeypatch.setattr(backend_setting, "_forced", wanted)
        for text in [*TEXTS, *rendered(assigned_in_unicode_14()[::20])]:
            # By default the library gives special tokens in a text their own ids.
            library.encode_special_tokens = False
            assert ours.encode(text, allow_special=True).tolist() == library.encode(text).ids
            library.encode_special_tokens = True
            ids = ours.encode(text)
            assert ids.tolist() == library.encode(text).ids
            assert library.decode(ids.tolist(), skip_special_tokens=False) == text == ours.decode(ids)


SPECIAL = ["<s>", "<unk>", "<user>"]


@pytest.mark.parametrize(
    ("before", "options"),
    [
        (pre_tokenizer("gpt2"), {"special_tokens": SPECIAL}),
        (pre_tokenizer("gpt4"), {"special_tokens": SPECIAL}),
        (pre_tokenizer("none"), {"special_tokens": SPECIAL}),
        (pre_tokenizers.ByteLevel(), {}),  # which puts a space before the text
        (pre_tokenizers.ByteLevel(), {"special_tokens": SPECIAL, "every_byte": False}),
        (pre_tokenizer("gpt2"), {"special_tokens": SPECIAL, "every_byte": False, "unk_token": "<unk>"}),
        (pre_tokenizer("gpt4"), {"limit_alphabet": 20, "every_byte": False}),
        (pre_tokenizer("gpt2"), {"max_token_length": 4}),
    ],
)
def test_we_read_the_librarys_file_and_give_the_same_ids(
    before: Any, options: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = trained([TEXT, MULTILINGUAL * 9], before, vocab_size=450, **options)
    library.save(str(tmp_path / "tokenizer.json"))
    ours = BPETokenizer.from_huggingface(tmp_path / "tokenizer.json")
    assert ours.vocab_size == library.get_vocab_size()
    characters = rendered(assigned_in_unicode_14()[::20])
    for wanted in ("numpy", "numba"):
        monkeypatch.setattr(backend_setting, "_forced", wanted)
        for text in [*TEXTS, "<s>hello<user> <user>x", *characters]:
            assert ours.encode(text, allow_special=True).tolist() == library.encode(text).ids
    if options.get("every_byte", True):
        assert ours.decode(ours.encode(MULTILINGUAL)).removeprefix(" ") == MULTILINGUAL


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4"])
def test_the_same_ids_on_every_code_point(pattern: str, tmp_path: Path) -> None:
    characters = rendered(assigned_in_unicode_14())
    library = trained([*characters[:40], MULTILINGUAL * 9], pre_tokenizer(pattern), vocab_size=900)
    library.save(str(tmp_path / "theirs.json"))
    read = BPETokenizer.from_huggingface(tmp_path / "theirs.json")
    ours = BPETokenizer(max_vocab_size=900, pattern=pattern).train([*characters[:40], MULTILINGUAL * 9])
    ours.to_huggingface(tmp_path / "ours.json")
    reads_ours = theirs.Tokenizer.from_file(str(tmp_path / "ours.json"))
    for text in characters:
        assert read.encode(text).tolist() == library.encode(text).ids
        assert ours.encode(text).tolist() == reads_ours.encode(text).ids


def test_gpt2s_two_files_in_both_directions(tmp_path: Path) -> None:
    library = trained([TEXT, MULTILINGUAL * 9], pre_tokenizer("gpt2"), vocab_size=450, special_tokens=["<|endoftext|>"])
    library.model.save(str(tmp_path))
    ours = BPETokenizer.from_vocab_and_merges(tmp_path / "vocab.json", tmp_path / "merges.txt")
    assert ours.special_tokens == {"<|endoftext|>": 0}
    assert ours.eos_id == 0
    (tmp_path / "again").mkdir()
    ours.to_vocab_and_merges(tmp_path / "again")
    again = theirs.Tokenizer(
        models.BPE.from_file(str(tmp_path / "again/vocab.json"), str(tmp_path / "again/merges.txt"))
    )
    again.pre_tokenizer = pre_tokenizer("gpt2")
    for text in TEXTS:
        assert ours.encode(text).tolist() == library.encode(text).ids == again.encode(text).ids


GPT2 = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"


@pytest.mark.parametrize(("pattern", "expression"), [("gpt2", GPT2), ("gpt4", GPT4)])
def test_tiktoken_in_both_directions(pattern: str, expression: str, tmp_path: Path) -> None:
    ours = BPETokenizer(max_vocab_size=700, pattern=pattern).train([TEXT, MULTILINGUAL * 9])
    ours.to_tiktoken(tmp_path / "ranks.tiktoken")
    ranks = tiktoken.load.load_tiktoken_bpe(str(tmp_path / "ranks.tiktoken"))
    encoding = tiktoken.Encoding("ours", pat_str=expression, mergeable_ranks=ranks, special_tokens=ours.special_tokens)
    loaded = BPETokenizer.from_tiktoken(
        tmp_path / "ranks.tiktoken", pattern=pattern, special_tokens=ours.special_tokens
    )
    for text in TEXTS:
        ids = encoding.encode(text, disallowed_special=())
        assert ours.encode(text).tolist() == loaded.encode(text).tolist() == ids
        allowed = encoding.encode(text, allowed_special="all")
        assert ours.encode(text, allow_special=True).tolist() == loaded.encode(text, allow_special=True).tolist()
        assert loaded.encode(text, allow_special=True).tolist() == allowed


def test_ranks_of_any_kind_give_tiktokens_ids(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = random.Random(0)
    for _ in range(30):
        parts = {bytes(rng.choices(b"abc", k=rng.randrange(2, 6))) for _ in range(30)}
        shuffled = rng.sample(sorted(parts), len(parts))
        ranks = {bytes([byte]): byte for byte in range(256)} | {part: 256 + i for i, part in enumerate(shuffled)}
        encoding = tiktoken.Encoding("any", pat_str=GPT2, mergeable_ranks=ranks, special_tokens={})
        lines = [f"{base64.b64encode(part).decode()} {rank}\n" for part, rank in ranks.items()]
        (tmp_path / "ranks.tiktoken").write_text("".join(lines))
        ours = BPETokenizer.from_tiktoken(tmp_path / "ranks.tiktoken", pattern="gpt2")
        for wanted in ("numpy", "numba"):
            monkeypatch.setattr(backend_setting, "_forced", wanted)
            for length in (3, 10, 90, 90, 300):
                text = "".join(rng.choices("abc ", weights=(9, 9, 9, 1), k=length))
                assert ours.encode(text).tolist() == encoding.encode(text)


@pytest.mark.parametrize(
    ("change", "name"),
    [
        (lambda library: setattr(library, "normalizer", theirs.normalizers.NFC()), "its normalizer is NFC"),
        (
            lambda library: setattr(library, "pre_tokenizer", pre_tokenizers.Metaspace()),
            "its pre_tokenizer is Metaspace",
        ),
        (lambda library: library.enable_truncation(5), "its truncation is"),
        (lambda library: library.enable_padding(), "its padding is"),
        (lambda library: library.add_tokens(["<x>"]), "its added token '<x>' is not special"),
        (
            lambda library: setattr(library, "pre_tokenizer", pre_tokenizers.Digits()),
            "its pre_tokenizer is Digits; only ByteLevel, and Split then ByteLevel, are supported",
        ),
    ],
)
def test_other_kinds_are_refused_by_name(change: Any, name: str, tmp_path: Path) -> None:
    library = trained([TEXT], pre_tokenizer("gpt2"), vocab_size=300)
    change(library)
    library.save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match=name):
        BPETokenizer.from_huggingface(tmp_path / "tokenizer.json")


def test_word_models_are_refused_by_name(tmp_path: Path) -> None:
    theirs.Tokenizer(models.WordLevel({"a": 0}, "a")).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(InputError, match="its model is WordLevel, not BPE"):
        BPETokenizer.from_huggingface(tmp_path / "tokenizer.json")
