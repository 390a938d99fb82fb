"""The monitor: no bit of the training changes, no record is lost, and its verdicts are right."""

import json
import re
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from cnn.monitor import GammaMonitor
from cnn.monitor.recorded import read
from cnn.record import Recorder
from regdyn.store import digest

torch.set_num_threads(1)


def chain(dtype=torch.float32):
    """Two convolutions of 3 and 4 filters, read by a convolution and by a linear layer."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU(),
        nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.LeakyReLU(0.01),
        nn.Flatten(), nn.Linear(16, 3),
    ).to(dtype)  # fmt: skip


class Untraceable(nn.Module):
    """Branches on values; BatchNorms of three kinds, a frozen one, an unused one, other norms."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.bn2 = nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3)
        self.lin, self.bn1 = nn.Linear(12, 5), nn.BatchNorm1d(5)
        self.bn3, self.sync = nn.BatchNorm3d(3), nn.SyncBatchNorm(3)
        self.group, self.layer = nn.GroupNorm(1, 3), nn.LayerNorm(5)
        self.unused, self.plain = nn.BatchNorm2d(2), nn.BatchNorm2d(3, affine=False)
        self.frozen = nn.BatchNorm1d(5, track_running_stats=False).requires_grad_(False)
        self.head = nn.Linear(5, 3)

    def forward(self, x):
        x = self.group(self.plain(self.bn2(self.conv(x))))
        x = self.bn3(x[..., None])[..., 0].relu()
        if x.sum() > -1:  # torch.fx cannot
            x = self.bn1(self.lin(x.flatten(1)))
        return self.head(self.layer(self.frozen(x)))


def batches(steps):
    """Images (8, 1, 4, 4) and labels: the same at every call."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(8, 1, 4, 4, generator=generator)
        y = torch.randint(3, (8,), generator=generator)
        yield x + y[:, None, None, None], y


def adam(model, **how):
    return torch.optim.Adam(model.parameters(), **{"lr": 1e-2, "weight_decay": 1e-2, **how})


def train(model, optimizer, monitor, steps, *, start=0):
    """Steps `start` + 1 to `steps`."""
    for step, (x, y) in enumerate(batches(steps), 1):
        if step > start:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            if monitor is not None:
                monitor.step(loss)


def watched(folder, steps=30, *, make=chain, optim=adam, **how):
    """A whole run under a monitor; the model and the closed monitor."""
    model = make()
    optimizer = optim(model)
    how = {"steps": steps, "every": 7, "show": False, "html": False, **how}
    with GammaMonitor(model, optimizer, folder, **how) as monitor:
        train(model, optimizer, monitor, steps)
    return model, monitor


# Bits ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [chain, Untraceable])
def test_training_is_the_same_to_the_bit_with_and_without(make, tmp_path):
    """Parameters, buffers, gradients, optimizer's state, and random numbers drawn afterwards."""
    plain = make()
    optimizer = adam(plain)
    torch.manual_seed(5)
    train(plain, optimizer, None, 30)
    expected = torch.rand(3)
    model = make()
    other = adam(model)
    torch.manual_seed(5)
    with GammaMonitor(model, other, tmp_path, steps=30, every=7, show=False) as monitor:
        train(model, other, monitor, 30)
    assert torch.equal(torch.rand(3), expected)
    for one, two in zip(plain.state_dict().values(), model.state_dict().values(), strict=True):
        assert torch.equal(one, two)
    for one, two in zip(plain.parameters(), model.parameters(), strict=True):
        assert (one.grad is None) == (two.grad is None)
        assert one.grad is None or torch.equal(one.grad, two.grad)
    assert str(optimizer.state_dict()) == str(other.state_dict())


def test_a_traced_model_is_recorded_as_the_recorder_does(tmp_path):
    """Every variable of cnn.record, to the bit, in memory and in record.nc."""
    import xarray as xr

    model = chain()
    optimizer, recorder = adam(model), Recorder(model, steps=30, every=7)
    for step, (x, y) in enumerate(batches(30), 1):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        recorder.observe(step, loss)
        optimizer.step()
        recorder.after(step)
    ours, theirs = watched(tmp_path)[1].dataset(), recorder.dataset()
    assert digest(ours[list(theirs.data_vars)]) == digest(theirs)
    assert ours.attrs["record_every"] == 7
    assert digest(xr.load_dataset(tmp_path / "record.nc")) == digest(ours)


