"""Checks on the simulation behind Figure 4: when half of 1000 values have fallen below a level."""

from __future__ import annotations

from functools import cache
from importlib.resources import as_file, files
from typing import TYPE_CHECKING

from figures.claims.checks import Check, Outcome, given

if TYPE_CHECKING:
    import xarray as xr

__all__ = ["faster", "smaller_still_faster"]

LEVEL = 1e-3  # the paper's threshold of a dead filter


@cache
def _data() -> xr.Dataset:
    from regdyn import store

    with as_file(files("figures") / "data" / "fig4.nc") as path:
        return store.load(path)


def _time(rule: str, reg: str, lam: float) -> float:
    """Median first step below the level; infinite if fewer than half get there."""
    times = _data()["first_passage_median"].sel(rule=rule, reg=reg, lam=lam, threshold=LEVEL)
    value = float(times)
    return value if value == value else float("inf")


def faster(rule: str, lam: float, *others: tuple[str, str]) -> Check:
    """L2 in `rule` takes the median below the level before the others (rule, reg) do."""

    def made(_) -> Outcome:
        own = _time(rule, "l2", lam)
        times = {f"{name} {reg}": _time(name, reg, lam) for name, reg in others}
        return _compared(f"{rule} l2 at {lam:g}", own, times)

    named = " and ".join(f"{name} {reg}" for name, reg in others)
    return given(f"median steps to {LEVEL:g} at λ {lam:g}: {rule} l2 before {named}", made)


def smaller_still_faster(rule: str, lam: float, factor: float, *others: tuple[str, str]) -> Check:
    """The same although the strength of `rule` is smaller by the factor."""

    def made(_) -> Outcome:
        own = _time(rule, "l2", lam)
        times = {
            f"{name} {reg} at {lam * factor:g}": _time(name, reg, lam * factor)
            for name, reg in others
        }
        return _compared(f"{rule} l2 at {lam:g}", own, times)

    named = " and ".join(f"{name} {reg}" for name, reg in others)
    return given(
        f"median steps to {LEVEL:g}: {rule} l2 at {lam:g} before {named} at {lam * factor:g}", made
    )


def _compared(label: str, own: float, times: dict[str, float]) -> Outcome:
    said = ", ".join(f"{name} {_steps(time)}" for name, time in times.items())
    lanes = int(_data().attrs["lanes"])
    return Outcome(
        own < min(times.values()), f"{label} {_steps(own)}; {said} ({lanes} lanes)",
        against=own > min(times.values()), means=(own, *times.values()), n=lanes,
        names=("figures/data/fig4.nc",),
    )  # fmt: skip


def _steps(time: float) -> str:
    return "not in 30,000 steps" if time == float("inf") else f"{time:,.0f} steps"
