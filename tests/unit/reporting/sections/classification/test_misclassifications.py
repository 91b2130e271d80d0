"""The gallery: errors by confused pair, each with its images, its map and its nearest training cases."""

import dataclasses
import json
import re

import numpy as np
import pandas as pd
import pytest

from medimg.evaluation.representation.maps import MAPS
from medimg.reporting.bundle import derive, read_report_data, write_bundle
from medimg.reporting.run_facts import RunFacts
from medimg.reporting.sections.classification.misclassifications import (
    describe_misclassifications,
    list_misclassifications,
)
from medimg.reporting.sections.classification.predicted_cases import PAIRS, SHOWN
from medimg.reporting.sections.shared.explanations import describe_explanations
from tests.unit.reporting.test_page import make_png

CLASSES = ("akiec", "bcc", "mel", "nv")
COUNTS = {("nv", "nv"): 40, ("mel", "mel"): 20, ("mel", "nv"): 9, ("nv", "mel"): 6, ("bcc", "akiec"): 2}
"""Labelled test cases by true and called class."""


def draw_cases():
    """Test cases as COUNTS says, later ones with less confidence; twelve training cases of each class."""
    test = [(label, called) for (label, called), count in COUNTS.items() for _ in range(count)]
    train = [(name, name) for name in CLASSES for _ in range(12)]
    table = pd.DataFrame(test + train, columns=["label_diagnosis", "called"])
    confidence_N = np.linspace(0.95, 0.55, len(table))
    for name in CLASSES:
        table[f"p_diagnosis_{name}"] = np.where(table["called"] == name, confidence_N, (1 - confidence_N) / 3)
    splits = ["test"] * len(test) + ["train"] * len(train)
    ids = [f"{split}-{number}" for number, split in enumerate(splits)]
    return table.drop(columns="called").assign(case_id=ids, group_id=ids, split=splits)


def embed_called(predictions):
    """A table of embedded cases, each in the direction of the class that it is called, a little apart."""
    called = predictions[[f"p_diagnosis_{name}" for name in CLASSES]].to_numpy().argmax(axis=1)
    vectors = np.eye(4)[called] + 0.01 * np.random.default_rng(0).random((len(called), 4))
    columns = predictions[["case_id", "group_id", "split", "label_diagnosis"]].assign(
        cluster_id=predictions["group_id"], vector=list(vectors)
    )
    places = {f"{name}_{axis}": 0.0 for name in MAPS for axis in "xy"}
    return pd.concat(
        [columns.assign(embedding=name, **places) for name in ("pixels", "model")], ignore_index=True
    )


