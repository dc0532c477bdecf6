"""tiktoken's rank file: one line for each part, in base 64, with its rank."""

import base64
import re
from collections.abc import Mapping
from pathlib import Path

from handgrad.system.errors import InputError
from handgrad.system.files import read_text, write_atomically
from handgrad.tokenizers.bpe.byte_pairs import BYTES, BytePairs


def write_tiktoken(pairs: BytePairs, path: Path) -> None:
    """Writes a rank file. Raises InputError if ids do not follow the order of merges, or if a byte has no id."""
    order = pairs.ids.values() if pairs.ranked else [pairs.ids[left + right] for left, right in pairs.merges]
    made = list(dict.fromkeys(order))
    if not all(byte in pairs.ids for byte in BYTES) or (not pairs.ranked and made != sorted(made)):
        raise InputError("a rank file needs all bytes, and ids in the order of the merges; this tokenizer lacks one")
    if pairs.prefix_space:
        raise InputError("this tokenizer puts a space before each text, which a rank file cannot express")
    ranked = sorted(pairs.ids.items(), key=lambda item: item[1])
    lines = [f"{base64.b64encode(part).decode()} {number}\n" for part, number in ranked]
    write_atomically(path, "".join(lines).encode())


def read_tiktoken(path: Path, pattern: str, special_tokens: Mapping[str, int]) -> BytePairs:
    """Reads a rank file. Raises InputError if a line is not a part in base 64 and its rank."""
    ids: dict[bytes, int] = {}
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        line = line.strip()
        if not line or (ids and line.split()[0] == "="):  # Whisper's files end with an empty part
            continue
        found = re.fullmatch(r"(\S+)\s+([0-9]{1,9})", line)
        try:
            part = base64.b64decode(found[1], validate=True) if found else b""
        except ValueError:  # binascii.Error, or characters beyond ASCII
            part = b""
        if not found or not part:
            raise InputError(f"{path}: line {number}, {line[:80]!r}, is not a part in base 64 and its rank")
        if part in ids:
            raise InputError(f"{path}: line {number}, {line[:80]!r}, gives a part a second rank")
        ids[part] = int(found[2])
    if missing := [byte for byte in BYTES if byte not in ids]:
        raise InputError(f"{path} is cut short or not a rank file: {len(missing)} of the 256 bytes have no rank")
    try:
        return BytePairs(pattern, special_tokens, ids, ranked=True, whole_pieces=True)
    except InputError as error:
        raise InputError(f"{path} cannot be used: {error}") from None
