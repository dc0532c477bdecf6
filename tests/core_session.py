"""What a user does with NumPy alone: run where nothing else is installed, this fails if more is needed."""

import importlib.util
import sys
from pathlib import Path

import handgrad
from handgrad.generation import generate
from handgrad.models import GPT, GPTConfig
from handgrad.optim import AdamW, clip_grad_norm
from handgrad.tokenizers import BPETokenizer, CharTokenizer, WordTokenizer, load_tokenizer

for library in ("matplotlib", "pooch", "rich", "safetensors", "threadpoolctl", "tyro"):
    assert importlib.util.find_spec(library) is None, library + " can be imported here"
assert Path(sys.prefix) in Path(handgrad.__file__).parents, "not the copy in this environment: " + handgrad.__file__

tokenizer = CharTokenizer().train("to be or not to be")
tokenizer.save("tokenizer.json")
assert load_tokenizer("tokenizer.json") == tokenizer
ids = tokenizer.encode("to be or not to be")
assert tokenizer.decode(ids) == "to be or not to be"
for other in (WordTokenizer(byte_fallback=True), BPETokenizer(max_vocab_size=264, pattern="gpt4")):
    other.train("to be or not to be").save("other.json")
    assert load_tokenizer("other.json") == other
    assert other.decode(other.encode("to be ✓")) == "to be ✓"

model = GPT(GPTConfig(tokenizer.vocab_size, block_size=8, n_layer=1, n_head=2, n_embd=16, dropout=0.1), seed=1)
handgrad.manual_seed(0)
optimizer = AdamW(model.decay_groups(0.1), lr=1e-2)
x, y = ids[None, :8], ids[None, 1:9]
losses = []
for _ in range(10):
    optimizer.zero_grad()
    losses.append(model.loss(x, y))
    model.backward()
    clip_grad_norm(model.parameters(), 1.0)
    optimizer.step()
assert losses[-1] < 0.8 * losses[0], losses

written = list(generate(model, ids[:3], 12, top_p=0.9, exclude=tokenizer.special_ids))
assert len(written) == 12
assert set(tokenizer.decode(written)) <= set("to be or not to be")
print("losses", losses[0], losses[-1])

# The same on the tape, and a module of the user's own.
from handgrad import nn  # noqa: E402


class Doubled(nn.Module):
    def forward(self, x: handgrad.Tensor) -> handgrad.Tensor:
        return 2 * x.tanh()


loss = model.loss(handgrad.tensor(x), handgrad.tensor(y))
optimizer.zero_grad()
loss.backward()
optimizer.step()
net = nn.Sequential(nn.Linear(3, 4), Doubled(), nn.Linear(4, 1))
net(handgrad.randn(5, 3)).mean().backward()
assert all(parameter.grad is not None for parameter in net.parameters())
assert loss.item() < losses[0]
