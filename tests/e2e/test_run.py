"""The whole way: what a finished run holds, and what a second one does again."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from medimg.evaluation.classification.shortcuts import score_cases
from pipeline.config.overrides import load_config
from pipeline.metadata.lineage import latest_nodes, open_store, properties_of
from tests.e2e.conftest import run_tiny

pytestmark = pytest.mark.e2e


def node_states(run):
    return {
        name: node.state
        for name, node in latest_nodes(open_store(run / "metadata.sqlite"), "cmmd-demo").items()
    }


def load_figures(run):
    return json.loads((run / "report" / "metrics.json").read_text())


def test_a_blessed_model_is_pushed_and_serves(tiny_run):
    import tensorflow as tf

    from components.report_gen.scoring import list_records

    assert tiny_run.outcome.blessed
    model = tf.saved_model.load(str(tiny_run.run / tiny_run.outcome.pushed))
    examples = latest_nodes(open_store(tiny_run.run / "metadata.sqlite"), "cmmd-demo")[
        "CaseExampleGen"
    ].outputs["examples"][0]
    batch = next(iter(tf.data.TFRecordDataset(list_records(examples.uri, "test")).batch(4)))
    probabilities = model.signatures["serving_default"](examples=batch)["malignancy"].numpy()
    assert probabilities.shape == (len(batch), 2)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_what_the_shortcuts_say_can_be_computed_again_from_the_reports_folder(tiny_run):
    table = pd.read_parquet(tiny_run.run / "report" / "shortcuts.parquet")
    predictions = pd.read_parquet(tiny_run.run / "report" / "predictions.parquet")
    scores = score_cases(
        table, load_config("cmmd_demo").evaluation.shortcuts, heads={"malignancy": ("Benign", "Malignant")}
    )
    assert predictions.shortcut_malignancy.tolist() == [
        np.float32(scores[case_id]["malignancy"]) for case_id in predictions.case_id
    ]
    cases = pd.read_parquet(tiny_run.run / tiny_run.outcome.catalogue / "cases.parquet")
    assert set(table.case_id) == set(cases.case_id)


def test_every_input_image_is_accounted_for(tiny_run):
    summary = json.loads((tiny_run.run / tiny_run.outcome.catalogue / "summary.json").read_text())
    assert sum(summary["images"].values()) == len(list(tiny_run.data.rglob("*.dcm")))


def test_predictions_hold_each_case_of_all_splits_once_with_its_label_and_cluster(tiny_run):
    predictions = pd.read_parquet(tiny_run.run / "report" / "predictions.parquet").set_index("case_id")
    cases = pd.read_parquet(tiny_run.run / tiny_run.outcome.catalogue / "cases.parquet").set_index("case_id")
    expected = cases[cases.status == "used"]
    assert set(expected.split) == {"train", "eval", "test"}
    for column in ("split", "label_malignancy", "image_count"):
        assert predictions[column].to_dict() == expected[column].to_dict()
    assert set(predictions.cluster_id) <= set(cases.group_id)
    assert (
        predictions[["p_malignancy_Benign", "p_malignancy_Malignant"]]
        .sum(axis=1)
        .between(0.9999, 1.0001)
        .all()
    )


def test_a_figure_carries_protocol_level_split_counts_and_interval(tiny_run):
    auc = next(
        f
        for f in load_figures(tiny_run.run)
        if (f["name"], f["slice"], f["protocol"]) == ("auc", "overall", "P1")
    )
    assert (auc["level"], auc["split"], auc["head"]) == ("breast", "test", "malignancy")
    assert 0 < auc["positives"] < auc["n"]
    assert auc["low"] <= auc["value"] <= auc["high"]


def test_what_was_seen_in_training_is_measured_apart_and_told_so(tiny_run):
    seen = [figure for figure in load_figures(tiny_run.run) if figure["split"] == "train"]
    assert {figure["note"] for figure in seen} == {"seen in training"}
    assert {(figure["slice"], figure["low"]) for figure in seen} == {("overall", None)}
    assert "train split, seen in training" in (tiny_run.run / "report" / "report.html").read_text()


def test_metrics_file_and_ml_metadata_agree(tiny_run):
    report = latest_nodes(open_store(tiny_run.run / "metadata.sqlite"), "cmmd-demo")["ReportGen"].outputs[
        "report"
    ][0]
    properties = properties_of(report)
    assert json.loads(properties["metrics"]) == load_figures(tiny_run.run)
    for figure in load_figures(tiny_run.run):
        key = ".".join(figure[part] for part in ("head", "name", "protocol", "level", "split", "slice"))
        assert (f"{key}.value" in properties) == (figure["value"] is not None)
        if figure["value"] is not None:
            assert properties[f"{key}.value"] == pytest.approx(figure["value"], abs=1e-6)
        assert properties[f"{key}.n"] == figure["n"]


def test_the_evaluator_has_the_same_figures_to_one_in_a_million(tiny_run):
    import tensorflow_model_analysis as tfma

    evaluation = latest_nodes(open_store(tiny_run.run / "metadata.sqlite"), "cmmd-demo")["Evaluator"].outputs[
        "evaluation"
    ][0]
    metrics = tfma.load_eval_result(evaluation.uri).get_metrics_for_all_slices(output_name="")
    overall = {
        name: value["doubleValue"]
        for name, value in metrics[()].items()
        if isinstance(value.get("doubleValue"), float)
    }
    compared = 0
    for figure in load_figures(tiny_run.run):
        name = f"cases/{figure['name']}"
        if (
            (figure["slice"], figure["protocol"], figure["split"]) == ("overall", "P1", "test")
            and figure["value"] is not None
            and name in overall
        ):
            assert overall[name] == pytest.approx(figure["value"], abs=1e-6)
            compared += 1
    assert compared >= 4
    assert "the Evaluator" not in (tiny_run.run / "report" / "report.html").read_text()


def test_the_report_is_one_file_that_needs_no_network(tiny_run):
    html = (tiny_run.run / "report" / "report.html").read_text()
    assert 'src="http' not in html
    assert 'href="http' not in html.replace('href="https://doi.org', "")
    assert str(Path.home()) not in html
    assert str(tiny_run.run.parent) not in html


def test_an_unchanged_run_does_nothing_again(tiny_run):
    run_tiny(tiny_run.run, tiny_run.data)  # This one may see the first push as its baseline.
    run_tiny(tiny_run.run, tiny_run.data)
    states = node_states(tiny_run.run)
    assert {name for name, state in states.items() if state != "cached"} <= {"BaselineModel"}


def test_touched_files_and_a_catalogue_built_anew_run_nothing_again(tiny_run):
    run_tiny(tiny_run.run, tiny_run.data)
    for path in tiny_run.data.rglob("*.dcm"):
        path.touch()
    (tiny_run.run / "index.parquet").unlink()
    run_tiny(tiny_run.run, tiny_run.data)
    assert node_states(tiny_run.run)["CatalogueGen"] == "cached"
    assert node_states(tiny_run.run)["ReportGen"] == "cached"


def test_another_training_setting_runs_the_trainer_and_what_follows(tiny_run):
    before = load_figures(tiny_run.run)
    # Another one each time: the shared run is kept, and knows what an earlier session trained.
    run_tiny(tiny_run.run, tiny_run.data, "training.epochs=1", f"training.seed={random.randrange(1, 10**6)}")
    states = node_states(tiny_run.run)
    assert {name for name, state in states.items() if state == "complete"} >= {
        "Trainer",
        "Evaluator",
        "ReportGen",
    }
    assert all(
        states[name] == "cached" for name in ("CatalogueGen", "CaseExampleGen", "StatisticsGen", "Transform")
    )
    run_tiny(tiny_run.run, tiny_run.data)
    assert [f["value"] for f in load_figures(tiny_run.run)] == [f["value"] for f in before]
