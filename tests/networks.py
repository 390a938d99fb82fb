"""Networks with planted dead filters, for the tests of cnn.prune."""

import functools

import torch
import torchvision
from torch import nn
from torch.nn import functional as F

from cnn import checkpoint, models
from cnn.checkpoint import Run
from cnn.config import Config, DataConfig, ModelConfig
from cnn.optim import Update
from cnn.record import Recorder

torch.set_num_threads(1)
EXACT = 1e-5  # of the scale of the outputs, in float32


class Depthwise(nn.Module):
    """ConvNeXt's blocks with BatchNorm: depthwise 7x7, up, activation, down, and a sum."""

    def __init__(self, act=nn.ReLU, filters=12, padding_mode="zeros"):
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, filters, 4, 4), nn.BatchNorm2d(filters), act())
        dw = functools.partial(nn.Conv2d, padding=3, groups=filters, padding_mode=padding_mode)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                dw(filters, filters, 7), nn.BatchNorm2d(filters),
                nn.Conv2d(filters, 4 * filters, 1), nn.BatchNorm2d(4 * filters), act(),
                nn.Conv2d(4 * filters, filters, 1), nn.BatchNorm2d(filters),
            )
            for _ in range(2)
        )  # fmt: skip
        self.head = nn.Linear(filters, 10)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x.mean((-2, -1)))


class Branches(nn.Module):
    """A concatenation, groups, squeeze and excitation, poolings, functions instead of modules."""

    def __init__(self, act=F.relu):
        super().__init__()
        self.act = act
        self.a, self.na = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.b, self.nb = nn.Conv2d(3, 8, 5, padding=2), nn.BatchNorm2d(8)
        self.g, self.ng = nn.Conv2d(16, 16, 3, padding=1, groups=4), nn.BatchNorm2d(16)
        self.squeeze, self.excite = nn.Conv2d(16, 4, 1), nn.Conv2d(4, 16, 1)
        self.c, self.nc = nn.Conv2d(16, 8, 3), nn.BatchNorm2d(8)
        self.fc, self.nfc, self.out = nn.Linear(32, 16), nn.BatchNorm1d(16), nn.Linear(16, 10)
        self.average = nn.AvgPool2d(3, 1, 1)

    def forward(self, x):
        a = F.max_pool2d(self.act(self.na(self.a(x))), 2)
        b = self.average(self.act(self.nb(self.b(x))))[:, :, ::2, ::2]
        x = self.act(self.ng(self.g(torch.cat([a, b], 1))))
        x = x * torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3), keepdim=True)))))
        x = F.adaptive_avg_pool2d(F.dropout(self.act(self.nc(self.c(x))), 0.2, False), 2)
        return self.out(self.act(self.nfc(self.fc(x.view(x.size(0), 32)))))


def small(act=nn.ReLU, padding_mode="zeros"):
    """A plain chain with padding."""
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8), act(), nn.MaxPool2d(2),
        nn.Conv2d(8, 6, 3, 2, 1, padding_mode=padding_mode), nn.BatchNorm2d(6), act(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(6, 5),
    )  # fmt: skip


def ours(name):
    config = ModelConfig(name=name, width=0.125)
    return models.build(config, channels=3, classes=10, size=32)


NETS = {
    "basicnet": functools.partial(ours, "basicnet"),
    "vgg16": functools.partial(ours, "vgg16"),
    "resnet18": functools.partial(torchvision.models.resnet18, num_classes=10),
    "densenet": functools.partial(torchvision.models.DenseNet, 8, (2, 3, 2), 16, 2, 0, 10),
    "mobilenet_v2": functools.partial(torchvision.models.mobilenet_v2, width_mult=0.25),
    "depthwise": Depthwise,
    "depthwise-circular": functools.partial(Depthwise, nn.SiLU, padding_mode="circular"),
    "branches": Branches,
}


def plant(model, tiny=0.0, share=0.4):
    """Trained-looking BatchNorms; of some filters gamma is 0 or +-`tiny`, beta of either sign."""
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for bn in model.modules():
            if isinstance(bn, nn.BatchNorm1d | nn.BatchNorm2d):
                n = bn.num_features
                bn.weight.copy_(torch.rand(n, generator=draw) + 0.5)
                bn.bias.copy_(torch.randn(n, generator=draw) * 0.5)
                bn.running_mean.copy_(torch.randn(n, generator=draw) * 0.1)
                bn.running_var.copy_(torch.rand(n, generator=draw) + 0.5)
                signs = torch.sign(torch.randn(n, generator=draw))
                dead = torch.rand(n, generator=draw) < share
                bn.weight[dead] = tiny * signs[dead]
    return model.eval()


def net(name, **given):
    torch.manual_seed(0)
    return plant(NETS[name](), **given)


def images(size=32, n=3, dtype=torch.float32):
    return torch.randn(n, 3, size, size + 16, generator=torch.Generator().manual_seed(2)).to(dtype)


@torch.no_grad()
def relative(before, after, x):
    a, b = before(x), after(x)
    return float((a - b).abs().max() / a.abs().max())


def written(folder, seed=0):
    """A run's checkpoint: of the first layer two filters are dead, one with a positive beta."""
    config = Config(
        model=ModelConfig(widths=(4, 6), pools=(1,)), data=DataConfig("digits"), steps=10, seed=seed
    )
    torch.manual_seed(seed)
    model = models.build(config.model, channels=1, classes=10, size=8)
    with torch.no_grad():
        model.features.C1.bn.weight[:2], model.features.C1.bn.bias[0] = 0, 0.7
    run = Run(config, model, Update(model, config.optim), Recorder(model, steps=10))
    checkpoint.write(run.state_dict(), folder / checkpoint.LAST)
    return model
