"""Forecasts and baselines under one form: `method(early, at, pilot)` says what it can."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from cnn.validate.trained import Trained, pilot_for
from regdyn import baselines, fitted, forecast
from regdyn.filters.record import Run
from regdyn.scores import Prediction, outcome
from regdyn.scoring import Case

FORECAST, FITTED = "forecast", "logistic"


class Method(NamedTuple):
    """A way to forecast.

    Attributes
    ----------
    name : str
        "forecast" or a baseline's.
    says : callable
        Run cut at the step of the forecast, that step, pilot or None -> Prediction.
    pilot : bool
        Whether it is given a pilot.
    """

    name: str
    says: Callable[[Run, int, Run | None], Prediction]
    pilot: bool = False


class Forecast(NamedTuple):
    """What a method said of a run.

    Attributes
    ----------
    of : Trained
    method : str
    at : float
        Share of the run's steps after which it was made.
    pilot : str or None
        Name of the pilot's run.
    case : Case
    refused : str
        Why the method says nothing; empty if it does.
    """

    of: Trained
    method: str
    at: float
    pilot: str | None
    case: Case
    refused: str = ""


def coupled(early: Run, at: int, pilot: Run | None) -> Prediction:
    """The forecast of `regdyn.forecast`."""
    ds = forecast.of_run(early, at, pilot)
    p = ds["p_collapse"].values
    return Prediction(
        p, p, ds["t_median"].values,
        layer_share=ds["share"].values, layer_lo=ds["share_lo"].values,
        layer_hi=ds["share_hi"].values, total=float(ds["total"]), lo=float(ds["total_lo"]),
        hi=float(ds["total_hi"]),
    )  # fmt: skip


def _baseline(name: str) -> Method:
    of = baselines.BASELINES[name]
    return Method(name, lambda early, at, pilot: of(early, pilot), name in baselines.NEED_PILOT)


METHODS = (
    Method(FORECAST, coupled, pilot=True),
    Method(FORECAST, coupled),
    *map(_baseline, baselines.BASELINES),
)
"""All but the regression, which is fitted to other runs."""


class Forecasts:
    """Every method's forecasts, from a list of finished runs.

    Parameters
    ----------
    runs : sequence of Trained
        Pilots are taken from them, and what the regression is fitted to.
    """

    def __init__(self, runs: Sequence[Trained]) -> None:
        self.runs = runs
        self._fitted: dict[tuple[str, float], fitted.Logistic] = {}

    def of(self, one: Trained, at: float) -> list[Forecast]:
        """What every method says of a run after this share of its steps, as 0.1."""
        step, pilot = round(at * one.run.steps), pilot_for(one, self.runs)
        early, true = baselines.cut(one.run, step), outcome(one.run.record, step)
        model = Method(FITTED, lambda early, *_: self.regression(one, at)(early))
        found = []
        for method in (*METHODS, model):
            given = pilot if method.pilot else None
            name = None if given is None else given.name
            try:
                if method.pilot and given is None:
                    raise ValueError("no finished run of this network and these images is a pilot.")
                case = Case(method.says(early, step, None if given is None else given.run), true)
                found.append(Forecast(one, method.name, at, name, case))
            except ValueError as error:
                nothing = Case(Prediction(), true)
                found.append(Forecast(one, method.name, at, name, nothing, str(error)))
        return found

    def regression(self, one: Trained, at: float) -> fitted.Logistic:
        """The one that is fitted to the development runs of all settings but this one.

        Only to those whose filters die in the same way (`fitted.kin`).

        Raises
        ------
        ValueError
            If there is none, or all filters of these had one fate.
        """
        key = (one.setting.name, at)
        if key not in self._fitted:
            others = [
                other.run
                for other in self.runs
                if other.setting.split == "development" and other.setting.name != one.setting.name
            ]
            self._fitted[key] = fitted.fit(fitted.kin(one.run, others), at)
        return self._fitted[key]
