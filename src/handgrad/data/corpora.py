"""Texts to train on: a data set by name, or any UTF-8 file."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from handgrad.data.standard_library import short_functions
from handgrad.system.errors import InputError
from handgrad.system.files import read_text

SHAKESPEARE_URL = "https://raw.githubusercontent.com/karpathy/char-rnn/master/data/tinyshakespeare/input.txt"
SHAKESPEARE_SHA256 = "86c4e6aa9db7c042ec79f339dcb96d42b0075e16b8fc2e86bf0ca57e2dc565ed"
DATASETS = ("functions", "pydoc", "shakespeare")
DEFAULT_DATASET = "functions"


@dataclass(frozen=True)
class Corpus:
    """A text and where it came from."""

    text: str
    source: str

    @property
    def sha256(self) -> str:
        """The hash of the text in UTF-8."""
        return hashlib.sha256(self.text.encode("utf-8", "surrogatepass")).hexdigest()

    def split(self) -> tuple[str, str]:
        """(training, validation): the last 10 % of the characters are for validation."""
        cut = len(self.text) * 9 // 10
        return self.text[:cut], self.text[cut:]


def load_dataset(name: str) -> Corpus:
    """A data set by name: functions (of the standard library), pydoc (the language reference) or shakespeare.

    Every Python brings the first two; pooch downloads tiny Shakespeare once.

    Raises InputError if the name is unknown or the text is not available.
    """
    if name == "functions":
        return Corpus(_functions(), "dataset functions")
    if name == "pydoc":
        return Corpus(_pydoc(), "dataset pydoc")
    if name == "shakespeare":
        return Corpus(read_text(_fetch_shakespeare()), "dataset shakespeare")
    raise InputError(f"unknown data set {name!r}; choose from {', '.join(DATASETS)}")


def load_text(path: Path) -> Corpus:
    """A UTF-8 file. Raises InputError if it is missing, empty or not UTF-8."""
    return Corpus(read_text(path), str(path))


def _functions() -> str:
    functions = short_functions()
    if not functions:
        raise InputError(
            "this Python comes without the source of its standard library; pass --text FILE or --dataset pydoc"
        )
    return "\n\n".join(functions)


def _pydoc() -> str:
    try:
        from pydoc_data.topics import topics
    except ImportError:
        raise InputError(
            "this Python comes without pydoc_data.topics; pass --text FILE or --dataset shakespeare"
        ) from None
    return "\n\n".join(topics[name] for name in sorted(topics))


def _fetch_shakespeare() -> Path:
    try:
        import pooch
    except ImportError:
        raise InputError(
            "the shakespeare data set is downloaded with pooch, which is not installed: pip install pooch"
        ) from None
    pooch.get_logger().setLevel("WARNING")
    try:
        fetched = pooch.retrieve(
            SHAKESPEARE_URL,
            known_hash=f"sha256:{SHAKESPEARE_SHA256}",
            fname="tinyshakespeare.txt",
            path=pooch.os_cache("handgrad"),
        )
    except Exception as error:  # anything that the network, pooch, the disk or the hash check may raise
        reason = str(error).splitlines()[0][:200] if str(error) else type(error).__name__
        raise InputError(
            f"cannot download tiny Shakespeare from {SHAKESPEARE_URL} ({reason}); "
            "get the file another way and pass it with --text"
        ) from None
    return Path(fetched)
