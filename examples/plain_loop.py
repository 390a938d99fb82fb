"""Watch a plain training loop: scikit-learn's digits, a few seconds on a CPU.

    python examples/plain_loop.py [FOLDER]

Then open FOLDER/report.html, or python -m cnn.monitor FOLDER.
"""

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn

from cnn.monitor import GammaMonitor

STEPS, DROP = 600, 480


def network() -> nn.Module:
    """Three convolutions with BatchNorm for images of 8x8."""

    def block(inputs: int, filters: int) -> list[nn.Module]:
        conv = nn.Conv2d(inputs, filters, 3, padding=1, bias=False)
        return [conv, nn.BatchNorm2d(filters), nn.ReLU()]

    return nn.Sequential(
        *block(1, 8), *block(8, 32), nn.MaxPool2d(2), *block(32, 32), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(32, 10),
    )  # fmt: skip


def main(out: str = "watched", steps: int = STEPS) -> None:
    """Train with Adam and L2, whose decay takes filters away; watch it."""
    torch.manual_seed(0)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(digits.target)
    model = network()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2, betas=(0.9, 0.99), weight_decay=2e-2)
    schedule = [1.0 if step < DROP else 0.1 for step in range(STEPS)]
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda t: schedule[min(t, STEPS - 1)])
    with GammaMonitor(model, optimizer, out, steps=STEPS, schedule=schedule) as monitor:  # line 1
        for _ in range(steps):
            batch = torch.randint(len(images), (40,))
            loss = nn.functional.cross_entropy(model(images[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            monitor.step(loss)  # line 2: after the step, while the gradients are there
            scheduler.step()
    print(f"{out}/report.html")


if __name__ == "__main__":
    main(*sys.argv[1:2])
