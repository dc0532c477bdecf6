"""The notebook runs top to bottom, what it says is so, and it is kept as it was run."""

import base64
import importlib.util
import inspect
import re
from pathlib import Path
from types import ModuleType

import nbformat
import pytest
from nbformat import NotebookNode

from handgrad.ops import softmax, softmax_backward

ROOT = Path(__file__).parent.parent.parent
PATH = ROOT / "examples" / "first_gpt.ipynb"


def load_script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("run_notebook", ROOT / "scripts" / "run_notebook.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


SCRIPT = load_script()


@pytest.fixture(scope="module")
def kept() -> NotebookNode:
    return nbformat.read(PATH, as_version=4)


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def said(notebook: NotebookNode) -> str:
    return "".join(o.text for cell in code_cells(notebook) for o in cell.outputs if o.output_type == "stream")


def pictures(notebook: NotebookNode) -> list[bytes]:
    data = [o.data for cell in code_cells(notebook) for o in cell.outputs if o.output_type == "display_data"]
    return [base64.b64decode(one["image/png"]) for one in data]


def outline(notebook: NotebookNode) -> dict[str, list[str]]:
    """What each cell says, without the numbers; not of those that show the text, which each Python has its own of."""
    return {
        cell.id: [
            " ".join(re.sub(r"-?[\d.,]+(e[-+]\d+)?", " # ", output.get("text", output.output_type)).split())
            for output in cell.outputs
        ]
        for cell in code_cells(notebook)
        if cell.id not in ("batch-code", "write-code")
    }


def number(pattern: str, text: str) -> float:
    found = re.search(pattern, text)
    assert found is not None, f"{pattern} is not in\n{text}"
    return float(found[1])


def check_what_it_says(notebook: NotebookNode) -> None:
    text = said(notebook)
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    assert [o for o in outputs if o.output_type not in ("stream", "display_data") or o.get("name") == "stderr"] == []
    assert all(cell.outputs for cell in code_cells(notebook))

    assert number(r"largest difference (\S+)\n", text) < 1e-6
    at_start, of_a_guess = number(r"the loss is (\S+),", text), number(r"log\(\d+\) is (\S+)\n", text)
    assert at_start == pytest.approx(of_a_guess, abs=0.1)
    predicted, seen = number(r"the loss changes by (\S+)\n", text), number(r"it changes by +(\S+)\n", text)
    assert seen == pytest.approx(predicted, rel=1e-2)
    losses = [float(loss) for loss in re.findall(r"step +\d+: validation loss (\S+)\n", text)]
    assert losses[0] == pytest.approx(of_a_guess, abs=0.2)
    assert losses[-1] < 0.45 * losses[0]
    assert number(r"from the model's own output: (\S+)\n", text) < 1e-5
    assert re.search(r"loss by hand +(\S+)\nloss on the tape +\1\n", text), text
    equal = re.search(r"(\d+) of (\d+) gradients are equal to the last bit", text)
    assert equal is not None, text
    assert equal[1] == equal[2]
    for sample in ("before training, temperature 1", "temperature 0.4", "temperature 0.8", "temperature 1.3"):
        assert f"--- {sample}\nThe function " in text
    assert len(pictures(notebook)) == 2
    assert all(picture.startswith(b"\x89PNG") for picture in pictures(notebook))


@pytest.mark.slow
def test_it_runs_top_to_bottom_and_says_what_is_so(kept: NotebookNode, tmp_path: Path) -> None:
    done = SCRIPT.executed(kept, tmp_path)
    assert [cell.execution_count for cell in code_cells(done)] == list(range(1, len(code_cells(kept)) + 1))
    check_what_it_says(done)
    assert outline(done) == outline(kept)
    assert list(tmp_path.iterdir()) == []


def test_it_is_kept_as_it_was_run(kept: NotebookNode) -> None:
    nbformat.validate(kept)
    assert [cell.execution_count for cell in code_cells(kept)] == list(range(1, len(code_cells(kept)) + 1))
    check_what_it_says(kept)
    shown = nbformat.writes(SCRIPT.normalised(kept)) + "\n"
    assert PATH.read_text(encoding="utf-8") == shown
    assert len(shown) < 300_000


def test_it_holds_no_path_of_a_machine(kept: NotebookNode) -> None:
    for cell in kept.cells:
        outputs = [output for output in cell.get("outputs", []) if output.output_type == "stream"]
        for text in (cell.source, *(output.text for output in outputs)):
            assert not re.search(r"(?<![\w.])/(home|root|tmp|usr|opt|work|Users|var)\b|\b[A-Z]:\\", text), text


def test_it_shows_the_library_as_it_is(kept: NotebookNode) -> None:
    assert inspect.getsource(softmax) + "\n" + inspect.getsource(softmax_backward) in said(kept)
