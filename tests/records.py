"""Records of filters as a training would write them, made up."""

import numpy as np

from regdyn.filters.record import GRADIENT, Record


def record(filters=(4, 6), steps=1000, every=20, seed=0, gamma=None, sigma=1e-2):
    """A record of filters that decay at random speeds, with gradients that scatter about 0."""
    rng = np.random.default_rng(seed)
    layer = np.repeat(np.arange(len(filters)), filters)
    n, step = len(layer), np.arange(0, steps + 1, every)
    k = len(step)
    if gamma is None:
        gamma = np.exp(-rng.uniform(0, 3, n) * step[:, None] / steps)
    sizes = sigma * np.exp(0.3 * rng.standard_normal(n)) * np.ones((k - 1, n))
    fields = {name: sizes * np.exp(0.1 * rng.standard_normal((k - 1, n))) for name in GRADIENT}
    fields["grad_gamma_mean"] = 0.02 * sizes * rng.standard_normal((k - 1, n))
    fields["grad_beta_mean"] = 0.02 * sizes * rng.standard_normal((k - 1, n))
    fields["grad_gamma_zero"] = np.zeros((k - 1, n))
    return Record(
        step=step, gamma=gamma, beta=-0.1 * gamma, norm_in=np.ones((k, n)),
        norm_out=np.sqrt(np.abs(gamma)), var=np.ones((k, n)), layer=layer,
        names=tuple(f"C{i + 1}" for i in range(len(filters))), bn_eps=np.full(n, 1e-5),
        weights_out=np.full(n, 100.0), **fields,
    )  # fmt: skip


def dataset(one):
    import xarray as xr

    names = ("gamma", "beta", "norm_in", "norm_out", "var")
    variables = {k: (("step", "filter"), getattr(one, k)) for k in names}
    variables |= {k: (("window", "filter"), getattr(one, k)) for k in GRADIENT}
    variables |= {k: ("filter", getattr(one, k)) for k in ("bn_eps", "weights_out")}
    labels = [one.names[i] for i in one.layer]
    coords = {"step": one.step, "window": one.step[1:], "layer": ("filter", labels)}
    return xr.Dataset(variables, coords)
