from pathlib import Path

import pydantic
import pytest
import yaml

from medimg.datasets import DATA_SETS, find_data_set
from medimg.evaluation.classification.metrics import metrics_of
from medimg.evaluation.protocols import PROTOCOLS
from medimg.reporting import published_results as literature
from medimg.reporting.published_results import (
    Literature,
    Published,
    find_obstacle,
    format_table,
    read_literature,
)

REPOSITORY = Path(__file__).resolve().parents[3]
KNOWN = sorted(path.stem for path in literature.FOLDER.glob("*.yaml"))
MEASURED = {("malignancy", "auc", "P1", "breast"), ("malignancy", "brier", "P1", "breast")}


def make_row(**changes):
    known = {
        "source": "a paper",
        "tag": "V",
        "what": "a model",
        "head": "malignancy",
        "metric": "auc",
        "value": 0.8,
    }
    return Published(**{**known, "protocol": "P1", "level": "breast", "split": "all", **changes})


@pytest.mark.parametrize("name", KNOWN)
def test_the_page_of_references_holds_the_same_tables_as_the_report(name):
    assert format_table(read_literature(name).figures) in (REPOSITORY / "docs" / "references.md").read_text(
        encoding="utf-8"
    )


@pytest.mark.parametrize("name", KNOWN)
def test_a_row_that_may_compare_has_the_level_and_a_metric_of_its_protocol_and_head(name):
    targets = find_data_set(name).targets
    for row in read_literature(name).figures:
        if row.protocol in PROTOCOLS and not row.reason:
            assert row.level == PROTOCOLS[row.protocol].level
            assert row.metric in metrics_of(targets[row.head])


def test_the_challenges_results_compare_with_a_run_on_its_test_images_and_with_no_other():
    first = next(row for row in read_literature("ham10000").figures if row.what.startswith("first place"))
    assert find_obstacle(first, {("diagnosis", "balanced_accuracy", "isic2018", "image")}) == ""
    assert "protocol isic2018" in find_obstacle(first, {("diagnosis", "balanced_accuracy", "cases", "case")})


def test_every_file_is_of_a_data_set_that_there_is():
    assert set(KNOWN) <= {data_set.name for data_set in DATA_SETS}


def test_nothing_is_known_of_a_folder():
    assert read_literature("folder") == Literature()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, ""),
        ({"protocol": "P3"}, "protocol P3"),
        ({"level": "patient"}, "protocol P1"),
        ({"metric": "pauc"}, "no pauc"),
        ({"head": "density"}, "no head density"),
        ({"reason": "split by breast"}, "split by breast"),
    ],
)
def test_a_published_figure_compares_only_if_head_metric_protocol_and_level_are_equal_and_no_reason_is_given(
    changes, words
):
    obstacle = find_obstacle(make_row(**changes), MEASURED)
    assert words in obstacle
    assert bool(obstacle) == bool(changes)


def test_a_misspelt_key_of_a_file_is_an_error(tmp_path, monkeypatch):
    row = {
        "source": "a",
        "tag": "V",
        "what": "a",
        "head": "a",
        "metric": "auc",
        "value": 0.5,
        "protocol": "P1",
        "level": "breast",
        "split": "all",
    }
    (tmp_path / "odd.yaml").write_text(yaml.safe_dump({"figures": [{**row, "lwo": 0.4}]}))
    monkeypatch.setattr(literature, "FOLDER", tmp_path)
    with pytest.raises(pydantic.ValidationError, match="lwo"):
        read_literature("odd")
