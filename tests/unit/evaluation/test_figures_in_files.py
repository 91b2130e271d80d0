"""Figures in words and in files: what is said of a value, and metrics.json there and back."""

import dataclasses
import json
import math

import pytest

from medimg.errors import UsageError
from medimg.evaluation.figures import (
    MeasurementSettings,
    describe,
    describe_multiplicity,
    format_figure,
    measure,
    read_metrics,
    write_metrics,
)
from medimg.evaluation.intervals import Bootstrap, Interval
from tests.unit.evaluation.predictions import HEADS, draw_predictions

MALIGNANCY = {"malignancy": HEADS["malignancy"]}
OUTSIDE = (
    "the value lies outside of its interval: with so few cases this metric is biased under resampling; a note"
)


@pytest.fixture(scope="module")
def predictions():
    return draw_predictions()


@pytest.fixture(scope="module")
def figures(predictions):
    """The AUC on the whole split and on four slices."""
    settings = MeasurementSettings(
        MALIGNANCY, ["P1"], slices=["source", "laterality"], bootstrap=Bootstrap(resamples=50)
    )
    return measure(predictions, settings, metrics=["auc"])


def test_many_intervals_come_with_the_number_that_chance_alone_makes_miss(figures):
    sliced = [
        f
        for f in figures
        if (f.name, f.protocol, f.head) == ("auc", "P1", "malignancy") and f.slice != "overall"
    ]
    assert describe_multiplicity(sliced).startswith(
        "4 intervals at 95 %: 0.2 can be expected to miss by chance"
    )
    assert describe_multiplicity(sliced).endswith("to hold all together each would need 98.75 %")
    assert describe_multiplicity(sliced[:2]).startswith("2 intervals at 95 %: 0.1 can be expected")
    assert describe_multiplicity(sliced[:2]).endswith("each would need 97.50 %")
    without = [dataclasses.replace(figure, low=math.nan) for figure in sliced]
    assert describe_multiplicity([*sliced[:2], *without[2:]]) == describe_multiplicity(sliced[:2])
    assert not describe_multiplicity(sliced[:1])
    assert not describe_multiplicity([*sliced[:1], *without[1:]])


def test_metrics_json_holds_null_for_nan_and_reads_back(tmp_path, predictions):
    figures = measure(
        predictions.head(4),
        MeasurementSettings(MALIGNANCY, ["P1"], bootstrap=Bootstrap(resamples=20)),
    )
    path = write_metrics(tmp_path / "run" / "report" / "metrics.json", figures)
    rows = json.loads(path.read_text())
    assert rows[0]["low"] is None
    assert {
        "name",
        "head",
        "slice",
        "protocol",
        "level",
        "split",
        "n",
        "positives",
        "groups",
        "value",
        "low",
        "high",
        "note",
    } == set(rows[0])
    pairs = zip(read_metrics(path), figures, strict=True)
    for one, other in pairs:
        assert (one.key, one.n, one.note) == (other.key, other.n, other.note)
        assert (one.value, one.low, one.high) == pytest.approx(
            (other.value, other.low, other.high), nan_ok=True
        )


def test_figures_that_differ_in_anything_but_their_numbers_have_different_keys(figures):
    figure = figures[0]
    for field in ("name", "head", "slice", "protocol", "level", "split"):
        assert dataclasses.replace(figure, **{field: "other"}).key != figure.key
    assert dataclasses.replace(figure, value=0.0, n=1, note="other").key == figure.key


def test_names_stand_in_the_file_as_they_are_written(tmp_path, figures):
    named = dataclasses.replace(figures[0], slice="Größe=groß")
    path = write_metrics(tmp_path / "metrics.json", [named])
    assert '"slice": "Größe=groß"' in path.read_text(encoding="utf-8")
    assert read_metrics(path)[0].slice == "Größe=groß"


def test_a_bound_beyond_all_numbers_is_null_in_the_file(tmp_path, figures):
    path = write_metrics(tmp_path / "metrics.json", [dataclasses.replace(figures[0], high=math.inf)])
    assert json.loads(path.read_text())[0]["high"] is None


@pytest.mark.parametrize(
    "text",
    [None, "no JSON", '{"auc": 0.9}', '[{"name": "auc"}]', "OTHER"],
    ids=["no file", "no JSON", "no list", "a field is missing", "a field too many"],
)
def test_a_file_that_holds_no_figures_is_named(tmp_path, figures, text):
    path = tmp_path / "metrics.json"
    if text == "OTHER":
        rows = json.loads(write_metrics(path, figures[:1]).read_text())
        text = json.dumps([{**rows[0], "p_value": 0.1}])
    if text is not None:
        path.write_text(text)
    with pytest.raises(UsageError, match=r"metrics\.json: found .*, expected the figures that a run writes"):
        read_metrics(path)


@pytest.mark.parametrize(
    ("value", "low", "high", "words"),
    [
        (0.9123, 0.85, 0.96, "0.912 (0.850 to 0.960)"),
        (0.9123, math.nan, math.nan, "0.912 (no interval)"),
        (math.nan, math.nan, math.nan, "-"),
    ],
)
def test_a_figure_in_words_has_its_interval_says_that_it_has_none_or_is_a_dash(
    figures, value, low, high, words
):
    assert format_figure(dataclasses.replace(figures[0], value=value, low=low, high=high)) == words


@pytest.mark.parametrize(
    ("value", "words"),
    [
        (0.2, OUTSIDE),
        (0.6, OUTSIDE),
        (0.3, "a note"),
        (0.5, "a note"),
        (math.nan, "no value: a class is missing"),
    ],
)
def test_a_value_outside_of_its_interval_is_said_to_be_so_before_the_note_of_the_interval(value, words):
    assert describe(value, Interval(0.3, 0.5, note="a note")) == words
    assert describe(value, Interval(0.3, 0.5)) == words.removesuffix("; a note").removesuffix("a note")
