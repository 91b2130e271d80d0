"""Copies, clashing UIDs and identical pixels: which files and cases stay, and what is said of the others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from medimg.cases import Case, Header, ImageRef, Reject
from medimg.catalogue.duplicates.exact import (
    DuplicateFindings,
    find_copies,
    find_uid_clashes,
    settle_duplicates,
)


def make_file(path: str, *, content: str = "", uid: str = "", pixels: str = "") -> Header:
    return Header(path, "dicom", 1, content or path, pixels or path, {"SOPInstanceUID": uid} if uid else {})


def make_case(case_id: str, *paths: str, label: str = "", group: str = "", **values: object) -> Case:
    """A case with these images; the hash of an image's pixels is its path without what follows a dash."""
    given = {
        "labels": {"grade": label} if label else {},
        "status": "used" if label else "unlabelled",
        **values,
    }
    images = tuple(ImageRef(f"{case_id}/{path}", "CC") for path in paths)
    return Case(case_id, group or case_id, images, **given)  # type: ignore[arg-type]


def settle(cases: Sequence[Case], blank: Sequence[str] = ()) -> DuplicateFindings:
    headers = {
        image.path: make_file(image.path, pixels=image.path.partition("/")[2].partition("-")[0])
        for case in cases
        for image in case.images
    }
    headers |= {
        path: Header(path, "dicom", 1, path, "", {}) for path in headers if path.endswith("/unhashed")
    }
    return settle_duplicates(cases, headers=headers, head="grade", blank=blank)


def statuses(findings: DuplicateFindings) -> dict[str, tuple[str, str]]:
    return {case.case_id: (case.status, case.reason) for case in findings.cases}


def test_files_with_one_uid_and_other_bytes_are_all_quarantined_and_name_the_first_that_differs():
    files = [
        make_file("d", uid="1.2", content="y"),
        make_file("c", uid="1.2", content="x"),
        make_file("b", uid="1.2", content="x"),
        make_file("copy", uid="1.3", content="z"),
        make_file("original", uid="1.3", content="z"),
        make_file("a", uid="", content="1"),
        make_file("e", uid="", content="2"),
    ]
    assert find_uid_clashes(files) == [
        Reject("b", "quarantined", "SOPInstanceUID 1.2 also in d, with other content"),
        Reject("c", "quarantined", "SOPInstanceUID 1.2 also in d, with other content"),
        Reject("d", "quarantined", "SOPInstanceUID 1.2 also in b, with other content"),
    ]


def test_of_copies_one_of_a_case_then_the_first_by_path_stays_unless_they_are_of_two_cases():
    files = [make_file(path, content=path[0]) for path in ("a3", "a1", "a2", "b2", "b1", "c1", "d2", "d1")]
    owners = {"a1": "A", "a2": "A", "b1": "B", "b2": "other", "d2": "D"}
    assert find_copies(files, owners=owners) == [
        Reject("a2", "excluded", "same bytes as a1"),
        Reject("a3", "excluded", "same bytes as a1"),
        Reject("d1", "excluded", "same bytes as d2"),
    ]


@pytest.mark.parametrize(
    ("first", "second", "kept"),
    [
        (make_case("a", "p", label="low"), make_case("b", "p", label="low"), "a"),
        (make_case("a", "p"), make_case("b", "p", label="low"), "b"),
        (make_case("a", "p", status="used"), make_case("b", "p", label="low"), "b"),
        (make_case("a", "p", label="low", status="unlabelled"), make_case("b", "p", status="used"), "b"),
        (make_case("a", "p"), make_case("b", "p"), "a"),
    ],
    ids=["both labelled", "second labelled", "used without label", "used before labelled", "none labelled"],
)
def test_of_cases_with_one_look_a_used_and_labelled_one_stays(first, second, kept):
    findings = settle([second, first])
    assert [case.case_id for case in findings.cases] == ["b", "a"]
    (dropped,) = {"a", "b"} - {kept}
    found = statuses(findings)
    assert found[kept][0] in ("used", "unlabelled")
    assert found[dropped] == ("excluded", f"identical pixels as {kept}, which stays")


def test_an_excluded_case_keeps_its_reason_and_is_never_the_one_that_stays():
    findings = settle(
        [
            make_case("a", "p", label="low", status="excluded", reason="erratum"),
            make_case("b", "p", label="low"),
            make_case("c", "p"),
            make_case("d", "q", label="low", status="excluded", reason="erratum 2"),
            make_case("e", "q", status="excluded", reason="erratum 3"),
            make_case("f", "r", label="low", status="excluded", reason="erratum 4"),
            make_case("g", "r"),
        ]
    )
    assert statuses(findings) == {
        "a": ("excluded", "erratum"),
        "b": ("used", ""),
        "c": ("excluded", "identical pixels as b, which stays"),
        "d": ("excluded", "erratum 2"),
        "e": ("excluded", "erratum 3"),
        "f": ("excluded", "erratum 4"),
        "g": ("unlabelled", ""),
    }
    assert [pair.cases for pair in findings.duplicates] == [("a", "b"), ("a", "c"), ("d", "e"), ("f", "g")]


