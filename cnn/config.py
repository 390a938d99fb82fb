"""The settings of a training run: frozen dataclasses that are also the command line's flags.

No torch here: `--help`, recipes and the sweep read it.
"""

import dataclasses
import json
from collections.abc import Collection
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from tyro.conf import OmitArgPrefixes, arg

from regdyn.checks import choose, finite, integer, shown


@dataclass(frozen=True)
class ModelConfig:
    """The network."""

    name: Annotated[str, arg(name="net")] = "basicnet"
    """basicnet, vgg11, vgg16 or vgg19."""
    width: float | str = 0.125
    """Width multiplier, or one of the paper's: 64-1x, 64-0.5x, 32-0.25x."""
    widths: tuple[int, ...] | None = None
    """Filters of each convolution, in place of the network's own."""
    head: str = "cifar"
    """The paper's fully connected head: cifar, tinyimagenet or imagenet."""
    pools: tuple[int, ...] = (1, 2)
    """BasicNet: the convolutions that a 2x2 max pooling follows."""
    negative_slope: float = 0.0
    """Of a leaky ReLU; 0 is ReLU."""
    gamma_init: Literal["ones", "uniform"] = "ones"
    """BatchNorm's scale at the start: 1, or U(0, 1) as in PyTorch 1.1 and before."""
    bn_eps: float = 1e-5
    """BatchNorm's eps."""


@dataclass(frozen=True)
class DataConfig:
    """The images, and how hard they are."""

    name: Annotated[str, arg(name="data")] = "digits"
    """digits, fashion-mnist, fashion-pairs-2 (-10, -100), cifar10, cifar100, tinyimagenet,
    imagenet, objects, objects-cluttered or folder."""
    root: Path | None = None
    """Where the data lie."""
    images: int | None = None
    """Training images, drawn at random [default: all]."""
    size: int | None = None
    """Resolution [default: the set's own]."""
    classes: tuple[int, ...] | None = None
    """Labels that are kept; one number: that many first classes."""
    random_labels: float = 0.0
    """Share of training images with a random label."""
    noise: float = 0.0
    """Pixel noise, in standard deviations of the pixels."""
    clutter: float = 0.0
    """Strength of other images' patches where an image is dark."""
    texture: float = 0.0
    """Strength of a random texture where an image is dark."""
    flip: bool | None = None
    """Random horizontal flips [default: as the set needs]."""
    dial_seed: int = 0
    """Seed of what the fields above draw: the same in all runs that are to be compared."""
    workers: int = 4
    """Processes that read sets too large for memory."""


@dataclass(frozen=True)
class OptimConfig:
    """The optimizer, and where lambda enters."""

    opt: str = "adam"
    """sgd, adam, amsgrad, adagrad, adadelta or rmsprop."""
    reg: str = "l2"
    """Where lambda enters: l2, wd (the paper's), adamw (torch's) or none."""
    lam: float = 1e-2
    """Strength lambda."""
    lr: float | None = None
    """Learning rate [default: the paper's]."""
    hyper: tuple[str, ...] = ()
    """Other hyper-parameters, such as beta2=0.999."""
    gamma_lr: float = 1.0
    """Factor on the learning rate of BatchNorm's gamma."""
    gamma_l1: float = 0.0
    """Strength of an L1 penalty on BatchNorm's gamma (slimming), on top of lambda."""
    regularize: Literal["all", "no-batchnorm"] = "all"
    """Which parameters are regularised; the paper: all."""


@dataclass(frozen=True)
class RecordConfig:
    """What is written down per filter."""

    every: Annotated[int, arg(name="record-every")] = 20
    """Steps between records, and length of a window."""
    ema: Annotated[float, arg(name="record-ema")] = 0.99
    """Decay per step of the exponential mean of squared gradients."""
    tape: bool = False
    """Keep every gradient of gamma, for `regdyn.replay`."""


