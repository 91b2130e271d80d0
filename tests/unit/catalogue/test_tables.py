"""Case -> tables -> Case."""

import json
import shutil
from pathlib import Path

import pytest

from medimg.cases import Annotation, Case, Header, ImageRef, Reject
from medimg.catalogue.query import run_query
from medimg.catalogue.rows import NearPair, make_cases_table, make_images_table, make_pairs_table
from medimg.catalogue.split import Assignment
from medimg.catalogue.tables import (
    Catalogue,
    catalogue_cases,
    find_clusters,
    read_catalogue,
    write_catalogue,
)
from medimg.errors import MedimgError, UsageError
from medimg.files import hash_file

STUDY = Case(
    case_id="a-study",
    group_id="patient a",
    images=tuple(
        ImageRef(f"a/{role}-{number}.dcm", role, frame, f"1.{number}", "00")
        for role in ("T2", "T1")
        for number, frame in ((2, 0), (1, 3))
    ),
    levels={"study": "a-study", "patient": "patient a"},
    labels={"grade": "high"},
    clinical={"age_years": 44, "dose": 1.5, "site": "north", "mixed": 7},
    annotations=(
        Annotation("T1", "mass", "box", ((1.0, 2.5), (3.0, 4.0))),
        Annotation("T1", "edge", "polygon", ((0.0, 0.0), (1.0, 0.0), (1.0, 1.0))),
    ),
    masks=(ImageRef("a/mask.dcm", "T1", 0, "1.9", "00"),),
    official_split="test",
)
BARE = Case(
    case_id="b-study",
    group_id="b",
    images=(ImageRef("b.png", "T1", 0, "", "00"),),
    clinical={"age_years": None, "dose": 2, "mixed": "seven"},
    status="unlabelled",
    reason="no row",
)


def write(
    to: Path,
    cases: list[Case],
    rejects: tuple[Reject, ...] = (),
    pairs: tuple[NearPair, ...] = (),
    **summary: object,
) -> Catalogue:
    paths = {image.path for case in cases for image in (*case.images, *case.masks)} | {
        reject.path for reject in rejects
    }
    headers = {path: Header(path, "dicom", 10, "00", "11", {"Rows": 5}) for path in paths}
    table = make_cases_table(
        cases, assignments={"b-study": Assignment("train", 2)}, strata={"b-study": "unlabelled"}
    )
    images = make_images_table(cases, rejects=rejects, headers=headers, flags={"b.png": ("size: 5",)})
    return write_catalogue(
        to,
        cases=table,
        images=images,
        pairs=make_pairs_table(pairs),
        summary={"data_set": "x", "duplicates": [], **summary},
    )


def test_a_case_comes_back_with_its_slices_in_order_masks_and_annotations(tmp_path):
    write(tmp_path, [BARE, STUDY])
    (case,) = catalogue_cases(read_catalogue(tmp_path), statuses=("used",))
    assert case.images == STUDY.images
    assert case.masks == STUDY.masks
    assert case.annotations == STUDY.annotations
    assert (case.levels, case.labels, case.official_split) == (STUDY.levels, STUDY.labels, "test")
    assert case.clinical == {**STUDY.clinical, "mixed": "7"}
    assert type(case.clinical["age_years"]) is int


def test_what_is_unknown_comes_back_as_none_and_a_missing_label_stays_absent(tmp_path):
    write(tmp_path, [STUDY, BARE])
    (case,) = catalogue_cases(read_catalogue(tmp_path), statuses=("unlabelled",), split="train")
    assert case.clinical == {"age_years": None, "dose": 2.0, "mixed": "seven", "site": None}
    assert (case.labels, case.levels, case.status, case.reason) == ({}, {}, "unlabelled", "no row")


