r"""The filter model with its noise: how far counts and fates scatter from run to run.

The mean recursion (`regdyn.filters.model`) is followed by many copies of the network. In each,

* the push that is a filter's own, which the early record shows only in part, is drawn from what is
  left open: a Gaussian about what it showed, of variance shown^2 (1 - that part);
* gamma wanders by its own noise, `Constants.wander` of a free random walk;
* where a dead ReLU absorbs, it does so at random, at the hazard of `regdyn.filters.absorption` and
  the share of the layer that is still there.

The copies share no random numbers and follow one course C(t), D(t).
"""

from typing import NamedTuple

import numpy as np

from regdyn.checks import integer
from regdyn.filters import model
from regdyn.filters.absorption import Absorption
from regdyn.filters.laws import Course, Early, Layers
from regdyn.filters.record import DEAD


class Ensemble(NamedTuple):
    """What became of n filters in L layers, in every copy.

    Attributes
    ----------
    dead : ndarray of bool, shape (copies, n)
    layer : ndarray of int, shape (n,)
    """

    dead: np.ndarray
    layer: np.ndarray

    @property
    def p(self) -> np.ndarray:
        """Share of copies in which a filter is gone, shape (n,)."""
        return self.dead.mean(axis=0)

    @property
    def share(self) -> np.ndarray:
        """Percent of each layer that is gone, shape (copies, L)."""
        n = np.bincount(self.layer)
        return 100 * np.array([np.bincount(self.layer, weights=one) / n for one in self.dead])

    @property
    def total(self) -> np.ndarray:
        """Percent of all filters that are gone, shape (copies,)."""
        return 100 * self.dead.mean(axis=1)


def worn_down(
    early: Early, course: Course, settings: model.Settings, *, copies: int = 32, seed: int = 0,
    constants: model.Constants = model.DEFAULT,
) -> Ensemble:  # fmt: skip
    """Copies of the coupled recursion, until the end of the schedule.

    Parameters
    ----------
    early, course, settings
        As for `model.evolve`.
    copies : int
    seed : int
    constants : Constants
    """
    many, rng = tiled(early, integer("copies", copies, 1)), np.random.default_rng(seed)
    wide = Course(course.step, np.tile(course.C, copies), np.tile(course.D, copies), course.burst)
    start = model.State(many.gamma, many.beta, many.out, None)
    known = constants.shown**2 / (constants.shown**2 + 1 / many.seen)
    known = known if many.rho is not None else 0.0
    own = model.shown(many, model.law_of_push(start, many, settings, constants), constants)
    open_ = constants.shown * np.sqrt(1 - known)
    own = own + open_ * rng.standard_normal(len(own))
    at = model.grid(many.step, len(settings.scale))
    path = model.evolve(many, wide, settings, at=at, constants=constants, own=own, rng=rng)
    dead = path.gamma[-1].reshape(copies, -1) < DEAD
    return Ensemble(dead, early.layers.layer)


def tiled(early: Early, copies: int) -> Early:
    """`copies` networks side by side, with layers of their own."""
    shift = early.layers.number * np.repeat(np.arange(copies), len(early.gamma))
    same = {"step", "layers", "burst", "seen", "window", "output"}
    changed = {
        name: np.tile(value, copies)
        for name, value in early._asdict().items()
        if name not in same and value is not None
    }
    return early._replace(layers=Layers(np.tile(early.layers.layer, copies) + shift), **changed)


def absorbed(
    law: Absorption, layer: np.ndarray, *, until: int, factor: np.ndarray | float = 1.0,
    copies: int = 32, seed: int = 0, parts: int = 400,
) -> Ensemble:  # fmt: skip
    """Copies of the layers in which dead ReLUs absorb at random.

    Parameters
    ----------
    law : Absorption
    layer : ndarray of int, shape (n,)
    until : int
        Step of the end.
    factor : ndarray, shape (L,), or float
        On each layer's hazard.
    copies, seed, parts : int
        `parts`: intervals in which the share that is left is held fixed.
    """
    rng, n = np.random.default_rng(seed), np.bincount(layer)
    at = np.linspace(0, until, min(parts, until) + 1).astype(int)
    hazard = np.diff(law.hazard[at] * factor, axis=0)
    alive = np.ones((integer("copies", copies, 1), len(layer)), dtype=bool)
    when = np.full(alive.shape, np.inf)  # e-folds
    for k, passed in enumerate(hazard):
        left = np.stack([np.bincount(layer, weights=one) / n for one in alive])
        chance = -np.expm1(-passed * left**law.q)
        struck = alive & (rng.random(alive.shape) < chance[:, layer])
        when[struck] = law.folds[at[k + 1]]
        alive &= ~struck
    return Ensemble(law.folds[until] - when >= law.gone, layer)
