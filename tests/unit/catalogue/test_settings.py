"""Whether a catalogue that is there was made of these data and settings, and its copy."""

from __future__ import annotations

import json
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import pytest

from medimg.cases import LabelSettings, ScanSettings
from medimg.catalogue.settings import (
    IN_SUMMARY,
    CatalogueSettings,
    check_made,
    check_same_data,
    compare_settings,
    copy_catalogue,
)
from medimg.catalogue.split import SplitSettings
from medimg.datasets import find_data_set
from medimg.errors import UsageError
from tests.small_catalogue import write_small_catalogue

DEFAULTS = CatalogueSettings()
OTHERS = [
    ("labels.keep", CatalogueSettings(labels=LabelSettings(keep=("NA",)))),
    ("split.seed", CatalogueSettings(split=SplitSettings(seed=5))),
    ("scan.follow_links", CatalogueSettings(scan=ScanSettings(follow_links=True))),
]


def summarise(settings: CatalogueSettings) -> dict[str, object]:
    """What a summary says of the settings that a catalogue was made with."""
    sections = asdict(settings)
    return {IN_SUMMARY[name]: content for name, content in sections.items()}


def make(folder: Path, **summary: object) -> Path:
    """A catalogue without cases, of CMMD by default settings if nothing else is said."""
    write_small_catalogue(
        folder, summary={"data_set": "cmmd", "content_hash": "data", **summarise(DEFAULTS), **summary}
    )
    return folder


@pytest.mark.parametrize(("key", "other"), OTHERS)
def test_a_setting_that_differs_is_named_with_both_values_whichever_side_has_it(
    key: str, other: CatalogueSettings
) -> None:
    section, name = key.split(".")
    values = [json.dumps(asdict(one)[section][name]) for one in (other, DEFAULTS)]
    assert list(compare_settings(summarise(other), DEFAULTS)) == [(key, *values)]
    assert list(compare_settings(summarise(DEFAULTS), other)) == [(key, *values[::-1])]
    assert list(compare_settings(summarise(other), other)) == []


def test_an_older_catalogue_had_the_defaults_of_what_it_does_not_name() -> None:
    old = {"split_settings": {"seed": 0}}
    assert list(compare_settings(old, DEFAULTS)) == []
    found = [key for _, other in OTHERS for key, *_ in compare_settings(old, other)]
    assert found == [key for key, _ in OTHERS]


def test_a_catalogue_as_it_was_made_is_read(tmp_path: Path) -> None:
    found = check_made(make(tmp_path / "made"), data_set=find_data_set("cmmd"), settings=DEFAULTS)
    assert found.summary["content_hash"] == "data"


@pytest.mark.parametrize(
    ("data_set", "settings", "words"),
    [
        ("folder", DEFAULTS, "a catalogue of cmmd, expected one of folder"),
        *(("cmmd", other, f"made with {key}=") for key, other in OTHERS),
    ],
)
def test_a_catalogue_of_another_data_set_or_setting_is_refused(
    tmp_path: Path, data_set: str, settings: CatalogueSettings, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        check_made(make(tmp_path / "made"), data_set=find_data_set(data_set), settings=settings)


@pytest.mark.parametrize("name", ["cases.parquet", "images.parquet", "pairs.parquet"])
def test_a_table_that_was_changed_since_is_refused(tmp_path: Path, name: str) -> None:
    folder = make(tmp_path / "made")
    other = {"cases": "images", "images": "cases", "pairs": "cases"}[name.partition(".")[0]]
    (folder / name).write_bytes((folder / f"{other}.parquet").read_bytes())
    with pytest.raises(UsageError, match=f"{name}: changed since the catalogue was made"):
        check_made(folder, data_set=find_data_set("cmmd"), settings=DEFAULTS)


@pytest.mark.parametrize(
    ("split_file", "brought", "data", "words"),
    [
        ("", False, "data", ""),
        ("", True, "data", ""),
        ("mine.csv", True, "data", ""),
        ("mine.csv", False, "data", "made with --split-file mine.csv; expected the same"),
        ("", False, "other", "made of other data than somewhere holds now"),
        ("mine.csv", True, "other", "made of other data than somewhere holds now"),
    ],
)
def test_a_catalogue_of_other_data_or_of_a_split_file_that_is_not_given_is_refused(
    tmp_path: Path, split_file: str, brought: bool, data: str, words: str
) -> None:
    folder = make(tmp_path / "made", split_file=split_file)
    with pytest.raises(UsageError, match=words) if words else nullcontext():
        check_same_data(folder, data=data, data_root=Path("somewhere"), brought=brought)


@pytest.mark.parametrize("pairs", [True, False])
def test_a_copy_is_the_catalogue_file_by_file_also_one_without_pairs(tmp_path: Path, pairs: bool) -> None:
    folder = make(tmp_path / "made")
    names = {"cases.parquet", "images.parquet", "summary.json"}
    if not pairs:
        (folder / "pairs.parquet").unlink()
        summary = json.loads((folder / "summary.json").read_text())
        del summary["tables"]["pairs.parquet"]
        (folder / "summary.json").write_text(json.dumps(summary))
    copy = tmp_path / "deep" / "copy"
    for _ in range(2):
        assert copy_catalogue(folder, copy).summary["data_set"] == "cmmd"
    found = {path.name: path.read_bytes() for path in copy.iterdir()}
    assert found == {path.name: path.read_bytes() for path in folder.iterdir()}
    assert set(found) == names | ({"pairs.parquet"} if pairs else set())
