"""Bad input gets one clear sentence; a stored configuration runs again to the same bits."""

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from regdyn import replay, simulate
from regdyn.gradients import AR1, Gaussian, Intermittent, LowGradient, StudentT, Tape, Well
from regdyn.plan import from_config
from regdyn.regularizers import Cosine, StepDecay
from regdyn.rules import SGD, Adam, AMSGrad

NAN = math.nan
SMALL = {"rule": "adam", "reg": "l2", "lam": 1e-4, "steps": 20, "lanes": 5}

# what is given besides SMALL, what the sentence says
BAD = [
    # names
    ({"rule": "adamm"}, "unknown rule 'adamm': did you mean 'adam'?"),
    ({"rule": "Adam"}, "unknown rule 'Adam': did you mean 'adam'?"),
    ({"rule": "xyz"}, "Allowed: sgd, adam, amsgrad"),
    ({"rule": 3}, "not a rule: 3"),
    ({"rule": Adam}, "not a rule: "),
    ({"rule": None}, "not a rule: None"),
    ({"reg": "L2"}, "unknown regulariser 'L2': did you mean 'l2'?"),
    ({"reg": "adam"}, "unknown regulariser 'adam': did you mean 'adamw'?"),
    ({"reg": None}, "unknown regulariser None"),
    ({"preset": "pytorch"}, "unknown preset 'pytorch': did you mean 'torch'?"),
    ({"gradient": "gausian"}, "unknown gradient process 'gausian': did you mean 'gaussian'?"),
    ({"gradient": "Low"}, "did you mean 'low'?"),
    ({"schedule": "cosin"}, "unknown schedule 'cosin': did you mean 'cosine'?"),
    ({"rule": AMSGrad(flavour="keras")}, "unknown AMSGrad flavour 'keras'"),
    # strengths
    ({"lam": -1e-4}, "strength lambda must be a finite number >= 0, not -0.0001"),
    ({"lam": [1e-4, NAN]}, "strength lambda must be a finite number >= 0, not nan"),
    ({"lam": math.inf}, "not inf"),
    ({"lam": "1e-4"}, "not '1e-4'"),
    ({"lam": True}, "not True"),
    ({"lam": None}, "not None"),
    ({"lam": [[1e-4]]}, "strength lambda must be a finite number"),
    ({"lam": [[1e-4], [1e-3, 1e-2]]}, "strength lambda must be a finite number"),
    ({"lam": np.zeros((3, 60))}, "strength lambda must be a finite number"),
    ({"lam": 10**400}, "strength lambda must be a finite number"),
    ({"lam": []}, "lam is empty"),
    ({"reg": "wd", "lam": 1.0}, "strength lambda must be < 1 under wd, not 1"),
    ({"reg": ["l2", "wd"], "lam": [1.5]}, "strength lambda must be < 1 under wd, not 1.5"),
    ({"reg": "adamw", "lam": 1e3}, "lr * lambda must be < 1 under adamw, not 0.001 * 1000 = 1"),
    # twice, none
    ({"lam": [1e-4, 1e-3, 1e-4]}, "lam is given twice: 0.0001"),
    ({"rule": ["adam", "adam"]}, "rule is given twice: Adam("),
    ({"rule": ["adam", Adam()]}, "rule is given twice: Adam("),
    ({"reg": ["l2", "l2"]}, "reg is given twice: 'l2'"),
    ({"rule": []}, "rule is empty"),
    ({"reg": []}, "reg is empty"),
    ({"thresholds": []}, "thresholds is empty"),
    # hyper-parameters
    ({"rule": SGD(lr=-0.1)}, "lr of sgd must be a finite number >= 0, not -0.1"),
    ({"rule": Adam(beta2=1.0)}, "beta2 of adam must be a finite number >= 0 and < 1, not 1.0"),
    ({"rule": Adam(eps="small")}, "eps of adam must be a finite number >= 0, not 'small'"),
    ({"rule": SGD(nesterov="yes")}, "nesterov of sgd must be True or False, not 'yes'"),
    # sizes
    ({"steps": 0}, "steps must be a whole number from 1 to 17179869184, not 0"),
    ({"steps": 10.0}, "steps must be a whole number"),
    ({"lanes": 0}, "lanes must be a whole number"),
    ({"lanes": True}, "lanes must be a whole number"),
    ({"lanes": np.arange(100)}, "lanes must be"),
    ({"lanes": 2**63}, "lanes must be"),
    ({"lanes": range(5, 5)}, "lanes must be a range of step 1 from 0 or above"),
    ({"lanes": range(0, 10, 2)}, "lanes must be a range of step 1"),
    ({"lanes": range(-1, 4)}, "lanes must be a range of step 1 from 0 or above"),
    ({"seed": -1}, "seed must be a whole number from 0 to 18446744073709551615, not -1"),
    ({"seed": 2**64}, "seed must be a whole number from 0 to 18446744073709551615"),
    ({"seed": 0.5}, "seed must be a whole number"),
    ({"record": 0}, "record must be a whole number >= 1, not 0"),
    ({"record": 2.5}, "record must be a whole number"),
    ({"record": []}, "record must be finite and not empty"),
    ({"record": [1.5]}, "record must be a whole number or steps"),
    ({"record": [[1], [2, 3]]}, "record must be numbers"),
    ({"record": [0, 21]}, "recorded steps must lie from 0 to 20"),
    ({"record": [-1]}, "recorded steps must lie from 0 to 20"),
    ({"thresholds": [0.0]}, "threshold must be a finite number > 0, not 0.0"),
    ({"thresholds": [0.5, 0.5]}, "threshold is given twice: 0.5"),
    # shapes
    ({"theta0": NAN}, "theta0 must be finite and not empty"),
    ({"theta0": [1.0, math.inf]}, "theta0 must be finite and not empty"),
    ({"theta0": []}, "theta0 must be finite and not empty"),
    ({"theta0": "one"}, "theta0 must be numbers, not 'one'"),
    ({"theta0": 10**400}, "theta0 must be"),
    ({"theta0": [[1.0], [1.0, 2.0]]}, "theta0 must be numbers"),
    ({"gradient": Gaussian(std=np.ones(19))}, "std of Gaussian must be a number or have one entry"),
    ({"gradient": Gaussian(mean=np.ones(21))}, "mean of Gaussian must be a number or have one"),
    ({"gradient": Gaussian(std=[[1.0], [1.0, 2.0]])}, "std of Gaussian must be"),
    ({"gradient": Tape(np.zeros((19, 5)))}, "the tape has shape (19, 5), too small for 20 steps"),
    ({"gradient": Tape(np.zeros((20, 4)))}, "too small for 20 steps and 5 lanes"),
    ({"gradient": Tape(np.zeros((20, 9))), "theta0": [1, 1]}, "for 20 steps and 10 lanes"),
    ({"gradient": Tape(np.full((20, 5), NAN))}, "100 entries that are not finite, first at row 0"),
    ({"gradient": "tape"}, "a tape needs shape"),
    ({"schedule": np.ones(19)}, "a schedule given as an array needs shape (20,)"),
    ({"schedule": -np.ones(20)}, "entries >= 0"),
    ({"schedule": ["fast"] * 20}, "schedule"),
    ({"schedule": Cosine}, "schedule"),
    ({"schedule": StepDecay((1.5,))}, "boundary must be a finite number >= 0 and <= 1, not 1.5"),
    ({"schedule": Cosine(NAN)}, "final of a Cosine must be a finite number >= 0, not nan"),
]  # fmt: skip


