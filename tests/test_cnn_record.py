"""What is recorded of a training run: against brute force, against replay, and without a trace."""

import copy
import itertools
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from cnn.config import ModelConfig, OptimConfig
from cnn.models import build
from cnn.optim import OPTIMIZERS, Update, hyperparameters
from cnn.record import Recorder
from regdyn import replay
from regdyn.store import digest, load, save

torch.set_num_threads(1)  # a session of pytest may share its cores; the nets here are tiny
PAGE = Path(__file__).parents[1] / "docs" / "recording.md"


def chain(dtype=torch.float64, device="cpu"):
    """Two convolutions of 3 and 4 filters, read by a convolution and by a linear layer (2x2)."""
    torch.manual_seed(0)
    with torch.device(device):
        model = nn.Sequential(
            nn.Conv2d(1, 3, 3, padding=1, bias=False), nn.BatchNorm2d(3), nn.ReLU(),
            nn.Conv2d(3, 4, 3, bias=False), nn.BatchNorm2d(4), nn.LeakyReLU(0.01),
            nn.Flatten(), nn.Linear(16, 3),
        )  # fmt: skip
    return model.to(dtype)


def batches(steps, dtype=torch.float64, device="cpu"):
    """Images (8, 1, 4, 4) and labels: the same at every call."""
    generator = torch.Generator().manual_seed(1)
    for _ in range(steps):
        x = torch.randn(8, 1, 4, 4, generator=generator, dtype=torch.float64)
        y = torch.randint(3, (8,), generator=generator)
        yield (x + y[:, None, None, None]).to(dtype).to(device), y.to(device)


def train(model, update, recorder, steps, *, start=0, end=None, scaler=None, schedule=None):
    """The loop of the module's docstring: steps `start` + 1 to `end`, of `steps`."""
    p = next(model.parameters())
    for step, (x, y) in enumerate(batches(end or steps, p.dtype, p.device), 1):
        if step <= start:
            continue
        if schedule is not None:
            update.set_scale(float(schedule[step - 1]))
        loss = nn.functional.cross_entropy(model(x), y)
        update.optimizer.zero_grad()
        (loss if scaler is None else scaler.scale(loss)).backward()
        skipped = update.unscale(scaler)
        if recorder is not None:
            recorder.observe(step, loss, skipped=skipped)
        update.step(scaler)
        if scaler is not None:
            scaler.update()
        if recorder is not None:
            recorder.after(step)


def record(steps=30, *, dtype=torch.float64, optim=None, schedule=None, **how):
    """A run of `chain`, and its record."""
    model = chain(dtype)
    recorder = Recorder(model, steps=steps, **how)
    train(model, Update(model, optim or OptimConfig()), recorder, steps, schedule=schedule)
    return model, recorder


# Against brute force ------------------------------------------------------------------------------


def made_up(steps):
    """Gradients of gamma and beta (steps, 7), and of the weights that read the filters.

    Filter 0 sees none at all, filter 1 none after step 12, filter 2 one now and then; the others
    always, with a mean, and of all sizes.
    """
    rng = np.random.default_rng(3)
    tapes = []
    for _ in ("gamma", "beta"):
        tape = (rng.standard_normal((steps, 7)) + 0.5) * 10.0 ** rng.uniform(-9, 1, 7)
        tape[:, 0] = 0.0
        tape[12:, 1] = 0.0
        tape[:, 2] *= rng.random(steps) < 0.4
        tapes.append(tape)
    return *tapes, rng.standard_normal((steps, 4, 3, 3, 3)), rng.standard_normal((steps, 3, 16))


def put_gradients(model, gamma, beta, conv, linear):
    """Write them into `.grad`."""
    for bn, filters in ((model[1], slice(0, 3)), (model[4], slice(3, 7))):
        bn.weight.grad = torch.tensor(gamma[filters])
        bn.bias.grad = torch.tensor(beta[filters])
    model[3].weight.grad, model[7].weight.grad = torch.tensor(conv), torch.tensor(linear)


