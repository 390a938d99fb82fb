"""All that there is to show at one moment: what every instrument reads."""

from functools import cached_property

import numpy as np

from cnn.monitor import verdicts
from cnn.monitor.forecasts import Forecast
from cnn.monitor.history import About, History
from cnn.monitor.setting import Setting
from regdyn.filters.absorption import SILENT


class View:
    """The history, the last forecast, and what follows from them.

    Attributes
    ----------
    history : History
    setting : Setting
    forecast : Forecast or None
    why : str or None
        Why there is no forecast.
    seconds : float
        Of training.
    warnings : tuple of str
    """

    def __init__(
        self, history: History, setting: Setting, forecast: Forecast | None, why: str | None,
        *, seconds: float, warnings: tuple[str, ...] = (),
    ) -> None:  # fmt: skip
        self.history, self.setting = history, setting
        self.forecast, self.why = forecast, why
        self.seconds, self.warnings = seconds, warnings

    @property
    def about(self) -> About:
        """What does not change."""
        return self.history.about

    @property
    def step(self) -> int:
        """Of the last record."""
        return self.history.step

    @cached_property
    def gamma(self) -> np.ndarray:
        """At the last record, (filters,)."""
        return self.history["gamma"][-1].astype(float)

    @cached_property
    def verdict(self) -> np.ndarray:
        """Number of `verdicts.NAMES` for every filter."""
        about, forecast, n = self.about, self.forecast, len(self.gamma)
        decays = self.setting.decays & ~about.of_filters("frozen")
        return verdicts.verdicts(
            self.gamma, self.history["beta"][-1].astype(float), threshold=about.threshold,
            relu=about.of_filters("relu"), only_decay=decays & (self.history.silent >= SILENT),
            p_collapse=np.full(n, np.nan) if forecast is None else forecast.p,
        )  # fmt: skip

    @cached_property
    def counts(self) -> np.ndarray:
        """Filters by layer and verdict."""
        return verdicts.counts(self.verdict, self.about.layer, len(self.about.norms))

    @property
    def prunable(self) -> np.ndarray:
        """Filters that could go now, bool (filters,): collapsed, after a known convolution."""
        return (self.verdict == verdicts.COLLAPSED) & self.about.of_filters("traced")

    @cached_property
    def coming(self) -> np.ndarray:
        """Filters that the forecast sees collapse in this run, after now, the soonest first."""
        if self.forecast is None:
            return np.empty(0, np.int64)
        t = np.where(self.verdict == verdicts.COLLAPSED, np.nan, self.forecast.t_median)
        with np.errstate(invalid="ignore"):
            ahead = np.flatnonzero((t > self.step) & (self.forecast.p > 0.5))
        return ahead[np.argsort(t[ahead], kind="stable")]

    def next_in(self, layer: int) -> int | None:
        """Step of the next collapse that is expected in a layer."""
        mine = self.coming[self.about.layer[self.coming] == layer]
        one = self.forecast
        return int(one.t_median[mine[0]]) if one is not None and len(mine) else None