@pytest.mark.parametrize("make", [chain, Untraceable])
@pytest.mark.parametrize("killed", [5, 7, 17])
def test_a_run_killed_and_resumed_gives_one_seamless_record(make, killed, tmp_path):
    """Within a window and at its end; the state goes through torch.save's safe mode."""
    whole = watched(tmp_path / "whole", make=make)[1].dataset()
    model = make()
    optimizer = adam(model)
    monitor = GammaMonitor(model, optimizer, tmp_path / "b", steps=30, every=7, show=False)
    train(model, optimizer, monitor, killed)
    kept = [model.state_dict(), optimizer.state_dict(), monitor.state_dict()]
    torch.save(kept, tmp_path / "checkpoint.pt")
    then = digest(monitor.dataset())
    train(model, optimizer, monitor, killed + 3, start=killed)  # lost with the process

    model = make()
    optimizer = adam(model)
    monitor = GammaMonitor(model, optimizer, tmp_path / "b", steps=30, every=7, show=False)
    kept = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    for one, state in zip((model, optimizer, monitor), kept, strict=True):
        one.load_state_dict(state)
    assert digest(monitor.dataset()) == then
    train(model, optimizer, monitor, 30, start=killed)
    monitor.close()
    assert digest(monitor.dataset()) == digest(whole)


def test_a_state_of_another_network_is_refused(tmp_path):
    _, monitor = watched(tmp_path / "a")
    state = monitor.state_dict()
    model = Untraceable()
    other = GammaMonitor(model, adam(model), tmp_path / "b", every=7, show=False)
    with pytest.raises(ValueError, match="another network"):
        other.load_state_dict(state)
    with pytest.raises(ValueError, match="another version"):
        other.load_state_dict({**state, "format": 99})
    with pytest.raises(ValueError, match="must be what state_dict gave, not None"):
        other.load_state_dict(None)  # type: ignore[arg-type]
    fifth = chain()
    other = GammaMonitor(fifth, adam(fifth), tmp_path / "c", every=5, show=False)
    with pytest.raises(ValueError, match="record-every 7, this run has 5"):
        other.load_state_dict(state)


@pytest.mark.gpu
def test_on_a_gpu_there_is_one_wait_for_each_record_and_none_between(tmp_path):
    """CUDA's own check, which raises where the host waits; the record is that of the CPU."""
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    model = chain().cuda()
    optimizer = adam(model, lr=1e-4)
    monitor = GammaMonitor(model, optimizer, tmp_path, steps=28, every=7, show=False)
    data = [(x.cuda(), y.cuda()) for x, y in batches(28)]
    with warnings.catch_warnings(record=True) as waits:
        warnings.simplefilter("always")
        for x, y in data:
            loss = nn.functional.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            torch.cuda.set_sync_debug_mode("warn")
            monitor.step(loss)
            torch.cuda.set_sync_debug_mode("default")
    found = [one for one in waits if "synchroniz" in str(one.message)]
    assert len(found) == 4  # of 28 steps
    monitor.close()
    on_cpu = chain()
    other = adam(on_cpu, lr=1e-4)
    expected = GammaMonitor(on_cpu, other, tmp_path / "cpu", steps=28, every=7, show=False)
    train(on_cpu, other, expected, 28)
    for name in ("gamma", "norm_out", "loss"):
        np.testing.assert_allclose(monitor.dataset()[name], expected.dataset()[name], rtol=1e-3)


# What is watched ----------------------------------------------------------------------------------


def test_norms_that_cannot_be_traced_are_recorded_without_the_weights_around_them(tmp_path):
    model, monitor = watched(tmp_path, make=Untraceable)
    about, ds = monitor.view().about, monitor.dataset()
    kinds = {norm.path: (norm.name, norm.kind) for norm in about.norms}
    assert kinds == {
        "bn2": ("N1", "BatchNorm2d"), "bn1": ("N2", "BatchNorm1d"), "bn3": ("N3", "BatchNorm3d"),
        "sync": ("N4", "SyncBatchNorm"), "unused": ("N5", "BatchNorm2d"),
        "frozen": ("N6", "BatchNorm1d"),
    }  # fmt: skip
    assert [norm.frozen for norm in about.norms] == [False] * 5 + [True]
    assert np.isnan(ds["norm_in"]).all() and np.isnan(ds["norm_out"]).all()
    assert np.array_equal(ds["gamma"][-1, 3:8], model.bn1.weight.detach())
    assert np.array_equal(ds["var"][-1, 3:8], model.bn1.running_var)
    assert (ds["grad_gamma_std"][:, :8] > 0).all()
    unused = slice(14, 16)
    assert not ds["grad_gamma_ema2"][:, unused].any() and (ds["absorbed"][unused] == 1).all()
    assert "untraceable" in monitor.document()["forecast_why_not"].lower()