@pytest.mark.parametrize("every", [1, 7, 31, 50])
def test_all_that_is_recorded_is_that_of_brute_force(every):
    """Also in a last window that is shorter, and if it is the only one."""
    steps, model = 130 if every == 1 else 31, chain()  # 131 records: three chunks
    recorder = Recorder(model, steps=steps, every=every, ema=0.9, tape=True)
    gamma, beta, conv, linear = made_up(steps)
    states, losses = [copy.deepcopy(model)], np.random.default_rng(4).exponential(size=steps)
    for step in range(1, steps + 1):
        put_gradients(model, gamma[step - 1], beta[step - 1], conv[step - 1], linear[step - 1])
        recorder.observe(step, torch.tensor(losses[step - 1]))
        with torch.no_grad():
            for value in (*model.parameters(), model[1].running_var, model[4].running_var):
                value.add_(0.01 * torch.rand_like(value))
        recorder.after(step)
        states.append(copy.deepcopy(model))
    ds = recorder.dataset()
    ends = sorted({*range(0, steps + 1, every), steps})
    assert ds["step"].values.tolist() == ends and ds["window"].values.tolist() == ends[1:]
    assert np.array_equal(ds["tape"], gamma)
    for w, (a, b) in enumerate(itertools.pairwise(ends)):
        check_window(ds.isel(window=w), gamma, beta, a, b)
        np.testing.assert_allclose(ds["loss"][w], losses[a:b].mean())
        squares = [(conv[b - 1][:, j] ** 2).sum() for j in range(3)]
        squares += [(linear[b - 1][:, 4 * j : 4 * j + 4] ** 2).sum() for j in range(4)]
        np.testing.assert_allclose(ds["grad_out2"][w], squares, rtol=1e-12)
    for r, end in enumerate(ends):
        check_state(ds.isel(step=r), states[end])
    assert ds["steps_made"].values.tolist() == np.diff(ends).tolist()
    assert not ds["steps_skipped"].any()
    last = [max(np.flatnonzero(column) + 1, default=0) for column in gamma.T]
    assert ds["absorbed"].values.tolist() == [t + 1 if t < steps else -1 for t in last]
    assert last[:2] == [0, 12] and last[3:] == [steps] * 4


def check_window(ds, gamma, beta, a, b):
    """Statistics over the steps a + 1 ... b, written out."""
    for name, tape in (("gamma", gamma), ("beta", beta)):
        square, part = np.zeros(7), tape[a:b]
        for row in tape[:b]:
            square = 0.9 * square + (1 - 0.9) * row**2
        spread = np.sqrt(np.mean((part - np.mean(part, axis=0)) ** 2, axis=0))
        np.testing.assert_allclose(ds[f"grad_{name}_mean"], np.mean(part, axis=0), rtol=1e-12)
        np.testing.assert_allclose(ds[f"grad_{name}_std"], spread, rtol=1e-12, atol=1e-22)
        np.testing.assert_allclose(ds[f"grad_{name}_ema2"], square, rtol=1e-12)
        np.testing.assert_allclose(ds[f"grad_{name}_zero"], np.mean(part == 0, axis=0), atol=1e-15)


def check_state(ds, model):
    """gamma, beta, norms and variances of `chain`, written out."""
    for name, attribute in (("gamma", "weight"), ("beta", "bias"), ("var", "running_var")):
        values = [getattr(bn, attribute).detach() for bn in (model[1], model[4])]
        assert np.array_equal(ds[name], torch.cat(values))
    one, two, three = (model[i].weight.detach().numpy() for i in (0, 3, 7))
    outs = [np.linalg.norm(two[:, j]) for j in range(3)]
    outs += [np.linalg.norm(three[:, 4 * j : 4 * j + 4]) for j in range(4)]
    np.testing.assert_allclose(ds["norm_in"], [np.linalg.norm(w) for w in (*one, *two)], rtol=1e-12)
    np.testing.assert_allclose(ds["norm_out"], outs, rtol=1e-12)


