"""Runs of several processes: what a user types, and processes that fail, are killed, or are asked to stop."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support import TEXT, as_flags, read_lines

from handgrad.models.formats.model_in_checkpoint import MODEL, OPTIMIZER
from handgrad.runs import find_checkpoint, open_run

HERE = Path(__file__).parent
SECONDS = 300
FLAGS = as_flags(
    block_size=8, n_layer=1, n_head=2, n_embd=8, batch_size=6, shards=5, optimizer="muon", ema=0.9, dropout=0.1,
    max_steps=24, warmup_steps=2, eval_interval=10, checkpoint_interval=7, log_interval=3,
)  # fmt: skip
Train = Callable[..., Any]


@pytest.fixture
def train(launch: Callable[..., Any], text_file: Path, tmp_path: Path) -> Train:
    """Begins the run in ``out``, or resumes it, in so many processes; returns its exit code, its output, its errors."""

    def train_in(
        processes: int,
        out: Path,
        *flags: object,
        fault: tuple[object, ...] = ("none", 0, 0),
        program: Any = None,
        without: tuple[str, ...] = (),
    ) -> tuple[int, str, str]:
        pairs = zip(FLAGS[::2], FLAGS[1::2], strict=True)
        settings = [word for pair in pairs if pair[0] not in (*without, *flags) for word in pair]
        begins = not (out / "config.json").exists()
        what = ("--text", text_file, "--out", out, *settings, *flags) if begins else ("--resume", out, *flags)
        before = (HERE / "train_with_fault.py", *fault) if program is None else program
        environment = {"HANDGRAD_BACKEND": "numpy", "MPLCONFIGDIR": str(tmp_path / "matplotlib")}  # starts faster
        process = launch(processes, *before, "train", *what, **environment)
        printed, errors = process.communicate(timeout=SECONDS)
        return process.returncode, printed, errors

    return train_in


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The result of one process."""
    place = tmp_path_factory.mktemp("alone")
    (place / "text.txt").write_text(TEXT, encoding="utf-8")
    command = [sys.executable, "-m", "handgrad", "train", "--text", str(place / "text.txt"), "--out"]
    environment = {**os.environ, "HANDGRAD_BACKEND": "numpy", "PYTHONPATH": str(HERE.parents[1] / "src")}
    subprocess.run([*command, str(place / "run"), *FLAGS], env=environment, check=True, timeout=SECONDS)
    return result(place / "run")


def result(out: Path) -> dict[str, Any]:
    last, best = find_checkpoint(out, "last"), find_checkpoint(out, "best")
    rows = read_lines(out / "metrics.jsonl")
    return {
        "weights": (last / MODEL).read_bytes(),
        "moments": (last / OPTIMIZER).read_bytes(),
        "best": (best.name, (best / MODEL).read_bytes()),
        "metrics": [{name: row[name] for name in row if "second" not in name} for row in rows],
        "checkpoints": sorted(path.name for path in (out / "checkpoints").iterdir()),
    }


