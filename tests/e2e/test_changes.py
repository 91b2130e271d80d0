"""What a change re-runs, and what a bad input ends in."""

from __future__ import annotations

import json
import shutil
import uuid

import openpyxl
import pandas as pd
import pytest
from typer.testing import CliRunner

from cli.app import app
from medimg.errors import MedimgError, UsageError
from pipeline.metadata.lineage import latest_nodes, open_store
from tests.e2e.conftest import TINY, run_tiny

pytestmark = pytest.mark.e2e

TABLE = "CMMD_clinicaldata_revision.xlsx"


def completed(run):
    return {
        name
        for name, node in latest_nodes(open_store(run / "metadata.sqlite"), "cmmd-demo").items()
        if node.state == "complete"
    }


def test_one_changed_label_reaches_the_catalogue_and_all_that_follows(tiny_run, tmp_path):
    table = tiny_run.data / TABLE
    shutil.copy(table, tmp_path / TABLE)
    book = openpyxl.load_workbook(table)
    rows = list(book.active.iter_rows(min_row=2))
    header = [str(cell.value).strip() for cell in book.active[1]]
    cell = next(
        row[header.index("classification")]
        for row in rows
        if row[header.index("classification")].value == "Benign"
    )
    cell.value = "Malignant"
    try:
        book.save(table)
        run_tiny(tiny_run.run, tiny_run.data)
        assert {
            "CatalogueGen",
            "CaseExampleGen",
            "StatisticsGen",
            "Transform",
            "Trainer",
            "Evaluator",
            "ReportGen",
        } <= completed(tiny_run.run)
        assert "ImportSchemaGen" not in completed(tiny_run.run)
    finally:
        shutil.copy(tmp_path / TABLE, table)


def test_one_changed_line_of_the_schema_leaves_the_examples_alone(tiny_run, monkeypatch, tmp_path):
    import pipeline.config.schema

    shutil.copytree(pipeline.config.schema.SCHEMAS, tmp_path / "schema")
    with (tmp_path / "schema" / "cmmd.pbtxt").open("a") as file:
        # Another one each time: the shared run is kept, and knows what an earlier session wrote here.
        file.write(f"\n# One more line, {uuid.uuid4()}.\n")
    monkeypatch.setattr(pipeline.config.schema, "SCHEMAS", tmp_path / "schema")
    run_tiny(tiny_run.run, tiny_run.data)
    assert {"ImportSchemaGen", "StatisticsGen", "Transform"} <= completed(tiny_run.run)
    assert not {"CatalogueGen", "CaseExampleGen"} & completed(tiny_run.run)


def test_a_schema_that_the_data_break_stops_the_run_and_names_the_feature(run_copy, monkeypatch, tmp_path):
    import pipeline.config.schema

    shutil.copytree(pipeline.config.schema.SCHEMAS, tmp_path / "schema")
    path = tmp_path / "schema" / "cmmd.pbtxt"
    path.write_text(path.read_text().replace('"D2"', '"D9"'))
    monkeypatch.setattr(pipeline.config.schema, "SCHEMAS", tmp_path / "schema")
    with pytest.raises(MedimgError, match=r"DataGate.*clinical_source"):
        run_tiny(run_copy.run, run_copy.data)


def test_a_damaged_image_is_quarantined_and_the_run_goes_on(run_copy):
    victim = sorted(run_copy.data.rglob("*.dcm"))[5]
    victim.write_bytes(victim.read_bytes()[:-1000])
    outcome = run_tiny(run_copy.run, run_copy.data)
    assert outcome.quarantined == 1
    assert victim.name in (run_copy.run / "report" / "report.html").read_text()
    overrides = [part for item in TINY for part in ("--set", item)]
    again = [
        "run",
        "cmmd_demo",
        "--data",
        str(run_copy.data),
        "--to",
        str(run_copy.run),
        "--strict",
        *overrides,
    ]
    with pytest.raises(MedimgError, match="1 images were quarantined and --strict"):
        CliRunner().invoke(app, again, catch_exceptions=False)


def test_unlabelled_cases_are_written_on_request_and_count_for_p3_alone(tiny_run):
    before = read_counts(tiny_run.run)
    run_tiny(tiny_run.run, tiny_run.data, "examples.unlabelled=true", "evaluation.protocols=P1,P3,P4")
    examples = latest_nodes(open_store(tiny_run.run / "metadata.sqlite"), "cmmd-demo")[
        "CaseExampleGen"
    ].outputs["examples"][0]
    assert examples.custom_properties["cases_unlabelled_train"].int_value > 0
    after = read_counts(tiny_run.run)
    assert {key: n for key, n in after.items() if key[0] != "P3"} == before
    predictions = pd.read_parquet(tiny_run.run / "report" / "predictions.parquet").query("split == 'test'")
    four_views = predictions[predictions.groupby("group_id").image_count.transform("sum") == 4]
    assert four_views.label_malignancy.isna().any()
    assert after["P3", "auc", "overall"] == len(four_views)


def read_counts(run):
    figures = [
        one for one in json.loads((run / "report" / "metrics.json").read_text()) if one["split"] == "test"
    ]
    return {(one["protocol"], one["name"], one["slice"]): one["n"] for one in figures}


def test_a_run_directory_of_another_config_is_refused(tiny_run):
    from pipeline.config.overrides import load_config
    from pipeline.config.places import RunRequest
    from pipeline.local.run import run_config

    with pytest.raises(UsageError, match="belongs to config cmmd-demo"):
        run_config(load_config("cmmd_classification"), RunRequest(data_root=tiny_run.data, to=tiny_run.run))


def test_a_full_disk_ends_in_one_line_that_says_so(run_copy, tmp_path):
    import os
    import subprocess

    small = tmp_path / "small"
    small.mkdir()
    if (
        os.geteuid() != 0
        or subprocess.run(
            ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(small)], capture_output=True
        ).returncode
    ):
        pytest.skip("a small disk can be mounted by root only")
    try:
        with pytest.raises((MedimgError, OSError)) as caught:
            run_tiny(small / "run", run_copy.data)
        assert "full" in str(caught.value) or "No space left" in str(caught.value)
        assert "\n" not in str(caught.value)
    finally:
        subprocess.run(["umount", str(small)], check=True)