def assert_one_sentence(caught, fragment=""):
    message = str(caught.value)
    assert fragment in message
    assert "\n" not in message
    assert message.endswith(".")


@pytest.mark.parametrize(("bad", "fragment"), BAD, ids=[fragment for _, fragment in BAD])
def test_bad_input_gets_one_sentence(bad, fragment):
    with pytest.raises(ValueError) as caught:
        simulate(**{**SMALL, **bad})
    assert_one_sentence(caught, fragment)


@given(
    lam=st.floats(max_value=-1e-300) | st.sampled_from([NAN, math.inf]),
    reg=st.sampled_from(["none", "l2", "wd", "adamw"]),
)
def test_strengths_must_be_finite_and_not_negative(lam, reg):
    for call in (simulate, lambda rule, reg, lam, **_: replay([1.0], rule, reg, lam)):
        with pytest.raises(ValueError) as caught:
            call(**{**SMALL, "reg": reg, "lam": lam})
        assert_one_sentence(caught, "strength lambda must be a finite number >= 0")


TAPE = np.zeros((3, 2))
BAD_REPLAYS = [
    (([[0.0], [NAN]], "adam"), {}, "the tape holds 1 entries that are not finite, first at row 1"),
    ((np.zeros((3, 0)), "adam"), {}, "a tape needs shape"),
    ((TAPE, "adamm"), {}, "did you mean 'adam'?"),
    ((TAPE, "adam", "l3"), {}, "did you mean 'l2'?"),
    ((TAPE, "adam", "wd", 1.0), {}, "strength lambda must be < 1 under wd"),
    ((TAPE, "adam"), {"theta0": [1.0, 2.0, 3.0]}, "theta0 must be a number or of shape"),
    ((TAPE, "adam"), {"theta0": NAN}, "theta0 must be finite"),
    ((TAPE, "adam"), {"theta0": "one"}, "theta0 must be"),
    ((TAPE, "adam"), {"theta0": np.zeros((3, 60))}, "theta0 must be a number or of shape"),
    ((TAPE, "adam"), {"schedule": [1.0]}, "needs shape (3,)"),
]


