"""Several machines: a Dask cluster on this one, a worker killed, other sources, no scheduler."""

import os
import signal
import threading
import time

import pytest

import regdyn
from regdyn import distributed

dask = pytest.importorskip("distributed")
pytestmark = pytest.mark.filterwarnings("ignore")  # Dask's own, on the way down

JOB = dict(rule="adam", reg=["l2", "wd"], lam=[1e-2, 1e-3], lanes=3000, record=50)


@pytest.fixture(scope="module")
def cluster():
    with dask.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, silence_logs=50
    ) as cluster:
        yield cluster


@pytest.mark.parametrize("steps", [400, pytest.param(40_000, marks=pytest.mark.slow)])
def test_a_killed_worker_costs_time_and_nothing_else(cluster, steps):
    here = regdyn.simulate(**JOB, steps=steps, engine="compiled")
    victim = next(iter(cluster.workers.values())).pid

    def kill():
        time.sleep(0.3)
        os.kill(victim, signal.SIGKILL)

    killer = threading.Thread(target=kill)
    with distributed.dask(cluster.scheduler_address) as executor:
        killer.start()
        there = regdyn.simulate(**JOB, steps=steps, engine="compiled", executor=executor)
        killer.join()
    assert regdyn.digest(there) == regdyn.digest(here)


def test_a_worker_with_other_sources_is_refused(cluster, monkeypatch):
    monkeypatch.setattr(distributed, "source_digest", lambda: "other sources")
    with (
        distributed.dask(cluster.scheduler_address) as executor,
        pytest.raises(RuntimeError, match="has other sources of regdyn"),
    ):
        regdyn.simulate(**JOB, steps=40, executor=executor)


def test_no_scheduler_is_said_soon():
    begin = time.monotonic()
    with (
        pytest.raises(ValueError, match="no Dask scheduler answers at"),
        distributed.dask("tcp://127.0.0.1:1", timeout=1),
    ):
        pass
    assert time.monotonic() - begin < 20
