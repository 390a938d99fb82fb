"""The monitor's page as text; what it does in a browser is in test_cnn_monitor_page_browser.py."""

import base64
import copy
import hashlib
import json
import re

import numpy as np
import pytest

from cnn.monitor.packing import pack, unpack
from cnn.monitor.page import page
from cnn.monitor.page_top import verdict

from .monitor_documents import Parsed, changed, document, unusual, without_forecast

CASES = unusual() | {"usual": document()}


@pytest.fixture(scope="module", params=CASES)
def case(request):
    made = CASES[request.param]
    text = page(made)
    return made, text, Parsed(text)


def test_the_page_is_well_formed(case):
    _, _, parsed = case
    ids = [attributes["id"] for _, attributes in parsed.elements if "id" in attributes]
    named = {a[key] for _, a in parsed.elements for key in ("aria-labelledby",) if key in a}
    assert parsed.wrong == [] and parsed.open == []
    assert len(ids) == len(set(ids)) and named <= set(ids)


def test_nothing_is_loaded_from_anywhere(case):
    """No address but fragments, data and the name of SVG; the policy forbids the rest."""
    _, text, parsed = case
    links = [a[key] for _, a in parsed.elements for key in ("src", "href", "action") if key in a]
    assert all(link.startswith("#") or link == "data:," for link in links)
    assert set(re.findall(r"url\(([^)]*)", text)) <= {"#selective", "#doomed", "#collapsed"}
    assert set(re.findall(r"\w+://[^\s\"']*", text)) <= {"http://www.w3.org/2000/svg"}
    assert "default-src 'none'" in _policy(parsed)


def test_the_policy_lets_this_script_and_this_style_work(case):
    _, text, parsed = case
    for tag, rule in (("style", "style-src"), ('script type="module"', "script-src")):
        inside = text.split(f"<{tag}>")[1].split(f"</{tag.split()[0]}>")[0]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{rule} 'sha256-{digest}'" in _policy(parsed)
    assert not any("style" in a or "onclick" in a for _, a in parsed.elements)


def _policy(parsed):
    return next(a["content"] for tag, a in parsed.elements if tag == "meta" and "http-equiv" in a)


def test_no_text_becomes_markup(case):
    """A title, a name, a reason with `</script>` in it stays text."""
    made, _, parsed = case
    assert [tag for tag, _ in parsed.elements].count("script") == 2
    assert not {"b", "i"} & {tag for tag, _ in parsed.elements}
    inside = json.loads(parsed.text["document"])
    assert inside["title"] == made["title"] and inside["reasons"] == made["reasons"]


def test_numbers_arrive_with_all_bits(case):
    made, _, parsed = case
    inside = json.loads(parsed.text["document"])
    for name in ("gamma", "beta", "p_collapse", "t_median"):
        if made["filters"][name] is not None:
            arrived = unpack(inside["filters"][name])
            assert arrived.tobytes() == unpack(made["filters"][name]).tobytes()


@pytest.mark.parametrize(
    "array",
    [[], 1.5, [[1, np.nan], [np.inf, -0.0]], np.float64(1e-300), np.arange(6).reshape(3, 2)],
)
def test_packing_keeps_shape_and_float32(array):
    there = unpack(json.loads(json.dumps(pack(array))))
    expected = np.asarray(array, dtype=np.float32)
    assert there.shape == expected.shape and there.tobytes() == expected.tobytes()


@pytest.mark.parametrize(
    "packed",
    [
        *(None, 3, {}),
        *({"shape": shape, "f32": text} for shape, text in (([2], "AAAA"), ([1], "?"), ([-1], ""))),
    ],
)
def test_what_is_not_packed_is_refused(packed):
    with pytest.raises(ValueError, match="a packed array must be"):
        unpack(packed)


def test_the_document_is_not_changed():
    made = document()
    before = copy.deepcopy(made)
    page(made)
    assert made == before


def test_floats_that_are_not_finite_become_null():
    made = document()
    made["layers"][0]["share"] = float("nan")
    made["forecast"]["total_hi"] = float("inf")
    inside = json.loads(Parsed(page(made)).text["document"])
    assert inside["layers"][0]["share"] is None and inside["forecast"]["total_hi"] is None


