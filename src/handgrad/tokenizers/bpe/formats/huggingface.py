"""The ``tokenizer.json`` of Hugging Face's tokenizers."""

from pathlib import Path
from typing import Any

from handgrad.system.errors import InputError
from handgrad.system.files import write_json
from handgrad.tokenizers.bpe.byte_pairs import BYTES, BytePairs, as_printable, read_ids, read_merges
from handgrad.tokenizers.bpe.formats.vocabularies import merge_lines_for, vocabulary_of

# Patterns as other libraries write them. After the first come other spellings of the same pattern.
_EXPRESSIONS = {
    "gpt4": (
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
        r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+",
    ),
    "gpt2": (
        r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
        r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+",
    ),
}
# Options of added tokens; only tokens without them are supported.
_UNUSUAL = ("single_word", "lstrip", "rstrip")


def write_huggingface(pairs: BytePairs, path: Path) -> None:
    """Writes a ``tokenizer.json``. Raises InputError if that format cannot express this encoding."""
    merges = merge_lines_for("a tokenizer.json", pairs)
    byte_level = {"type": "ByteLevel", "add_prefix_space": pairs.prefix_space, "trim_offsets": True}
    before: dict[str, Any] = byte_level | {"use_regex": pairs.pattern == "gpt2"}
    if pairs.pattern == "gpt4":
        split = {
            "type": "Split",
            "pattern": {"Regex": _EXPRESSIONS["gpt4"][0]},
            "behavior": "Isolated",
            "invert": False,
        }
        before = {"type": "Sequence", "pretokenizers": [split, before]}
    unknown = next((token for token, number in pairs.special_tokens.items() if number == pairs.unknown_id), None)
    model = {
        "type": "BPE",
        "dropout": None,
        "unk_token": unknown,
        "continuing_subword_prefix": None,
        "end_of_word_suffix": None,
        "fuse_unk": False,
        "byte_fallback": False,
        "ignore_merges": pairs.whole_pieces,
        "vocab": vocabulary_of(pairs),
        "merges": merges,
    }
    added = [
        {"id": number, "content": token} | dict.fromkeys((*_UNUSUAL, "normalized"), False) | {"special": True}
        for token, number in sorted(pairs.special_tokens.items(), key=lambda item: item[1])
    ]
    content = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": before,
        "post_processor": None,
        "decoder": byte_level | {"use_regex": True},
        "model": model,
    }
    write_json(path, content)


def read_huggingface(content: dict[str, Any], path: Path) -> BytePairs:
    """From the content of the ``tokenizer.json`` at this path.

    Raises InputError if it is damaged, or if it uses a feature that is not supported; the message names it.
    """
    try:
        return _byte_pairs(content)
    except InputError as error:
        raise InputError(f"{path} cannot be used: {error}") from None


