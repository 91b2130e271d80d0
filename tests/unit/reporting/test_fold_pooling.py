import json

import numpy as np
import pandas as pd
import pytest

from medimg.errors import MedimgError
from medimg.evaluation.classification.metrics import auc
from medimg.evaluation.folds import OUT_OF_FOLD
from medimg.evaluation.gates import Gate
from medimg.reporting.bundle import derive, write_bundle
from medimg.reporting.fold_pooling import judge_gates, merge_lines, pool_reports
from medimg.reporting.run_facts import read_facts
from medimg.reporting.sections.classification.misclassifications import list_misclassifications
from medimg.reporting.sections.classification.predicted_cases import MISCLASSIFIED
from tests.unit.evaluation.predictions import HEADS, draw_predictions
from tests.unit.reporting.report_data import SUMMARY, make_facts, tabulate_drawn
from tests.unit.reporting.test_page import make_png

FOLDS = 3
MALIGNANCY = {"malignancy": HEADS["malignancy"]}


def draw_folds(**options):
    """The drawn predictions with their patients dealt to three folds."""
    table = draw_predictions(**options)
    return table.assign(fold=pd.Series(pd.factorize(table["group_id"])[0] // 50, dtype="Int64"))


def write_fold(folder, table, fold, **changes):
    """The report of one fold: its cases as test, the next fold's as eval."""
    tested, chosen_on = table[table["fold"] == fold], table[table["fold"] == (fold + 1) % FOLDS]
    predictions = pd.concat([tested.assign(split="test"), chosen_on.assign(split="eval")], ignore_index=True)
    summary = {**SUMMARY, "anomalies": ["the same in all", f"of {fold} alone"]}
    known = {
        "heads": MALIGNANCY,
        "summary": summary,
        "hashes": {"data": "same", "model": f"m{fold}"},
        "resamples": 20,
    }
    facts = make_facts(**{**known, **changes})
    mistakes = list_misclassifications(predictions, facts)
    write_bundle(
        folder,
        predictions=predictions,
        facts=facts,
        gallery={one.case_id: {"CC": make_png()} for one in mistakes},
    )
    write_maps(folder, mistakes)
    return folder


def write_maps(folder, mistakes):
    """A map of each mistake that the fold's page shows, as explaining writes it."""
    rows = [
        {
            "case_id": one.case_id,
            "role": "CC",
            "method": "grad_cam",
            "file": f"explanations/{one.case_id}.png",
        }
        for one in mistakes
    ]
    told = [
        {
            "kind": MISCLASSIFIED,
            "head": one.head,
            "label": one.label,
            "class": one.predicted,
            "probability": one.probability,
        }
        for one in mistakes
    ]
    (folder / "explanations").mkdir(exist_ok=True)
    for row in [*rows, {"file": "explanations/legend.png"}]:
        (folder / row["file"]).write_bytes(make_png())
    (folder / "explanations" / "index.json").write_text(
        json.dumps([{**row, **about} for row, about in zip(rows, told, strict=True)])
    )


def write_folds(to, table, **changes):
    return [write_fold(to / str(fold), table, fold, **changes) for fold in range(FOLDS)]


@pytest.fixture(scope="module")
def table():
    return draw_folds()


@pytest.fixture(scope="module")
def pooled(tmp_path_factory, table):
    home = tmp_path_factory.mktemp("folds")
    pool_reports(write_folds(home, table), home / "report", gates=[])
    derive(home / "report")
    return home / "report"


def test_every_case_is_measured_once_by_the_model_of_its_fold(pooled, table):
    predictions = pd.read_parquet(pooled / "predictions.parquet").set_index("case_id")
    expected = table.set_index("case_id").sort_index()
    assert predictions.index.tolist() == expected.index.tolist()
    assert set(predictions["split"]) == {OUT_OF_FOLD}
    np.testing.assert_array_equal(predictions["p_malignancy_Malignant"], expected["p_malignancy_Malignant"])


def test_every_figure_names_the_split_and_the_number_of_folds(pooled, table):
    figures = json.loads((pooled / "metrics.json").read_text())
    assert {figure["split"] for figure in figures} == {OUT_OF_FOLD}
    assert all(figure["note"].startswith("3 folds pooled") for figure in figures)
    one = next(
        figure
        for figure in figures
        if (figure["name"], figure["slice"], figure["protocol"]) == ("auc", "overall", "P1")
    )
    assert (one["n"], one["groups"]) == (len(table), table["group_id"].nunique())
    assert one["value"] == pytest.approx(
        auc(
            (table["label_malignancy"] == "Malignant").to_numpy(int),
            table["p_malignancy_Malignant"].to_numpy(),
        )
    )


def test_each_folds_own_figure_stands_in_the_table_with_no_standard_error(pooled, table):
    folds = pd.read_csv(pooled / "tables" / "folds-malignancy.csv")
    assert folds["fold"].tolist() == [0, 1, 2]
    for fold, row in folds.set_index("fold").iterrows():
        mine = table[table["fold"] == fold]
        assert row["n"] == len(mine)
        assert row["auc"] == pytest.approx(
            auc(
                (mine["label_malignancy"] == "Malignant").to_numpy(int),
                mine["p_malignancy_Malignant"].to_numpy(),
            )
        )
    page = (pooled / "report.html").read_text()
    assert f"{folds['auc'].mean():.3f}" in page
    assert f"{folds['auc'].min():.3f} to {folds['auc'].max():.3f}" in page


def test_the_page_shows_images_of_the_most_confident_mistakes_of_all_folds(pooled):
    shown = json.loads((pooled / "gallery.json").read_text())
    assert set(shown) == {
        one.case_id
        for one in list_misclassifications(
            pd.read_parquet(pooled / "predictions.parquet"), read_facts(pooled)
        )
    }


def test_the_maps_of_the_shown_mistakes_come_along_from_their_folds(pooled):
    rows = json.loads((pooled / "explanations" / "index.json").read_text())
    assert {row["case_id"] for row in rows} == set(json.loads((pooled / "gallery.json").read_text()))
    assert all((pooled / row["file"]).is_file() for row in rows)
    assert (pooled / "report.html").read_text().count("Grad-CAM for") >= len(rows)


def test_lines_of_one_fold_name_it_and_lines_of_all_stand_once(pooled):
    assert read_facts(pooled).summary["anomalies"] == [
        "the same in all",
        "fold 0: of 0 alone",
        "fold 1: of 1 alone",
        "fold 2: of 2 alone",
    ]


def test_the_pooled_report_can_be_derived_again_from_its_sources(pooled):
    before = (pooled / "metrics.json").read_bytes(), (pooled / "report.html").read_bytes()
    derive(pooled)
    assert ((pooled / "metrics.json").read_bytes(), (pooled / "report.html").read_bytes()) == before


@pytest.mark.parametrize(
    ("gate", "passes", "words"),
    [
        (Gate("auc", "malignancy", 0.6), True, "on all measured cases: found 0."),
        (Gate("auc", "malignancy", 0.6, slice="source=D1", change=-0.01), True, "on source=D1: found 0."),
        (Gate("auc", "malignancy", 0.999), False, "at least 0.999"),
        (Gate("auc", "malignancy", 0.5, slice="source=D7"), False, "no such slice"),
    ],
)
def test_gates_are_judged_on_the_pooled_figures(tmp_path, table, gate, passes, words):
    facts = pool_reports(write_folds(tmp_path, table), tmp_path / "report", gates=[gate])
    assert facts.blessed is passes
    assert words in facts.gates[0][0]


@pytest.mark.parametrize(("above", "passes"), [(-1e-6, True), (0, True), (1e-6, False)])
def test_a_gate_is_passed_by_its_bound_and_by_no_less(table, above, passes):
    pooled_table = table.assign(split=OUT_OF_FOLD)
    facts = make_facts(heads=MALIGNANCY, costs={"malignancy": [[0, 1], [9, 0]]})
    malignant = table[table["label_malignancy"] == "Malignant"]
    found = (malignant["p_malignancy_Malignant"] >= 0.1).mean()
    gate = Gate("sensitivity", "malignancy", found + above, change=0.1)
    assert judge_gates(pooled_table, facts, [gate]) == [
        (
            f"malignancy: sensitivity at least {gate.lower_bound:g} on all measured cases: "
            f"found {found:.3f} out of fold",
            passes,
        )
    ]


def test_folds_that_call_every_case_benign_are_not_blessed(table):
    facts, gate = make_facts(heads=MALIGNANCY), Gate("answered_classes", "malignancy", 2.0)
    pooled_table = table.assign(split=OUT_OF_FOLD)
    timid = pooled_table.assign(p_malignancy_Malignant=0.3, p_malignancy_Benign=0.7)
    words = "malignancy: 2 or more classes are the answer to some case: found"
    assert judge_gates(pooled_table, facts, [gate]) == [(f"{words} 2.000 out of fold", True)]
    assert judge_gates(timid, facts, [gate]) == [(f"{words} 1.000 out of fold", False)]


def test_of_several_gates_each_is_judged_and_an_undefined_figure_fails(table):
    pooled_table = table.assign(split=OUT_OF_FOLD, shortcut_malignancy=0.5)
    gates = [
        Gate("auc", "malignancy", 0.5),
        Gate("auc_above_shortcut", "malignancy", 0.1, "source=D1"),
        Gate("auc", "malignancy", 0.5, "source=D2"),
    ]
    facts = make_facts(heads=MALIGNANCY)
    assert [passes for _, passes in judge_gates(pooled_table, facts, gates)] == [True] * 3
    alone = pooled_table.assign(
        label_malignancy=table["label_malignancy"].mask(table["clinical_source"] == "D2", "Malignant")
    )
    (_, _, (words, passes)) = judge_gates(alone, facts, gates)
    assert (words.rsplit(": ", 1)[1], passes) == ("undefined", False)
    assert judge_gates(pooled_table, facts, []) == []
    assert judge_gates(pooled_table.assign(split="test"), facts, gates[:1])[0][1] is False


def test_a_pooled_run_is_blessed_if_every_gate_passes_and_unjudged_without_any(tmp_path, table):
    folders = write_folds(tmp_path, table, warnings=["of all"], evaluated=[{"head": "malignancy"}])
    gates = [Gate("auc", "malignancy", 0.5), Gate("auc", "malignancy", 0.999)]
    facts = pool_reports(folders, tmp_path / "report", gates=gates)
    assert facts.blessed is False
    assert [passes for _, passes in facts.gates] == [True, False]
    assert facts.hashes == {"data": "same", "model": "m0; m1; m2"}
    assert (facts.split, facts.folds, facts.evaluated) == (OUT_OF_FOLD, 3, [])
    assert facts.warnings == ["of all"]
    assert facts.config["split.test_fold"] == "each in turn"
    assert [one["metric"] for one in json.loads(facts.config["evaluation.gates"])] == ["auc", "auc"]
    assert facts.summary["groups"] == {OUT_OF_FOLD: 100}
    assert {row["split"] for row in facts.summary["splits"]} == {OUT_OF_FOLD}
    assert facts.summary["leakage"] == []
    assert pool_reports(folders, tmp_path / "report", gates=[]).blessed is None


def test_a_line_of_some_folds_names_them_once_each():
    lines = merge_lines([["a", "b", "b"], ["a", "c"], ["c", "a"]])
    assert lines == ["a", "fold 0: b", "fold 1, 2: c"]


def test_a_fold_with_a_hash_that_others_lack_is_refused(tmp_path, table):
    folders = write_folds(tmp_path, table)
    write_fold(folders[1], table, 1, hashes={"data": "same", "code": "new", "model": "m1"})
    with pytest.raises(MedimgError, match="fold 1: another code than fold 0"):
        pool_reports(folders, tmp_path / "report", gates=[])


def test_a_case_in_two_folds_is_refused(tmp_path, table):
    folders = write_folds(tmp_path, table)
    twice = pd.concat([table, table[table["fold"] == 0].head(1).assign(fold=2)], ignore_index=True)
    write_fold(folders[2], twice, 2)
    with pytest.raises(MedimgError, match="was tested in two folds"):
        pool_reports(folders, tmp_path / "report", gates=[])


def test_a_fold_of_other_data_is_refused(tmp_path, table):
    folders = write_folds(tmp_path, table)
    write_fold(folders[1], table, 1, hashes={"data": "changed", "model": "m1"})
    with pytest.raises(MedimgError, match="fold 1: another data than fold 0"):
        pool_reports(folders, tmp_path / "report", gates=[])


def test_the_report_of_another_fold_is_refused(tmp_path, table):
    folders = write_folds(tmp_path, table)
    with pytest.raises(MedimgError, match="is of fold 0, expected cases of fold 1 alone"):
        pool_reports([folders[0], folders[0], folders[2]], tmp_path / "report", gates=[])


def test_a_shortcut_is_fitted_without_the_fold_that_it_is_scored_on(tmp_path):
    """In each fold another source is malignant: learnt on the others it misleads, on its own it is right."""
    table = draw_folds()
    source = np.where(table["label_malignancy"] == "Malignant", table["fold"], (table["fold"] + 1) % FOLDS)
    table["clinical_source"] = [f"S{number}" for number in source]
    shortcuts = tabulate_drawn(table.assign(split="test"))
    shortcuts = shortcuts[shortcuts["split"] == "test"]
    folders = write_folds(tmp_path, table, shortcuts=["source"], slices=[])
    for fold, folder in enumerate(folders):
        splits = table["fold"].map({fold: "test", (fold + 1) % FOLDS: "eval"}).fillna("train")
        shortcuts.assign(split=splits.to_numpy()).to_parquet(folder / "shortcuts.parquet", index=False)
    pool_reports(folders, tmp_path / "report", gates=[])
    derive(tmp_path / "report")
    figures = pd.read_csv(tmp_path / "report" / "tables" / "shortcuts.csv")
    held_out = figures[
        (figures["baseline"] == "source")
        & (figures["name"] == "auc")
        & (figures["protocol"] == "P1")
        & (figures["split"] == OUT_OF_FOLD)
    ]
    assert held_out["n"].tolist() == [len(table)]
    assert held_out["value"].item() < 0.5