@pytest.mark.slow
def test_killed_and_resumed_with_other_numbers_of_processes(
    train: Train, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    began = time.monotonic()
    code, printed, _ = train(2, out, fault=("SIGKILL", 1, 9))
    assert code != 0, printed
    code, printed, _ = train(3, out, fault=("SIGKILL", 0, 17))
    assert code != 0, printed
    assert time.monotonic() - began < SECONDS
    assert find_checkpoint(out, "last").name == "step-00000014"
    code, printed, errors = train(4, out)
    assert code == 0, errors
    assert "resuming at step 14" in printed
    assert printed.count("resuming at step") == 1  # only process 0 speaks
    assert result(out) == undisturbed
    code, printed, errors = train(0, out, "--max-steps", 26)  # and one process goes on
    assert code == 0, errors


@pytest.mark.slow
def test_a_new_run_in_several_processes(train: Train, undisturbed: dict[str, Any], tmp_path: Path) -> None:
    code, printed, errors = train(2, tmp_path / "run")
    assert code == 0, errors
    assert errors == ""
    assert printed.count("validation loss to beat") == 1
    assert result(tmp_path / "run") == undisturbed
    lines = [json.loads(line) for line in (tmp_path / "run" / "processes.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [row["step"] for row in read_lines(tmp_path / "run" / "metrics.jsonl")]
    assert all(len(line["waited_seconds"]) == 2 and min(line["waited_seconds"]) >= 0 for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize(("fault", "sentence"), [("error", "out of memory: a planted error"), ("bug", "a planted bug")])
@pytest.mark.parametrize("rank", [0, 1])
def test_a_process_that_fails_ends_all(
    fault: str, sentence: str, rank: int, train: Train, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    code, printed, errors = train(3, out, fault=(fault, rank, 9))
    assert code not in (0, None), (printed, errors)
    assert sum(line.endswith(sentence) for line in errors.splitlines()) == 1, errors
    assert errors.count("Traceback") == (fault == "bug")
    assert (f"process {rank} of 3 on " in errors) is (rank > 0 and fault == "error")
    code, printed, errors = train(2, out)
    assert code == 0, errors
    assert result(out) == undisturbed


@pytest.mark.slow
def test_a_process_that_does_not_answer_ends_all(train: Train, undisturbed: dict[str, Any], tmp_path: Path) -> None:
    """As if its machine had lost its power, or its network."""
    out = tmp_path / "run"
    code, printed, errors = train(3, out, fault=("silence", 1, 9))
    assert code not in (0, None), (printed, errors)
    assert errors.count("handgrad: the other processes have not answered for 5 seconds") == 1, errors
    assert find_checkpoint(out, "last").name == "step-00000007"
    code, printed, errors = train(2, out)
    assert code == 0, errors
    assert result(out) == undisturbed


@pytest.mark.slow
@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize(("name", "code"), [("SIGTERM", 143), ("SIGINT", 130)])
def test_a_signal_to_any_process_saves_and_ends_all(
    name: str, code: int, rank: int, train: Train, undisturbed: dict[str, Any], tmp_path: Path
) -> None:
    out = tmp_path / "run"
    found, printed, errors = train(3, out, fault=(name, rank, 9))
    assert found == code, (printed, errors)
    # Sent while step 10 is computed; the others learn it with the gradients of step 11.
    assert "stopped at step 11 and saved; continue with: " in printed
    assert find_checkpoint(out, "last").name == "step-00000011"
    found, printed, errors = train(2, out)
    assert found == 0, errors
    expected = {name: value for name, value in undisturbed.items() if name != "checkpoints"}
    assert {name: value for name, value in result(out).items() if name != "checkpoints"} == expected


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_the_launcher_passes_signals_on(
    number: int, code: int, launch: Callable[..., Any], mpiexec: str, text_file: Path, tmp_path: Path
) -> None:
    if "HYDRA" not in subprocess.run([mpiexec, "--version"], capture_output=True, text=True, check=False).stdout:
        pytest.skip("only MPICH's mpiexec passes signals on")
    out = tmp_path / "run"
    flags = ["--text", text_file, "--out", out, *FLAGS, "--max-steps", 1_000_000]
    process = launch(3, "-m", "handgrad", "train", *flags, HANDGRAD_BACKEND="numpy")
    deadline = time.monotonic() + SECONDS
    while not (out / "last").exists() or find_checkpoint(out, "last").name == "step-00000000":
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(number)
    printed, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == code, (printed, errors)
    assert errors.count("stopping after this step") == 1  # although all have received it
    step = int(printed.rpartition("stopped at step ")[2].partition(" and saved")[0].replace(",", ""))
    assert find_checkpoint(out, "last").name == f"step-{step:08d}"


@pytest.mark.slow
def test_a_disk_that_is_full_at_process_0(train: Train, undisturbed: dict[str, Any], tmp_path: Path) -> None:
    out, saboteur = tmp_path / "run", HERE.parent / "reliability" / "saboteur.py"
    code, printed, errors = train(2, out, program=(saboteur, "full", 60, out))
    assert code == 2, (printed, errors)
    assert errors.count("No space left on device") == 1, errors
    assert "Traceback" not in errors
    code, printed, errors = train(3, out)
    assert code == 0, errors
    assert result(out) == undisturbed


@pytest.mark.slow
def test_bad_input_is_said_once(train: Train, tmp_path: Path) -> None:
    code, printed, errors = train(3, tmp_path / "run", "--n-embd", 7)
    assert (code, printed) == (2, "")
    assert errors.count("handgrad: ") == 1
    assert "n_embd" in errors
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_more_processes_than_shards_and_a_length_in_minutes(train: Train, tmp_path: Path) -> None:
    out = tmp_path / "run"
    code, printed, errors = train(2, out, "--shards", 1, "--minutes", 0.02, without=("--max-steps",))
    assert code == 0, errors
    assert "because on this machine a step takes" in printed
    assert "1 of 2 processes compute no gradients" in errors
    assert open_run(out).shards == 1


def train_without_mpi4py(size: int, rank: int, *arguments: object, directory: Path) -> subprocess.CompletedProcess[str]:
    """Needs neither mpi4py nor mpiexec: a launcher tells each process by its environment."""
    packages = directory / "packages"
    packages.mkdir()
    (packages / "mpi4py.py").write_text("raise ModuleNotFoundError('planted', name='mpi4py')\n", encoding="utf-8")
    environment = {
        **os.environ, "PMI_SIZE": str(size), "PMI_RANK": str(rank), "HANDGRAD_BACKEND": "numpy",
        "PYTHONPATH": os.pathsep.join((str(packages), str(HERE.parents[1] / "src"))),
    }  # fmt: skip
    command = [sys.executable, "-m", "handgrad", "train", *map(str, arguments)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)


@pytest.mark.parametrize("rank", [0, 1])
def test_without_mpi4py_process_0_says_what_to_install(rank: int, text_file: Path, tmp_path: Path) -> None:
    done = train_without_mpi4py(2, rank, "--text", text_file, "--out", tmp_path / "run", directory=tmp_path)
    said = (
        "handgrad: mpiexec started 2 processes, but mpi4py, with which they work together, is not installed: "
        "pip install mpi4py\n"
    )
    assert (done.returncode, done.stdout, done.stderr) == ((2, "", said) if rank == 0 else (0, "", ""))
    assert not (tmp_path / "run").exists()


def test_a_single_process_needs_no_mpi4py(text_file: Path, tmp_path: Path) -> None:
    done = train_without_mpi4py(1, 0, "--text", text_file, "--out", tmp_path / "run", *FLAGS, directory=tmp_path)
    assert done.returncode == 0, done.stderr
    assert not (tmp_path / "run" / "processes.jsonl").exists()


@pytest.mark.parametrize("rank", [0, 1])
def test_other_commands_work_in_process_0_alone(rank: int, tmp_path: Path) -> None:
    environment = {**os.environ, "PMI_SIZE": "2", "PMI_RANK": str(rank), "PYTHONPATH": str(HERE.parents[1] / "src")}
    command = [sys.executable, "-m", "handgrad", "sample", str(tmp_path / "none")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False)
    if rank:
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        return
    warning, said = done.stderr.splitlines()
    assert warning == ("handgrad: warning: sample works in one process; the others of the 2 that mpiexec started end")
    assert (done.returncode, "is not a run" in said) == (2, True)