FACTS = RunFacts(
    "Skin", "ham", "ham10000", heads={"diagnosis": CLASSES}, resamples=20, summary={"group_noun": "lesion"}
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    predictions = draw_cases()
    mistakes = list_misclassifications(predictions, FACTS)
    train = predictions.loc[predictions["split"] == "train", "case_id"]
    gallery = {case_id: {"image": make_png()} for case_id in train}
    gallery |= {one.case_id: {"image": make_png()} for one in mistakes}
    write_bundle(folder, predictions=predictions, facts=FACTS, gallery=gallery)
    embed_called(predictions).to_parquet(folder / "embeddings.parquet")
    (folder / "explanations").mkdir()
    rows = []
    for method in ("original", "grad_cam"):
        (folder / "explanations" / f"{method}.png").write_bytes(make_png())
        about = {
            "case_id": mistakes[0].case_id,
            "role": "image",
            "method": method,
            "file": f"explanations/{method}.png",
            "kind": "mistake",
        }
        rows.append(
            {
                **about,
                "head": "diagnosis",
                "label": mistakes[0].label,
                "class": mistakes[0].predicted,
                "probability": 0.9,
            }
        )
    (folder / "explanations" / "index.json").write_text(json.dumps(rows))
    derive(folder)
    return folder


@pytest.fixture(scope="module")
def data(folder):
    return read_report_data(folder)


def test_pairs_are_ordered_by_their_share_of_all_mistakes_and_each_shows_its_most_confident_cases(data):
    pairs = [
        (pair.label, pair.predicted, pair.count, pair.cases, pair.errors)
        for pair, _, _ in describe_misclassifications(data).values["pairs"]
    ]
    assert pairs == [("mel", "nv", 9, 29, 17), ("nv", "mel", 6, 46, 17), ("bcc", "akiec", 2, 2, 17)]
    for _, _, cards in describe_misclassifications(data).values["pairs"]:
        confidence = [card.case.probability for card in cards]
        assert confidence == sorted(confidence, reverse=True)
        assert len(cards) <= SHOWN


def test_what_holds_for_all_mistakes_is_said_once_where_they_are_of_one_pair(data):
    predictions = data.predictions
    single = predictions[(predictions["split"] == "train") | (predictions["label_diagnosis"] == "mel")]
    assert describe_misclassifications(data).values["observations"]
    section = describe_misclassifications(dataclasses.replace(data, predictions=single))
    ((_, sentences, _),) = section.values["pairs"]
    assert sentences
    assert section.values["observations"] == []


def test_the_page_names_pair_share_and_counts(folder):
    page = (folder / "report.html").read_text()
    assert "17 of the 77 labelled cases of the test split were called wrongly." in page
    assert "mel called nv: 9 of 29 cases, 53 % of all mistakes" in page


def test_a_mistake_stands_beside_its_nearest_training_cases_with_class_and_distance(data):
    for pair, sentences, cards in describe_misclassifications(data).values["pairs"]:
        for card in cards:
            assert [one.label for one in card.neighbours] == [pair.predicted] * 3
            distances = [one.distance for one in card.neighbours]
            assert distances == sorted(distances)
            assert all(one.case_id.startswith("train-") and one.images for one in card.neighbours)
        assert any(
            sentence.startswith(f"For {pair.count} of {pair.count} the nearest training case")
            for sentence in sentences
        )


def test_the_neighbours_of_the_shown_mistakes_can_be_looked_up_by_id(folder):
    table = pd.read_csv(folder / "tables" / "neighbours.csv")
    mistakes = pd.read_csv(folder / "tables" / "mistakes.csv")
    assert set(table["case_id"]) == set(mistakes["case_id"])
    assert table.groupby("case_id")["rank"].apply(list).map(tuple).unique().tolist() == [(0, 1, 2)]
    assert table["neighbour"].str.startswith("train-").all()


def test_the_map_of_a_mistake_stands_beside_it_and_not_among_the_explained_cases(folder, data):
    first = describe_misclassifications(data).values["pairs"][0][2][0]
    assert [role for role, _ in first.maps] == ["image"]
    assert "image, Grad-CAM for nv" in (folder / "report.html").read_text()
    assert describe_explanations(data).values["cases"] == []


def test_without_embeddings_and_images_the_mistakes_are_told_all_the_same(tmp_path):
    write_bundle(tmp_path, predictions=draw_cases(), facts=FACTS, gallery={})
    derive(tmp_path)
    page = (tmp_path / "report.html").read_text()
    gallery = page[page.index("Mistakes by confused pair</h2>") :]
    assert "no image in this folder" in gallery
    assert "Nearest training cases" not in gallery


def test_of_many_pairs_the_most_frequent_are_shown_and_the_rest_is_counted(tmp_path):
    classes = [f"c{number}" for number in range(4)]
    pairs = [(label, called) for label in classes for called in classes if label != called]
    table = pd.DataFrame(pairs * 2, columns=["label_organ", "called"])
    for name in classes:
        table[f"p_organ_{name}"] = np.where(table["called"] == name, 0.7, 0.1)
    ids = [f"case-{number}" for number in range(len(table))]
    facts = RunFacts("Organs", "o", "o", heads={"organ": classes}, resamples=20)
    write_bundle(
        tmp_path,
        predictions=table.drop(columns="called").assign(case_id=ids, group_id=ids, split="test"),
        facts=facts,
        gallery={},
    )
    derive(tmp_path)
    page = (tmp_path / "report.html").read_text()
    assert len(re.findall(r"<h3>c\d called c\d:", page)) == PAIRS
    words = (
        f"The {PAIRS} most frequent pairs of true and called class below hold {2 * PAIRS} of these; "
        f"{len(pairs) - PAIRS} further pairs"
    )
    assert words in page
    assert len(pd.read_csv(tmp_path / "tables" / "confusions.csv")) == len(pairs)
