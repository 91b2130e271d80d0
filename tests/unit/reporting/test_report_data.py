"""What the pages look up: the headline, figures of one key but for a part, protocols and units of a split."""

import dataclasses
import json
import math

import numpy as np
import pandas as pd
import pytest

from medimg.evaluation.gates import Gate
from medimg.reporting.report_data import make_id
from tests.unit.evaluation.predictions import HEADS
from tests.unit.reporting.report_data import add_eval_cases, drawn_predictions, make_facts, make_report_data


@pytest.fixture(scope="module")
def data():
    return make_report_data()


def test_the_headline_is_the_first_heads_first_metric_under_the_first_protocol_that_has_units(data):
    headline = data.headline
    assert (headline.head, headline.name, headline.slice, headline.protocol) == (
        *("malignancy", "auc", "overall"),
        "P1",
    )
    without = [
        dataclasses.replace(one, n=0, value=math.nan) if one.protocol == "P1" else one for one in data.figures
    ]
    assert dataclasses.replace(data, figures=without).headline.protocol == "P4"
    none = [dataclasses.replace(one, n=0) for one in data.figures]
    assert dataclasses.replace(data, figures=none).headline.protocol == "P1"
    assert dataclasses.replace(data, figures=[]).headline is None


def test_a_figure_is_found_by_another_that_differs_in_the_named_parts_alone(data):
    found = data.find(data.headline, slice="source=D1")
    assert found.key == ("malignancy", "auc", "source=D1", "P1", "breast", "test")
    patients = data.find(data.headline, protocol="P4", level="patient", name="accuracy")
    assert patients.key == ("malignancy", "accuracy", "overall", "P4", "patient", "test")
    assert data.find(data.headline, protocol="P4") is None
    assert data.find(data.headline, split="eval") is None


def test_figures_of_a_head_on_the_whole_split_are_under_every_protocol(data):
    mine = data.overall("malignancy")
    assert {one.protocol for one in mine} == {"P1", "P4"}
    assert {(one.slice, one.head) for one in mine} == {("overall", "malignancy")}


def test_the_protocol_of_a_head_is_the_first_that_is_defined_for_it():
    data = make_report_data(protocols=["P4", "P3", "P1"], slices=[])
    assert data.protocol_of("malignancy").name == "P4"
    assert data.protocol_of("abnormality").name == "P1"
    assert make_report_data(protocols=["P4"], slices=[]).protocol_of("abnormality") is None


def test_units_are_those_of_the_measured_split_or_of_the_named_one():
    predictions = add_eval_cases(drawn_predictions())
    data = dataclasses.replace(make_report_data(), predictions=predictions)
    protocol = data.protocol_of("malignancy")
    for split, name in (("", "test"), ("eval", "eval")):
        labels, probabilities = data.units("malignancy", protocol, split=split)
        rows = predictions[predictions.split == name]
        np.testing.assert_array_equal(labels, rows.label_malignancy == "Malignant")
        np.testing.assert_array_equal(probabilities[:, 1], rows.p_malignancy_Malignant)


def test_all_figures_are_those_of_every_part_and_of_folds_say_so(data):
    figure = data.headline
    parts = {
        name: [dataclasses.replace(figure, name=name)]
        for name in ("development_figures", "certainty", "checks", "overlap")
    }
    whole = dataclasses.replace(data, figures=[figure], **parts)
    assert [one.name for one in whole.all_figures] == ["auc", *parts]
    assert whole.all_figures[0].note == figure.note
    pooled = dataclasses.replace(whole, facts=dataclasses.replace(data.facts, folds=5))
    assert all(one.note.startswith("5 folds pooled") for one in pooled.all_figures)


def test_names_for_files_and_elements_hold_letters_digits_and_hyphens_only():
    assert make_id("auc", "source=D1 é") == "auc-source3dD120e9"


def test_facts_say_what_is_measured_gated_derived_and_known():
    gates = [Gate("auc", "malignancy", 0.7), Gate("macro_auc", "abnormality", 0.6, "source=D1")]
    facts = make_facts(
        split="eval",
        seed=5,
        costs={"malignancy": [[0, 1], [9, 0]]},
        merges=[
            {"name": "organ", "head": "malignancy", "classes": {}},
            {"name": "side", "head": "abnormality", "classes": {}},
        ],
        config={"evaluation.gates": json.dumps([dataclasses.asdict(gate) for gate in gates])},
    )
    assert facts.headline == "malignancy"
    assert facts.gated == {("malignancy", "auc"), ("abnormality", "macro_auc")}
    assert make_facts().gated == set()
    assert facts.derived_from("malignancy") == ["organ"]
    settings = facts.measurement_settings
    assert (settings.heads, settings.protocols, settings.slices) == (HEADS, ["P1", "P4"], ["source"])
    assert (settings.split, settings.bootstrap.resamples, settings.bootstrap.seed) == ("eval", 50, 5)
    embedding = facts.embedding_settings
    assert (embedding.head, embedding.classes, embedding.split) == ("malignancy", HEADS["malignancy"], "eval")
    assert embedding.bootstrap == settings.bootstrap
    np.testing.assert_array_equal(facts.cost_matrices["malignancy"], [[0, 1], [9, 0]])
    assert list(facts.cost_matrices) == ["malignancy"]
    assert facts.group_noun == "patient"
    assert facts.literature.figures
    assert not make_facts(summary={"is_published": False}).literature.figures
    assert make_facts(summary={}).group_noun == "group"


def test_a_case_of_another_split_is_in_no_units(data):
    other = pd.concat([data.predictions, data.predictions.head(4).assign(split="train")])
    changed = dataclasses.replace(data, predictions=other)
    protocol = data.protocol_of("malignancy")
    assert len(changed.units("malignancy", protocol)[0]) == len(data.predictions)