def test_outgoing_weights_of_a_grouped_convolution_and_of_none():
    """Filter j of 6 is read by the outputs of its group only; before a sum nothing is known."""

    class Grouped(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Conv2d(1, 6, 3), nn.Conv2d(6, 4, 3, groups=2)
            self.n, self.m = nn.BatchNorm2d(6), nn.BatchNorm2d(4)

        def forward(self, x):
            x = self.m(self.b(self.n(self.a(x)).relu()))
            return (x + x.flip(1)).sum()

    model = Grouped()
    recorder = Recorder(model, steps=1)
    model(torch.randn(4, 1, 6, 6)).backward()
    recorder.observe(1, torch.zeros(()))
    recorder.after(1)
    ds = recorder.dataset().isel(step=-1, window=-1)
    for name, weight in (("norm_out", model.b.weight), ("grad_out2", model.b.weight.grad)):
        w = weight.detach().double().numpy()  # (4, 3, 3, 3): two outputs read filters 0 to 2
        squares = [(w[2 * (j // 3) : 2 * (j // 3) + 2, j % 3] ** 2).sum() for j in range(6)]
        found = ds[name].values ** (2 if name == "norm_out" else 1)
        np.testing.assert_allclose(found[:6], squares, rtol=1e-5)
        assert np.isnan(found[6:]).all()
    assert ds["layer"].values.tolist() == ["C1"] * 6 + ["C2"] * 4
    assert ds["channel"].values.tolist() == [*range(6), *range(4)]


# Against replay -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("opt", "reg", "dtype", "tolerance"),
    [
        *((opt, reg, torch.float64, 1e-12) for opt in OPTIMIZERS for reg in ("l2", "wd")),
        ("adam", "adamw", torch.float64, 1e-12),
        ("sgd", "none", torch.float64, 1e-12),
        *((opt, "l2", torch.float32, 100 * 2.0**-23) for opt in ("sgd", "adam", "adadelta")),
    ],
)
def test_replaying_the_recorded_gradients_gives_the_networks_gamma(opt, reg, dtype, tolerance):
    """At every recorded step, through a drop of the learning rate, with a rate of gamma's own.

    In float32 each of the 100 steps rounds gamma, and the factors that it is multiplied with.
    """
    steps = 100
    schedule = np.where(np.arange(steps) < 70, 1.0, 0.1)
    config = OptimConfig(opt=opt, reg=reg, lam=3e-3, gamma_lr=0.5)
    model, recorder = record(steps, dtype=dtype, optim=config, schedule=schedule, tape=True)
    ds = recorder.dataset()
    rule = hyperparameters(config)
    rule = rule._replace(lr=0.5 * rule.lr)
    path = replay(ds["tape"].values, rule, reg, 3e-3, ds["gamma"][0].values, schedule=schedule,
                  engine="numpy")  # fmt: skip
    np.testing.assert_allclose(ds["gamma"], path[ds["step"]], rtol=0, atol=tolerance)
    final = torch.cat([model[1].weight, model[4].weight]).detach()
    assert np.array_equal(ds["gamma"][-1], final)
    assert np.abs(path[-1] - path[0]).max() > 0.01  # it has moved
    other = replay(ds["tape"].values, rule, reg, 3e-3, ds["gamma"][0].values, engine="numpy")
    assert np.abs(other[-1] - path[-1]).max() > 10 * tolerance  # the drop is seen


def test_a_step_that_the_scaler_skips_does_not_count():
    """Scaled by 2^120 and more some gradients overflow, and with them their steps."""
    steps, config = 60, OptimConfig(opt="adam", reg="wd", lam=3e-3)
    model = chain(torch.float32)
    model[0].weight.data.mul_(0.01)  # its gradient is 100 times as large: BatchNorm rescales
    recorder = Recorder(model, steps=steps, every=5, ema=0.9, tape=True)
    scaler = torch.amp.GradScaler("cpu", init_scale=2.0**120, growth_interval=4)
    train(model, Update(model, config), recorder, steps, scaler=scaler)
    ds = recorder.dataset()
    skipped = np.isnan(ds["tape"].values).all(axis=1)
    assert 2 < skipped.sum() < 30 and np.isnan(ds["tape"]).sum() == 7 * skipped.sum()
    assert ds["steps_skipped"].values.tolist() == skipped.reshape(-1, 5).sum(axis=1).tolist()
    assert (ds["steps_made"] + ds["steps_skipped"] == 5).all()
    tape = ds["tape"].dropna("t").values
    path = replay(tape, "adam", "wd", 3e-3, 1.0, engine="numpy")
    made = np.cumsum(np.insert(~skipped, 0, False))[ds["step"]]
    np.testing.assert_allclose(ds["gamma"], path[made], rtol=0, atol=60 * 2.0**-23)
    square = np.zeros(7)
    for row in tape:
        square = 0.9 * square + (1 - 0.9) * row.astype(float) ** 2
    np.testing.assert_allclose(ds["grad_gamma_ema2"][-1], square, rtol=1e-6)
    for w, rows in enumerate(np.split(ds["tape"].values.astype(float), 12)):
        rows = rows[~np.isnan(rows[:, 0])]
        np.testing.assert_allclose(ds["grad_gamma_mean"][w], rows.mean(0), rtol=1e-6)
        np.testing.assert_allclose(ds["grad_gamma_std"][w], rows.std(0), rtol=1e-6)
        np.testing.assert_array_equal(ds["grad_gamma_zero"][w], (rows == 0).mean(0))
    assert (ds["absorbed"] == -1).all()


def test_a_window_in_which_all_steps_were_skipped():
    model = chain()
    recorder = Recorder(model, steps=6, every=2)
    gamma, beta, conv, linear = made_up(6)
    for step in range(1, 7):
        skip = step in (3, 4, 6)
        row = np.where(skip, np.inf, gamma[step - 1])
        put_gradients(model, row, beta[step - 1], conv[step - 1], linear[step - 1])
        recorder.observe(step, torch.ones(()), skipped=torch.tensor(float(skip)))
        recorder.after(step)
    ds = recorder.dataset()
    assert ds["steps_made"].values.tolist() == [2, 0, 1]
    assert np.isnan(ds["grad_gamma_mean"][1]).all() and np.isnan(ds["loss"][1])
    assert np.isfinite(ds["grad_gamma_mean"][2]).all()
    assert np.isnan(ds["grad_out2"]).all("filter").values.tolist() == [False, True, True]
    np.testing.assert_allclose(ds["grad_gamma_ema2"][1], ds["grad_gamma_ema2"][0])


# Without a trace ----------------------------------------------------------------------------------


@pytest.mark.parametrize("opt", ["adam", "sgd"])
def test_recording_changes_no_bit_of_the_training(opt):
    """Parameters, BatchNorm's statistics, gradients and torch's random numbers."""
    found = []
    for recorded in (False, True):
        torch.manual_seed(0)
        model = build(ModelConfig(widths=(3, 4, 5), pools=(1,)), channels=1, classes=3, size=4)
        steps = 30
        recorder = Recorder(model, steps=steps, every=7, tape=True) if recorded else None
        train(model, Update(model, OptimConfig(opt=opt)), recorder, steps)
        found.append([*model.state_dict().values(), *(p.grad for p in model.parameters()),
                      torch.get_rng_state()])  # fmt: skip
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))
    assert not any(p.requires_grad and p.grad is None for p in model.parameters())


# Resuming -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cut", "tape"), [(0, True), (1, False), (13, True), (50, False), (63, True), (70, True)]
)
def test_a_run_interrupted_anywhere_has_the_same_record(cut, tape, tmp_path):
    """Within a window, at its end, before the first step, after the last."""
    how = {"steps": 70, "every": 7, "tape": tape}
    whole = record(**how)[1].dataset()
    model, config = chain(), OptimConfig()
    update, recorder = Update(model, config), Recorder(model, **how)
    if cut:
        train(model, update, recorder, 70, end=cut)
    parts = {"model": model, "update": update, "record": recorder}
    torch.save({name: part.state_dict() for name, part in parts.items()}, tmp_path / "state.pt")
    entry = torch.load(tmp_path / "state.pt", weights_only=True)
    held = recorder.state_dict()
    if 0 < cut < 70:
        train(model, update, recorder, 70, start=cut)
    for name, value in held.items():  # a copy, which the run does not go on writing into
        same = torch.equal if isinstance(value, torch.Tensor) else lambda a, b: a == b
        assert same(value, entry["record"][name]), name
    model = chain()
    model[1].weight.data.fill_(0.7)  # the initial state is the record's
    parts = {"model": model, "update": Update(model, config), "record": Recorder(model, **how)}
    for name, part in parts.items():
        part.load_state_dict(entry[name])
    if cut < 70:
        train(model, parts["update"], parts["record"], 70, start=cut)
    assert digest(parts["record"].dataset()) == digest(whole)


def test_a_record_saved_between_gradients_and_update_goes_on_there():
    """The dataset taken there ends before the window that is not complete."""
    model = chain()
    recorder, again = (Recorder(model, steps=3, every=2, tape=True) for _ in range(2))
    for step in (1, 2):
        put_gradients(model, *(part[step - 1] for part in made_up(2)))
        recorder.observe(step, torch.ones(()))
        if step == 1:
            recorder.after(1)
    assert recorder.dataset().sizes["window"] == recorder.dataset().sizes["t"] == 0
    again.load_state_dict(recorder.state_dict())
    for each in (recorder, again):
        each.after(2)
    assert digest(again.dataset()) == digest(recorder.dataset())
    assert again.dataset()["step"].values.tolist() == [0, 2]


def test_a_record_taken_during_the_run_ends_with_the_last_recorded_step():
    whole = record(steps=70, every=7, tape=True)[1].dataset()
    model = chain()
    recorder = Recorder(model, steps=70, every=7, tape=True)
    train(model, Update(model, OptimConfig()), recorder, 70, end=18)
    ds = recorder.dataset()
    assert ds["step"].values.tolist() == [0, 7, 14] and ds["t"].values[-1] == 14
    for name in set(ds) - {"absorbed", "bn_eps", "weights_out"}:
        sizes = {d: slice(0, ds.sizes[d]) for d in ds[name].dims}
        assert ds[name].equals(whole[name].isel(sizes)), name


def test_a_record_of_another_kind_is_refused():
    entry = record(steps=10, every=5)[1].state_dict()
    for how, sentence in (
        ({"every": 2}, "record has record-every 5, this run has 2"),
        ({"every": 5, "ema": 0.9}, "record has record-ema 0.99, this run has 0.9"),
        ({"every": 5, "tape": True}, "record has tape False, this run has True"),
    ):
        with pytest.raises(ValueError, match=sentence):
            Recorder(chain(), steps=10, **how).load_state_dict(entry)
    wider = nn.Sequential(nn.Conv2d(1, 9, 3), nn.BatchNorm2d(9), nn.Conv2d(9, 1, 1))
    with pytest.raises(ValueError, match="record has filters 7, this run has 9"):
        Recorder(wider, steps=10, every=5).load_state_dict(entry)


# Absorption ---------------------------------------------------------------------------------------


def test_a_filter_whose_relu_never_fires_is_absorbed_from_the_first_step():
    """beta = -20 behind a ReLU; behind a leaky ReLU there is a gradient."""
    model = chain()
    with torch.no_grad():
        model[1].bias[1] = model[4].bias[2] = -20.0
    recorder = Recorder(model, steps=30, every=7)
    train(model, Update(model, OptimConfig()), recorder, 30)
    ds = recorder.dataset()
    assert ds["absorbed"].values.tolist() == [-1, 1, -1, -1, -1, -1, -1]
    assert (ds["grad_gamma_zero"][:, 1] == 1).all() and (ds["grad_gamma_zero"][:, 5] == 0).all()


# Devices ------------------------------------------------------------------------------------------


def test_recording_runs_on_the_meta_device():
    """So nothing looks at values; a tensor left on the CPU is seen."""
    model = chain(torch.float32, "meta")
    recorder = Recorder(model, steps=5, every=2, tape=True)
    train(model, Update(model, OptimConfig()), recorder, 4, scaler=None)
    with pytest.raises(RuntimeError, match="meta"):
        recorder.observe(5, torch.zeros(()))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_recording_never_waits_for_the_gpu():
    model = chain(torch.float32, "cuda")
    update = Update(model, OptimConfig())
    train(model, update, None, 3)
    recorder = Recorder(model, steps=10, every=3, tape=True)
    loss = torch.ones((), device="cuda")
    torch.cuda.set_sync_debug_mode("error")
    try:
        for step in range(1, 11):
            recorder.observe(step, loss)
            recorder.after(step)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert recorder.dataset()["step"].values.tolist() == [0, 3, 6, 9, 10]


def replica(rank, folder):
    """One of two processes: its half of the batch, its record."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", init_method=f"file://{folder / 'meet'}", rank=rank, world_size=2
    )
    model = chain()
    recorder, update = Recorder(model, steps=20, every=5, tape=True), Update(model, OptimConfig())
    both = nn.parallel.DistributedDataParallel(model)
    local = []
    for step, (x, y) in enumerate(batches(20), 1):
        half = slice(4 * rank, 4 * rank + 4)
        loss = nn.functional.cross_entropy(both(x[half]), y[half])
        update.optimizer.zero_grad()
        own = torch.autograd.grad(
            nn.functional.cross_entropy(model(x[half]), y[half]), [model[1].weight, model[4].weight]
        )
        local.append(torch.cat(own))
        loss.backward()
        recorder.observe(step, loss)
        update.step()
        recorder.after(step)
    torch.save(
        {"local": torch.stack(local), "record": recorder.state_dict()}, folder / f"{rank}.pt"
    )
    torch.distributed.destroy_process_group()


@pytest.mark.slow
def test_two_processes_record_the_gradient_after_the_all_reduce(tmp_path):
    """The mean of the two halves' gradients, the same bits in both."""
    torch.multiprocessing.spawn(replica, (tmp_path,), nprocs=2)
    one, two = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1))
    assert torch.equal(one["record"]["tape"], two["record"]["tape"])
    mean = (one["local"] + two["local"]) / 2
    assert not torch.allclose(one["local"], two["local"], rtol=0.1)
    torch.testing.assert_close(one["record"]["tape"], mean, rtol=1e-10, atol=1e-14)


