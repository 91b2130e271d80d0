"""Which files reach a data set's listing, and that each ends in one case or one reject."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from medimg.cases import Case, DataSet, Header, ImageRef, Listing, Reject
from medimg.catalogue.listing import list_checked
from medimg.errors import MedimgError
from tests.unit.catalogue.phantom import DATA_SET

ROOT = Path("data")


def header(path: str, content: str = "", **tags: object) -> Header:
    return Header(path, "dicom", 1, content or path, path, {"SOPInstanceUID": f"1.{path}", **tags})


def data_set_of(listed: list[list[str]]) -> DataSet:
    """Each folder a case: files in `masks/` are its masks, `odd` is rejected; notes what it is given."""

    def list_cases(root: Path, headers: Sequence[Header]) -> Listing:
        paths = [found.path for found in headers]
        listed.append(paths)
        cases = []
        for name in dict.fromkeys(path.partition("/")[0] for path in paths if "odd" not in path):
            own = [path for path in paths if path.startswith(f"{name}/")]
            images = tuple(
                ImageRef(path, "CC", frame) for path in own if "mask" not in path for frame in (0, 1)
            )
            masks = tuple(ImageRef(path, "CC") for path in own if "mask" in path)
            cases.append(Case(name, name, images, masks=masks))
        return Listing(cases, [Reject(path, "quarantined", "odd") for path in paths if "odd" in path])

    return dataclasses.replace(DATA_SET, list_cases=list_cases)


def check(*headers: Header) -> tuple[list[str], list[tuple[str, str]], list[list[str]]]:
    """Returns the paths that are used, the rejects with their reasons, and what was listed each time."""
    listed: list[list[str]] = []
    usable, _, rejects = list_checked(data_set_of(listed), data_root=ROOT, headers=headers)
    return [one.path for one in usable], [(one.path, one.reason) for one in rejects], listed


def test_unusable_and_clashing_files_are_never_listed_and_copies_once_only():
    usable, rejects, listed = check(
        header("a/1"),
        header("a/2", "same", SOPInstanceUID="1.9"),
        header("a/3", "same", SOPInstanceUID="1.9"),
        header("b/1", BurnedInAnnotation="YES", SOPInstanceUID="1.7"),
        header("b/2", SOPInstanceUID="1.7"),
        header("b/3", SOPInstanceUID="1.8"),
        header("b/4", SOPInstanceUID="1.8"),
        header("odd"),
    )
    assert usable == ["a/1", "a/2", "b/2", "odd"]
    assert [path for path, _ in rejects] == ["b/1", "b/3", "b/4", "a/3", "odd"]
    assert dict(rejects)["a/3"] == "same bytes as a/2"
    assert dict(rejects)["b/3"] == "SOPInstanceUID 1.8 also in b/4, with other content"
    assert listed == [["a/1", "a/2", "a/3", "b/2", "odd"], ["a/1", "a/2", "b/2", "odd"]]


def test_without_copies_the_data_set_is_listed_once():
    _, rejects, listed = check(header("a/1"), header("b/1"))
    assert (rejects, len(listed)) == ([], 1)


@pytest.mark.parametrize("names", [("a/1", "b/1"), ("a/mask", "b/mask"), ("a/1", "b/mask")])
def test_one_content_in_two_cases_is_no_mere_copy_be_it_an_image_or_a_mask(names):
    headers = [header(name, "same", SOPInstanceUID="") for name in names]
    usable, rejects, _ = check(*headers, header("a/2"), header("b/2"))
    assert rejects == []
    assert set(names) <= set(usable)


def test_a_file_of_many_frames_is_in_its_case_once_and_a_rejected_one_is_claimed():
    usable, rejects, _ = check(header("a/1"), header("a/mask"), header("odd"))
    assert usable == ["a/1", "a/mask", "odd"]
    assert rejects == [("odd", "odd")]


CASES = [Case(name, name, (ImageRef(f"{name}/1", "CC"),)) for name in "ab"]


@pytest.mark.parametrize(
    ("listing", "message"),
    [
        (Listing(CASES[:1]), "b/1 is in no case and no reject, expected exactly one"),
        (
            Listing([*CASES, Case("c", "c", (), masks=CASES[0].images)]),
            "a/1 is in case a and case c, expected",
        ),
        (
            Listing(CASES, [Reject("a/1", "excluded", "x")]),
            r"a/1 is in case a and the rejects \(x\), expected",
        ),
        (Listing([*CASES, Case("c", "c", (ImageRef("c/1", "CC"),))]), "c/1 is in case c, but no such image"),
        (Listing(CASES, [Reject("c/1", "excluded", "x")]), r"c/1 is in the rejects \(x\), but no such image"),
        (
            Listing([CASES[0], dataclasses.replace(CASES[1], case_id="a")]),
            "case id a is given to several cases",
        ),
    ],
    ids=["lost", "doubled as a mask", "doubled as a reject", "invented", "invented reject", "repeated id"],
)
def test_a_listing_that_does_not_add_up_is_refused_with_the_file(listing, message):
    data_set = dataclasses.replace(DATA_SET, list_cases=lambda root, headers: listing)
    with pytest.raises(MedimgError, match=f"^data set tiny: {message}"):
        list_checked(data_set, data_root=ROOT, headers=[header("a/1"), header("b/1")])
