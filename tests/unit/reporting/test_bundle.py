import dataclasses
import json
import re
from pathlib import Path

import jsonschema
import pandas as pd
import pytest

from medimg.errors import UsageError
from medimg.evaluation import figures
from medimg.reporting.bundle import derive, read_report_data, write_bundle
from medimg.reporting.sections.classification.misclassifications import list_misclassifications
from tests.unit.reporting.report_data import drawn_predictions, make_facts
from tests.unit.reporting.test_page import make_png

SCHEMA = json.loads((Path(figures.__file__).parent / "metrics.schema.json").read_text())
DERIVED = (
    "metrics.json",
    "report.html",
    "model_card.md",
    "data_sheet.md",
    "checklist.md",
    "tables",
    "figures",
)


def write_sources(to, **changes):
    facts = make_facts(**changes)
    mistake = list_misclassifications(drawn_predictions(), facts)[0]
    write_bundle(
        to, predictions=drawn_predictions(), facts=facts, gallery={mistake.case_id: {"CC": make_png()}}
    )
    return to


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = write_sources(tmp_path_factory.mktemp("report"))
    derive(folder)
    return folder


def read_files(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_the_same_sources_give_the_same_bytes_again(folder, tmp_path):
    again = write_sources(tmp_path)
    (again / "tables").mkdir()
    (again / "tables" / "of_an_earlier_version.csv").write_text("old")
    derive(again)
    assert read_files(again) == read_files(folder)
    assert {name.split("/")[0] for name in read_files(folder)} >= set(DERIVED)


def test_a_changed_probability_changes_the_figures(tmp_path):
    folder = write_sources(tmp_path, resamples=5, slices=[])
    before = derive(folder)
    table = pd.read_parquet(folder / "predictions.parquet")
    table.loc[0, ["p_malignancy_Benign", "p_malignancy_Malignant"]] = [0.123, 0.877]
    table.to_parquet(folder / "predictions.parquet", index=False)
    assert derive(folder) != before


def test_every_chart_of_the_page_is_there_as_svg_and_png(folder):
    charts = {path.stem for path in (folder / "figures").glob("*.svg")}
    assert charts == {path.stem for path in (folder / "figures").glob("*.png")}
    assert len(charts) == len(re.findall("<svg", (folder / "report.html").read_text()))
    assert all(path.read_bytes()[:4] == b"\x89PNG" for path in (folder / "figures").glob("*.png"))


def test_the_table_of_figures_has_a_row_for_each_and_keeps_every_digit(folder):
    table = pd.read_csv(folder / "tables" / "figures.csv")
    known = json.loads((folder / "metrics.json").read_text())
    assert len(table) == len(known)
    assert table["value"].tolist() == pytest.approx(
        [float("nan") if one["value"] is None else one["value"] for one in known], rel=1e-15, nan_ok=True
    )


def test_metrics_json_keeps_to_its_schema_which_names_every_part_of_a_figure(folder):
    metrics = json.loads((folder / "metrics.json").read_text())
    jsonschema.validate(metrics, SCHEMA)
    assert set(SCHEMA["items"]["properties"]) == {field.name for field in dataclasses.fields(figures.Figure)}


@pytest.mark.parametrize(
    "change",
    [
        {"value": "0.9"},
        {"value": float("nan"), "low": "a"},
        {"slice": "D1"},
        {"n": -1},
        {"wrong": 1},
        {"high": None},
    ],
)
def test_the_schema_refuses_what_is_no_figure(folder, change):
    row = next(one for one in json.loads((folder / "metrics.json").read_text()) if one["low"] is not None)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate([{**row, **change}], SCHEMA)


def test_without_images_the_page_says_so_and_the_figures_stay(folder, tmp_path):
    bare = write_sources(tmp_path)
    for image in (bare / "gallery").iterdir():
        image.unlink()
    derive(bare)
    assert (bare / "metrics.json").read_bytes() == (folder / "metrics.json").read_bytes()
    assert "no image in this folder" in (bare / "report.html").read_text()


def test_an_image_outside_of_the_folder_is_refused(tmp_path):
    folder = write_sources(tmp_path / "report")
    (tmp_path / "secret.png").write_bytes(make_png())
    (folder / "gallery.json").write_text(json.dumps({"D1-0001-L": {"CC": "../secret.png"}}))
    with pytest.raises(UsageError, match=r"secret\.png.*leads out of the folder"):
        read_report_data(folder)


def test_a_folder_that_is_no_report_is_refused_in_one_line(tmp_path):
    with pytest.raises(UsageError, match="expected the report of a finished run"):
        derive(tmp_path)


def test_where_report_and_evaluator_differ_the_page_says_so(tmp_path):
    derive(
        write_sources(
            tmp_path,
            evaluated=[{"head": "malignancy", "metric": "auc", "slice": "overall", "value": 0.5}],
            slices=[],
        )
    )
    assert "the Evaluator 0.500000" in (tmp_path / "report.html").read_text()
