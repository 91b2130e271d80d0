"""ReportGen misses a case that was written but not scored, and an Example that the Evaluator has not seen."""

from __future__ import annotations

import pandas as pd
import pytest

from components.case_example_gen.outcome import WrittenExamples
from components.report_gen import executor
from medimg.errors import MedimgError

# A study of test is parted into two records. Unlabelled cases of test are scored with it, those of train not.
OUTCOME = WrittenExamples(
    written={"test": 2, "train": 1, "unlabelled_test": 1, "unlabelled_train": 4},
    examples={"test": 3, "train": 1, "unlabelled_test": 1, "unlabelled_train": 4},
    rejects=(),
)
SCORED = [("a", "test"), ("b", "test"), ("b", "test"), ("u", "test"), ("t", "train")]


def test_scores_of_every_case_pass_whose_study_is_parted_or_which_has_no_label():
    executor.expect_scored(
        pd.DataFrame(SCORED, columns=["case_id", "split"]), OUTCOME, splits=("train", "test")
    )


@pytest.mark.parametrize(
    ("row", "split", "found", "expected"), [(0, "test", 2, 3), (3, "test", 2, 3), (4, "train", 0, 1)]
)
def test_a_case_without_a_score_fails_the_run(row, split, found, expected):
    scored = pd.DataFrame(
        [one for number, one in enumerate(SCORED) if number != row], columns=["case_id", "split"]
    )
    words = f"^ReportGen has counted {found} cases of split {split}, expected {expected} as written"
    with pytest.raises(MedimgError, match=words):
        executor.expect_scored(scored, OUTCOME, splits=("train", "test"))


@pytest.mark.parametrize(
    "evaluated", [{}, {("a", "example_count", "overall"): 3.0, ("b", "example_count", "overall"): 2.0}]
)
def test_an_evaluation_of_fewer_examples_for_any_head_fails_the_run(evaluated):
    with pytest.raises(
        MedimgError, match=r"^Evaluator has counted [02] Examples of split test, expected 3 as written"
    ):
        executor.expect_evaluated(evaluated, OUTCOME, heads=("a", "b"))