def _planted(**changes):
    """10 filters, of which 4 are gone; 7 are expected to be gone at the end."""
    made = document(**changes)
    counts = dict.fromkeys(("alive", "selective", "doomed", "unknown"), 0)
    made["layers"][0]["counts"] = counts | {"alive": 3, "collapsed": 1}
    made["layers"][1]["counts"] = counts | {"doomed": 3, "collapsed": 3}
    made["filters"]["verdict"] = [0, 0, 0, 3, 2, 2, 2, 3, 3, 3]
    made["forecast"] |= {"total_lo": 30.0, "total": 70.0, "total_hi": 90.0}
    return made


def test_the_verdict_is_one_sentence():
    now = "4 of 10 filters are gone"
    assert verdict(_planted()) == (
        f"{now}, 3 more are expected to go by step 4,000 (80 %: 0 to 5)."
    )
    assert verdict(without_forecast(_planted())) == (
        f"{now}; what will become of the others is not known."
    )
    none = _planted()
    for layer in none["layers"]:
        layer["counts"]["collapsed"] = 0
    none["filters"]["verdict"] = [0] * 10
    assert verdict(none) == (
        "None of 10 filters is gone, 7 are expected to go by step 4,000 (80 %: 3 to 9)."
    )
    over = _planted(until=1.0)
    assert "Forecast made" not in page(over) and "had said" not in page(over)
    over["forecast"]["at"] = 400
    assert verdict(over) == f"The run is over: {now}."
    assert "had said 7 (80&nbsp;%: 3 to 9)." in page(over)
    assert "not known</p>" not in page(over)
    assert verdict(without_forecast(document(()))).startswith("No filters:")
    assert "<main hidden>" in page(without_forecast(document(())))
    lost = changed(_planted(), p_collapse=pack(np.full(10, np.nan)))
    assert verdict(lost) == verdict(without_forecast(_planted()))


def test_a_forecast_for_some_filters_counts_these_only():
    """Percent of the five that have a forecast; one of them is gone already."""
    chance = np.array([0.5] * 5 + [np.nan] * 5)
    made = changed(_planted(), p_collapse=pack(chance))
    assert "of the 5 that have a forecast 3 more are expected to go" in verdict(made)


def test_the_page_says_why_there_is_no_forecast():
    text = page(without_forecast(document(), "the rule of Sophia is not known."))
    assert "No forecast: the rule of Sophia is not known." in text
    assert text.count("no forecast</span>") == 3  # two layers and all


def test_layers_stand_in_the_page_without_a_script():
    made = document()
    parsed = Parsed(page(made))
    bars = [a["aria-label"] for tag, a in parsed.elements if tag == "svg" and "aria-label" in a]
    for bar, layer in zip(bars[1:], made["layers"], strict=True):
        assert bar == ", ".join(f"{n} {name}" for name, n in layer["counts"].items() if n)
    links = [a["href"] for tag, a in parsed.elements if tag == "a" and "data-layer" in a]
    assert links == ["#layer=", "#layer=C1", "#layer=C2"]


def _without(entries, *names):
    return {name: value for name, value in entries.items() if name not in names}


BAD = {
    "must be a dict": lambda made: [made],
    "format 1, not 2": lambda made: made | {"format": 2},
    "the document lacks loss, layers": lambda made: _without(made, "layers", "loss"),
    r"filters.gamma must have shape \(10, 20\), not \(10, 19\)": lambda made: changed(
        made, gamma=pack(np.ones((10, 19)))
    ),
    "filters.reason must have an entry for each of the 10 filters, not 2": lambda made: changed(
        made, reason=[0, 1]
    ),
    "filters.verdict must point into the 5 verdicts, not 9": lambda made: changed(
        made, verdict=[9] * 10
    ),
    "a packed array must be": lambda made: changed(made, beta=[1.0]),
    "verdicts must be alive, selective": lambda made: (
        made | {"verdicts": [{"name": "x", "meaning": ""}]}
    ),
    "filters lacks channel": lambda made: made | {"filters": _without(made["filters"], "channel")},
    "an entry of layers lacks path, kind": lambda made: made | {"layers": [{"name": "C1"}]},
    "setting must be a dict, not None": lambda made: made | {"setting": None},
}


@pytest.mark.parametrize("sentence", BAD)
def test_a_bad_document_gets_one_sentence(sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        page(BAD[sentence](document()))
    assert "\n" not in str(caught.value) and str(caught.value).endswith(".")