def test_scales_of_other_norms_are_reported_as_scales(tmp_path):
    model, monitor = watched(tmp_path, make=Untraceable)
    ds = monitor.dataset()
    assert list(ds["scale"].values) == ["group", "layer"]
    for i, scale in enumerate((model.group.weight, model.layer.weight)):
        sizes = scale.detach().double().abs().numpy()
        np.testing.assert_allclose(ds["scale_abs_mean"][-1, i], sizes.mean(), rtol=1e-15)
        assert ds["scale_abs_min"][-1, i] == sizes.min()
    found = monitor.document()["scales"]
    assert [(one["path"], one["kind"], one["size"]) for one in found] == [
        ("group", "GroupNorm", 3), ("layer", "LayerNorm", 5),
    ]  # fmt: skip


def test_a_model_that_has_scales_only(tmp_path):
    """A transformer's norms: the loss is the windows' mean, there are no filters."""

    def make():
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(16, 6), nn.RMSNorm(6), nn.Linear(6, 3))

    model = make()
    optimizer, losses = adam(model), []
    monitor = GammaMonitor(model, optimizer, tmp_path, steps=30, every=7, show=False)
    for x, y in batches(30):
        loss = nn.functional.cross_entropy(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        monitor.step(loss)
        losses.append(loss.item())
    monitor.close()
    ds = monitor.dataset()
    np.testing.assert_allclose(ds["loss"][:2], [np.mean(losses[:7]), np.mean(losses[7:14])])
    document = monitor.document()
    assert document["layers"] == [] and document["scales"][0]["kind"] == "RMSNorm"
    assert document["prunable"]["percent"] == 0.0
    json.dumps(read(tmp_path).step)


def test_a_step_that_a_scaler_skipped_does_not_count(tmp_path):
    model = chain()
    optimizer = adam(model)
    monitor = GammaMonitor(model, optimizer, tmp_path, every=3, show=False)
    for i, (x, y) in enumerate(batches(3)):
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(x), y).backward()
        if i == 1:
            model[1].weight.grad.fill_(torch.inf)
        monitor.step(skipped=torch.tensor(float(i == 1)))
    ds = monitor.dataset()
    assert ds["steps_skipped"].item() == 1 and np.isfinite(ds["grad_gamma_std"]).all()


# Verdicts -----------------------------------------------------------------------------------------


def test_verdicts_on_planted_filters(tmp_path):
    """One of each kind in the first layer, behind a ReLU; in the second, no ReLU known."""
    model = chain()
    with torch.no_grad():
        model[1].weight[:] = torch.tensor([9e-4, 1.0, 1.0])  # collapsed, selective, alive
        model[1].bias[:] = torch.tensor([0.0, -1.7, -1.6])  # Phi(-1.645) is 5 %
        model[4].weight[:] = torch.tensor([-9e-4, 1.0, torch.nan, -1.1e-3])
        model[4].bias[:] = torch.tensor([0.0, -9.0, 0.0, 0.0])
    monitor = GammaMonitor(model, adam(model), tmp_path, show=False)
    document = monitor.document()
    names = [document["verdicts"][i]["name"] for i in document["filters"]["verdict"]]
    assert names == ["collapsed", "selective", "alive", "collapsed", "alive", "unknown", "alive"]
    assert document["layers"][0]["counts"] == {
        "alive": 1, "selective": 1, "doomed": 0, "collapsed": 1, "unknown": 0,
    }  # fmt: skip
    assert document["filters"]["prunable"] == [True, False, False, True, False, False, False]


@pytest.mark.parametrize(("decay", "verdict"), [(1e-2, "doomed"), (0.0, "selective")])
def test_a_dead_relu_is_doomed_only_if_something_decays_it(decay, verdict, tmp_path):
    """Its beta is so low that it never fires; the threshold is 100 steps of silence."""
    model = chain()
    with torch.no_grad():
        model[1].bias[0] = -50.0
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2, weight_decay=decay)
    monitor = GammaMonitor(model, optimizer, tmp_path, every=9, show=False)
    train(model, optimizer, monitor, 99)
    assert monitor.view().verdict[0] == 1
    train(model, optimizer, monitor, 108, start=99)
    document = monitor.document()
    assert document["verdicts"][document["filters"]["verdict"][0]]["name"] == verdict
    assert 2 not in document["filters"]["verdict"][1:]


def test_a_filter_that_the_forecast_sees_gone_is_doomed(tmp_path):
    """AdamW at a rate at which the plain decay takes gamma of a dead filter; others live on."""
    _, monitor = watched(
        tmp_path, 200, every=20, optim=lambda m: adam(m, lr=1e-3, weight_decay=1e-2)
    )
    view = monitor.view()
    view.forecast = monitor._forecast._replace(p=np.array([0.51, 0.49, 0.2, 0.99, 0, 0, 0.5]))
    assert view.verdict.tolist() == [2, 0, 0, 2, 0, 0, 0]


