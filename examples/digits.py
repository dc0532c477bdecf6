"""A small convolutional network reads handwritten digits: the 1797 images of 8 × 8 pixels that scikit-learn ships.

python examples/digits.py

For each seed, a random fifth of the images is held out. The last line is the mean share of these that is read rightly.
"""

import os
import sys
import time
from dataclasses import dataclass

os.environ.setdefault(
    "OPENBLAS_NUM_THREADS", "1"
)  # the products are so small that two threads only wait for each other

import numpy as np
import tyro

import handgrad
from handgrad import nn, optim


@dataclass
class Arguments:
    """Read handwritten digits."""

    epochs: int = 20
    batch_size: int = 64
    lr: float = 3e-3
    """Falls to zero along half a cosine."""
    seeds: int = 3
    """Trains so many networks, each with another fifth held out."""


def images() -> tuple[np.ndarray, np.ndarray]:
    """Images (1797, 1, 8, 8) of numbers from 0 to 1, and the digit (1797,) of each."""
    try:
        from sklearn.datasets import load_digits
    except ImportError:
        sys.exit("digits: the images come with scikit-learn, which is not installed: pip install scikit-learn")
    found = load_digits()
    return (found.images[:, None] / 16).astype(np.float32), found.target.astype(np.int64)


def network() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Dropout(0.25),
        nn.Flatten(),
        nn.Linear(32 * 4 * 4, 10),
    )


def share_right(net: nn.Module, x: np.ndarray, digits: np.ndarray) -> float:
    net.eval()
    with handgrad.no_grad():
        right = net(handgrad.tensor(x)).argmax(dim=1) == handgrad.tensor(digits)
    net.train()
    return float(right.float().mean().item())


def learn(arguments: Arguments, seed: int, x: np.ndarray, digits: np.ndarray) -> float:
    """Trains a network on four fifths of the images; returns the share of the others that it reads rightly."""
    handgrad.manual_seed(seed)
    order = np.random.default_rng(seed).permutation(len(x))
    held_out, seen = order[: len(x) // 5], order[len(x) // 5 :]
    net = network()
    optimizer = optim.AdamW(net.parameters(), lr=arguments.lr)
    data = nn.TensorDataset(x[seen], digits[seen])
    loader = nn.DataLoader(data, arguments.batch_size, shuffle=True, seed=seed)
    schedule = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=arguments.epochs * len(loader))
    for _ in range(arguments.epochs):
        for batch, targets in loader:
            loss = nn.functional.cross_entropy(net(batch), targets, label_smoothing=0.1)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return share_right(net, x[held_out], digits[held_out])


def main(arguments: Arguments) -> None:
    if min(arguments.epochs, arguments.batch_size, arguments.seeds) < 1:
        sys.exit("digits: --epochs, --batch-size and --seeds must be at least 1")
    x, digits = images()
    begun, shares = time.perf_counter(), []
    for seed in range(arguments.seeds):
        shares.append(learn(arguments, seed, x, digits))
        print(f"seed {seed}: {shares[-1]:.1%} of the images that it has not seen are right")
    print(f"mean {np.mean(shares):.2%}, in {time.perf_counter() - begun:.0f} s")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
