"""Documents of the monitor, made up: what `cnn.monitor.page` shows."""

from html.parser import HTMLParser

import numpy as np

from cnn.monitor.packing import pack

MEANINGS = {
    "alive": "|γ| is above the threshold, and nothing says that it will fall below",
    "selective": "alive, but its ReLU is open for few inputs",
    "doomed": "expected to collapse",
    "collapsed": "|γ| is below the threshold",
    "unknown": "cannot be told",
}
NAMES = tuple(MEANINGS)
SETTING = {"optimizer": "Adam", "rule": "adam", "reg": "l2", "lam": 0.01, "lr": 0.001, "note": None}
REASONS = ["held: the loss holds it", "worn down: the regulariser outpaces the signal"]


def document(sizes=(4, 6), *, steps=20, end=4000, until=0.4, seed=0, **changes):
    """Filters that decay at random speeds; `until` of the run is recorded."""
    rng = np.random.default_rng(seed)
    many, axis = sum(sizes), np.linspace(0, until * end, steps).round().astype(int)
    layer = np.repeat(np.arange(len(sizes)), sizes)
    speed = 12 * rng.gamma(1.0, 1.0, many) * rng.choice([0.05, 1], many)
    gamma = np.exp(-speed[:, None] * axis / end) * rng.choice([1, -1], many)[:, None]
    beta = rng.normal(size=(many, 1)) * axis / end
    time = np.log(100) / speed * end
    chance = 1 / (1 + np.exp(np.clip((time - end) / 400, -50, 50)))
    gone = np.abs(gamma[:, -1]) < 1e-3 if steps else np.zeros(many, bool)
    verdict = np.where(gone, 3, np.where(chance > 0.5, 2, np.where(rng.random(many) < 0.2, 1, 0)))
    made = {
        "format": 1, "title": "digits", "written": "2026-11-26T04:27:13+00:00",
        "step": int(until * end), "steps": end, "seconds": 31.4, "threshold": 1e-3,
        "setting": SETTING,
        "provenance": {"torch": "2.15.0", "machine": "Linux x86_64"},
        "loss": {"step": axis[1:].tolist(), "value": pack(2.3 * np.exp(-axis[1:] / 400) + 0.02)},
        "step_axis": axis.tolist(),
        "layers": [
            _layer(i, size, verdict[layer == i], chance[layer == i]) for i, size in enumerate(sizes)
        ],
        "filters": {
            "layer": layer.tolist(), "channel": [c for size in sizes for c in range(size)],
            "verdict": verdict.tolist(), "gamma": pack(gamma), "beta": pack(beta),
            "p_collapse": pack(chance), "t_lo": pack(0.8 * time), "t_hi": pack(1.3 * time),
            "t_median": pack(np.where(time > 1.5 * end, np.inf, time)),
            "reason": (verdict > 1).astype(int).tolist(), "prunable": gone.tolist(),
        },
        "verdicts": [{"name": name, "meaning": meaning} for name, meaning in MEANINGS.items()],
        "reasons": REASONS,
        "forecast": {"at": int(until * end), "until": end, "note": None, **_share(chance, "total")},
        "forecast_why_not": None,
        "prunable": {
            "filters": int(gone.sum()), "of": many,
            "percent": 100 * float(gone.sum()) / max(many, 1), "how": "Run it.",
        },
        "scales": [_scale("head.norm", 64, np.exp(-axis / end))],
        "warnings": [],
    }  # fmt: skip
    return made | changes


def _layer(i, size, verdict, chance):
    counts = {name: int((verdict == k).sum()) for k, name in enumerate(NAMES)}
    return {
        "name": f"C{i + 1}", "path": f"features.C{i + 1}.bn", "kind": "BatchNorm2d",
        "filters": size, "counts": counts, **_share(chance, "share"),
    }  # fmt: skip


def _share(chance, name):
    share = 100 * float(chance.mean()) if len(chance) else 0.0
    return {f"{name}_lo": max(share - 10, 0), name: share, f"{name}_hi": min(share + 15, 100)}


def _scale(path, size, mean):
    return {
        "path": path, "kind": "LayerNorm", "size": size,
        "abs_mean": pack(mean), "abs_min": pack(mean / 10), "below": 2,
    }  # fmt: skip


def without_forecast(made, why="the optimizer's rule is not known"):
    for layer in made["layers"]:
        layer |= dict.fromkeys(("share_lo", "share", "share_hi"))
    filters = made["filters"] | dict.fromkeys(("p_collapse", "t_lo", "t_median", "t_hi"))
    return made | {"forecast": None, "forecast_why_not": why, "filters": filters}


def changed(made, **changes):
    """`made` with other entries in its filters."""
    return made | {"filters": made["filters"] | changes}


def unusual():
    """Documents that a page could trip over."""
    nan = document()
    gamma, lost = np.ones((10, 20)), pack(np.full(10, np.nan))
    gamma[1, 5:], gamma[2], gamma[3, 7], gamma[4] = np.nan, np.nan, np.nan, 0
    silent = document()["loss"] | {"value": pack(np.full(19, np.nan))}
    return {
        "no forecast": without_forecast(document()),
        "NaN": changed(nan, gamma=pack(gamma), beta=pack(gamma), p_collapse=lost),
        "all zero": changed(nan, gamma=pack(np.zeros((10, 20)))),
        "NaN loss": document(loss=silent),
        "no loss": document(loss=None),
        "no scales": document(scales=[], warnings=["One.", "Two <b>."]),
        "one filter": document((1,)),
        "one step": document((3,), steps=1, until=0.0),
        "no step": document((3,), steps=0, until=0.0),
        "no filter": without_forecast(document(())),
        "over": document(until=1.0),
        "unknown end": without_forecast(document(steps=30)) | {"steps": None},
        "same names": _same_names(),
        "odd names": _odd_names(),
    }  # fmt: skip


def _same_names():
    made = document()
    for layer in made["layers"]:
        layer["name"] = "bn"
    return made


def _odd_names():
    made = document(
        title="</script><script>alert(1)</script> & $title", reasons=["<b>", "</script>"]
    )
    made["layers"][0]["name"] = "a b&filter=3<i>"
    return made


class Parsed(HTMLParser):
    """Elements of a page as (tag, attributes), text by id of the innermost element with one."""

    VOID = frozenset({"meta", "link", "br"})

    def __init__(self, text):
        super().__init__()
        self.open, self.elements, self.text, self.wrong = [], [], {}, []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if len(dict(attrs)) < len(attrs):
            self.wrong.append(f"an attribute twice in {tag}")
        if tag not in self.VOID:
            self.open.append((tag, dict(attrs).get("id")))

    def handle_startendtag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        if not self.open or self.open.pop()[0] != tag:
            self.wrong.append(f"</{tag}>")

    def handle_data(self, data):
        name = next((given for _, given in reversed(self.open) if given), None)
        self.text[name] = self.text.get(name, "") + data