# The dataset and its page -------------------------------------------------------------------------


def test_every_variable_says_what_it_is_and_survives_netcdf(tmp_path):
    ds = record(every=7, tape=True, dtype=torch.float32)[1].dataset()
    for name in ds.variables:
        assert ds[name].attrs["long_name"], name
        assert name in ("layer", "channel", "filter") or ds[name].attrs["units"], name
    assert ds["gamma"].dtype == np.float32
    ds = ds.assign_attrs(config="{}")
    again = load(save(ds, tmp_path / "run.nc"))
    assert again.identical(ds) and digest(again) == digest(ds)


def test_the_page_lists_every_variable_with_its_dimensions():
    ds = record(every=7, tape=True)[1].dataset()
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| ([\w, ]+) \|", PAGE.read_text("utf-8"), re.M)
    listed = {name: dims for names, dims in rows for name in re.findall(r"\w+", names)}
    found = {str(name): ", ".join(map(str, ds[name].dims)) for name in ds.variables}
    assert listed == found


# Bad input ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "sentence"),
    [
        ({"every": 0}, "record-every must be a whole number >= 1, not 0"),
        ({"every": 2.5}, "record-every must be a whole number"),
        ({"ema": 1.0}, "record-ema must be a finite number >= 0 and < 1, not 1.0"),
        ({"steps": 0}, "steps must be a whole number >= 1, not 0"),
    ],
)
def test_bad_settings_get_one_sentence(how, sentence):
    with pytest.raises(ValueError) as found:
        Recorder(chain(), **{"steps": 10} | how)
    assert sentence in str(found.value) and "\n" not in str(found.value)


