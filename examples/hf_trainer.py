"""Watch a training with Hugging Face's Trainer: scikit-learn's digits, a few seconds on a CPU.

pip install 'transformers[torch]'
python examples/hf_trainer.py [FOLDER]
"""

import sys

import torch
from sklearn.datasets import load_digits
from torch import nn
from torch.utils.data import Dataset
from transformers import Trainer, TrainingArguments

from cnn.monitor.transformers import GammaCallback


class Digits(Dataset):
    """Images of 8x8 and labels."""

    def __init__(self) -> None:
        digits = load_digits()
        self.x = torch.tensor(digits.images, dtype=torch.float32)[:, None] / 16
        self.y = torch.tensor(digits.target)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> dict[str, torch.Tensor]:
        return {"images": self.x[i], "labels": self.y[i]}


class Network(nn.Module):
    """A convolution with BatchNorm, and a LayerNorm, whose scale is reported as such."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(1, 8, 3, bias=False), nn.BatchNorm2d(8), nn.ReLU(),
            nn.Flatten(), nn.LayerNorm(288), nn.Linear(288, 10),
        )  # fmt: skip

    def forward(self, images, labels):
        """The Trainer takes the loss from here."""
        return {"loss": nn.functional.cross_entropy(self.net(images), labels)}


def main(out: str = "watched", *, resume: bool = False, **settings) -> None:
    """Train 120 steps with AdamW, as the Trainer does by default, and watch them."""
    arguments = TrainingArguments(
        out, max_steps=120, per_device_train_batch_size=40, weight_decay=0.1, use_cpu=True,
        report_to="none", save_steps=60, logging_steps=20, disable_tqdm=True, **settings,
    )  # fmt: skip
    watch = GammaCallback(f"{out}/watched")
    trainer = Trainer(Network(), arguments, train_dataset=Digits(), callbacks=[watch])
    trainer.train(resume_from_checkpoint=resume)


if __name__ == "__main__":
    main(*sys.argv[1:2])
