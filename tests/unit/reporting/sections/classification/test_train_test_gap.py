"""Seen and unseen: train and eval stand beside the measured split, merged classes beside their own.

Nothing is judged by what was seen.
"""

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest

from medimg.evaluation.classification.merging import Merge, merge_heads, merge_predictions
from medimg.reporting.bundle import derive, read_report_data, write_bundle
from medimg.reporting.comparison import compare, read_side
from medimg.reporting.comparison_sheets import make_overview, make_sheets
from medimg.reporting.report_data import DEVELOPMENT_SPLITS
from medimg.reporting.run_facts import RunFacts

CLASSES = ("colon", "liver", "skin_1", "skin_2")
ORGAN = Merge("organ", "tissue", {"skin": ("skin_1", "skin_2")})


def draw_tiles(split: str, *, right: float, seed: int) -> pd.DataFrame:
    """240 tiles of 60 donors: a share is called rightly; of the others, skin is called the other skin."""
    generator = np.random.default_rng(seed)
    label_N = np.arange(240) % 4
    wrong_N = np.where(label_N >= 2, 5 - label_N, 1 - label_N)
    called_N = np.where(generator.random(240) < right, label_N, wrong_N)
    probabilities_NC = np.full((240, 4), 0.1)
    probabilities_NC[np.arange(240), called_N] = 0.7
    table = pd.DataFrame(probabilities_NC, columns=[f"p_tissue_{name}" for name in CLASSES])
    ids = {
        "case_id": [f"{split}-{number}" for number in range(240)],
        "group_id": [f"{split}-{number // 4}" for number in range(240)],
    }
    return table.assign(**ids, split=split, label_tissue=np.array(CLASSES)[label_N])


def write_report(folder, splits, *, merges=(ORGAN,), seed=None):
    """A report of so many right answers by split; with a seed, splits of one share are drawn alike."""
    heads = {"tissue": CLASSES}
    drawn = [
        draw_tiles(split, right=right, seed=number if seed is None else seed)
        for number, (split, right) in enumerate(splits.items())
    ]
    predictions = pd.concat(drawn, ignore_index=True)
    facts = RunFacts(
        "Tissue",
        "tissue",
        "tissue",
        heads=merge_heads(heads, merges),
        merges=[dataclasses.asdict(merge) for merge in merges],
    )
    facts = dataclasses.replace(facts, resamples=50, summary={"group_noun": "donor"})
    write_bundle(
        folder, predictions=merge_predictions(predictions, merges, heads=heads), facts=facts, gallery={}
    )
    derive(folder)
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_report(tmp_path_factory.mktemp("report"), {"train": 0.95, "eval": 0.8, "test": 0.6})


def figures_of(folder, **wanted):
    rows = json.loads((folder / "metrics.json").read_text())
    return [row for row in rows if all(row[name] == value for name, value in wanted.items())]


def test_train_and_test_accuracy_stand_in_one_row_with_the_gap_for_the_classes_and_for_the_merged_ones(
    folder,
):
    table = pd.read_csv(folder / "tables" / "seen-tissue.csv").set_index(["metric", "head"])
    for head in ("tissue", "organ"):
        row = table.loc["accuracy", head]
        (test,) = figures_of(folder, name="accuracy", head=head, split="test", slice="overall")
        assert row["test"] == test["value"]
        assert row["train"] > row["eval"] > row["test"]
        assert row["train - test"] == pytest.approx(row["train"] - row["test"])
    # The two skins are called each other: half of the mistakes are none there.
    assert table.loc[("accuracy", "organ"), "test"] > table.loc[("accuracy", "tissue"), "test"] + 0.1
    page = (folder / "report.html").read_text()
    assert "tissue, 4 classes</th>" in page
    assert "organ, 3 classes</th>" in page
    assert not (folder / "tables" / "seen-organ.csv").exists()


def test_the_page_says_what_was_seen_and_how_much_less_the_rest_reaches(folder):
    page = (folder / "report.html").read_text()
    assert "train split, seen in training: 240 cases" in page
    told = re.search(
        r"AUC, mean over classes: (0\.\d+) on the 240 cases that it was trained on, "
        r"(0\.\d+) on the 240 of the test split, which is",
        page,
    )
    assert float(told[1]) > float(told[2])


@pytest.mark.parametrize(
    ("train", "words"),
    [
        (0.9, r"0\.\d*[1-9]\d* less\."),
        (0.2, r"0\.\d*[1-9]\d* more\."),
        (0.6, r"the same to three decimals\."),
    ],
)
def test_the_gap_is_told_in_its_direction(tmp_path, train, words):
    write_report(tmp_path, {"train": train, "test": 0.6}, seed=3)
    assert re.search(
        f"on the 240 of the test split, which is {words}", (tmp_path / "report.html").read_text()
    )


