r"""At what norm does a layer settle whose loss does not see its scale?

In a conv-BN-ReLU stack the loss is the same if a layer's :math:`\theta = (\gamma, \beta)` is
multiplied by c > 0. So its gradient is orthogonal to :math:`\theta` and grows as :math:`\theta`
shrinks (docs/laws/scale-invariance.md). This steps whole layers of 64 filters under that
constraint,

    g = (I - u u^T) (s * z - d) / r,      r = |theta|, u = theta / r, z standard normal,

and, as a control, under the same noise without it (`free`: g = s * z / r_0, r_0 the first norm).
"""

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from sims.common import (
    INK,
    config_of,
    frame,
    labelled,
    lanes_or,
    note,
    plain_log,
    share_text,
    shown,
)

if TYPE_CHECKING:
    import xarray as xr
    from matplotlib.figure import Figure
    from pandas import DataFrame

QUESTION = "At what norm does a layer settle whose loss does not see its scale, and who dies in it?"
SECONDS = 150

LANES = 16  # layers
STEPS = 30_000
FILTERS = 64
STRONG = 8  # filters with more gradient, where not all are equal
NORM0 = FILTERS**0.5  # gamma starts at 1, beta at 0
LOUD, QUIET = 1e-3, 1e-5  # of the gradient's noise at the first norm: the two of Figure 4
PULL = 0.1  # pull on the strong gammas, in units of their noise
REGS, STRENGTHS = ("l2", "wd", "adamw"), (1e-2, 1e-3)  # adamw's strength is divided by lr
GROUPS = ("gamma strong", "gamma weak", "beta strong", "beta weak")
CHUNK = 64  # steps whose noise is drawn at once
DRAWN = 1e-2  # the strength of the picture


class Case(NamedTuple):
    """What the gradients are, and whether the constraint holds."""

    quiet: float
    pull: float
    constrained: bool = True


CASES = {
    "even": Case(LOUD, 0.0),
    "uneven": Case(QUIET, 0.0),
    "pull": Case(QUIET, PULL),
    "free": Case(LOUD, 0.0, constrained=False),
}


def run(*, lanes: int | None = None, seed: int = 0, steps: int = STEPS) -> "xr.Dataset":
    """Step the layers, and predict them from second moments.

    Returns
    -------
    xarray.Dataset
        Dimensions case, rule, reg, lam, step, group: `norm` and `norm_se` (root mean square over
        layers, and its standard error), `rms` of a coordinate of the group, `below` (share with
        modulus below 1e-3) and `below_rescaled` (the same after the layer is scaled to its first
        norm: the same function); `theory` (`regdyn.theory.invariance.path`), `theory_rms`, and
        `settles` (`equilibrium`), NaN where there is none.
    """
    import xarray as xr

    from regdyn.rules import RULES

    lanes = lanes_or(lanes, LANES)
    late = np.linspace(0.9 * steps, steps, 41)
    record = np.concatenate([[0], np.geomspace(1, 0.9 * steps, 100), late])
    record = np.unique(record.round().astype(int))
    parts = []
    for rule in RULES:
        part = _measure(rule, lanes, seed, record)
        part.update(_predict(rule, record))
        parts.append(part)
    dims = {"norm": ("step",), "norm_se": ("step",), "theory": ("step",), "settles": ()}
    data = xr.Dataset(
        {
            name: (
                ("rule", "case", "reg", "lam", *dims.get(name, ("step", "group"))),
                np.stack([part[name] for part in parts]),
            )
            for name in parts[0]
        },
        coords={
            "rule": list(RULES), "case": list(CASES), "reg": list(REGS), "lam": list(STRENGTHS),
            "step": record, "group": list(GROUPS),
        },
    )  # fmt: skip
    for name, text in LONG.items():
        data[name].attrs = {"long_name": text, "units": "1" if "below" in name else "theta"}
    return labelled(
        data, "layers whose loss does not see their scale", lanes=lanes, seed=seed, steps=steps,
        filters=FILTERS, strong=STRONG, loud=LOUD, quiet=QUIET, pull=PULL,
    )  # fmt: skip


LONG = {
    "norm": "root mean square over layers of the norm of (gamma, beta)",
    "norm_se": "its standard error",
    "rms": "root mean square of a coordinate of the group",
    "below": "share below 1e-3",
    "below_rescaled": "share below 1e-3 after scaling the layer to its first norm",
    "theory": "norm predicted from second moments",
    "theory_rms": "the same, for a coordinate of the group",
    "settles": "norm at equilibrium, closed form",
}