def _byte_pairs(content: dict[str, Any]) -> BytePairs:
    model = content.get("model")
    if not isinstance(model, dict) or not isinstance(content.get("pre_tokenizer"), dict | None):
        raise InputError("it is not a tokenizer.json: model and pre_tokenizer must be objects")
    if (kind := model.get("type", "BPE")) != "BPE":
        raise InputError(f"its model is {kind}, not BPE")
    for name in ("normalizer", "truncation", "padding"):
        _refuse(name, content.get(name))
    for name in ("dropout", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        _refuse(f"model.{name}", model.get(name))
    for name in ("post_processor", "decoder"):
        if content.get(name) is not None and (found := _kind_of(content[name]) or repr(content[name])) != "ByteLevel":
            raise InputError(f"its {name} is {found}, not ByteLevel")
    pattern, prefix_space = _pattern_of(content.get("pre_tokenizer"))
    special_tokens = _special_tokens_of(content.get("added_tokens", []))
    vocabulary = model.get("vocab")
    if not isinstance(vocabulary, dict):
        raise InputError("model.vocab must be an object of ids")
    for token, number in special_tokens.items():
        if token in map(as_printable, BYTES):
            raise InputError(f"its added token {token!r} is also a byte of text, so the two cannot be distinguished")
        if vocabulary.get(token, number) != number:
            raise InputError(f"{token!r} has the id {number} in added_tokens and {vocabulary[token]} in model.vocab")
    unknown = model.get("unk_token")
    if unknown is not None:
        if not isinstance(unknown, str) or unknown not in special_tokens.keys() | vocabulary.keys():
            raise InputError(f"its unk_token {unknown!r} has no id")
        special_tokens.setdefault(unknown, vocabulary.get(unknown, -1))
    ids = read_ids({part: number for part, number in vocabulary.items() if part not in special_tokens}, "model.vocab")
    unknown_id = None if unknown is None else special_tokens[unknown]
    if all(byte in ids for byte in BYTES):
        unknown_id = None
    elif unknown_id is not None:
        _refuse("model.fuse_unk", model.get("fuse_unk"))
    return BytePairs(
        pattern=pattern,
        special_tokens=special_tokens,
        ids=ids,
        merges=read_merges(model.get("merges")),
        whole_pieces=model.get("ignore_merges") is True,
        prefix_space=prefix_space,
        unknown_id=unknown_id,
    )


def _refuse(name: str, value: Any) -> None:
    if value not in (None, False, "", 0):
        found = _kind_of(value) or repr(value)[:80]
        raise InputError(f"its {name} is {found}; only tokenizers without one are supported")


def _kind_of(value: Any) -> str:
    """The type that an object of a tokenizer.json states; "" if the value is not an object."""
    return str(value.get("type", "an object without a type")) if isinstance(value, dict) else ""


def _pattern_of(before: dict[str, Any] | None) -> tuple[str, bool]:
    """(the name of the pattern, whether to put a space before each text)"""
    steps = [before]
    if _kind_of(before) == "Sequence":
        assert before is not None
        steps = before["pretokenizers"] if isinstance(before.get("pretokenizers"), list) else []
    kinds = [_kind_of(step) or "nothing" for step in steps]
    if kinds not in (["ByteLevel"], ["Split", "ByteLevel"]):
        raise InputError(
            f"its pre_tokenizer is {' then '.join(kinds) or 'an empty Sequence'}; "
            "only ByteLevel, and Split then ByteLevel, are supported"
        )
    byte_level: dict[str, Any] = steps[-1] or {}
    prefix_space, by_itself = byte_level.get("add_prefix_space", True), byte_level.get("use_regex", True)
    if not isinstance(prefix_space, bool) or not isinstance(by_itself, bool):
        raise InputError("add_prefix_space and use_regex of its ByteLevel must be true or false")
    if len(kinds) == 1:
        return "gpt2" if by_itself else "none", prefix_space
    if prefix_space or by_itself:
        raise InputError(
            "its ByteLevel after Split adds a space or splits again; only one that does neither is supported"
        )
    split = steps[0] or {}
    if split.get("behavior") != "Isolated" or split.get("invert"):
        found = f"{split.get('behavior')!r}{', inverted' if split.get('invert') else ''}"
        raise InputError(f"its Split is {found}; only 'Isolated', not inverted, is supported")
    given = split.get("pattern")
    written = given.get("Regex") if isinstance(given, dict) else None
    for name, expressions in _EXPRESSIONS.items():
        if written in expressions:
            return name, False
    raise InputError(f"its Split is by {str(written or given)[:200]}; only GPT-2's and GPT-4's patterns are supported")


def _special_tokens_of(added: Any) -> dict[str, int]:
    if not isinstance(added, list) or not all(isinstance(token, dict) for token in added):
        raise InputError("added_tokens must be a list of objects")
    special_tokens: dict[str, int] = {}
    for token in added:
        content, number = token.get("content"), token.get("id")
        if not isinstance(content, str) or type(number) is not int:
            raise InputError(f"an added token needs a content and an id, not {str(token)[:80]}")
        for name in _UNUSUAL:
            if token.get(name):
                raise InputError(f"its added token {content!r} has {name}; only tokens without it are supported")
        if not token.get("special"):
            raise InputError(f"its added token {content!r} is not special; only special ones are supported")
        if content in special_tokens:
            raise InputError(f"its added token {content!r} occurs twice")
        special_tokens[content] = number
    return special_tokens
