r"""A pruned network for other programs: ONNX and torch.export, checked by running the file."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_leaves

from cnn.checkpoint import whole
from cnn.layers import unwrapped
from cnn.prune.certificate import Difference
from cnn.prune.measure import compare
from cnn.prune.pruning import Pruned
from regdyn.checks import shown

__all__ = ["export", "installed"]

NEEDED = ("onnx", "onnxruntime", "onnxscript")
LIMIT = 1e-4  # of the outputs' scale: what another order of sums does not explain
LARGER = 32  # pixels more, a multiple of what most networks divide by


def export(
    pruned: Pruned | nn.Module, path: str | Path, images: Tensor, *, sizes: bool = False
) -> list[Difference]:
    r"""Write the network for other programs; what was written is read again and run.

    The batch is of any size. Height and width are those of `images`, unless `sizes`: a `Border`
    is then a constant of the file, and otherwise computed from the size of the input.

    Parameters
    ----------
    pruned : Pruned or torch.nn.Module
        Not changed. The differences go into its certificate, if it has one.
    path : str or Path
        ``NAME.onnx``, run by onnxruntime, or ``NAME.pt2``, run by ``torch.export.load``.
    images : tensor (n, channels, height, width)
        On them the outputs are compared, and on the first alone (on three of it for n = 1).
    sizes : bool, default False
        Leave height and width open, too; compared also on random images 32 pixels larger.

    Returns
    -------
    list of Difference
        Between the network's outputs and those of the file, one for each kind of input.

    Raises
    ------
    ValueError
        If the name ends otherwise, a package is missing, the network cannot be exported so, or the
        file computes something else (more than 1e-4 of the outputs' scale). Nothing is written.
    """
    path = Path(path)
    if path.suffix not in (".onnx", ".pt2"):
        raise ValueError(f"path must end with .onnx or .pt2, not {shown(str(path))}.")
    if not isinstance(images, Tensor) or images.ndim < 2 or not len(images):
        raise ValueError(f"images must be a tensor (n, ...), not {shown(images)}.")
    if path.suffix == ".onnx":
        installed()
    model = unwrapped(pruned.model if isinstance(pruned, Pruned) else pruned)
    model = copy.deepcopy(model).cpu().eval()
    images = images.detach().cpu()
    with whole(path) as name:
        run = _onnx if path.suffix == ".onnx" else _torch_export
        try:
            copied = copy.deepcopy(model).to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
            written = run(copied, name, images, sizes)
        except Exception as error:  # the exporters fail in many ways
            raise ValueError(f"{path.name} cannot be written: {_line(error)}") from error
        found = [*_differences(model, written, images, sizes, path.name)]
    if isinstance(pruned, Pruned):
        pruned.certificate.exports[f"{path.name} ({_by(path)})"] = found
    return found


def installed() -> None:
    """Raise ValueError if a package that ONNX needs is missing."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise ValueError(f"ONNX needs {', '.join(NEEDED)}: pip install {' '.join(missing)}.")


# Writing ------------------------------------------------------------------------------------------


def _program(model: nn.Module, images: Tensor, sizes: bool) -> torch.export.ExportedProgram:
    """The network as torch.export sees it, of any batch."""
    two = images[:2] if len(images) > 1 else images.repeat(2, *[1] * (images.ndim - 1))
    free: dict[int, Any] = {0: torch.export.Dim("batch")}  # 1 as an example would stay 1
    if sizes:
        free |= dict.fromkeys(range(2, images.ndim), torch.export.Dim.DYNAMIC)
    return torch.export.export(model, (two,), dynamic_shapes=(free,))


def _torch_export(model: nn.Module, name: str, images: Tensor, sizes: bool) -> Callable:
    torch.export.save(_program(model, images, sizes), name)
    return torch.export.load(name).module()


def _onnx(model: nn.Module, name: str, images: Tensor, sizes: bool) -> Callable:
    """What onnxruntime computes from the file."""
    import onnxruntime  # pyright: ignore[reportMissingImports]

    program = torch.onnx.export(
        _program(model, images, sizes), (images[:2],), dynamo=True, verbose=False,
        input_names=["images"],
    )  # fmt: skip
    assert program is not None
    program.save(name, external_data=False)
    quiet = onnxruntime.SessionOptions()
    quiet.log_severity_level = 4  # what goes wrong is raised, too
    session = onnxruntime.InferenceSession(name, quiet, providers=["CPUExecutionProvider"])
    (given,) = session.get_inputs()

    def run(x: Tensor) -> list[Tensor]:
        return [torch.from_numpy(y) for y in session.run(None, {given.name: x.numpy()})]

    return run


def _by(path: Path) -> str:
    package = "onnxruntime" if path.suffix == ".onnx" else "torch"
    return f"{package} {version(package)}"


# Checking -----------------------------------------------------------------------------------------


def _differences(
    model: nn.Module, written: Callable, images: Tensor, sizes: bool, name: str
) -> Iterator[Difference]:
    """Between network and file, kind by kind of input."""
    for what, x in _inputs(images, sizes):
        try:
            found = compare(model, _leaves(written), x, what)
        except Exception as error:  # a file that is wrong fails in any way
            shape = tuple(x.shape)
            raise ValueError(f"{name} does not run on inputs {shape}: {_line(error)}") from error
        if not found.relative <= LIMIT:
            raise ValueError(
                f"{name} computes something else: outputs on {what} inputs differ by "
                f"{found.relative:.1e} of their scale, allowed is {LIMIT:g}."
            )
        yield found


def _inputs(images: Tensor, sizes: bool) -> Iterator[tuple[str, Tensor]]:
    yield "given", images
    yield "first", images[:1] if len(images) > 1 else images.repeat(3, *[1] * (images.ndim - 1))
    if sizes:
        shape = [*images[:2].shape[:2], *(n + LARGER for n in images.shape[2:])]
        yield "larger", torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(images)


def _leaves(run: Callable) -> Callable:
    return lambda x: tree_leaves(run(x))


def _line(error: Exception) -> str:
    """The first words of an error; torch's and onnxruntime's are pages."""
    return " ".join(str(error).split())[:160]
