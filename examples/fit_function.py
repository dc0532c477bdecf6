"""A small network learns a noisy function of one number, and draws what it learned.

python examples/fit_function.py --out fit.png
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
    """Fit sin(3x) + x/2 from noisy points."""

    points: int = 400
    noise: float = 0.15
    """Standard deviation of the noise that is added to each point."""
    hidden: int = 64
    epochs: int = 200
    lr: float = 1e-2
    seed: int = 0
    out: Path = Path("fit_function.png")


def function(x: np.ndarray) -> np.ndarray:
    return np.sin(3 * x) + x / 2


def main(arguments: Arguments) -> None:
    if not arguments.out.parent.is_dir():
        sys.exit(f"fit_function: {arguments.out.parent}: no such directory")
    if min(arguments.points, arguments.hidden, arguments.epochs) < 1:
        sys.exit("fit_function: --points, --hidden and --epochs must be at least 1")
    handgrad.manual_seed(arguments.seed)
    rng = np.random.default_rng(arguments.seed)
    x = rng.uniform(-3, 3, (arguments.points, 1)).astype(np.float32)
    y = (function(x) + arguments.noise * rng.standard_normal(x.shape)).astype(np.float32)

    net = nn.MLP([1, arguments.hidden, arguments.hidden, 1], activation="tanh")
    optimizer = optim.AdamW(net.parameters(), lr=arguments.lr)
    loader = nn.DataLoader(nn.TensorDataset(x, y), batch_size=64, shuffle=True, seed=arguments.seed)
    for epoch in range(arguments.epochs):
        for points, values in loader:
            loss = nn.mse_loss(net(points), values)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        if (epoch + 1) % 50 == 0:
            print(f"epoch {epoch + 1}: loss {loss.item():.4f}")

    line = np.linspace(-3, 3, 300, dtype=np.float32)[:, None]
    with handgrad.no_grad():
        fitted = net(handgrad.tensor(line)).numpy()
    error = float(np.sqrt(np.mean((fitted - function(line)) ** 2)))
    print(f"off the true function by {error:.3f} (root mean square), from points off by {arguments.noise}")

    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    axes.plot(x, y, ".", color="silver", label="points")
    axes.plot(line, function(line), "--", color="black", label="sin(3x) + x/2")
    axes.plot(line, fitted, color="tab:blue", label="the network")
    axes.set(xlabel="x", ylabel="y")
    axes.legend()
    figure.savefig(arguments.out, dpi=120)
    print(f"picture: {arguments.out}")


if __name__ == "__main__":
    main(tyro.cli(Arguments))