# Forecasts ----------------------------------------------------------------------------------------


def test_the_forecast_is_that_of_regdyn_on_the_same_record(tmp_path):
    from regdyn.forecast import forecast
    from regdyn.rules import Adam

    schedule = np.where(np.arange(400) < 300, 1.0, 0.1)
    model = chain()
    optimizer = adam(model)
    monitor = GammaMonitor(model, optimizer, tmp_path, steps=400, schedule=schedule, show=False)
    train(model, optimizer, monitor, 120)
    monitor.close()
    rule = Adam(1e-2, 0.9, 0.999, 1e-8)
    expected = forecast(
        monitor.dataset(), at=120, until=400, rule=rule, reg="l2", lam=1e-2, scale=schedule
    )
    document, one = monitor.document(), monitor.view().forecast
    assert np.array_equal(one.p, expected["p_collapse"])
    assert document["forecast"]["total"] == float(expected["total"])
    assert document["layers"][1]["share_hi"] == float(expected["share_hi"][1])
    assert [one.reasons[i] for i in one.reason] == expected["reason"].values.tolist()


SETTINGS = {
    "adam": (adam, ("adam", "l2", 1e-2)),
    "adamw": (lambda m: torch.optim.AdamW(m.parameters(), weight_decay=0.1),
              ("adam", "adamw", 0.1)),
    "sgd": (lambda m: torch.optim.SGD(m.parameters(), 0.1, 0.9, weight_decay=1e-3),
            ("sgd", "l2", 1e-3)),
    "none": (lambda m: torch.optim.Adam(m.parameters()), ("adam", "none", 0.0)),
}  # fmt: skip


@pytest.mark.parametrize("name", SETTINGS)
def test_rule_and_regulariser_are_read(name, tmp_path):
    optim, (rule, reg, lam) = SETTINGS[name]
    _, monitor = watched(tmp_path, 100, every=20, optim=optim)
    document = monitor.document()
    setting = document["setting"]
    assert (setting["rule"], setting["reg"], setting["lam"]) == (rule, reg, lam)
    assert document["forecast"]["at"] == 100 and document["forecast_why_not"] is None


class Own(torch.optim.Optimizer):
    """Nobody knows what it does."""

    def __init__(self, params):
        super().__init__(params, {"lr": 0.1, "weight_decay": 0.1})

    def step(self, closure=None):
        return None


def groups(model):
    """Two BatchNorms with two strengths."""
    second = list(model[4].parameters())
    rest = [p for p in model.parameters() if all(p is not q for q in second)]
    return torch.optim.Adam([{"params": rest}, {"params": second, "weight_decay": 0.1}])


WHY_NOT = [
    ({"optim": lambda m: Own(m.parameters())}, "Own is not known"),
    ({"optim": groups}, "different settings"),
    ({"optim": lambda m: adam(m, maximize=True)}, "maximizes"),
    ({"optim": lambda m: torch.optim.ASGD(m.parameters())}, "no rule for ASGD"),
    ({"optim": lambda m: torch.optim.Adam(m[:4].parameters())}, "1 of 2 BatchNorms are not"),
    ({"steps": None}, "give steps"),
    ({"every": 10}, "needs 3 records, and there are 2"),
    ({"steps": 21}, "longer than the 21 steps"),
    ({"steps": 28, "every": 9}, "too far apart"),
]  # fmt: skip


@pytest.mark.parametrize(("how", "why"), WHY_NOT)
def test_a_forecast_that_is_not_possible_says_why_not(how, why, tmp_path):
    model = chain()
    optimizer = how.get("optim", adam)(model)
    how = {"steps": 40, "every": 7, **{k: v for k, v in how.items() if k != "optim"}}
    with GammaMonitor(model, optimizer, tmp_path, show=False, **how) as monitor:
        train(model, optimizer, monitor, 28)
    document = monitor.document()
    assert document["forecast"] is None and why in document["forecast_why_not"]
    assert document["filters"]["p_collapse"] is None
    assert why in read(tmp_path).why


# Bad input ----------------------------------------------------------------------------------------


