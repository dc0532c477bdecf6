"""benchmarks/speedrun.py: PyTorch trains what we train, and its dropout acts as ours does. All sizes are tiny."""

import importlib.util
import json
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from handgrad import use_backend
from handgrad.benchmarking import Case, contenders, handgrad_contender, pytorch_contender
from handgrad.data import Corpus, TokenData, encode_corpus
from handgrad.experiments.speedrun import Rung, read_rungs, track_called
from handgrad.models import GPT, GPTConfig
from handgrad.runs import PRESETS, Metrics, TrainConfig, create_run
from handgrad.tokenizers import CharTokenizer
from handgrad.training import Reporter, train

torch = pytest.importorskip("torch", reason="PyTorch is not installed")

SMALL = replace(
    PRESETS["shakespeare-cpu"], block_size=8, n_layer=2, n_head=2, n_embd=16, batch_size=4, shards=2, max_steps=40,
    lr=1e-2, min_lr=1e-3, warmup_steps=5, eval_interval=40, checkpoint_interval=40, log_interval=1,
)  # fmt: skip
CORPUS = Corpus("the quick brown fox jumps over the lazy dog, and the dog sleeps on.\n" * 31, "a made-up text")
DROPPED = GPTConfig(11, 8, 2, 2, 16, dropout=0.5)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nothing is compiled, and no thread of PyTorch waits for another."""
    monkeypatch.setattr(contenders, "available_cores", lambda: 1)
    use_backend("numpy")
    yield
    use_backend(None)


@pytest.fixture(scope="module")
def speedrun() -> ModuleType:
    path = Path(__file__).parent.parent.parent / "benchmarks" / "speedrun.py"
    spec = importlib.util.spec_from_file_location("speedrun_benchmark", path)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def data() -> TokenData:
    return encode_corpus(CORPUS, CharTokenizer().train(CORPUS.split()[0]))


def rung(number: int, config: TrainConfig, members: int = 1) -> Rung:
    return Rung(number, f"made-up-{number}", "", "", {}, config, members, (), Path("made-up.toml"))


class Losses(Reporter):
    def __init__(self) -> None:
        self.found: list[float | None] = []

    def stepped(self, metrics: Metrics) -> None:
        self.found.append(metrics.loss)


def test_pytorch_trains_what_we_train(speedrun: ModuleType, data: TokenData, tmp_path: Path) -> None:
    config = replace(SMALL, seed=3)
    theirs = speedrun.train_in_pytorch(speedrun.recipe_with(config, data))
    ours, run = Losses(), create_run(tmp_path / "run", config, data, None, 2, None)
    outcome = train(run, run.data(), reporter=ours)
    assert len(theirs.losses) == config.max_steps
    np.testing.assert_allclose(theirs.losses, ours.found, atol=1e-4)
    assert (len(data.validation) - 1) % config.block_size  # the last window is shorter
    assert theirs.loss == pytest.approx(outcome.val_loss, abs=1e-4)
    assert theirs.losses[-1] < theirs.losses[0] - 0.5  # it learned
    assert (theirs.seed, theirs.seconds > 0) == (3, True)


def test_our_steps_of_a_rung_are_those_of_its_run(speedrun: ModuleType, data: TokenData, tmp_path: Path) -> None:
    config = replace(SMALL, max_steps=6, dropout=0.2, ema=0.9, grad_accum_steps=2)
    contender = speedrun.rung_contender(rung(0, config), data, 3, "float32")
    with contender.around():
        found = [contender.run() for _ in range(6)]
    contender.close()
    ours, run = Losses(), create_run(tmp_path / "run", replace(config, seed=3), data, None, 2, None)
    train(run, run.data(), reporter=ours)
    assert found == ours.found


def test_all_sides_are_timed_and_extrapolated(
    speedrun: ModuleType, data: TokenData, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(speedrun, "why_no_bfloat16", lambda: "of a test")
    rungs = [rung(0, SMALL), rung(1, replace(SMALL, max_steps=15, n_layer=1), members=2)]
    said: list[str] = []
    options = {"rounds": 3, "steps": 1, "compiled": False, "say": said.append}
    timed = speedrun.time_in_turn(speedrun.recipe_with(SMALL, data), rungs, **options)
    steps = {one.name: one.steps for one in timed}
    ours = {"handgrad, rung 0, made-up-0": 40, "handgrad, rung 1, made-up-1": 30}
    assert steps == {"PyTorch eager": 40, "PyTorch eager, bf16": 40, **ours}
    assert said[0] == "handgrad, bf16 is left out, because of a test"
    eager = timed[0]
    assert eager.ratio == 1
    for one in timed:
        assert len(one.seconds) == 3
        assert one.whole == pytest.approx(np.median(one.seconds) * one.steps)
        pairs = zip(eager.seconds, one.seconds, strict=True)
        assert one.ratio == pytest.approx(np.median([a * eager.steps / (b * one.steps) for a, b in pairs]))
    speedrun.print_times(track_called("nanogpt-gpu"), timed)
    shown = capsys.readouterr().out
    assert all(name in shown for name in steps)
    assert "extrapolated" in shown
    assert "1.4697" in shown


def test_the_recipes_are_nanogpts(speedrun: ModuleType) -> None:
    cpu, gpu = (speedrun.recipe_of(track_called(name), CORPUS, 5) for name in ("nanogpt-cpu", "nanogpt-gpu"))
    names = ("n_layer", "n_head", "n_embd", "block_size", "batch_size", "dropout", "max_steps", "warmup_steps")
    assert [getattr(cpu.train, name) for name in names] == [4, 4, 128, 64, 12, 0.0, 2000, 100]
    assert [getattr(gpu.train, name) for name in names] == [6, 6, 384, 256, 64, 0.2, 5000, 100]
    for recipe in (cpu, gpu):
        one = recipe.train
        assert (one.optimizer, one.schedule, one.bias, one.grad_clip) == ("adamw", "cosine", False, 1.0)
        assert (one.lr, one.min_lr, one.beta1, one.beta2, one.weight_decay) == (1e-3, 1e-4, 0.9, 0.99, 0.1)
        assert (one.seed, recipe.tokens) == (5, one.block_size)


def test_the_rungs_beside_pytorch(speedrun: ModuleType) -> None:
    cpu, gpu = (speedrun.rungs_beside(track_called(name)) for name in ("nanogpt-cpu", "nanogpt-gpu"))
    assert [rung.number for rung in cpu] == [0, len(read_rungs(track_called("nanogpt-cpu"))) - 1]
    assert [rung.number for rung in gpu] == [len(read_rungs(track_called("nanogpt-gpu"))) - 1]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nanogpt-cpu"], "the speedrun is about tiny Shakespeare; "),
        (["nanogpt-gpu", "--whole"], "--whole is for nanogpt-cpu, not nanogpt-gpu, "),
        (["nanogpt-cpu", "--steps", "0"], "--steps must be at least 1, not 0"),
        (["nanogpt-cpu", "--seed", "-1"], "--seed must be at least 0, not -1"),
        (["nanogpt-cpu", "--json", "nowhere/x.json"], "nowhere/x.json: there is no directory "),
    ],
)
def test_what_is_wrong_is_said(
    speedrun: ModuleType,
    words: list[str],
    sentence: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "text.txt").write_text(CORPUS.text, encoding="utf-8")
    monkeypatch.setattr(sys, "argv", ["speedrun.py", "--text", str(tmp_path / "text.txt"), *words])
    with pytest.raises(SystemExit) as stopped:
        speedrun.main()
    assert stopped.value.code == 2
    assert capsys.readouterr().err.startswith(f"speedrun: {sentence}")


def test_the_json_has_all_figures(
    speedrun: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text, path = tmp_path / "text.txt", tmp_path / "found.json"
    text.write_text(CORPUS.text, encoding="utf-8")
    monkeypatch.setattr(speedrun, "check_is_the_text", lambda corpus: None)
    monkeypatch.setattr(speedrun, "read_rungs", lambda track: (rung(0, SMALL),))
    for words, key in ((["--whole", "--steps", "3"], "trained"), (["--rounds", "2", "--no-compiled"], "timed")):
        monkeypatch.setattr(
            sys, "argv", ["speedrun.py", "nanogpt-cpu", "--text", str(text), "--json", str(path), *words]
        )
        speedrun.main()
        found = json.loads(path.read_text(encoding="utf-8"))
        assert {"format", "version", "machine", "track", key} <= found.keys()
        assert found["machine"]["torch"]
        if key == "trained":
            assert len(found[key]["losses"]) == 3
            assert "the first 3 of 40 steps" in capsys.readouterr().out
        else:
            assert {one["name"]: len(one["seconds"]) for one in found[key]}["PyTorch eager"] == 2


def test_the_twins_dropout_acts_in_training_and_not_in_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    from handgrad.benchmarking.torch_gpt import torch_twin

    asked: list[float] = []
    attend = torch.nn.functional.scaled_dot_product_attention

    def watched(*inputs: Any, **options: Any) -> Any:
        asked.append(options["dropout_p"])
        return attend(*inputs, **options)

    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", watched)
    ours = GPT(DROPPED, seed=1)
    ids = np.random.default_rng(0).integers(0, 11, (3, 8))
    theirs = torch_twin(ours)
    assert theirs.training
    dropped = []
    for module in theirs.modules():
        if isinstance(module, torch.nn.Dropout):
            module.register_forward_hook(lambda module, inputs, output: dropped.append(bool((output == 0).any())))
    first, second = (theirs(torch.from_numpy(ids)) for _ in range(2))
    assert not torch.equal(first, second)
    assert asked == [0.5] * 4
    assert dropped == [True] * 2 * (1 + 2 * 2)  # after the embeddings, and after both parts of each block
    asked.clear()
    theirs.eval()
    np.testing.assert_allclose(theirs(torch.from_numpy(ids)).detach(), ours.eval()(ids), atol=1e-5)
    assert asked == [0.0] * 2


@pytest.mark.parametrize("work", ["evaluation", "generation"])
def test_the_contenders_other_works_do_not_drop(work: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contenders, "_EVALUATED_TOKENS", 64)
    case = Case("tiny", replace(SMALL, dropout=0.5), vocab_size=23, tokens=8)
    ours, theirs = handgrad_contender(case, work), pytorch_contender(case, work)
    assert theirs.run() == pytest.approx(ours.run(), abs=1e-5)
    ours.close()
