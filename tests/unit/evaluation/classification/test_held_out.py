"""Which answers sets are calibrated on."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from medimg.evaluation.classification.conformal import fit_conformal
from medimg.evaluation.classification.held_out import add_held_out, take_calibration_cases
from medimg.evaluation.classification.uncertainty import measure_uncertainty
from medimg.evaluation.figures import MeasurementSettings
from medimg.evaluation.intervals import Bootstrap
from tests.unit.evaluation.predictions import HEADS, draw_predictions

KIND = {"kind": ("no", "yes")}


def make_table(**parts: tuple[str | None, float | None]) -> pd.DataFrame:
    """Two cases of each group, by its part and the held-out answer; the model itself answers 0.5."""
    rows = []
    for group, (part, answer) in parts.items():
        for side in "LR":
            row = {"case_id": f"{group}-{side}", "group_id": group, "split": "eval", "eval_part": part}
            yes = None if answer is None else answer
            rows.append(
                {**row, "p_kind_no": 0.5, "p_kind_yes": 0.5, "c_kind_yes": yes}
                | {"c_kind_no": None if yes is None else 1 - yes}
            )
    return pd.DataFrame(rows)


def test_those_that_chose_the_epoch_are_left_out_and_the_others_are_as_they_were_answered_then() -> None:
    table = make_table(a=("choose", None), b=("calibrate", 0.8), c=("calibrate", 0.1))
    found = take_calibration_cases(table, split="eval", heads=KIND).set_index("case_id")
    assert found["p_kind_yes"].to_dict() == {"b-L": 0.8, "b-R": 0.8, "c-L": 0.1, "c-R": 0.1}
    assert found["p_kind_no"].to_list() == pytest.approx([0.2, 0.2, 0.9, 0.9])


def test_a_case_without_a_label_counts_as_the_model_answers_it_unless_its_patient_chose() -> None:
    table = make_table(a=("choose", None), b=("cross-fitted", 0.8), c=(None, None))
    table.loc[table["case_id"].isin(["a-R", "b-R"]), ["eval_part", "c_kind_yes", "c_kind_no"]] = None
    found = take_calibration_cases(table, split="eval", heads=KIND).set_index("case_id")
    assert found["p_kind_yes"].to_dict() == {"b-L": 0.8, "b-R": 0.5, "c-L": 0.5, "c-R": 0.5}


def test_a_table_that_tells_no_parts_is_taken_whole() -> None:
    table = make_table(a=("choose", 0.3)).drop(columns=["eval_part", "c_kind_no", "c_kind_yes"])
    pd.testing.assert_frame_equal(take_calibration_cases(table, split="eval", heads=KIND), table)


def test_held_out_answers_stand_at_their_cases_and_are_empty_elsewhere() -> None:
    predictions = pd.DataFrame({"case_id": ["t", "e2", "e1"], "split": ["test", "eval", "eval"]})
    held_out = pd.DataFrame({"case_id": ["e1", "e2"], "eval_part": ["choose", "calibrate"]})
    table = add_held_out(predictions, held_out.assign(c_kind_yes=[np.nan, 0.75])).set_index("case_id")
    assert table.loc["e2"].to_dict() == {"split": "eval", "eval_part": "calibrate", "c_kind_yes": 0.75}
    assert table.loc["e1", "eval_part"] == "choose"
    assert table.loc["t", ["eval_part", "c_kind_yes"]].isna().all()


def test_sets_are_calibrated_on_held_out_answers_and_measured_on_the_models() -> None:
    heads = {"malignancy": HEADS["malignancy"]}
    test, evaluation = draw_predictions(seed=1), draw_predictions(seed=2).assign(split="eval")
    numbers = evaluation.group_id.str[-4:].astype(int)
    evaluation["eval_part"] = np.where(numbers % 2 == 0, "choose", "calibrate")
    chose = evaluation.eval_part == "choose"
    for name, values in (("Benign", 0.3), ("Malignant", 0.7)):
        answers = np.where(chose, np.nan, 0.5 * evaluation[f"p_malignancy_{name}"] + 0.5 * values)
        evaluation[f"c_malignancy_{name}"] = answers
    settings = MeasurementSettings(heads, ["cases"], bootstrap=Bootstrap(resamples=0))
    figures = measure_uncertainty(pd.concat([test, evaluation], ignore_index=True), settings)
    found = {figure.name: figure for figure in figures}
    labels = (evaluation.label_malignancy == "Malignant").to_numpy()[~chose].astype(int)
    answers = evaluation.loc[~chose, ["c_malignancy_Benign", "c_malignancy_Malignant"]].to_numpy()
    sets = fit_conformal(labels, answers, coverage=0.9)
    own = test[["p_malignancy_Benign", "p_malignancy_Malignant"]].to_numpy()
    covered = sets.contains(own)[np.arange(len(test)), (test.label_malignancy == "Malignant").astype(int)]
    assert found["conformal_90_coverage"].value == pytest.approx(covered.mean())
    assert f"sets calibrated on {(~chose).sum()} units of eval" in found["conformal_90_coverage"].note
