"""Intact files, damaged at random: in their bytes, their numbers, their JSON, their headers."""

import json
import random
import re
import struct
from collections.abc import Callable
from typing import Any

NUMBERS = (
    "0", "-1", "1", "2", "255", "256", "65535", "65536", "2147483647", "4294967296", "9223372036854775807",
    "18446744073709551616", "1" + "0" * 30, "9" * 5000, "1e999", "-1e999", "NaN", "Infinity", "0.5", "1e-320",
)  # fmt: skip
PIECES = (
    b"", b"\x00", b"\xff", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\\ud800", b'"', b"[", b"{", b"]" * 9, b"[" * 100_000,
    b'{"a":' * 2000, b"null", b"true", b"../../../etc/passwd", b"\r\n", b"\n" * 50, b"x" * 70_000, b"%s%n",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, 0, 1, -1, 2**31, 2**64, 10**40, 0.5, float("nan"), float("inf"), "", "x", "\x00", "9" * 400,
    "../..", "/dev/zero", [], {}, [[]], {"": {}}, ["x"] * 3000, {"array": "x"}, {"dict": [[0, 0]]},
)  # fmt: skip


def mutated(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """The content with one to three changes. Their kinds may or may not fit the content."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        content = rng.choice(CHANGES)(content, others, rng)
    return content


def flip(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    changed = bytearray(content or b"\x00")
    for _ in range(rng.choice((1, 1, 4, 16))):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    return content[: rng.randrange(len(content) + 1)]


def remove(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    start, length = rng.randrange(len(content) + 1), rng.choice((1, 2, 8, 100))
    return content[:start] + content[start + length :]


def insert(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    start = rng.randrange(len(content) + 1)
    return content[:start] + rng.choice((*PIECES, rng.randbytes(8))) + content[start:]


def repeat(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    start, length = rng.randrange(len(content) + 1), rng.choice((1, 8, 100, 1000))
    return content[:start] + content[start : start + length] * rng.choice((2, 3, 50)) + content[start + length :]


def splice(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    other = rng.choice(others)
    return content[: rng.randrange(len(content) + 1)] + other[rng.randrange(len(other) + 1) :]


def renumber(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Replaces a number in the text by another."""
    found = list(re.finditer(rb"-?\d+(\.\d+)?(e-?\d+)?", content))
    if not found:
        return flip(content, others, rng)
    place = rng.choice(found)
    return content[: place.start()] + rng.choice(NUMBERS).encode() + content[place.end() :]


def rearrange(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Changes a value, a key or the order in its JSON; if it has lines of JSON, in one of them."""
    lines = content.split(b"\n") if content.count(b"\n{") > 1 else [content]
    number = rng.randrange(len(lines))
    try:
        value = json.loads(lines[number])
    except (ValueError, RecursionError):
        return renumber(content, others, rng)
    lines[number] = json.dumps(change_json(value, rng)).encode()
    return b"\n".join(lines)


def change_json(value: Any, rng: random.Random) -> Any:
    """The value with one change somewhere inside."""
    if isinstance(value, dict) and value and rng.random() < 0.9:
        key = rng.choice(list(value))
        kind = rng.random()
        if kind < 0.1:
            return {name: item for name, item in value.items() if name != key}
        if kind < 0.2:
            return {str(rng.choice(VALUES)) if name == key else name: item for name, item in value.items()}
        return {**value, key: change_json(value[key], rng)}
    if isinstance(value, list) and value and rng.random() < 0.9:
        place = rng.randrange(len(value))
        kind = rng.random()
        if kind < 0.1:
            return value[:place] + value[place + 1 :]
        if kind < 0.2:
            return rng.sample(value, len(value))
        return [*value[:place], change_json(value[place], rng), *value[place + 1 :]]
    return rng.choice(VALUES)


def header(content: bytes, others: list[bytes], rng: random.Random) -> bytes:
    """Changes the length of a safetensors header, or a value in it."""
    (length,) = struct.unpack("<Q", content[:8].ljust(8, b"\x00"))
    if rng.random() < 0.3 or length > len(content):
        return (
            struct.pack("<Q", rng.choice((0, 1, 7, length - 1, length + 1, len(content), 2**31, 2**40, 2**63)) % 2**64)
            + content[8:]
        )
    changed = rearrange(content[8 : 8 + length], others, rng)
    return struct.pack("<Q", len(changed)) + changed + content[8 + length :]


CHANGES: tuple[Callable[[bytes, list[bytes], random.Random], bytes], ...] = (
    flip, cut, remove, insert, repeat, splice, renumber, rearrange, rearrange, header,
)  # fmt: skip


def strange_text(rng: random.Random) -> str:
    """A prompt that nobody would write: strange characters, half characters, very long words."""
    alphabet = rng.choice(
        ("ab ", "\x00\x01\x7f", "éß漢字", "😀👩‍👩‍👧", "\ud800\udfff", "\r\n\t \u2028\ufeff", "<pad><unk>\\")
    )
    length = rng.choice((0, 1, 2, 30, 3000))
    text = "".join(rng.choice(alphabet) for _ in range(length))
    return text + rng.choice(("", "\ud83d", chr(rng.randrange(0x110000)), "<eos>", "\N{COMBINING ACUTE ACCENT}" * 50))
