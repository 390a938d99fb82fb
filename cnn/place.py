"""Where a run takes place: device, ranks, threads, and whether the same bits are promised.

Several processes come from ``torchrun``, which says in the environment who they are. Each holds the
whole network and takes its share of every batch; gradients are averaged over the ranks before they
are recorded. BatchNorm's statistics are per rank, as SyncBatchNorm does not run on a CPU; its
running ones are those of rank 0 everywhere.
"""

import hashlib
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from cnn.config import Config
from regdyn.checks import shown


@dataclass(frozen=True)
class Place:
    """One process of a run."""

    device: torch.device
    rank: int
    world: int
    label: dict[str, Any]
    """What the bits of a run depend on beside its settings."""

    @property
    def writes(self) -> bool:
        """Whether this process prints and writes: rank 0."""
        return self.rank == 0

    def shared(self, net: nn.Module) -> nn.Module:
        """`net`, so that backward averages the gradients over the ranks; a collective call."""
        if self.world == 1:
            return net
        ids = [self.device.index] if self.device.type == "cuda" else None
        return DistributedDataParallel(net, device_ids=ids)

    def mean(self, loss: Tensor) -> Tensor:
        """Mean over the ranks; stays on the device."""
        if self.world > 1:
            distributed.all_reduce(loss)
            loss = loss / self.world
        return loss

    def any(self, flag: bool) -> bool:
        """Whether a rank says so; waits for the device if there are several."""
        if self.world == 1:
            return flag
        found = torch.tensor(float(flag), device=self.device)
        distributed.all_reduce(found)
        return bool(found > 0)

    def settle(self, model: nn.Module) -> None:
        """Give every rank the running statistics of rank 0; then all must have the same bits.

        Raises
        ------
        RuntimeError
            If they have not.
        """
        if self.world == 1:
            return
        for buffer in model.buffers():
            distributed.broadcast(buffer, 0)
        digests: list[Any] = [None] * self.world
        distributed.all_gather_object(digests, digest(model))
        if len(set(digests)) > 1:
            raise RuntimeError("the ranks have trained different networks: their weights differ.")


def digest(model: nn.Module) -> str:
    """SHA-256 of the bits of all parameters and buffers."""
    total = hashlib.sha256()
    for name, value in model.state_dict().items():
        total.update(name.encode())
        total.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()


@contextmanager
def place(config: Config) -> Iterator[Place]:
    """Set device, threads and determinism as `config` says; afterwards all is as before.

    Raises
    ------
    ValueError
        If there is no such device, or the ranks cannot share the batch.
    """
    rank, world = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
    device = _device(config.device, world)
    if config.batch % world or config.batch // world < 2:
        raise ValueError(
            f"batch must be at least 2 images for each of {world} ranks, and a multiple of them, "
            f"not {config.batch}."
        )
    if world > 1 and config.cuda_graphs:
        raise ValueError("cuda_graphs captures the step of one process, not of several ranks.")
    with _numerics(config, device), torch.random.fork_rng(_generators(device)):
        began = world > 1 and not distributed.is_initialized()
        if began:
            distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
        try:
            yield Place(device, rank, world, _label(config, device, world))
        finally:
            if began:
                distributed.destroy_process_group()


def _device(name: str, world: int) -> torch.device:
    """The device of this process; of several, each has its own GPU."""
    try:
        device = torch.device(name)
    except RuntimeError:
        device = torch.device("meta")
    if device.type not in ("cpu", "cuda"):
        raise ValueError(f"device must be cpu, cuda or cuda:N, not {shown(name)}.")
    if device.type == "cpu":
        return torch.device("cpu")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = int(os.environ.get("LOCAL_RANK", 0)) if world > 1 else device.index or 0
    if index >= count:
        raise ValueError(f"device {name!r} is not there: torch sees {count} CUDA devices.")
    return torch.device("cuda", index)


def _generators(device: torch.device) -> list[int]:
    return [] if device.index is None else [device.index]


@contextmanager
def _numerics(config: Config, device: torch.device) -> Iterator[None]:
    """Threads, and deterministic algorithms or the fastest ones."""
    before = (
        torch.get_num_threads(),
        torch.are_deterministic_algorithms_enabled(),
        torch.backends.cudnn.benchmark,
    )
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    if config.deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS asks for it
    torch.use_deterministic_algorithms(config.deterministic)
    torch.backends.cudnn.benchmark = not config.deterministic  # which algorithm wins is chance
    if device.type == "cuda":
        torch.cuda.set_device(device)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        torch.use_deterministic_algorithms(before[1])
        torch.backends.cudnn.benchmark = before[2]


def _label(config: Config, device: torch.device, world: int) -> dict[str, Any]:
    cuda = device.type == "cuda"
    kind = torch.cuda.get_device_name(device) if cuda else torch.backends.cpu.get_cpu_capability()
    return {
        "machine": f"{platform.system()} {platform.machine()}",
        "device": device.type,
        "kind": kind,
        "torch": str(torch.__version__),  # a plain word, for the checkpoint
        "threads": torch.get_num_threads(),
        "ranks": world,
        "deterministic": config.deterministic,
        "channels_last": config.channels_last,
        "compile": config.compile,
        "cuda_graphs": config.cuda_graphs,
    }
