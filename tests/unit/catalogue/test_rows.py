"""The columns of the catalogue's tables: what stands in each, of which type, and in which order of rows."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pandas as pd
import pyarrow as pa
import pytest

from medimg.cases import Case, Header, ImageRef, Reject
from medimg.catalogue.index import Unreadable
from medimg.catalogue.rows import NearPair, choose_type, make_cases_table, make_images_table, make_pairs_table
from medimg.catalogue.split import Assignment

TAGS = {
    "SOPInstanceUID": "1.1", "SeriesInstanceUID": "1.2", "StudyInstanceUID": "1.3", "Rows": 20, "Columns": 18,
    "BitsStored": 12, "PhotometricInterpretation": "MONOCHROME1", "TransferSyntaxUID": "1.2.840.10008.1.2.1",
}  # fmt: skip
WHOLE = {
    "fold", "image_count", "frame", "rows", "columns", "bits_stored", "size", "hash_distance", "keypoints",
}  # fmt: skip


def make_case(case_id: str, **values: object) -> Case:
    return Case(case_id, f"group of {case_id}", (), **values)  # type: ignore[arg-type]


def header(path: str, **values: object) -> Header:
    tags = values.pop("tags", TAGS)
    return Header(path, "dicom", 123, f"sha of {path}", f"pixels of {path}", tags)  # type: ignore[arg-type]


def test_a_row_of_cases_holds_what_the_case_and_its_assignment_say():
    case = Case(
        "a", "g", (ImageRef("x", "CC", 0), ImageRef("x", "CC", 1)), official_split="test",
        status="excluded", reason="r", levels={"study": "s", "patient": "g"},
        labels={"second": "2", "first": "1"}, clinical={"b": 1, "a": "t"},
    )  # fmt: skip
    table = make_cases_table(
        [make_case("b"), case], assignments={"a": Assignment("train", 0)}, strata={"a": "high"}
    )
    columns = ["case_id", "group_id", "status", "reason", "split", "fold", "stratum", "official_split"]
    columns += ["level_study", "level_patient", "label_first", "label_second", "clinical_a", "clinical_b"]
    assert table.column_names == [*columns, "annotations", "image_count"]
    first, second = table.to_pylist()
    values = ["a", "g", "excluded", "r", "train", 0, "high", "test", "s", "g", "1", "2", "t", 1, "[]", 2]
    assert list(first.values()) == values
    assert (second["case_id"], second["fold"], second["split"], second["stratum"]) == ("b", None, None, None)
    assert {name for name in table.column_names if table.schema.field(name).type == pa.int64()} == {
        "fold", "clinical_b", "image_count",
    }  # fmt: skip


def test_a_row_of_images_holds_what_the_header_says_and_rows_are_in_order():
    cases = [
        Case("b", "g", (ImageRef("b.dcm", "MLO", 3, "9.9"), ImageRef("a.dcm", "CC"))),
        Case("a", "g", (ImageRef("z.dcm", "CC"),)),
    ]
    cases[0] = replace(cases[0], masks=(ImageRef("m.dcm", "CC"),))
    rejects = [
        Unreadable("y.dcm", "quarantined", "broken", 7, "sha of what is broken"),
        Reject("x.dcm", "excluded", "copy"),
    ]
    headers = {path: header(path) for path in ("a.dcm", "b.dcm", "m.dcm", "z.dcm", "x.dcm")}
    table = make_images_table(cases, rejects=rejects, headers=headers, flags={"b.dcm": ("one", "two")})
    rows = table.to_pylist()
    assert [(row["path"], row["case_id"], row["is_mask"]) for row in rows] == [
        ("z.dcm", "a", False), ("b.dcm", "b", False), ("a.dcm", "b", False), ("m.dcm", "b", True),
        ("x.dcm", None, False), ("y.dcm", None, False),
    ]  # fmt: skip
    row = rows[1]
    assert [row[name] for name in ("role", "frame", "kind", "status", "reason")] == [
        "MLO",
        3,
        "dicom",
        "used",
        "",
    ]
    assert row["flags"] == '["one", "two"]'
    uids = ("sop_instance_uid", "series_instance_uid", "study_instance_uid", "transfer_syntax")
    assert [row[name] for name in uids] == ["9.9", "1.2", "1.3", "1.2.840.10008.1.2.1"]
    sizes = ("rows", "columns", "bits_stored", "size")
    assert [row[name] for name in sizes] == [20, 18, 12, 123]
    assert (row["photometric"], row["sha256"]) == ("MONOCHROME1", "sha of b.dcm")
    assert row["pixel_hash"] == "pixels of b.dcm"
    assert len(row) == 20
    copy, broken = rows[4:]
    assert (copy["sop_instance_uid"], copy["status"], copy["reason"], copy["size"]) == (
        "1.1",
        "excluded",
        "copy",
        123,
    )
    assert (broken["size"], broken["sha256"], broken["kind"]) == (7, "sha of what is broken", None)
    assert json.loads(broken["flags"]) == []


def test_pairs_keep_bits_and_keypoints_apart():
    table = make_pairs_table([NearPair(("a", "b"), 0, 12), NearPair(("a", "c"), None, 10)])
    assert table.to_pylist() == [
        {"case_id": "a", "other_case_id": "b", "hash_distance": 0, "keypoints": 12},
        {"case_id": "a", "other_case_id": "c", "hash_distance": None, "keypoints": 10},
    ]


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_counts_and_sizes_are_whole_numbers_even_in_an_empty_table(name):
    assert choose_type(name, []) == pa.int64()


@pytest.mark.parametrize(
    ("values", "kind", "stored"),
    [
        ([44, None], pa.int64(), [44, None]),
        ([44, True], pa.int64(), [44, 1]),
        ([True, False], pa.int64(), [1, 0]),
        ([44, 1.5], pa.float64(), [44.0, 1.5]),
        ([1.5, 0.5], pa.float64(), [1.5, 0.5]),
        ([1.5, math.nan], pa.float64(), [1.5, None]),
        ([44, math.nan], pa.float64(), [44.0, None]),
        ([44, "old"], pa.string(), ["44", "old"]),
        ([None, None], pa.string(), [None, None]),
        (["", pd.NA], pa.string(), ["", None]),
    ],
    ids=str,
)
def test_a_clinical_column_has_the_type_of_its_values_and_unknown_ones_are_null(values, kind, stored):
    cases = [make_case(name, clinical={"value": value}) for name, value in zip("ab", values, strict=True)]
    column = make_cases_table(cases, assignments={}, strata={}).column("clinical_value")
    assert (column.type, column.to_pylist()) == (kind, stored)


def test_levels_keep_their_order_and_the_other_columns_are_sorted_whichever_case_comes_first():
    levels = {"z": "1", "a": "2"}
    cases = [
        make_case("a", levels=levels, labels={"y": "1"}, clinical={"q": 1}),
        make_case("b", levels=levels, labels={"x": "1"}, clinical={"p": 1, "r": 2}),
    ]
    for order in (cases, cases[::-1]):
        names = make_cases_table(order, assignments={}, strata={}).column_names[8:-2]
        assert names == ["level_z", "level_a", "label_x", "label_y", "clinical_p", "clinical_q", "clinical_r"]
