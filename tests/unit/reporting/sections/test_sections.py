"""Sections that need more than predictions: shortcuts, uncertainty, explanations."""

import json
import re

import numpy as np
import pandas as pd
import pytest

from medimg.evaluation.gates import ABOVE_SHORTCUT
from medimg.reporting.bundle import derive, read_report_data, write_bundle
from medimg.reporting.sections.classification.misclassifications import list_misclassifications
from medimg.reporting.sections.classification.performance import describe_performance
from medimg.reporting.sections.classification.shortcuts import describe_shortcuts
from medimg.reporting.sections.classification.uncertainty import describe_uncertainty
from medimg.reporting.sections.shared.explanations import describe_explanations
from tests.unit.reporting.report_data import (
    SUMMARY,
    add_eval_cases,
    drawn_predictions,
    make_facts,
    make_report_data,
    plain_page,
    render,
    tabulate_drawn,
)
from tests.unit.reporting.test_page import make_png

HEADS = {"malignancy": ("Benign", "Malignant")}


def write_explanations(folder, case_id):
    (folder / "explanations").mkdir(parents=True)
    rows = []
    for method in ("original", "grad_cam"):
        (folder / "explanations" / f"{method}.png").write_bytes(make_png())
        about = {
            "case_id": case_id,
            "role": "CC",
            "method": method,
            "file": f"explanations/{method}.png",
            "kind": "wrong",
            "head": "malignancy",
        }
        rows.append({**about, "label": "Benign", "class": "Malignant", "probability": 0.875})
    (folder / "explanations" / "index.json").write_text(json.dumps(rows))
    list_checks().to_parquet(folder / "explanations" / "checks.parquet")


def list_checks():
    """Twenty images: the trained network points into the lesion on 16, randomised ones on 4, chance on 2."""
    rows = []
    for number in range(20):
        about = {
            "case_id": f"c{number}",
            "group_id": f"g{number}",
            "role": "CC",
            "head": "malignancy",
            "split": "test",
            "class": "Malignant",
        }
        rows.append(
            {
                **about,
                "method": "",
                "subject": "chance",
                "pointing": 0.1,
                "energy": 0.1,
                "rank_correlation": np.nan,
                "ssim": np.nan,
            }
        )
        for subject, hits in (("trained", 16), ("randomised-0", 4)):
            hit = float(number < hits)
            rows.append(
                {
                    **about,
                    "method": "grad_cam",
                    "subject": subject,
                    "pointing": hit,
                    "energy": hit / 2,
                    "rank_correlation": 0.1,
                    "ssim": 0.2,
                }
            )
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A report's folder with everything that there can be."""
    folder = tmp_path_factory.mktemp("report")
    predictions = add_eval_cases(drawn_predictions())
    predictions["shortcut_malignancy"] = np.where(predictions["clinical_source"] == "D2", 0.8, 0.4)
    write_explanations(folder, "D1-0001-L")
    write_bundle(
        folder,
        predictions=predictions,
        facts=make_facts(heads=HEADS, shortcuts=["source"], slices=[]),
        gallery={},
    )
    tabulate_drawn(predictions).to_parquet(folder / "shortcuts.parquet")
    derive(folder)
    return folder


@pytest.fixture(scope="module")
def data(folder):
    return read_report_data(folder)


def test_model_and_shortcuts_stand_beside_each_other_under_every_protocol(data):
    section = describe_shortcuts(data)
    assert [figure.protocol for figure, *_ in section.values["parts"]] == ["P1", "P4"]
    for model, rows, above in section.values["parts"]:
        assert [row.baseline for row in rows] == ["prevalence", "source"]
        assert (
            {row.held_out.protocol for row in rows}
            == {row.all_labelled.protocol for row in rows}
            == {model.protocol}
        )
        assert (above.name, above.protocol) == (ABOVE_SHORTCUT, model.protocol)
    page = (data.facts.title, section.charts["shortcuts-malignancy-P1"].title)
    assert "prevalence 0.500" in page[1]


def test_the_first_screen_names_shortcuts_and_how_far_the_model_is_above(folder):
    page = (folder / "report.html").read_text()
    first = page[: page.index("<nav")]
    assert "AUC above that of the shortcuts" in first
    assert "shortcut: source" in first


def test_of_several_classes_each_has_a_row_of_its_own_with_how_many_it_was_measured_on():
    data = make_report_data()
    values = describe_performance(data, "abnormality").values
    (first, *_) = values["by_class"]
    labels = data.predictions["label_abnormality"]
    assert first.metrics == ["auc", "average_precision", "sensitivity", "sensitivity_at_specificity_95"]
    assert first.counts["mass"] == (labels == "mass").sum()
    assert [(one.name, one.protocol) for one in first.figures["mass"][:2]] == [
        ("auc_mass", "P1"),
        ("average_precision_mass", "P1"),
    ]
    assert not any("mass" in name for name in values["rows"])
    assert describe_performance(data, "malignancy").values["by_class"] == []