def _sizes(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Noise s at norm 1 and pull d of the four groups, from what is seen at the first norm."""
    s = NORM0 * np.array([LOUD, case.quiet, LOUD, case.quiet])
    return s, np.array([case.pull * s[0], 0.0, 0.0, 0.0])


def _per_coordinate(groups: np.ndarray) -> np.ndarray:
    """One number per group -> one per coordinate: the gammas, then the betas."""
    return np.repeat(groups, [STRONG, FILTERS - STRONG] * 2)


def _decays(rule: str) -> Any:
    """lambda at its place for every (reg, lam), shaped for (case, reg, lam, layer, coordinate)."""
    from regdyn import regularizers, rules

    hp = rules.resolve(rule)
    lams = np.array(STRENGTHS)[:, None, None]
    none = 0 * lams
    strength = regularizers.Strength(
        np.stack([lams, none, none]),
        np.stack([none, lams, none]),
        np.stack([none, none, lams / hp.lr]),
    )
    return regularizers.decay(strength, hp.lr)


def _measure(rule: str, lanes: int, seed: int, record: np.ndarray) -> dict[str, np.ndarray]:
    """Step every case, regulariser and strength on the same normals."""
    from regdyn import random, rules

    hp = rules.resolve(rule)
    step = rules.RULES[rule].step
    decay = _decays(rule)
    sizes = [_sizes(case) for case in CASES.values()]
    column = (len(CASES), 1, 1, 1, 1)
    s, d = (
        np.array([_per_coordinate(pair[k]) for pair in sizes]).reshape(*column[:4], -1)
        for k in (0, 1)
    )
    bound = np.array([case.constrained for case in CASES.values()], dtype=float).reshape(column)
    theta = np.zeros((len(CASES), len(REGS), len(STRENGTHS), lanes, 2 * FILTERS))
    theta[..., :FILTERS] = 1.0
    state = rules.init(theta, hp)
    wanted = set(record.tolist())
    kept = [_summary(theta)]
    for t in range(1, int(record[-1]) + 1):
        if t % CHUNK == 1:
            counters = np.arange(lanes * 2 * FILTERS)
            z = random.normals(seed, counters, t, CHUNK).reshape(CHUNK, lanes, -1)
        norm = np.sqrt((theta * theta).sum(-1, keepdims=True))
        u = theta * (bound / norm)
        force = s * z[(t - 1) % CHUNK] - d
        force = force - u * (u * force).sum(-1, keepdims=True)
        grad = force / (bound * norm + (1 - bound) * NORM0)
        delta, state = step(grad + decay.l2 * theta, state, hp, rules.coef(hp, t))
        theta = decay.after * (decay.before * theta - delta)
        if t in wanted:
            kept.append(_summary(theta))
    return {name: np.stack([one[name] for one in kept], axis=3) for name in kept[0]}


def _summary(theta: np.ndarray) -> dict[str, np.ndarray]:
    """Statistics over layers, and over the coordinates of a group."""
    square = (theta**2).sum(-1)  # (case, reg, lam, layer)
    norm = np.sqrt(square.mean(-1))
    error = square.std(-1, ddof=1) / np.sqrt(square.shape[-1]) / (2 * norm)
    cuts = np.cumsum([STRONG, FILTERS - STRONG, STRONG])
    scaled = theta * (NORM0 / np.sqrt(square))[..., None]
    groups, rescaled = np.split(theta, cuts, axis=-1), np.split(scaled, cuts, axis=-1)

    def over(parts: list[np.ndarray], what: Any) -> np.ndarray:
        return np.stack([what(part).mean((-2, -1)) for part in parts], axis=-1)

    return {
        "norm": norm,
        "norm_se": error,
        "rms": np.sqrt(over(groups, np.square)),
        "below": over(groups, lambda x: np.abs(x) < 1e-3),
        "below_rescaled": over(rescaled, lambda x: np.abs(x) < 1e-3),
    }


def _predict(rule: str, record: np.ndarray) -> dict[str, np.ndarray]:
    """`path` and `equilibrium` for the constrained cases; NaN where they do not apply."""
    from regdyn import rules
    from regdyn.theory import invariance

    hp = rules.resolve(rule)
    shape = (len(CASES), len(REGS), len(STRENGTHS))
    theory = np.full((*shape, len(record)), np.nan)
    rms = np.full((*shape, len(record), len(GROUPS)), np.nan)
    settles = np.full(shape, np.nan)
    for i, case in enumerate(CASES.values()):
        if not case.constrained:
            continue
        layer = invariance.Layer(
            [STRONG, FILTERS - STRONG] * 2, *_sizes(case), np.array([1.0, 1.0, 0.0, 0.0])
        )
        for j, reg in enumerate(REGS):
            lams = np.array(STRENGTHS) / (hp.lr if reg == "adamw" else 1.0)
            if rule in invariance.DESCRIBED:
                found = invariance.path(
                    hp, reg, lams, layer=layer, steps=int(record[-1]), record=record
                )
                theory[i, j], rms[i, j] = found.norm.T, found.rms.swapaxes(0, 1)
            if rule in invariance.CLOSED:
                ends = [invariance.equilibrium(hp, reg, lam, layer=layer) for lam in lams]
                settles[i, j] = [end.norm if end.valid else np.nan for end in ends]
    return {"theory": theory, "theory_rms": rms, "settles": settles}


def late(data: "xr.Dataset") -> "xr.Dataset":
    """Means over the last tenth of the run: squares for norms and rms, shares as they are."""
    steps = int(data["step"][-1])
    tail = data.sel(step=data["step"] >= 0.9 * steps)
    squares = ["norm", "rms", "theory", "theory_rms"]
    found = np.sqrt((tail[squares] ** 2).mean("step"))
    return found.assign(
        norm_se=tail["norm_se"].mean("step"),
        below=tail["below"].mean("step"), below_rescaled=tail["below_rescaled"].mean("step"),
        settles=data["settles"],
    )  # fmt: skip


def table(data: "xr.Dataset") -> "DataFrame":
    """One row per case, rule, regulariser and strength: the last tenth of the run."""
    end = late(data)
    rows = []
    for case in data["case"].values:
        for rule in data["rule"].values:
            for reg in data["reg"].values:
                for lam in data["lam"].values:
                    at = {"case": case, "rule": rule, "reg": reg, "lam": lam}
                    one = end.sel(at)
                    weak = one.sel(group="gamma weak")
                    rows.append(
                        at
                        | {
                            name: float(one[name])
                            for name in ("norm", "norm_se", "theory", "settles")
                        }
                        | {
                            "rms_strong": float(one["rms"].sel(group="gamma strong")),
                            "rms_weak": float(weak["rms"]),
                            "theory_weak": float(weak["theory_rms"]),
                            "below_weak": float(weak["below"]),
                            "below_weak_rescaled": float(weak["below_rescaled"]),
                        }
                    )
    return frame(rows)


def draw(data: "xr.Dataset") -> "Figure":
    """Norm over time, a line per rule, its prediction dashed; a row per case."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    from regdyn import plotting

    titles = {"even": "even", "free": "even, no constraint", "pull": "uneven, with a pull"}
    with rc_context(plotting.STYLE):
        fig = Figure(figsize=(7.2, 1.0 + 2.2 * len(titles)))
        axes = fig.subplots(len(titles), 2, sharex=True, sharey=True, squeeze=False)
        for row, (case, title) in zip(axes, titles.items(), strict=True):
            for ax, reg in zip(row, ("l2", "wd"), strict=True):
                for rule, colour in zip(data["rule"].values, INK, strict=True):
                    one = data.sel(case=case, reg=reg, rule=rule, lam=DRAWN)
                    one = one.sel(step=one["step"] > 0)
                    ax.plot(
                        one["step"], one["norm"], color=colour, lw=2.4, alpha=0.6, label=str(rule)
                    )
                    ax.plot(one["step"], one["theory"], color="k", lw=0.8, ls=(0, (4, 3)))
                    if case == "even" and np.isfinite(one["settles"]):
                        ax.plot(
                            1, float(one["settles"]), "<", color=colour, ms=6, clip_on=False,
                            transform=ax.get_yaxis_transform(),
                        )  # fmt: skip
                ax.set(xscale="log", yscale="log", title=f"{title}, {reg}")
                plain_log(ax.xaxis)
                plain_log(ax.yaxis)
                ax.set_xlim(1, int(data["step"][-1]))
            row[0].set_ylabel("norm of (γ, β)")
        for ax in axes[-1]:
            ax.set_xlabel("step")
        fig.legend(*axes[0][0].get_legend_handles_labels(), loc="outside right upper")
        note(
            fig,
            f"{data.attrs['lanes']} lanes (layers of {FILTERS} filters), λ = {DRAWN:g}. Dashed: "
            "second moments. Triangles: where the closed form says that a layer settles. No "
            "constraint: noise of the size at the start, whatever the norm. Uneven: "
            f"{STRONG} filters see {LOUD / QUIET:g} times the gradient of the others, and a pull.",
        )
    return fig


def answer(data: "xr.Dataset") -> str:
    """What came out."""
    end = late(data)

    def at(
        name: str, case: str, rule: str, reg: str, lam: float = DRAWN, group: Any = None
    ) -> float:
        one = end[name].sel(case=case, rule=rule, reg=reg, lam=lam)
        return float(one if group is None else one.sel(group=group))

    def pair(case: str, rule: str, reg: str, lam: float = DRAWN) -> str:
        norm, theory = (at(name, case, rule, reg, lam) for name in ("norm", "theory"))
        return f"{norm:.4g} ({theory:.4g})"

    def misses(case: str) -> str:
        one = end.sel(case=case)
        off = {str(rule): one.sel(rule=rule) for rule in data["rule"].values}
        worst = {rule: float(abs(x["norm"] / x["theory"] - 1).max()) for rule, x in off.items()}
        return ", ".join(f"{rule} {share_text(x)}" for rule, x in worst.items() if np.isfinite(x))

    def weak(name: str) -> str:
        return ", ".join(
            f"{rule} {share_text(at(name, 'pull', rule, 'l2', 1e-3, 'gamma weak'))} / "
            f"{share_text(at(name, 'pull', rule, 'wd', 1e-3, 'gamma weak'))}"
            for rule in data["rule"].values
        )

    free = ", ".join(
        shown(at("norm", "free", rule, reg)) for rule in ("sgd", "adam") for reg in ("l2", "wd")
    )
    return (
        f"Asked: from a norm of {NORM0:g}, where does (gamma, beta) of a layer settle if the loss "
        f"does not see its scale (n = {data.attrs['lanes']} layers of {FILTERS} filters, "
        f"{config_of(data)['steps']:,} steps, seed {data.attrs['seed']}; last tenth of the run; "
        f"in brackets what second moments predict)? At lambda = {DRAWN:g}, all filters alike, SGD "
        f"is at {pair('even', 'sgd', 'l2')} under l2 and {pair('even', 'sgd', 'wd')} under wd, "
        f"Adam at {pair('even', 'adam', 'l2')} and {pair('even', 'adam', 'wd')}. Under noise of "
        f"the first norm's size without the constraint these four are {free}: the constraint "
        "makes the gradient grow as the norm falls, and so holds the norm up, except under Adam + "
        "wd, whose step ignores the gradient's size. Over regularisers and strengths the "
        f"prediction is off by at most: {misses('even')}; with filters that differ "
        f"{misses('uneven')}; with a pull {misses('pull')}. A pull on the {STRONG} filters with "
        f"{LOUD / QUIET:g} times the gradient leaves SGD's norm where it was "
        f"({shown(at('norm', 'uneven', 'sgd', 'wd', 1e-3))} without and "
        f"{shown(at('norm', 'pull', 'sgd', 'wd', 1e-3))} with, wd at 1e-3) and takes "
        f"Adam's from {shown(at('norm', 'uneven', 'adam', 'wd', 1e-3))} (standard error "
        f"{at('norm_se', 'uneven', 'adam', 'wd', 1e-3):.2g}) to "
        f"{shown(at('norm', 'pull', 'adam', 'wd', 1e-3))}: a preconditioned step is not orthogonal "
        "to theta. Under the pull at 1e-3 there are below 1e-3 of the weak gammas, l2 / wd: "
        f"{weak('below')}. A layer scaled back to its first norm computes the same function; then "
        f"there are {weak('below_rescaled')}. For the paper: |gamma| < 1e-3 is an absolute "
        "threshold on a scale-free quantity. How many filters it calls dead depends on where the "
        "layer's norm settles, a matter of rule, learning rate and strength, as well as on who "
        "loses against the others of the layer. So confirm by pruning."
    )
