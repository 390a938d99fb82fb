"""Watch a training with PyTorch Lightning: scikit-learn's digits, a few seconds on a CPU.

pip install lightning
python examples/lightning_callback.py [FOLDER]
"""

import sys

import lightning as L
import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from cnn.monitor.lightning import GammaCallback


class Digits(L.LightningModule):
    """Two convolutions with BatchNorm, Adam with L2."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Conv2d(8, 16, 3, bias=False), nn.BatchNorm2d(16), nn.ReLU(),
            nn.Flatten(), nn.Linear(256, 10),
        )  # fmt: skip

    def training_step(self, batch, _):
        """The loss of a batch."""
        images, labels = batch
        return nn.functional.cross_entropy(self.net(images), labels)

    def configure_optimizers(self):
        """L2 inside Adam."""
        return torch.optim.Adam(self.parameters(), lr=2e-3, weight_decay=1e-2)


def main(out: str = "watched", *, checkpoint: str | None = None, **trainer) -> L.Trainer:
    """Train three epochs and watch them; from a checkpoint the record goes on."""
    L.seed_everything(0)
    digits = load_digits()
    images = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
    data = TensorDataset(images, torch.tensor(digits.target))
    settings = {"max_epochs": 3, "accelerator": "cpu", "logger": False,
                "enable_progress_bar": False, "default_root_dir": out, **trainer}  # fmt: skip
    fitter = L.Trainer(callbacks=[GammaCallback(out)], **settings)
    fitter.fit(Digits(), DataLoader(data, 40, shuffle=True), ckpt_path=checkpoint)
    return fitter


if __name__ == "__main__":
    main(*sys.argv[1:2])