def test_uncertainty_is_told_by_protocol_with_how_many_cases_the_sets_were_calibrated_on(data):
    section = describe_uncertainty(data, "malignancy")
    assert section.values["calibrated"] == [
        "P1: sets calibrated on 300 units of eval",
        "P4: sets calibrated on 150 units of eval",
    ]
    assert list(section.values["rows"]["conformal_90_coverage"]) == ["P1", "P4"]
    assert not any(
        "calibrated" in figure.note for row in section.values["rows"].values() for figure in row.values()
    )
    assert set(section.charts) == {"risk-malignancy", "sets-malignancy"}


def test_without_cases_to_calibrate_on_the_section_says_so():
    assert describe_uncertainty(make_report_data(), "malignancy").absent


def test_explained_cases_are_shown_with_their_maps_and_what_the_check_of_these_gave(folder, data):
    section = describe_explanations(data)
    (case,) = section.values["cases"]
    assert [method for method, _ in case.views["CC"]] == ["original", "grad cam"]
    pointing = next(row for row in section.values["checks"] if row.measure == "pointing game")
    values = [figure.value for figure in (pointing.trained, pointing.randomised, pointing.chance)]
    assert values == pytest.approx([0.8, 0.2, 0.1])
    assert pointing.above_randomised.value == pytest.approx(0.6)
    page = (folder / "report.html").read_text()
    assert 'alt="D1-0001-L, CC, grad cam"' in page
    assert "wrong: D1-0001-L" in page


def test_without_explanations_the_section_says_so():
    assert describe_explanations(make_report_data()).absent


def test_all_figures_are_in_metrics_json_and_the_uncertainty_of_each_case_in_the_predictions(folder):
    names = {(one["name"], one["protocol"]) for one in json.loads((folder / "metrics.json").read_text())}
    assert {
        ("auc", "P1"),
        ("aurc", "P4"),
        (ABOVE_SHORTCUT, "P1"),
        ("pointing_grad_cam", "outlined-positives"),
    } <= names
    assert pd.read_parquet(folder / "predictions.parquet")["u_malignancy_entropy"].between(0, np.log(2)).all()


def test_documents_tell_of_explanations_and_their_check(folder):
    row = re.search(r"^\| 31 \|.*$", (folder / "checklist.md").read_text(), re.MULTILINE)[0]
    assert "grad_cam on 1 case; checked against outlined lesions" in row


def test_where_costs_decide_confusion_figures_mistakes_and_words_follow(tmp_path):
    costs_CC = np.array([[0.0, 1.0], [9.0, 0.0]])
    facts = make_facts(
        heads=HEADS, slices=[], protocols=["P1"], costs={"malignancy": costs_CC.tolist()}, prevalence="train"
    )
    write_bundle(tmp_path, predictions=drawn_predictions(), facts=facts, gallery={})
    figures = {figure.name: figure.value for figure in derive(tmp_path)}
    data = read_report_data(tmp_path)
    performance = describe_performance(data, "malignancy")
    confusion_CC = np.array(performance.values["confusion"])
    assert figures["mean_cost"] == pytest.approx((confusion_CC * costs_CC).sum() / confusion_CC.sum())
    assert figures["sensitivity"] == pytest.approx(confusion_CC[1, 1] / confusion_CC[1].sum())
    assert figures["accuracy"] == pytest.approx(np.trace(confusion_CC) / confusion_CC.sum())
    assert all(
        mistake.predicted == "Malignant"
        for mistake in list_misclassifications(drawn_predictions(), facts)
        if mistake.probability < 0.9
    )
    page = (tmp_path / "report.html").read_text()
    assert (
        "Predicted class: the one of least expected cost, Malignant at a probability of 0.1 and more." in page
    )
    assert "Probabilities are meant for cases in which the classes are as frequent as in train." in page
    assert "What an answer costs." in page
    assert (
        "Malignant at a probability of 0.1"
        not in describe_performance(make_report_data(heads=HEADS), "malignancy").values["decision"]
    )


def test_probabilities_of_balanced_training_say_that_they_are_no_chances_of_the_disease():
    words = describe_performance(make_report_data(heads=HEADS, prevalence="balanced"), "malignancy").values[
        "prevalence"
    ]
    assert words.startswith("Probabilities are as if all classes were equally frequent")


def test_the_data_section_counts_what_lies_on_both_sides_of_a_split_and_what_nobody_searched():
    near = {
        "search": "hash",
        "images": 600,
        "without_contrast": 0,
        "pairs": 9,
        "groups": 100,
        "clusters": 97,
        "largest_cluster": 3,
    }
    leakage = [
        {
            "common": "nearly the same image, by perceptual hash",
            "pairs": {"train-eval": 0, "train-test": 4321, "eval-test": 1},
        },
        {"common": "the same spot, by keypoints", "pairs": None},
    ]
    page = render(summary={**SUMMARY, "near_duplicates": near, "leakage": leakage})
    assert (
        "9 pairs of cases are near duplicates by hash, among 600 images; "
        "they join 100 groups to 97, the largest of 3 groups." in page
    )
    row, unsearched = re.findall(
        r"<tr><th scope=\"row\">(?:nearly the same image|the same spot).*?</tr>", page
    )
    assert re.findall(r'<td class="number">(.*?)</td>', row) == ["0", "4321", "1"]
    assert re.findall(r'<td class="number">(.*?)</td>', unsearched) == ["not searched"] * 3


def test_a_catalogue_that_counted_no_leakage_gets_no_table_of_it():
    assert "Leakage: pairs of cases" not in plain_page()
