"""What the benchmarks measure with: sizes, clocks, and the rows that they write."""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import regdyn

from .machine import machine

SCALE = float(os.environ.get("REGDYN_BENCH_SCALE", "1"))  # below 1: quick checks, not figures
OUT = Path(os.environ.get("REGDYN_BENCH_OUT", "results/benchmarks.json"))
ROUNDS = 7
STEPS = 20_000
LANES = 51_200  # 1.02e9 lane-steps
STRENGTHS = [10.0**-k for k in range(7)]
RATE = "lane-steps/s"
NOTE = (
    "ours / limit, medians over n pairs run in turns, per CPU second of one thread unless said "
    "otherwise; in brackets the quartiles over pairs. The C limit is written for AVX2 with fused "
    "multiply-add, and records nothing. The engine is strict IEEE, so without FMA, but takes the "
    "widest vectors that the machine has: with AVX-512 a ratio above 1 is possible."
)


class Rows:
    """The rows of a run, written to one file at its end."""

    def __init__(self) -> None:
        self.rows: list[dict[str, Any]] = []

    def add(self, name: str, ours: list[float], unit: str, **more: Any) -> None:
        """Something measured on its own; the spread is that of `ours`."""
        self._append(name, ours, None, ours, None, unit, more)

    def compare(
        self, name: str, ours: list[float], limit: list[float], unit: str, **more: Any
    ) -> None:
        """Something measured in pairs; ratio and spread are those of ours / limit."""
        ratios = np.divide(ours, limit)
        middle = float(np.median(ratios))
        self._append(name, ours, float(np.median(limit)), ratios, middle, unit, more)

    def _append(self, name, ours, limit, spread, ratio, unit, more) -> None:
        """Also the load of the machine, of which this process is about 1."""
        row = {"name": name, "ours": float(np.median(ours)), "limit": limit, "ratio": ratio}
        row |= {"spread": np.quantile(spread, [0.25, 0.75]).tolist(), "n": len(ours), "unit": unit}
        self.rows.append(row | more | {"load": round(os.getloadavg()[0], 1)})

    def write(self) -> None:
        """Machine, note and rows as JSON; rows of the same machine that were not measured stay."""
        found = {"machine": machine() | {"scale": SCALE}, "note": NOTE, "rows": self.rows}
        if OUT.exists():
            before = json.loads(OUT.read_text())
            if before["machine"] == found["machine"]:
                found["rows"] = _renewed(before["rows"], self.rows)
        OUT.parent.mkdir(parents=True, exist_ok=True)
        OUT.write_text(json.dumps(found, indent=1) + "\n")


def _renewed(before: list[dict], now: list[dict]) -> list[dict]:
    """The rows of before, with those replaced that have been measured again, and new ones."""
    rows = {(row["name"], row.get("against"), row["unit"]): row for row in before}
    return list((rows | {(r["name"], r.get("against"), r["unit"]): r for r in now}).values())


def scaled(lanes: int) -> int:
    """So many lanes, or the share of them that REGDYN_BENCH_SCALE asks for; a multiple of 128."""
    return max(128, round(lanes * SCALE / 128) * 128)


def run(rule: str = "adam", lam: Any = 1e-4, **more: Any) -> Any:
    """The job of most benchmarks: compiled, one thread, moments every 100 steps."""
    job = {"steps": STEPS, "lanes": scaled(LANES), "record": 100, "statistics": "moments"}
    job |= {"gradient": "low", "engine": "compiled", "threads": 1}
    return regdyn.simulate(rule, "l2", lam, **job | more)


def warm_up(rule: str = "adam", lam: Any = 1e-4, **more: Any) -> None:
    """The same job, but short: compiles, imports."""
    run(rule, lam, **more | {"steps": 8, "lanes": 128, "record": 4})


def seconds(work: Callable[[], Any], clock: Callable[[], float] = time.process_time) -> float:
    """CPU seconds of this process for a piece of work."""
    start = clock()
    work()
    return clock() - start