@pytest.mark.parametrize(("count", "more"), [(2, ""), (4, ""), (5, ", ...")])
def test_of_a_clash_of_labels_none_stays_and_up_to_four_are_named(count, more):
    labels = ["low", *[""] * (count - 2), "high"]
    cases = [make_case(f"c{number}", "p", label=label) for number, label in enumerate(labels)]
    named = ", ".join(f"c{number} ({label or 'unlabelled'})" for number, label in enumerate(labels[:4]))
    reason = f"identical pixels with different grade: {named}{more}"
    assert set(statuses(settle(cases)).values()) == {("excluded", reason)}


def test_the_label_of_an_excluded_case_clashes_too():
    cases = [
        make_case("a", "p", label="low"),
        make_case("b", "p", label="high", status="excluded", reason="x"),
    ]
    assert statuses(settle(cases)) == {
        "a": ("excluded", "identical pixels with different grade: a (low), b (high)"),
        "b": ("excluded", "x"),
    }


def test_a_clash_shows_in_a_pair_though_an_unlabelled_case_sorts_first():
    findings = settle(
        [make_case("a", "p"), make_case("b", "p", label="low"), make_case("c", "p", label="high")]
    )
    assert [(pair.cases, pair.labels, pair.label_conflict) for pair in findings.duplicates] == [
        (("a", "b"), (None, "low"), False),
        (("b", "c"), ("low", "high"), True),
    ]


def test_pairs_count_the_images_they_share_in_the_order_of_ids_once_each():
    cases = [
        make_case("b", "p", "q", "r", label="low", group="g2"),
        make_case("a", "p", "q", "s", group="g1"),
        make_case("c", "r", label="low", group="g2"),
    ]
    found = [(pair.cases, pair.groups, pair.images) for pair in settle(cases).duplicates]
    assert found == [(("a", "b"), ("g1", "g2"), 2), (("b", "c"), ("g2", "g2"), 1)]


def test_blank_and_unhashed_images_join_no_cases_and_are_no_repetition():
    cases = [make_case(name, "blank", "blank-2", "unhashed", name, label="low") for name in "ab"]
    findings = settle(cases, blank=["blank"])
    assert findings.duplicates == []
    assert findings.anomalies == []
    assert {status for status, _ in statuses(findings).values()} == {"used"}


def test_two_images_of_one_case_with_one_look_are_an_anomaly_but_two_frames_of_a_file_are_not():
    twice = make_case("a", "p", "p-2", label="low")
    frames = Case(
        "b", "b", tuple(ImageRef("b/q", "CC", frame) for frame in range(3)), labels={"grade": "low"}
    )
    assert settle([twice, frames]).anomalies == ["case a: two of its images have identical pixels"]


def test_two_groups_may_be_one_only_if_every_case_of_both_has_a_twin_in_the_other():
    def share(*rows: tuple[str, str, str]) -> list[str]:
        return settle(
            [make_case(case, look, label="low", group=group) for case, group, look in rows]
        ).anomalies

    whole = (("a1", "A", "p"), ("a2", "A", "q"), ("b1", "B", "p"), ("b2", "B", "q"))
    assert share(*whole) == [
        "groups A and B may be one: each of their 4 cases shares pixels with the other group"
    ]
    assert share(*whole, ("a3", "A", "r")) == []
    assert share(*whole, ("b3", "B", "r")) == []
    assert share(("a1", "A", "p"), ("a2", "A", "p")) == []


def test_only_one_uid_and_the_same_pixels_together_make_a_copy_of_other_bytes():
    files = [
        make_file("a", uid="1.2", pixels="same"),
        make_file("b", uid="1.2", pixels="same"),
        make_file("c", uid="1.3", pixels="same"),
        make_file("d", pixels="same"),
        make_file("e", pixels="same"),
        Header("f", "dicom", 1, "f", "", {"SOPInstanceUID": "1.4"}),
        Header("g", "dicom", 1, "g", "", {"SOPInstanceUID": "1.4"}),
        Header("h", "png", 1, "h", "", {}),
        Header("i", "png", 1, "i", "", {}),
    ]
    assert find_copies(files, owners={}) == [Reject("b", "excluded", "same SOPInstanceUID and pixels as a")]