BAD = [
    (lambda m, o, f: GammaMonitor(nn.Linear(2, 2), o, f), "must have a normalisation with a scale"),
    (lambda m, o, f: GammaMonitor(m, adam(chain()), f), "is it another model's"),
    (lambda m, o, f: GammaMonitor(m, "adam", f), "must be a torch.optim.Optimizer"),
    (lambda m, o, f: GammaMonitor("model", o, f), "must be a torch.nn.Module"),
    (lambda m, o, f: GammaMonitor(m, o, f / "file"), "is a file"),
    (lambda m, o, f: GammaMonitor(m, o, f / "file" / "below"), "is a file"),
    (lambda m, o, f: GammaMonitor(m, o, f, every=0), "every must be a whole number >= 1"),
    (lambda m, o, f: GammaMonitor(m, o, f, steps=0), "steps must be a whole number >= 1"),
    (lambda m, o, f: GammaMonitor(m, o, f, threshold=0), "threshold must be a finite"),
    (lambda m, o, f: GammaMonitor(m, o, f, schedule=[1.0], steps=2), "a factor for each of 2"),
    (lambda m, o, f: GammaMonitor(nn.LazyBatchNorm2d(), o, f), "run one batch"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "sentence"), BAD)
def test_bad_input_gets_one_sentence_and_leaves_nothing(make, sentence, tmp_path):
    model = chain()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=re.escape(sentence)):
        make(model, adam(model), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_step_at_the_wrong_time_or_with_a_wrong_loss(tmp_path):
    model = chain()
    optimizer = adam(model)
    monitor = GammaMonitor(model, optimizer, tmp_path, every=1, show=False)
    with pytest.raises(ValueError, match=re.escape("call step after loss.backward()")):
        monitor.step(torch.tensor(1.0))
    train(model, optimizer, monitor, 1)
    with pytest.raises(ValueError, match=r"one number, not a tensor of \(2,\)"):
        monitor.step(torch.ones(2))
    with pytest.raises(ValueError, match="must be a number, not str"):
        monitor.step("low")
    monitor.close()
    monitor.close()  # twice is no error
    with pytest.raises(ValueError, match="closed"):
        monitor.step()


def test_gradients_that_are_zeroed_too_early_are_noticed(tmp_path):
    model = chain()
    optimizer = adam(model)
    monitor = GammaMonitor(model, optimizer, tmp_path, every=2, show=False)
    with pytest.warns(RuntimeWarning, match="before the next zero_grad") as caught:
        for x, y in batches(6):
            nn.functional.cross_entropy(model(x), y).backward()
            optimizer.step()
            optimizer.zero_grad(set_to_none=False)
            monitor.step()
    assert len(caught) == 1


def test_gammas_that_are_not_numbers_are_a_warning(tmp_path):
    """One, however long it goes on; the training does."""
    model = chain()
    optimizer = adam(model)
    with pytest.warns(RuntimeWarning, match="not a number in C2: 1 filters at step 14") as caught:
        with GammaMonitor(model, optimizer, tmp_path, steps=60, every=7, show=False) as monitor:
            train(model, optimizer, monitor, 12)
            with torch.no_grad():
                model[4].weight[2] = torch.nan
            train(model[:1].append(nn.BatchNorm2d(3)), adam(model), None, 0)
            for _ in range(4 * 7):
                optimizer.zero_grad()
                for p in model.parameters():
                    p.grad = torch.ones_like(p)
                monitor.step()
    assert len(caught) == 1
    document = monitor.document()
    assert document["layers"][1]["counts"]["unknown"] == 1
    assert "not finite" in document["forecast_why_not"] and len(document["warnings"]) == 1
    json.dumps(document, allow_nan=False)


def test_a_full_disk_is_one_warning_and_writing_is_tried_again(tmp_path, monkeypatch):
    """The files appear once there is space; what was there is whole meanwhile."""
    import resource

    model = chain()
    optimizer = adam(model)
    monitor = GammaMonitor(model, optimizer, tmp_path, steps=28, every=7, show=False)
    monkeypatch.setattr(monitor._instruments[0].budget, "due", lambda: True)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.warns(RuntimeWarning, match="cannot write: files") as caught:
        try:
            resource.setrlimit(resource.RLIMIT_FSIZE, (512, hard))  # no file may be longer
            train(model, optimizer, monitor, 14)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert len(caught) == 1 and not list(tmp_path.iterdir())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        train(model, optimizer, monitor, 28, start=14)
        monitor.close()
    assert read(tmp_path).step == 28
    assert any("cannot write" in one for one in monitor.document()["warnings"])


def test_what_an_earlier_run_left_is_kept_once(tmp_path):
    watched(tmp_path, 14)
    first = (tmp_path / "record.nc").read_bytes()
    watched(tmp_path, 21)
    assert (tmp_path / "record-previous.nc").read_bytes() == first
    assert read(tmp_path).step == 21
