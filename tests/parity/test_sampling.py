"""A strategy's probabilities against transformers' logits processors, one by one and in their order."""

import warnings
from typing import Any

import numpy as np
import pytest
import torch

from handgrad.generation import Strategy
from handgrad.system.arrays import Array

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what other libraries warn of when they are imported does not concern us
    process = pytest.importorskip(
        "transformers.generation.logits_process", reason="transformers is not installed: nothing to compare with"
    )


def in_transformers(options: dict[str, Any]) -> Any:
    """The processors, in the order in which transformers' generate applies them."""
    makers = {
        "repetition_penalty": process.RepetitionPenaltyLogitsProcessor,
        "temperature": process.TemperatureLogitsWarper,
        "top_k": process.TopKLogitsWarper,
        "top_p": process.TopPLogitsWarper,
        "min_p": process.MinPLogitsWarper,
    }
    return process.LogitsProcessorList([make(options[name]) for name, make in makers.items() if name in options])


def logits_and_texts(vocab_size: int) -> tuple[Array, Array]:
    """Logits (4, V), flat and peaked, without ties, and the ids (4, 9) of texts, some of them repeated."""
    rng = np.random.default_rng(vocab_size)
    logits = rng.standard_normal((4, vocab_size)) * np.array([[0.3], [1.0], [3.0], [8.0]])
    return logits, rng.integers(0, min(vocab_size, 12), (4, 9))


@pytest.mark.parametrize("vocab_size", [13, 1000, 50_257])
@pytest.mark.parametrize(
    "options",
    [
        *({"temperature": t} for t in (0.3, 1.0, 2.0)),
        *({"top_k": k} for k in (1, 2, 12, 13, 50)),
        *({"top_p": p} for p in (0.05, 0.5, 0.9, 0.99)),
        *({"min_p": p} for p in (0.0, 0.01, 0.2, 1.0)),
        *({"repetition_penalty": penalty} for penalty in (1.2, 5.0, 0.7)),
        {"top_k": 40, "top_p": 0.8},
        {"top_p": 0.9, "min_p": 0.1},
        {"temperature": 0.5, "top_p": 0.9},
        {"repetition_penalty": 1.3, "temperature": 0.8, "top_k": 40, "top_p": 0.95, "min_p": 0.05},
        {"repetition_penalty": 0.8, "temperature": 1.9, "top_k": 9, "top_p": 0.6, "min_p": 0.3},
    ],
    ids=str,
)
def test_probabilities_are_those_of_transformers(vocab_size: int, options: dict[str, Any]) -> None:
    logits, texts = logits_and_texts(vocab_size)
    processed = in_transformers(options)(torch.from_numpy(texts), torch.from_numpy(logits.copy()))
    theirs = torch.softmax(processed, dim=-1).numpy()
    seen = np.zeros(logits.shape, bool)
    np.put_along_axis(seen, texts, True, axis=1)
    ours = Strategy(**options).probabilities(logits, seen)
    np.testing.assert_array_equal(ours > 0, theirs > 0)
    np.testing.assert_allclose(ours, theirs, rtol=1e-9)


@pytest.mark.slow
def test_the_order_is_that_of_transformers() -> None:
    """The processors of their generate, made from a configuration that asks for all of them."""
    transformers = pytest.importorskip("transformers")
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(vocab_size=13, n_positions=32, n_embd=8, n_layer=1, n_head=2)
    )
    logits, texts = logits_and_texts(13)
    options = {"repetition_penalty": 1.7, "temperature": 0.6, "top_k": 9, "top_p": 0.8, "min_p": 0.1}

    class Fixed(torch.nn.Module):
        def forward(self, *_: Any, **__: Any) -> Any:
            return torch.from_numpy(logits)[:, None].expand(-1, texts.shape[1], -1)

    model.lm_head = Fixed()
    with torch.no_grad():
        written = model.generate(
            torch.from_numpy(texts),
            attention_mask=torch.ones(texts.shape, dtype=torch.long),
            max_new_tokens=1,
            do_sample=True,
            pad_token_id=0,
            eos_token_id=None,
            output_scores=True,
            return_dict_in_generate=True,
            **options,
        )
    seen = np.zeros(logits.shape, bool)
    np.put_along_axis(seen, texts, True, axis=1)
    theirs = torch.softmax(written.scores[0].double(), dim=-1).numpy()
    np.testing.assert_allclose(Strategy(**options).probabilities(logits, seen), theirs, rtol=1e-5)
