"""BatchNorm and activation in one module, as timm has them, taken apart."""

from __future__ import annotations

from torch import fx, nn

__all__ = ["split"]


def split(traced: fx.GraphModule) -> bool:
    """Make each BatchNormAct2d a BatchNorm2d, then dropout and activation, of the same names.

    timm's module is a BatchNorm2d with `drop` and `act` inside. It becomes a plain one that still
    holds the two, and they are called after it. Returns whether there was any.
    """
    both = {name for name, module in traced.named_modules() if _is_both(module)}
    for name in both:
        traced.get_submodule(name).__class__ = nn.BatchNorm2d
    calls = [n for n in traced.graph.nodes if n.op == "call_module" and n.target in both]
    for node in calls:
        last, readers = node, [*node.users]
        for name in ("drop", "act"):
            with traced.graph.inserting_after(last):
                last = traced.graph.call_module(f"{node.target}.{name}", (last,))
        for reader in readers:
            reader.replace_input_with(node, last)
    traced.recompile()
    return bool(calls)


def _is_both(module: nn.Module) -> bool:
    """Whether it is timm's: by its name, as timm need not be there."""
    inside = (getattr(module, name, None) for name in ("drop", "act"))
    is_norm = isinstance(module, nn.BatchNorm2d) and type(module).__name__ == "BatchNormAct2d"
    return is_norm and all(isinstance(part, nn.Module) for part in inside)