def test_figures_of_what_was_seen_are_told_apart_and_have_no_interval(folder):
    for split, note in DEVELOPMENT_SPLITS.items():
        seen = figures_of(folder, split=split)
        assert {row["head"] for row in seen} == {"tissue", "organ"}
        assert {row["note"] for row in seen} == {note}
        assert {row["low"] for row in seen} == {None}


def test_the_first_screen_speaks_of_the_test_split_alone(folder):
    page = (folder / "report.html").read_text()
    first = page[: page.index("<nav")]
    (test,) = figures_of(folder, name="macro_auc", head="tissue", split="test", slice="overall")
    assert f'<p class="big">{test["value"]:.3f}</p>' in first
    assert "train" not in first
    assert "240 cases, of 60 donors" in first


def test_without_a_scored_train_split_merged_classes_stand_side_by_side_all_the_same(tmp_path):
    write_report(tmp_path, {"test": 0.6})
    page = (tmp_path / "report.html").read_text()
    assert "Merged classes, protocol cases" in page
    assert "seen in training" not in page
    assert "train - test" not in (tmp_path / "tables" / "seen-tissue.csv").read_text().splitlines()[0]


def test_with_neither_there_is_no_such_table(tmp_path):
    write_report(tmp_path, {"test": 0.6}, merges=())
    assert not list((tmp_path / "tables").glob("seen-*"))


def test_runs_side_by_side_show_what_each_reached_on_its_train_split(folder, tmp_path):
    other = write_report(tmp_path, {"train": 0.7, "eval": 0.7, "test": 0.6})
    comparison = compare([read_side("scratch", folder), read_side("pretrained", other)])
    sheets = {sheet.title: sheet for sheet in make_sheets(comparison)}
    sheet = sheets["tissue, cases: cases, train split, seen in training"]
    row = next(row for row in sheet.rows if row[0] == "accuracy")
    values = [
        figures_of(one, name="accuracy", head="tissue", split="train")[0]["value"] for one in (folder, other)
    ]
    assert [cell.split()[0] for cell in row[2:4]] == [f"{value:.3f}" for value in values]
    assert not any(any(row.tests) for row in comparison.rows if row.key[-1] in DEVELOPMENT_SPLITS)


def test_the_overview_of_runs_has_train_eval_and_test_accuracy_in_one_row(folder, tmp_path):
    unscored = write_report(tmp_path, {"test": 0.6})
    overview = make_overview(compare([read_side("scratch", folder), read_side("unscored", unscored)]))
    row, other = (dict(zip(overview.columns, cells, strict=True)) for cells in overview.rows)
    for column, split in (
        ("accuracy, train (seen in training)", "train"),
        ("accuracy, eval (the epoch was chosen on it)", "eval"),
        ("accuracy", "test"),
    ):
        (figure,) = figures_of(folder, name="accuracy", head="tissue", split=split, slice="overall")
        assert row[column].startswith(f"{figure['value']:.3f}")
    assert other["accuracy, train (seen in training)"] == "-"


def test_merged_classes_have_no_shortcuts_of_their_own_and_disturb_none(tmp_path):
    two = Merge("skin", "tissue", {"skin": ("skin_1", "skin_2"), "other": ("colon", "liver")})
    splits = {"train": 0.9, "test": 0.6}
    predictions = pd.concat(
        [draw_tiles(split, right=right, seed=0) for split, right in splits.items()], ignore_index=True
    )
    predictions["clinical_source"] = np.where(predictions["label_tissue"] == "colon", "a", "b")
    heads = {"tissue": CLASSES}
    facts = RunFacts(
        "Tissue",
        "tissue",
        "tissue",
        heads=merge_heads(heads, [two]),
        merges=[dataclasses.asdict(two)],
        shortcuts=["source"],
        resamples=20,
    )
    write_bundle(
        tmp_path, predictions=merge_predictions(predictions, [two], heads=heads), facts=facts, gallery={}
    )
    columns = ["case_id", "group_id", "split", "label_tissue", "clinical_source"]
    predictions[columns].assign(status="used", reason="").to_parquet(tmp_path / "shortcuts.parquet")
    derive(tmp_path)
    assert {row["head"] for row in figures_of(tmp_path, name="auc_above_shortcut")} == set()
    data = read_report_data(tmp_path)
    assert {one.figure.head for one in data.baselines} == {"tissue"}
    assert data.facts.warnings == []