@dataclass(frozen=True)
class Config:
    """Train a convolutional network and record what becomes of BatchNorm's gamma.

    Prints a table of inactive filters per layer, and writes the record (run.nc), a summary
    (summary.json), the settings (config.json), pictures and a checkpoint. The defaults show the
    collapse on scikit-learn's digits in under a minute on one core.
    """

    model: OmitArgPrefixes[ModelConfig] = field(default_factory=ModelConfig)
    data: OmitArgPrefixes[DataConfig] = field(default_factory=DataConfig)
    optim: OmitArgPrefixes[OptimConfig] = field(default_factory=OptimConfig)
    record: OmitArgPrefixes[RecordConfig] = field(default_factory=RecordConfig)
    batch: int = 40
    """Images per step, over all ranks."""
    steps: int = 4000
    """Steps."""
    drop: float | None = 0.8
    """The learning rate (and wd) is divided by 10 after this share of the steps; None: never."""
    seed: int = 0
    """Seed of the initial weights, and of the order of the images."""
    data_seed: int | None = None
    """Seed of the order of the images [default: that of the weights]."""
    device: str = "cpu"
    """cpu, cuda or cuda:N."""
    threads: int | None = None
    """CPU threads [default: torch's]."""
    deterministic: bool = False
    """Only algorithms that give the same bits again."""
    amp: bool = False
    """Automatic mixed precision (float16 with a gradient scaler on CUDA, bfloat16 on the CPU)."""
    channels_last: bool = False
    """Memory format of images and weights."""
    compile: bool = False
    """torch.compile the network."""
    cuda_graphs: bool = False
    """Capture a step as a CUDA graph."""


ELSEWHERE = {
    *("device", "threads", "deterministic", "channels_last", "compile", "cuda_graphs"),
    *("data.root", "data.workers"),
}
"""Fields that say where and how a run is computed, not what: a run can go on with others."""


def check(config: Config) -> None:
    """Raise ValueError if a field of the run itself is wrong; whoever uses a part checks that."""
    integer("steps", config.steps, 1)
    integer("batch", config.batch, 2)  # BatchNorm needs two
    if config.drop is not None:
        finite("drop", config.drop, 0.0, 1.0)
    integer("seed", config.seed, 0, 2**64 - 1)
    if config.data_seed is not None:
        integer("data_seed", config.data_seed, 0, 2**64 - 1)
    if config.threads is not None:
        integer("threads", config.threads, 1)
    for flag in ("deterministic", "amp", "channels_last", "compile", "cuda_graphs"):
        if not isinstance(getattr(config, flag), bool):
            raise ValueError(f"{flag} must be True or False, not {shown(getattr(config, flag))}.")
    if config.cuda_graphs and not str(config.device).startswith("cuda"):
        raise ValueError(f"cuda_graphs needs a CUDA device, not {shown(config.device)}.")
    if config.cuda_graphs and (config.amp or config.compile):
        raise ValueError("cuda_graphs can be used alone, not with amp or compile.")


def difference(config: Config, other: Config, but: Collection[str] = ELSEWHERE) -> str | None:
    """The first field in which two runs differ, such as "optim.lam is 0.01, not 0.001"."""
    ours, theirs = (_flat(to_dict(c)) for c in (config, other))
    for name, value in ours.items():
        if name not in but and value != theirs[name]:
            return f"{name} is {shown(value)}, not {shown(theirs[name])}"
    return None


def _flat(entry: dict[str, Any], above: str = "") -> dict[str, Any]:
    """{"optim": {"lam": 0.01}} as {"optim.lam": 0.01}."""
    flat: dict[str, Any] = {}
    for name, value in entry.items():
        inside = isinstance(value, dict)
        flat.update(_flat(value, f"{name}.") if inside else {f"{above}{name}": value})
    return flat


def to_dict(config: Config) -> dict[str, Any]:
    """`config` as plain dictionaries, for JSON."""
    return json.loads(json.dumps(dataclasses.asdict(config), default=str))


def from_dict(entry: dict[str, Any]) -> Config:
    """The Config that `to_dict` wrote.

    Raises
    ------
    ValueError
        If a field is unknown.
    """
    parts = {"model": ModelConfig, "data": DataConfig, "optim": OptimConfig, "record": RecordConfig}
    made = {name: _made(parts[name], entry[name]) for name in parts if name in entry}
    return _made(Config, {**entry, **made})


def _made(kind: Any, entry: dict[str, Any]) -> Any:
    known = [f.name for f in dataclasses.fields(kind)]
    for name in entry:
        choose(f"field of {kind.__name__}", name, known)
    values = {k: tuple(v) if isinstance(v, list) else v for k, v in entry.items()}
    root = values.get("root")
    if isinstance(root, str):
        values["root"] = Path(root)
    return kind(**values)
