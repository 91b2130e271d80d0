"""An Example that a stage has not seen is missed: each stage's count is compared with what was written."""

from __future__ import annotations

import shutil

import pytest

from components.artifacts import Rejects
from components.case_example_gen.outcome import read_outcome
from components.report_gen import executor
from components.report_gen.evaluator_results import read_evaluation
from medimg.errors import MedimgError
from tests.e2e.runs import evaluate_locally, examples_of, output_of

pytestmark = pytest.mark.e2e
HEADS = {"malignancy": ("Benign", "Malignant")}


def outcome_of(run):
    return read_outcome(output_of(run, "CaseExampleGen", "rejects") / Rejects.FILE)


@pytest.fixture
def without_one(tiny_run, tmp_path):
    """The run's Examples without one case of the test split."""
    import tensorflow as tf

    folder = shutil.copytree(examples_of(tiny_run.run), tmp_path / "examples")
    path = sorted((folder / "Split-test").iterdir())[0]
    records = list(tf.data.TFRecordDataset(str(path)).as_numpy_iterator())
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records[1:]:
            writer.write(record)
    return folder


def test_every_count_of_a_finished_run_is_that_of_what_was_written(tiny_run):
    outcome = outcome_of(tiny_run.run)
    evaluated = read_evaluation(
        str(output_of(tiny_run.run, "Evaluator", "evaluation")), only_head="malignancy"
    )
    executor.expect_evaluated(evaluated, outcome, heads=HEADS)
    assert evaluated["malignancy", "example_count", "overall"] == outcome.written["test"] > 0


def test_a_case_that_the_evaluator_has_not_seen_fails_the_run(tiny_run, without_one, tmp_path):
    outcome = outcome_of(tiny_run.run)
    evaluate_locally(tiny_run.run, tmp_path / "evaluation", examples=without_one)
    evaluated = read_evaluation(str(tmp_path / "evaluation"), only_head="malignancy")
    found = outcome.examples["test"] - 1
    words = f"^Evaluator has counted {found} Examples of split test, expected {found + 1} as written"
    with pytest.raises(MedimgError, match=words):
        executor.expect_evaluated(evaluated, outcome, heads=HEADS)


def test_a_case_that_is_not_scored_fails_the_run(tiny_run, without_one):
    outcome = outcome_of(tiny_run.run)
    model = output_of(tiny_run.run, "Trainer", "model") / "Format-Serving"
    predictions = executor.score_splits(model, str(without_one), heads=HEADS, splits=("eval", "test"))
    written = outcome.written["test"] + outcome.written.get("unlabelled_test", 0)
    words = f"^ReportGen has counted {written - 1} cases of split test, expected {written} as written"
    with pytest.raises(MedimgError, match=words):
        executor.expect_scored(predictions, outcome, splits=("eval", "test"))
