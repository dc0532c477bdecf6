"""Splitting and byte-pair encoding against the ``tokenizers`` library: the same pieces, merges and ids."""

import json
import os
import unicodedata
from pathlib import Path
from typing import Any

import pytest
from support import SHAKESPEARE, TEXT

from handgrad.tokenizers import BPETokenizer
from handgrad.tokenizers.splitting import splitter

try:
    import tokenizers as theirs
    from tokenizers import models, pre_tokenizers, trainers
except ImportError:
    if os.environ.get("HANDGRAD_REQUIRE_TORCH") == "1":
        raise
    pytest.skip("tokenizers is not installed: nothing to compare with", allow_module_level=True)

# The splitting pattern of cl100k_base, as its tokenizer.json has it.
GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
MULTILINGUAL = "Größe, naïve – it's 3,14; 日本語と한국어، عربي १२३ 👩‍💻's\r\n\tok  \n"


def pre_tokenizer(pattern: str) -> Any:
    if pattern == "gpt2":
        return pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    split = pre_tokenizers.Split(theirs.Regex(GPT4), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4"])
def test_every_code_point_that_this_unicode_assigns_is_cut_alike(pattern: str) -> None:
    if unicodedata.unidata_version != "14.0.0":
        pytest.skip(f"this Python knows Unicode {unicodedata.unidata_version}, not 14")
    ours, library = splitter(pattern), pre_tokenizer(pattern)
    assigned = [chr(c) for c in range(0x110000) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
    assert len(assigned) > 280_000
    for start in range(0, len(assigned), 500):
        text = "".join(f"a{c}b1{c}2 {c} {c}{c}!{c}\n" for c in assigned[start : start + 500])
        assert ours(text) == [text[first:last] for _, (first, last) in library.pre_tokenize_str(text)]


@pytest.mark.parametrize("pattern", ["gpt2", "gpt4"])
@pytest.mark.parametrize("which", ["small", "multilingual", "shakespeare"])
def test_the_same_merges_and_ids(pattern: str, which: str) -> None:
    if which == "shakespeare" and not SHAKESPEARE.is_file():
        pytest.skip(f"tiny Shakespeare is not at {SHAKESPEARE}")
    text = {"small": TEXT, "multilingual": MULTILINGUAL * 30}.get(which) or Path(SHAKESPEARE).read_text("utf-8")
    size = 2048 if which == "shakespeare" else 400
    lines = text.splitlines(keepends=True)
    library = theirs.Tokenizer(models.BPE())
    library.pre_tokenizer = pre_tokenizer(pattern)
    trainer = trainers.BpeTrainer(
        vocab_size=size, min_frequency=2, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    library.train_from_iterator(lines, trainer)
    ours = BPETokenizer(max_vocab_size=size + 4, pattern=pattern).train(lines)

    merges = [tuple(merge) for merge in json.loads(library.to_str())["model"]["merges"]]
    assert [tuple(merge.split(" ")) for merge in ours._content()["merges"]] == merges
    # Their ids start with the bytes, ours with the four special tokens.
    assert (ours.encode(text) - 4).tolist() == library.encode(text).ids
    assert (ours.encode(MULTILINGUAL) - 4).tolist() == library.encode(MULTILINGUAL).ids
