"""A small network classifies points on three spirals; the picture shows the borders that it learns.

python examples/spiral.py --out spiral.png
"""

import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tyro
from matplotlib.figure import Figure

import handgrad
from handgrad import nn, optim


@dataclass
class Arguments:
    """Classify points by the spiral they lie on."""

    points: int = 200
    """For each class."""
    classes: int = 3
    noise: float = 0.15
    """Standard deviation of the angles, in radians."""
    hidden: int = 64
    epochs: int = 150
    lr: float = 1e-2
    seed: int = 0
    out: Path = Path("spiral.png")


def spirals(arguments: Arguments, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Points (N, 2), and for each (N,) the number of its spiral."""
    radius = np.tile(np.linspace(0.05, 1, arguments.points), arguments.classes)
    label = np.repeat(np.arange(arguments.classes), arguments.points)
    angle = 2 * np.pi * label / arguments.classes + 4.5 * radius + arguments.noise * rng.standard_normal(label.shape)
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1).astype(np.float32), label


def accuracy(net: nn.Module, points: np.ndarray, labels: np.ndarray) -> float:
    with handgrad.no_grad():
        return float((net(handgrad.tensor(points)).argmax(axis=1).numpy() == labels).mean())


def main(arguments: Arguments) -> None:
    if not arguments.out.parent.is_dir():
        sys.exit(f"spiral: {arguments.out.parent}: no such directory")
    if min(arguments.points, arguments.hidden, arguments.epochs, arguments.classes) < 1:
        sys.exit("spiral: --points, --hidden, --classes and --epochs must be at least 1")
    handgrad.manual_seed(arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    points, labels = spirals(arguments, rng)
    unseen = spirals(arguments, rng)

    net = nn.MLP([2, arguments.hidden, arguments.hidden, arguments.classes])
    optimizer = optim.AdamW(net.parameters(), lr=arguments.lr)
    loader = nn.DataLoader(nn.TensorDataset(points, labels), batch_size=64, shuffle=True, seed=arguments.seed)
    for epoch in range(arguments.epochs):
        for x, y in loader:
            loss = nn.cross_entropy_loss(net(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if (epoch + 1) % 50 == 0:
            print(f"epoch {epoch + 1}: loss {loss.item():.4f}, {accuracy(net, points, labels):.1%} right")
    print(f"{accuracy(net, *unseen):.1%} of points that it has not seen are right")

    side = np.linspace(-1.2, 1.2, 200, dtype=np.float32)
    plane = np.stack(np.meshgrid(side, side), axis=-1).reshape(-1, 2)
    with handgrad.no_grad():
        chosen = net(handgrad.tensor(plane)).argmax(axis=1).reshape(len(side), len(side)).numpy()
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    levels = np.arange(arguments.classes + 1) - 0.5
    axes.contourf(side, side, chosen, levels=levels, cmap="viridis", alpha=0.35)
    axes.scatter(points[:, 0], points[:, 1], c=labels, cmap="viridis", s=10)
    axes.set_aspect("equal")
    figure.savefig(arguments.out, dpi=120)
    print(f"picture: {arguments.out}")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