def test_a_network_that_cannot_be_recorded():
    with pytest.raises(ValueError, match="has none"):
        Recorder(nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()), steps=10)
    quiet = nn.BatchNorm2d(2, track_running_stats=False)
    with pytest.raises(ValueError, match="BatchNorm after 0 keeps no running variance"):
        Recorder(nn.Sequential(nn.Conv2d(1, 2, 3), quiet, nn.Conv2d(2, 1, 1)), steps=10)


def test_steps_come_one_by_one():
    model = chain()
    recorder = Recorder(model, steps=10, every=2)
    loss = torch.zeros(())
    with pytest.raises(ValueError, match="BatchNorm has no gradient"):
        recorder.observe(1, loss)
    put_gradients(model, *(part[0] for part in made_up(1)))
    with pytest.raises(ValueError, match=r"come after\(0\) and observe\(1\), not observe\(0\)"):
        recorder.observe(0, loss)
    recorder.observe(1, loss)
    with pytest.raises(ValueError, match=r"after observe\(1\) comes after\(1\), not 2"):
        recorder.after(2)
    recorder.after(1)
    recorder.observe(2, loss)
    with pytest.raises(ValueError, match=r"come after\(2\) and observe\(3\), not observe\(3\)"):
        recorder.observe(3, loss)
    model[7].weight.grad = None
    recorder.after(2)
    recorder.observe(3, loss)
    with pytest.raises(ValueError, match="the weights that read 3 have no gradient"):
        recorder.observe(4, loss)
