"""Runs that respect documents: what a model of names sees, how its loss is counted, and that it writes names."""

import math
from pathlib import Path

import numpy as np
import pytest
from support import TINY

from handgrad.autograd import no_grad
from handgrad.data import Choices, TokenData, prepare_in_memory
from handgrad.generation import start_of, write
from handgrad.models import GPT, GPTConfig
from handgrad.runs import TrainConfig, create_run
from handgrad.system.errors import InputError
from handgrad.tokenizers import CharTokenizer
from handgrad.training import bits_per_character, evaluate, train
from handgrad.training.replicas import Replicas

NAMES = ["anna", "ben", "carla", "dan", "eve", "finn", "gert", "hanna", "ida", "jan"] * 12
CONFIG = TINY.updated({"boundaries": "respect", "max_steps": 12}, "test")


@pytest.fixture
def names(tmp_path: Path) -> TokenData:
    (tmp_path / "names.txt").write_text("\n".join(NAMES))
    return prepare_in_memory([tmp_path / "names.txt"], CharTokenizer(), choices=Choices(documents="lines"))[0]


def test_the_loss_is_the_mean_over_documents_predicted_one_by_one(names: TokenData) -> None:
    model = GPT(GPTConfig(names.meta.vocab_size, 8, 1, 2, 12), seed=3, dtype=np.float64)
    end, total, count = 3, 0.0, 0
    documents = names.tokenizer.decode(names.validation).split("<eos>")
    assert documents == NAMES[-len(documents) :]
    for name in documents:
        ids = names.tokenizer.encode(name).tolist()
        with no_grad():
            total += model.loss(np.array([[end, *ids]]), np.array([[*ids, end]])) * (len(ids) + 1)
        count += len(ids) + 1
    found = evaluate(model, names.validation, end=end)
    assert found == pytest.approx(total / count, rel=1e-12)
    bits = bits_per_character(found, names.targets_per_character("respect"))
    assert bits == pytest.approx(total / math.log(2) / len("".join(documents)), rel=1e-12)
    assert names.targets_per_character("ignore") == names.tokens_per_character == (count - 1) / (count - len(documents))


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_gradient_of_padded_batches_does_not_depend_on_how_they_are_shared(names: TokenData, count: int) -> None:
    x, y = names.windows(names.train, 8).random_batch(5, np.random.default_rng(0))
    whole = GPT(GPTConfig(names.meta.vocab_size, 8, 1, 2, 12), seed=3, dtype=np.float64)
    loss = whole.loss(x, y)
    whole.backward()
    shared = GPT(GPTConfig(names.meta.vocab_size, 8, 1, 2, 12), seed=3, dtype=np.float64)
    replicas = Replicas(shared, count)
    try:
        found, _ = replicas.loss_and_gradients([(x, y)])
    finally:
        replicas.close()
    assert found == pytest.approx(loss, rel=1e-12)
    np.testing.assert_allclose(shared.arena.grad, whole.arena.grad, rtol=1e-9, atol=1e-14)


def test_a_run_is_the_same_however_often_it_is_resumed(names: TokenData, tmp_path: Path) -> None:
    def weights(name: str, steps_at_a_time: int) -> bytes:
        run = create_run(tmp_path / name, CONFIG, names, None, 2, None)
        finished = False
        while not finished:
            steps = iter(range(steps_at_a_time))
            finished = train(run, run.data(), should_stop=lambda steps=steps: next(steps, None) is None).finished  # type: ignore[misc]
        return (run.path / "checkpoints" / "step-00000012" / "model.safetensors").read_bytes()

    assert weights("whole", 100) == weights("parts", 5)


def test_a_model_of_names_ends_each_by_itself(names: TokenData, tmp_path: Path) -> None:
    config = CONFIG.updated({"max_steps": 250, "eval_interval": 250, "checkpoint_interval": 250, "n_embd": 24}, "test")
    run = create_run(tmp_path / "run", config, names, None, 1, None)
    train(run, run.data())
    model, _ = run.model("last")
    assert run.has_documents
    start = start_of(names.tokenizer, documents=True)
    written = [write(model, names.tokenizer, 100, seed=seed, start=start) for seed in range(10)]
    assert sum(name in NAMES for name in written) >= 8
    assert len(set(written)) >= 4
    assert all(len(name) < 12 for name in written)


def test_one_document_cannot_be_respected(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("one document\n" * 40)
    data = prepare_in_memory([tmp_path / "text.txt"], CharTokenizer())[0]
    with pytest.raises(
        InputError, match=r"needs a text of several documents, and .*text\.txt is only one; say what a "
    ):
        data.check_length(8, "respect")
    data.check_length(8)


def test_old_settings_ignore_boundaries() -> None:
    assert TrainConfig().boundaries == "ignore"
    with pytest.raises(InputError, match="boundaries must be ignore or respect, not cross"):
        TINY.updated({"boundaries": "cross"}, "test")