@pytest.mark.parametrize(("args", "options", "fragment"), BAD_REPLAYS)
def test_bad_replays_get_one_sentence(args, options, fragment):
    with pytest.raises(ValueError) as caught:
        replay(*args, **options)
    assert_one_sentence(caught, fragment)


# Configuration -----------------------------------------------------------------------------------

RAMP = np.linspace(0, 1, 20)
RUNS = {
    "defaults": {},
    "grid": {
        "rule": ["sgd", "adam", "amsgrad"], "reg": ["none", "l2", "wd", "adamw"],
        "lam": [1e-3, 0.1],
    },
    "two of a kind": {"rule": [Adam(), Adam(beta2=0.999), Adam(lr=1e-2, eps=0.0)]},
    "preset": {"rule": ["sgd", "rmsprop"], "preset": "torch"},
    "nesterov": {"rule": SGD(nesterov=True)},
    "low": {"gradient": LowGradient(steps0=3)},
    "gaussian": {"gradient": Gaussian(mean=RAMP, std=RAMP)},
    "intermittent": {"gradient": Intermittent(f=0.1, batch=4)},
    "ar1": {"gradient": AR1(phi=-0.3)},
    "studentt": {"gradient": StudentT(nu=5)},
    "well": {"gradient": Well(0.1, 2.0)},
    "paper": {"schedule": "paper"},
    "steps": {"schedule": StepDecay((0.25, 0.5), 0.3)},
    "cosine": {"schedule": Cosine(0.1)},
    "array": {"schedule": RAMP},
    "vector": {"theta0": [[1.0, -0.5], [0.0, 2.0]]},
    "rest": {
        "lanes": range(100, 130), "seed": 2**64 - 1, "record": [3, 20], "thresholds": [0.999, 0.9],
        "keep_lanes": True, "keep_passages": True, "theta0": 0.1 + 0.2,
    },
    "numpy scalars": {
        "lam": np.array([1e-4, 1e-3]), "steps": np.int64(20), "seed": np.uint64(3),
        "theta0": np.float64(0.5), "rule": Adam(lr=np.float64(1e-3)),
    },
}  # fmt: skip


@pytest.mark.parametrize("run", RUNS)
def test_a_stored_configuration_runs_again_to_the_same_bits(run):
    ds = simulate(**{**SMALL, **RUNS[run]})
    again = simulate(**from_config(ds.attrs["config"]))
    assert again.identical(ds)  # the configuration, too
    other = simulate(**{**from_config(ds.attrs["config"]), "theta0": 0.7})
    assert not other.equals(ds)


def test_a_tape_is_known_by_its_hash_and_not_run_again():
    configs = [
        json.loads(simulate(**SMALL, gradient=Tape(tape)).attrs["config"])
        for tape in (np.zeros((20, 5)), np.ones((20, 5)))
    ]
    assert configs[0]["gradient"]["shape"] == [20, 5]
    assert configs[0]["gradient"]["sha256"] != configs[1]["gradient"]["sha256"]
    with pytest.raises(ValueError) as caught:
        from_config(json.dumps(configs[0]))
    assert_one_sentence(caught, "the gradients were a tape, which a result does not store")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", "null", "{}", '{"rule": 3}', '{"rule": [{"name": "adamm"}]}']
)
def test_a_text_that_is_no_configuration_is_refused(text):
    with pytest.raises(ValueError) as caught:
        from_config(text)
    assert_one_sentence(caught, "this is not the config of a regdyn result")
