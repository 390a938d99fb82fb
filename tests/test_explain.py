"""A rule on one page: the formula is the docstring's, the numbers are those of a hand loop."""

import inspect

import pytest

from regdyn import replay, rules, sample, sim
from regdyn.explain import explain
from regdyn.gradients import Gaussian
from regdyn.rules import RULES, SGD, Adam, AMSGrad

from . import naive

REGS = {"none": 0.0, "l2": 0.1, "wd": 0.2, "adamw": 0.3}
# printed with 15 digits: wrong by at most half of the last one, 5e-15, and a few roundings
DIGITS = 1e-14


def numbers(page):
    """The last block of a page: name -> its values at steps 1, 2, 3."""
    words = [line.split() for line in page.rpartition("\n\n")[2].splitlines()]
    return {name: [float(value) for value in values] for name, *values in words}


@pytest.mark.parametrize("reg", REGS)
@pytest.mark.parametrize("rule", [*RULES, AMSGrad(flavour="optax"), SGD(nesterov=True)])
def test_three_steps_are_those_of_the_naive_twin(rule, reg):
    asked = dict(theta0=2.0, gradient=Gaussian(std=0.1), seed=3)
    shown = numbers(explain(rule, reg, REGS[reg], **asked))
    hp = rules.resolve(rule)
    grads = sample(Gaussian(std=0.1), 3, 1, seed=3)[:, 0].tolist()
    expected = naive.run(rules.name_of(hp), grads, reg, REGS[reg], 2.0, **hp._asdict())
    assert shown["t"] == [1, 2, 3]
    assert shown["grad"] == pytest.approx(grads, rel=DIGITS)
    assert shown["theta"] == pytest.approx(expected[1:], rel=DIGITS)


def test_every_number_of_adam_by_hand():
    hp = Adam(lr=0.5, beta1=0.5, beta2=0.75, eps=0.125)
    shown = numbers(explain(hp, "l2", 0.25, theta0=4.0))
    m = v = 0.0
    theta, hand = 4.0, {}
    for t, grad in enumerate(sample("low", 3, 1)[:, 0].tolist(), start=1):
        g = grad + 0.25 * theta
        m, v = 0.5 * m + 0.5 * g, 0.75 * v + 0.25 * g**2
        step, root = 0.5 / (1 - 0.5**t), 1 / (1 - 0.75**t) ** 0.5
        delta = step * m / (v**0.5 * root + 0.125)
        theta -= delta
        hand[t] = {"t": t, "grad": grad, "g": g, "coef.step": step, "coef.root": root}
        hand[t] |= {"m": m, "v": v, "delta": delta, "theta": theta}
    assert list(shown) == list(hand[1])
    for name, values in shown.items():
        assert values == pytest.approx([hand[t][name] for t in hand], rel=DIGITS)


@pytest.mark.parametrize("rule", RULES)
def test_the_page_holds_formula_source_and_setting(rule):
    page = explain(rule, "wd", 0.25)
    assert page.startswith(f"{rule}: lr = {RULES[rule].hyper().lr}")
    assert inspect.getdoc(RULES[rule].step) in page
    assert "Regulariser wd:     theta <- (1 - lambda * lr_t / lr) * theta, after the step" in page
    assert "lambda = 0.25" in page and "Three steps of lane 0 from theta_0 = 1 (" in page


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("adm",), "did you mean 'adam'"),
        (("adam", "l1"), "did you mean 'l2'"),
        (("adam", "wd", 1.0), "strength lambda must be < 1 under wd"),
    ],
)
def test_bad_input(arguments, complaint):
    with pytest.raises(ValueError, match=complaint):
        explain(*arguments)


def test_a_well_has_no_gradients_beforehand():
    with pytest.raises(ValueError, match="Well cannot be sampled"):
        explain("adam", gradient="well")


def test_the_command_line_prints_a_page_for_each_setting(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = "--opt adam lion --reg wd l2 --lam 0.01 --gradient gaussian std=0.1 --theta0 2 --seed 3"
    assert sim.main(["--explain", *words.split()]) == 0
    asked = dict(theta0=2.0, gradient=Gaussian(std=0.1), seed=3)
    pages = [explain(r, reg, 0.01, **asked) for r in ("adam", "lion") for reg in ("wd", "l2")]
    assert capsys.readouterr() == ("\n\n\n".join(pages) + "\n", "")
    assert not list(tmp_path.iterdir())


def test_what_is_explained_is_what_is_simulated(capsys):
    """The README's command, against the engine."""
    assert sim.main(["--explain", "--opt", "adam"]) == 0
    theta = replay(sample("low", 3, 1), "adam", "l2", 1e-4)[1:, 0]
    assert numbers(capsys.readouterr().out)["theta"] == pytest.approx(theta, rel=DIGITS)
