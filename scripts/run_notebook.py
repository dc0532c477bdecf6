"""Runs notebooks top to bottom in this Python and saves their outputs.

python scripts/run_notebook.py examples/first_gpt.ipynb
"""

import os
import sys
import tempfile
from pathlib import Path
from unittest import mock

import nbformat
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient
from nbformat import NotebookNode

CELL_LIMIT = 300
"""Seconds."""
METADATA = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {"name": "python"},
}


def executed(notebook: NotebookNode, folder: Path) -> NotebookNode:
    """The notebook with new outputs, without traces of time and place; it runs in ``folder``.

    Raises CellExecutionError if a cell fails or takes more than CELL_LIMIT seconds.
    """
    notebook = nbformat.from_dict(notebook)
    with tempfile.TemporaryDirectory(prefix="handgrad-jupyter-") as name:
        # The kernel is this Python, whichever others are installed, and leaves nothing in the home directory.
        write_kernel_spec(Path(name) / "kernels" / "python3")
        places = ("JUPYTER_PATH", "JUPYTER_DATA_DIR", "JUPYTER_CONFIG_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR")
        with mock.patch.dict(os.environ, dict.fromkeys(places, name)):
            NotebookClient(
                notebook,
                timeout=CELL_LIMIT,
                kernel_name="python3",
                record_timing=False,
                coalesce_streams=True,
                resources={"metadata": {"path": str(folder)}},
            ).execute()
    return normalised(notebook)


def normalised(notebook: NotebookNode) -> NotebookNode:
    """Without traces of the machine, the user or the time."""
    notebook = nbformat.from_dict(notebook)
    notebook.metadata = nbformat.from_dict(METADATA)
    for cell in notebook.cells:
        cell.metadata = NotebookNode()
        for output in cell.get("outputs", []):
            if "metadata" in output:
                output.metadata = NotebookNode()
    return notebook


def main(paths: list[str]) -> None:
    for path in map(Path, paths):
        with tempfile.TemporaryDirectory() as folder:
            notebook = executed(nbformat.read(path, as_version=4), Path(folder))
        path.write_text(nbformat.writes(notebook) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