def test_the_order_of_cases_does_not_change_the_bytes(tmp_path):
    write(tmp_path / "one", [STUDY, BARE])
    write(tmp_path / "two", [BARE, STUDY])
    for name in ("images.parquet", "summary.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_rejects_stand_in_the_images_table_without_a_case(tmp_path):
    catalogue = write(tmp_path, [BARE], (Reject("c.dcm", "quarantined", "truncated"),))
    row = catalogue.images.set_index("path").loc["c.dcm"]
    assert row["case_id"] is None
    assert (row["status"], row["reason"]) == ("quarantined", "truncated")
    assert json.loads(catalogue.images.set_index("path").loc["b.png", "flags"]) == ["size: 5"]


@pytest.mark.parametrize("name", ["cases.parquet", "images.parquet", "summary.json"])
def test_an_incomplete_or_damaged_catalogue_is_one_clear_line(tmp_path, name):
    write(tmp_path / "whole", [BARE])
    damaged = shutil.copytree(tmp_path / "whole", tmp_path / "damaged")
    (damaged / name).write_bytes((damaged / name).read_bytes()[:30])
    with pytest.raises(MedimgError, match=f"{name}: damaged") as caught:
        read_catalogue(damaged)
    assert "\n" not in str(caught.value)
    (damaged / name).unlink()
    with pytest.raises(UsageError, match=f"no catalogue here, {name} is missing"):
        read_catalogue(damaged)


def test_a_catalogue_that_could_not_be_written_whole_is_none(tmp_path):
    write(tmp_path, [BARE])
    hashes = json.loads((tmp_path / "summary.json").read_text())["tables"]
    assert hashes == {
        name: hash_file(tmp_path / name) for name in ("cases.parquet", "images.parquet", "pairs.parquet")
    }
    (tmp_path / "images.parquet").unlink()
    (tmp_path / "images.parquet").mkdir()
    with pytest.raises(MedimgError, match=r"images\.parquet: cannot be written"):
        write(tmp_path, [BARE, STUDY])
    with pytest.raises(UsageError, match=r"no catalogue here, summary\.json is missing"):
        read_catalogue(tmp_path)


@pytest.mark.parametrize(
    ("split", "found"), [("train", ["b-study"]), ("test", []), (None, ["a-study", "b-study"])]
)
def test_cases_of_one_split_or_of_all_are_listed_by_id(tmp_path, split, found):
    catalogue = write(tmp_path, [STUDY, BARE])
    cases = catalogue_cases(catalogue, statuses=("used", "unlabelled"), split=split)
    assert [case.case_id for case in cases] == found


def test_words_of_every_language_stay_readable_in_the_summary(tmp_path):
    write(tmp_path, [BARE], title="Bröst")
    assert '"title": "Bröst"' in (tmp_path / "summary.json").read_text(encoding="utf-8")


def test_pairs_of_near_duplicates_come_back_as_they_were_found(tmp_path):
    catalogue = write(tmp_path, [BARE, STUDY], pairs=(NearPair(("a-study", "b-study"), hash_distance=3),))
    for found in (catalogue, read_catalogue(tmp_path)):
        assert found.pairs.astype(object).where(found.pairs.notna(), None).to_dict("records") == [
            {"case_id": "a-study", "other_case_id": "b-study", "hash_distance": 3, "keypoints": None}
        ]
    assert find_clusters(catalogue) == {"patient a": "b", "b": "b"}
    identical = write(tmp_path / "identical", [BARE, STUDY], duplicates=[{"cases": ["a-study", "b-study"]}])
    assert find_clusters(identical) == {"patient a": "b", "b": "b"}
    assert run_query(tmp_path, "SELECT hash_distance FROM pairs").to_numpy().tolist() == [[3]]


def test_a_catalogue_from_before_near_duplicates_were_searched_has_none_of_them(tmp_path):
    write(tmp_path, [BARE, STUDY])
    (tmp_path / "pairs.parquet").unlink()
    with pytest.raises(MedimgError, match=r"pairs\.parquet: damaged"):
        read_catalogue(tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    del summary["tables"]["pairs.parquet"]
    (tmp_path / "summary.json").write_text(json.dumps(summary))
    assert read_catalogue(tmp_path).pairs.empty
    assert len(run_query(tmp_path, "SELECT * FROM cases")) == 2
