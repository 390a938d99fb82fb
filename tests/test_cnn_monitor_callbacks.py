"""The monitor under other people's trainers and boards: python -m pytest -m extras."""

import runpy
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cnn.monitor import GammaMonitor
from cnn.monitor.recorded import read
from regdyn.store import digest

pytestmark = [
    pytest.mark.extras,
    pytest.mark.filterwarnings("default"),  # what these packages warn of is not ours
]
EXAMPLES = Path(__file__).parents[1] / "examples"
torch.set_num_threads(1)


def test_tensorboard_reads_scalars_and_histograms(tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import (  # pyright: ignore[reportMissingImports]
        EventAccumulator,
    )

    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten())
    model.append(nn.Linear(12, 3))
    with torch.no_grad():
        model[1].weight[0] = 1e-5
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-9)
    with GammaMonitor(model, optimizer, tmp_path, every=2, show=False, tensorboard=True) as watch:
        for _ in range(4):
            loss = model(torch.randn(4, 1, 4, 4)).square().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            watch.step(loss)
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (last,) = events.Scalars("filters/collapsed")
    assert last.step == 4 and last.value == pytest.approx(100 / 3)
    (sizes,) = events.Histograms("log10 gamma/C1 1")
    assert sizes.histogram_value.num == 3
    assert sizes.histogram_value.min == pytest.approx(-5, abs=0.01)


@pytest.fixture(scope="module")
def fit():
    pytest.importorskip("lightning")
    return runpy.run_path(str(EXAMPLES / "lightning_callback.py"))["main"]


def test_the_example_of_lightning_runs(fit, tmp_path):
    """Every optimizer step is seen, with its loss; the network inside the module is traced."""
    trainer = fit(str(tmp_path))
    view = read(tmp_path)
    assert view.step == trainer.global_step == 135 == view.about.steps
    assert np.isfinite(view.history["loss"][1:]).all()
    assert [norm.path for norm in view.about.norms] == ["net.1", "net.4"]
    assert view.forecast is not None and (tmp_path / "report.html").is_file()


def test_lightning_resumes_the_record(fit, tmp_path):
    """A fit of one epoch, gone on with for a second: one record, that begins with the first's.

    Lightning's checkpoint holds no random numbers: the second epoch cannot be compared.
    """
    fit(str(tmp_path / "one"), max_epochs=1)
    (kept,) = (tmp_path / "one" / "checkpoints").glob("*.ckpt")
    fit(str(tmp_path / "two"), checkpoint=str(kept), max_epochs=2)
    first, second = (read(tmp_path / name).history for name in ("one", "two"))
    assert second["step"].tolist() == [0, 20, 40, 45, 60, 80, 90]
    for name in ("step", "gamma", "norm_out", "loss", "grad_gamma_mean"):
        assert np.array_equal(second[name][:4], first[name][:4], equal_nan=True)


def test_lightning_accumulates_gradients(fit, tmp_path):
    """A record counts optimizer steps, not batches."""
    trainer = fit(str(tmp_path), accumulate_grad_batches=3)
    assert read(tmp_path).step == trainer.global_step == 45


@pytest.fixture(scope="module")
def hugging():
    pytest.importorskip("transformers")
    pytest.importorskip("accelerate")
    return runpy.run_path(str(EXAMPLES / "hf_trainer.py"))["main"]


def test_the_example_of_the_trainer_runs(hugging, tmp_path):
    hugging(str(tmp_path))
    view = read(tmp_path / "watched")
    assert view.step == view.about.steps == 120
    assert view.setting.optimizer == "AdamW" and view.setting.reg == "adamw"
    assert [scale.path for scale in view.about.scales] == ["net.4"]
    assert np.isfinite(view.history["loss"][2:]).all()
    assert view.forecast is not None


def test_the_trainer_resumes_the_record(hugging, tmp_path):
    """From its checkpoint: the same record as without a break, to the bit."""
    import shutil

    torch.manual_seed(0)
    hugging(str(tmp_path / "whole"))
    torch.manual_seed(0)
    hugging(str(tmp_path / "broken"))
    shutil.rmtree(tmp_path / "broken" / "checkpoint-120")
    hugging(str(tmp_path / "broken"), resume=True)
    import xarray as xr

    whole, broken = (
        xr.load_dataset(tmp_path / name / "watched" / "record.nc") for name in ("whole", "broken")
    )
    assert digest(whole) == digest(broken)
