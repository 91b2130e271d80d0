"""The report's look at the data: maps, overlap and leak of embedded cases, derived from their table alone."""

from __future__ import annotations

import json
import re

import jsonschema
import numpy as np
import pandas as pd
import pytest
from bs4 import BeautifulSoup

from medimg.evaluation.representation.figures import NOTHING_TO_LEAK
from medimg.evaluation.representation.maps import MAPS
from medimg.reporting.bundle import derive
from medimg.sharing.packing import pack
from medimg.sharing.rescoring import rescore
from tests.unit.evaluation.representation.vectors import deal_groups, draw_vectors, tabulate_vectors
from tests.unit.reporting.report_data import plain_page
from tests.unit.reporting.test_bundle import SCHEMA, write_sources

NAMES = {"benign": "Benign", "malignant": "Malignant"}


def write_embedded(to, *, per_group):
    """A report's sources with embeddings of 60 groups; the seventh of all cases has no label."""
    tables = []
    for seed, embedding in enumerate(("pixels", "model")):
        vectors, groups = draw_vectors(60, per_group=per_group, own=0.2, seed=seed)
        labels = np.random.default_rng(1).integers(2, size=60)[groups]
        tables.append(
            tabulate_vectors(vectors, groups, splits=deal_groups(groups), labels=labels, embedding=embedding)
        )
    table = (
        pd.concat(tables, ignore_index=True)
        .rename(columns={"label_finding": "label_malignancy"})
        .replace({"label_malignancy": NAMES})
    )
    table.loc[table["case_id"] == "case-0006", "label_malignancy"] = None
    write_sources(to, resamples=20, slices=[], protocols=["P1"])
    table.to_parquet(to / "embeddings.parquet", index=False)
    return to


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_embedded(tmp_path_factory.mktemp("report"), per_group=4)
    derive(folder)
    return folder


@pytest.fixture(scope="module")
def section(folder):
    page = BeautifulSoup((folder / "report.html").read_text(), "html.parser")
    return next(part for part in page.find_all("section") if part.h2.text == "Looking at the data")


def read_figures(folder):
    return {figure["name"]: figure for figure in json.loads((folder / "metrics.json").read_text())}


def test_every_embedding_has_each_map_by_split_and_by_class_with_the_counts_in_words(section):
    titles = [chart.title.text for chart in section.find_all("svg")]
    assert len(titles) == len(set(titles)) == 2 * len(MAPS) * 2
    assert "t-SNE of plain pixels by split: 168 train, 72 test" in titles
    assert any(
        re.fullmatch(
            r"UMAP-like map of the model's embedding by class: \d+ Benign, \d+ Malignant, 1 no label", title
        )
        for title in titles
    )


def test_the_leak_stands_with_both_numbers_and_their_difference(folder, section):
    figures = read_figures(folder)
    row = next(row for row in section.find_all("tr") if row.th.text == "nearest neighbour")
    shown = [float(cell.text.split(" ")[0]) for cell in row.find_all("td")]
    assert shown == [
        round(figures[f"{name}_nearest"]["value"], 3) for name in ("folds_by_case", "folds_by_group", "leak")
    ]
    assert shown[0] > shown[1] + 0.3


def test_what_chance_would_give_stands_beside_what_was_found(folder, section):
    figures = read_figures(folder)
    row = next(row for row in section.find_all("tr") if row.th.text.startswith("cases whose nearest case"))
    found, chance = (cell.text.split(" ")[0] for cell in row.find_all("td"))
    assert found == f"{figures['nearest_in_train_pixels']['value']:.3f}"
    assert chance == f"{figures['nearest_in_train_by_chance_pixels']['value']:.3f}"
    assert f"p = {figures['mmd_p_value_pixels']['value']:.3f}" in section.text


def test_the_classes_of_the_neighbours_are_a_table_of_the_folder_too(folder, section):
    table = pd.read_csv(folder / "tables" / "class_neighbours_pixels.csv", index_col="class")
    assert table.sum(axis=1).tolist() == pytest.approx([1, 1])
    shown = section.find("table", class_="confusion").tbody.find_all("td")
    assert [int(cell.text) for cell in shown] == [round(100 * share) for share in table.to_numpy().ravel()]


def test_the_figures_are_written_as_the_schema_has_them(folder):
    jsonschema.validate(json.loads((folder / "metrics.json").read_text()), SCHEMA)
    assert {"split_auc_pixels", "split_auc_model", "leak_logistic"} <= set(read_figures(folder))


def test_a_shared_bundle_takes_the_vectors_along_and_scores_the_same_again(folder, tmp_path):
    pack(folder, to=tmp_path / "bundle")
    assert (tmp_path / "bundle" / "embeddings.parquet").exists()
    assert rescore(tmp_path / "bundle").agrees


def test_one_case_per_group_is_said_to_have_nothing_to_leak(tmp_path):
    derive(write_embedded(tmp_path, per_group=1))
    page = (tmp_path / "report.html").read_text()
    assert NOTHING_TO_LEAK in page
    assert "folds_by_case_nearest" not in read_figures(tmp_path)


def test_without_embedded_cases_the_section_says_what_makes_them():
    assert "No case was embedded (evaluation.embedded_cases)." in plain_page()
