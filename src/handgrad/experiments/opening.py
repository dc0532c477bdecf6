"""The comparison in a directory, of whichever kind it is."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from handgrad.experiments import recipe_comparison, tokenizer_comparison
from handgrad.experiments.comparison import FORMAT_VERSION, Comparison, read_comparison_file
from handgrad.system.errors import InputError

_KINDS: Mapping[str, Callable[[Path, Mapping[str, Any]], Comparison[Any]]] = {
    tokenizer_comparison.FORMAT: tokenizer_comparison.tokenizer_comparison_in,
    recipe_comparison.FORMAT: recipe_comparison.recipe_comparison_in,
}


def open_comparison(path: Path) -> Comparison[Any]:
    """The comparison in a directory. Raises InputError if there is none, or if its file is damaged."""
    content, file = read_comparison_file(path), path / "comparison.json"
    kind = content.get("format")
    if not isinstance(kind, str) or kind not in _KINDS or content.get("version") != FORMAT_VERSION:
        raise InputError(f"{file} does not describe a handgrad comparison of version {FORMAT_VERSION}")
    try:
        return _KINDS[kind](path, content)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise InputError(f"{file} is damaged: {error}") from None
