"""The whole way from files on disk to the tables, on files that are written here."""

import dataclasses
import io
import json
import os
import shutil
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import RLELossless
from rich.console import Console

from medimg.cases import PHANTOM_FILE, Case, ImageRef, Listing
from medimg.catalogue.build import BuildOptions, build_catalogue, data_fingerprint
from medimg.catalogue.query import run_query
from medimg.catalogue.split import SplitSettings
from medimg.catalogue.summary import print_summary
from medimg.catalogue.tables import Catalogue, catalogue_cases, find_clusters, read_catalogue
from medimg.errors import UsageError
from tests.unit.catalogue.phantom import (
    DATA_SET,
    Picture,
    list_cases,
    write_labels,
    write_patients,
    write_picture,
)

SIX = {f"P{number:03d}": "Malignant" if number % 2 else "Benign" for number in range(6)}


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """30 patients without any trouble."""
    root = tmp_path_factory.mktemp("healthy")
    write_patients(root, count=30)
    return root


@pytest.fixture(scope="module")
def healthy_catalogue(healthy: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Their catalogue."""
    to = tmp_path_factory.mktemp("catalogue")
    build(healthy, to)
    return to


def build(root: Path, to: Path, **options: object) -> Catalogue:
    data_set = options.pop("data_set", DATA_SET)
    built = BuildOptions(**{"split": SplitSettings(), "workers": 1, **options})  # type: ignore[arg-type]
    return build_catalogue(data_set, data_root=root, to=to, options=built)  # type: ignore[arg-type]


def write_six(
    root: Path, *, labels: dict[str, str] = SIX, pictures: dict[str, Picture] | None = None
) -> None:
    """Six healthy patients, and pictures that cause trouble by file name."""
    for number, patient in enumerate(sorted(SIX)):
        write_picture(root / f"{patient}-CC.dcm", Picture(patient, "CC", look=100 + number))
    for name, picture in (pictures or {}).items():
        write_picture(root / name, picture)
    write_labels(root, labels)


def status_of(catalogue: Catalogue, case_id: str) -> tuple[str, str]:
    row = catalogue.cases.set_index("case_id").loc[case_id]
    return row["status"], row["reason"]


def test_building_twice_elsewhere_and_with_more_workers_gives_the_same_bytes(healthy, tmp_path):
    build(healthy, tmp_path / "one")
    moved = shutil.copytree(healthy, tmp_path / "moved")
    build(moved, tmp_path / "two", workers=2, index_path=tmp_path / "index.parquet")
    build(moved, tmp_path / "three", index_path=tmp_path / "index.parquet")
    for name in ("cases.parquet", "images.parquet", "pairs.parquet", "summary.json"):
        assert (
            (tmp_path / "one" / name).read_bytes()
            == (tmp_path / "two" / name).read_bytes()
            == (tmp_path / "three" / name).read_bytes()
        )
    assert str(tmp_path) not in (tmp_path / "two" / "summary.json").read_text()


def test_a_patient_is_in_one_split_only_and_unlabelled_cases_carry_it(healthy_catalogue):
    catalogue = read_catalogue(healthy_catalogue)
    assert (catalogue.cases.groupby("group_id")["split"].nunique() == 1).all()
    assert catalogue.cases.loc[catalogue.cases["status"] == "unlabelled", "split"].notna().all()
    assert set(catalogue.cases["split"]) == {"train", "eval", "test"}


def test_what_is_read_back_is_what_was_built(healthy, tmp_path):
    built = build(healthy, tmp_path / "catalogue")
    read = read_catalogue(tmp_path / "catalogue")
    assert read.cases.equals(built.cases)
    assert read.images.equals(built.images)
    assert read.summary == built.summary
    case = next(catalogue_cases(read))
    assert [image.role for image in case.images] == ["CC", "MLO"]
    assert isinstance(case.clinical["number"], int)


def test_counts_add_up_to_the_files_that_are_there(tmp_path):
    write_six(tmp_path / "data", pictures={"burned.dcm": Picture("P000", "MLO", look=7, burned_in=True)})
    (tmp_path / "data" / "broken.dcm").write_bytes(b"DICM" * 100)
    (tmp_path / "data" / "LICENCE").write_text("CC0")
    shutil.copy(tmp_path / "data" / "P001-CC.dcm", tmp_path / "data" / "Q-copy.dcm")
    catalogue = build(tmp_path / "data", tmp_path / "to")
    assert catalogue.summary["images"] == {"used": 6, "unlabelled": 0, "excluded": 1, "quarantined": 2}
    assert catalogue.summary["input"] == {"images": 9, "cases": 6}
    assert catalogue.summary["other_files"] == 2
    reasons = catalogue.images.set_index("path")["reason"]
    assert reasons["Q-copy.dcm"] == "same bytes as P001-CC.dcm"
    assert "BurnedInAnnotation" in reasons["burned.dcm"]
    assert "broken.dcm" in reasons["broken.dcm"]
    assert str(tmp_path) not in reasons["broken.dcm"]


def test_the_summary_says_what_the_data_are_and_what_each_step_found_odd(tmp_path):
    def list_own(root, headers):
        listing = list_cases(root, headers)
        return Listing(listing.cases, listing.rejects, ["row 7 has no image"], is_published=False)

    pictures = {"burned.dcm": Picture("P000", "MLO", look=7, burned_in=True), "x.dcm": Picture("X", "CC", -9)}
    pictures |= {"a.dcm": Picture("P001", "MLO", look=8), "b.dcm": Picture("P001", "XCCL", look=8)}
    write_six(tmp_path / "data", labels=dict.fromkeys(SIX, "Benign"), pictures=pictures)
    (tmp_path / "data" / PHANTOM_FILE).write_text("synthetic")
    own = dataclasses.replace(DATA_SET, list_cases=list_own)
    summary = build(tmp_path / "data", tmp_path / "to", data_set=own).summary
    terms = {name: summary[name] for name in ("data_set", "title", "licence", "doi", "group_noun")}
    assert terms == {"data_set": "tiny", "title": "", "licence": "", "doi": "", "group_noun": "patient"}
    assert summary["is_published"] is False
    assert (summary["synthetic"], summary["other_files"]) == (True, 2)
    assert summary["unlabelled"]["reasons"][0]["reason"] == "no row in labels.csv"
    assert summary["before_exclusions"]["images"] == 10
    assert summary["anomalies"] == [
        "row 7 has no image",
        "case P001-case: two of its images have identical pixels",
        *(f"split {split}: no used case with malignancy Malignant" for split in ("train", "eval", "test")),
    ]
    assert summary["near_duplicates"]["groups"] == 7
    assert build(tmp_path / "data", tmp_path / "published").summary["licence"] == "CC0"


def test_one_uid_with_two_contents_quarantines_both_files(tmp_path):
    write_six(
        tmp_path / "data",
        pictures={
            "a.dcm": Picture("P000", "MLO", 7, uid="1.2.3"),
            "b.dcm": Picture("P001", "MLO", 8, uid="1.2.3"),
        },
    )
    images = build(tmp_path / "data", tmp_path / "to").images.set_index("path")
    assert images.loc["a.dcm", ["status", "reason"]].tolist() == [
        "quarantined",
        "SOPInstanceUID 1.2.3 also in b.dcm, with other content",
    ]
    assert images.loc["b.dcm", "status"] == "quarantined"


def test_identical_pixels_with_opposite_labels_exclude_both_cases(tmp_path):
    write_six(tmp_path / "data", labels={**SIX, "X1": "Benign", "X2": "Malignant"}, pictures={
        "x1.dcm": Picture("X1", "CC", 7), "x2.dcm": Picture("X2", "CC", 7)})  # fmt: skip
    catalogue = build(tmp_path / "data", tmp_path / "to")
    expected = (
        "excluded",
        "identical pixels with different malignancy: X1-case (Benign), X2-case (Malignant)",
    )
    assert status_of(catalogue, "X1-case") == status_of(catalogue, "X2-case") == expected
    assert catalogue.summary["duplicates"] == [
        {
            "cases": ["X1-case", "X2-case"],
            "labels": ["Benign", "Malignant"],
            "images": 1,
            "label_conflict": True,
        }
    ]
    assert catalogue.cases.set_index("case_id").loc["X1-case", "split"] is None


def test_groups_that_share_pixels_are_one_cluster_and_all_others_their_own(tmp_path):
    write_six(tmp_path / "data", labels={**SIX, "X1": "Benign", "X2": "Benign"}, pictures={
        "x1.dcm": Picture("X1", "CC", 7), "x2.dcm": Picture("X2", "CC", 7)})  # fmt: skip
    build(tmp_path / "data", tmp_path / "to")
    assert find_clusters(read_catalogue(tmp_path / "to")) == {
        **{group: group for group in SIX},
        "X1": "X1",
        "X2": "X1",
    }


def test_of_identical_pixels_with_one_label_the_labelled_case_stays(tmp_path):
    write_six(
        tmp_path / "data",
        labels={**SIX, "X2": "Malignant"},
        pictures={"x1.dcm": Picture("X1", "CC", 7), "x2.dcm": Picture("X2", "CC", 7)},
    )
    catalogue = build(tmp_path / "data", tmp_path / "to")
    assert status_of(catalogue, "X2-case") == ("used", "")
    assert status_of(catalogue, "X1-case") == ("excluded", "identical pixels as X2-case, which stays")
    assert (
        "groups X1 and X2 may be one: each of their 2 cases shares pixels with the other group"
        in catalogue.summary["anomalies"]
    )


def test_a_case_excluded_by_the_errata_keeps_its_reason_and_is_reported_as_twin(tmp_path):
    def list_with_errata(root, headers):
        listing = list_cases(root, headers)
        cases = [
            dataclasses.replace(case, status="excluded", reason="erratum 7")
            if case.group_id == "X1"
            else case
            for case in listing.cases
        ]
        return Listing(cases, listing.rejects)

    write_six(tmp_path / "data", labels={**SIX, "X1": "Benign", "X2": "Benign"}, pictures={
        "x1.dcm": Picture("X1", "CC", 7), "x2.dcm": Picture("X2", "CC", 7)})  # fmt: skip
    catalogue = build(
        tmp_path / "data",
        tmp_path / "to",
        data_set=dataclasses.replace(DATA_SET, list_cases=list_with_errata),
    )
    assert status_of(catalogue, "X1-case") == ("excluded", "erratum 7")
    assert status_of(catalogue, "X2-case")[0] == "used"
    assert len(catalogue.summary["duplicates"]) == 1


def test_blank_images_are_flagged_and_merge_no_patients(tmp_path):
    write_six(
        tmp_path / "data", pictures={"a.dcm": Picture("P000", "MLO", -5), "b.dcm": Picture("P001", "MLO", -5)}
    )
    catalogue = build(tmp_path / "data", tmp_path / "to")
    assert catalogue.summary["duplicates"] == []
    assert catalogue.summary["images"]["used"] == 8
    flags = catalogue.images.set_index("path")["flags"]
    assert json.loads(flags["a.dcm"]) == ["constant: every pixel has the same value"]


def test_no_old_patient_moves_when_more_arrive(tmp_path):
    write_patients(tmp_path / "data", count=30)
    before = build(tmp_path / "data", tmp_path / "before", split=SplitSettings(folds=3))
    write_patients(tmp_path / "data", count=36)
    after = build(
        tmp_path / "data", tmp_path / "after", previous=tmp_path / "before", split=SplitSettings(folds=3)
    )
    columns = ["case_id", "split", "fold"]
    assert (
        after.cases[after.cases["case_id"].isin(before.cases["case_id"])][columns]
        .reset_index(drop=True)
        .equals(before.cases[columns])
    )
    assert len(after.cases) == 36


def test_a_previous_catalogue_of_another_data_set_is_refused(healthy, healthy_catalogue, tmp_path):
    with pytest.raises(UsageError, match="a catalogue of tiny, expected an earlier one of other"):
        build(
            healthy,
            tmp_path / "to",
            data_set=dataclasses.replace(DATA_SET, name="other"),
            previous=healthy_catalogue,
        )


def test_a_class_that_a_split_lacks_is_an_anomaly(tmp_path):
    write_six(tmp_path / "data", labels=dict.fromkeys(SIX, "Benign"))
    assert (
        "split train: no used case with malignancy Malignant"
        in build(tmp_path / "data", tmp_path / "to").summary["anomalies"]
    )


def test_the_fingerprint_is_the_catalogues_hash_and_follows_content_not_time(healthy, tmp_path):
    root = shutil.copytree(healthy, tmp_path / "data")
    fingerprint = data_fingerprint(DATA_SET, data_root=root, workers=1)
    assert build(root, tmp_path / "to").summary["content_hash"] == fingerprint
    os.utime(root / "P001" / "CC.dcm", (1, 1))
    assert data_fingerprint(DATA_SET, data_root=root, workers=1) == fingerprint
    with (root / "labels.csv").open("a") as table:
        table.write("P999,Benign\n")
    edited = data_fingerprint(DATA_SET, data_root=root, workers=1)
    (root / "P001" / "CC.dcm").write_bytes((root / "P001" / "MLO.dcm").read_bytes())
    assert len({fingerprint, edited, data_fingerprint(DATA_SET, data_root=root, workers=1)}) == 3


def test_a_data_set_of_which_nothing_is_left_is_refused_with_an_example(tmp_path):
    write_six(tmp_path / "data")
    for number in range(6):
        write_picture(tmp_path / "data" / f"P00{number}-CC.dcm", Picture(f"P00{number}", "CC", look=7))
    with pytest.raises(
        UsageError,
        match=r"none of 6 cases can be used, e\.g\. P000-case: identical pixels with different malignancy",
    ):
        build(tmp_path / "data", tmp_path / "to")


def test_a_folder_without_images_is_refused_in_one_line(tmp_path):
    (tmp_path / "data").mkdir()
    with pytest.raises(UsageError, match="an empty folder"):
        build(tmp_path / "data", tmp_path / "to")
    write_labels(tmp_path / "data", {})
    with pytest.raises(UsageError, match="no readable image among 1 files"):
        build(tmp_path / "data", tmp_path / "to")
    with pytest.raises(UsageError, match="no such folder"):
        build(tmp_path / "absent", tmp_path / "to")


@pytest.mark.parametrize("folder", [".", "catalogue"])
def test_a_catalogue_written_into_the_data_folder_does_not_count_as_data(tmp_path, folder):
    write_six(tmp_path)
    first = build(tmp_path, tmp_path / folder, index_path=tmp_path / "index.parquet")
    assert build(tmp_path, tmp_path / folder, index_path=tmp_path / "index.parquet").summary == first.summary


def test_the_same_pixels_in_another_transfer_syntax_are_found(tmp_path):
    write_six(tmp_path / "data", labels={**SIX, "X1": "Benign", "X2": "Malignant"}, pictures={
        "x1.dcm": Picture("X1", "CC", 7), "x2.dcm": Picture("X2", "CC", 7)})  # fmt: skip
    dataset = dcmread(tmp_path / "data" / "x2.dcm")
    dataset.compress(RLELossless, generate_instance_uid=False)
    dataset.save_as(tmp_path / "data" / "x2.dcm")
    catalogue = build(tmp_path / "data", tmp_path / "to")
    assert [pair["cases"] for pair in catalogue.summary["duplicates"]] == [["X1-case", "X2-case"]]
    assert status_of(catalogue, "X1-case")[0] == "excluded"


def test_copies_that_a_table_labels_differently_are_a_label_conflict_not_a_mere_copy(tmp_path):
    def list_by_file(root, headers):
        labels = {"one": "Benign", "two": "Malignant"}
        cases = []
        for path in [header.path for header in headers]:
            label = labels.get(path[:3], "Benign")
            cases.append(Case(path, path, (ImageRef(path, "CC"),), labels={"malignancy": label}))
        return Listing(cases)

    write_six(tmp_path / "data", pictures={"one.dcm": Picture("X1", "CC", 7)})
    shutil.copy(tmp_path / "data" / "one.dcm", tmp_path / "data" / "two.dcm")
    catalogue = build(
        tmp_path / "data",
        tmp_path / "to",
        data_set=dataclasses.replace(DATA_SET, list_cases=list_by_file, stratify_by=()),
    )
    assert (
        status_of(catalogue, "one.dcm")[1]
        == "identical pixels with different malignancy: one.dcm (Benign), two.dcm (Malignant)"
    )
    assert status_of(catalogue, "two.dcm")[0] == "excluded"


def test_the_printed_summary_tells_counts_reasons_and_anomalies(tmp_path):
    write_six(tmp_path / "data", labels={**SIX, "X1": "Benign", "X2": "Malignant"}, pictures={
        "x1.dcm": Picture("X1", "CC", 7), "x2.dcm": Picture("X2", "CC", 7)})  # fmt: skip
    console = Console(record=True, width=200, file=io.StringIO())
    print_summary(build(tmp_path / "data", tmp_path / "to").summary, console)
    text = console.export_text()
    assert "A tiny data set (CC0)" in text
    assert (
        "excluded: identical pixels with different malignancy: X1-case (Benign), X2-case (Malignant): "
        "X1-case, X2-case" in text
    )
    assert "1 pairs of cases with identical pixels, 1 of them with different labels" in text
    assert "anomaly: groups X1 and X2 may be one" in text


def test_sql_reads_both_tables(healthy_catalogue):
    sql = (
        "SELECT status, count(*) AS n FROM cases JOIN images USING (case_id, status) GROUP BY status "
        "ORDER BY status"
    )
    counts = read_catalogue(healthy_catalogue).summary["images"]
    assert dict(run_query(healthy_catalogue, sql).itertuples(index=False)) == {
        status: count for status, count in counts.items() if count
    }


def test_a_data_set_without_targets_is_refused_in_one_line(healthy, tmp_path):
    unlabelled = dataclasses.replace(DATA_SET, targets={})
    with pytest.raises(UsageError, match="data set tiny has no targets, expected at least one"):
        build_catalogue(
            unlabelled, data_root=healthy, to=tmp_path, options=BuildOptions(SplitSettings(), workers=1)
        )
    assert list(tmp_path.iterdir()) == []
