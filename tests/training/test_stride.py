"""Evaluation in windows that overlap, against a loop that predicts one token at a time."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from handgrad.autograd import no_grad
from handgrad.data import n_targets
from handgrad.models import GPT, GPTConfig, LanguageModel
from handgrad.system.arrays import Array
from handgrad.system.errors import InputError
from handgrad.system.threads import Team
from handgrad.training import evaluate
from handgrad.training.evaluation import TOKENS_PER_BATCH
from handgrad.training.replicas import cores_for

BLOCK, END = 8, 3


def model_of(dtype: Any = np.float64) -> LanguageModel:
    """A model whose losses differ from token to token, and with the tokens before them."""
    return GPT(GPTConfig(13, BLOCK, 1, 2, 12, matrix_std=0.3, embedding_std=0.5), seed=3, dtype=dtype)


def text_of(length: int) -> Array:
    return np.random.default_rng(length).integers(4, 13, length)


def losses_one_by_one(model: LanguageModel, text: Array, stride: int) -> Iterator[float]:
    """The loss of each token but the first, each by a forward of its own, from all tokens that a window gives it."""
    for place in range(1, len(text)):
        start = min(start for start in range(0, place, stride) if place - start <= BLOCK)
        with no_grad():
            logits = model.logits(text[None, start:place])[0, -1]
        yield np.log(np.exp(logits).sum()) - logits[text[place]]


# One window and its next token, one token more, a multiple of the strides and not, less than a window, the shortest.
@pytest.mark.parametrize("length", [2, 5, 8, 9, 10, 11, 40, 41, 61])
@pytest.mark.parametrize("stride", [1, 2, 3, 5, 7, 8])
def test_each_token_is_predicted_once_from_all_that_its_window_gives(length: int, stride: int) -> None:
    model, text = model_of(), text_of(length)
    losses = list(losses_one_by_one(model, text, stride))
    assert len(losses) == length - 1
    assert evaluate(model, text, stride=stride) == pytest.approx(math.fsum(losses) / (length - 1), rel=1e-12)


@pytest.mark.parametrize("stride", [1, 3, 8])
def test_with_documents_each_slides_by_itself(stride: int) -> None:
    model = model_of()
    documents = [text_of(length) for length in (1, 3, 25, 7, 8, 16)]
    tokens = np.concatenate([part for one in documents for part in (one, [END])][:-1])
    whole = [np.concatenate([[END], one, [END]]) for one in documents]
    losses = [loss for one in whole for loss in losses_one_by_one(model, one, stride)]
    assert evaluate(model, tokens, end=END, stride=stride) == pytest.approx(math.fsum(losses) / len(losses), rel=1e-12)
    assert evaluate(model, tokens, end=END, stride=stride) != evaluate(model, tokens, stride=stride)


def test_with_a_stride_of_block_size_the_loss_is_that_of_windows_that_do_not_overlap() -> None:
    """To the last bit: of the plain sum over whole windows, in batches, and a last, shorter one."""
    model, text = model_of(np.float32), text_of(5003)
    full, rest = divmod(len(text) - 1, BLOCK)
    cut = [text[k * BLOCK : (k + 1) * BLOCK + 1] for k in range(full)]
    each = TOKENS_PER_BATCH // BLOCK
    batches = [np.stack(cut[k : k + each]) for k in range(0, full, each)] + [text[None, -rest - 1 :]]
    with no_grad():
        losses = [model.loss(one[:, :-1], one[:, 1:]) * one[:, 1:].size for one in batches]
    plain = math.fsum(losses) / (len(text) - 1)
    assert rest > 0
    assert evaluate(model, text) == evaluate(model, text, stride=BLOCK) == plain
    assert evaluate(model, text, stride=BLOCK - 1) != plain


def test_as_many_targets_count_as_there_are_tokens_after_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of()
    for length in (2, 7, 9, 50):
        for stride in range(1, BLOCK + 1):
            counts: list[int] = []
            monkeypatch.setattr(model, "loss", lambda x, y, counts=counts: counts.append(n_targets(y)) or 1.5)
            assert evaluate(model, text_of(length), stride=stride) == 1.5  # a mean, whatever the batches weigh
            assert sum(counts) == length - 1


def test_the_bits_do_not_depend_on_the_number_of_threads() -> None:
    model, text = model_of(np.float32), text_of(4000)
    found = set()
    for threads in (1, 2, 3, 5):
        with cores_for(2), Team(threads) as team:  # one thread of BLAS for each
            found.add(evaluate(model, text, team, stride=3))
    assert len(found) == 1


@pytest.mark.parametrize("stride", [0, -1, 9])
def test_a_stride_that_leaves_tokens_out_is_refused(stride: int) -> None:
    with pytest.raises(InputError, match=rf"^stride must be at least 1 and at most .* block_size, 8, not {stride}$"):
        evaluate(model_of(), text_of(30), stride=stride)
