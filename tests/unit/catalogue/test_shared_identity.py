"""One patient or study of the headers in several groups is told as the leak that it is."""

import pytest

from medimg.cases import Case, Header, ImageRef
from medimg.catalogue.shared_identity import find_shared_identities
from medimg.catalogue.split import Assignment


def make(case_id, *, patient, group, study="", status="used"):
    """A case of one image with its header."""
    path = f"{case_id}.dcm"
    tags = {"PatientID": patient, "StudyInstanceUID": study}
    case = Case(case_id, group, (ImageRef(path, "image"),), status=status)
    return case, Header(path, "dicom", 1, "", "", {name: value for name, value in tags.items() if value})


def find(*made, splits):
    cases = [case for case, _ in made]
    headers = {header.path: header for _, header in made}
    assignments = {case.case_id: Assignment(split) for case, split in zip(cases, splits, strict=True)}
    return find_shared_identities(cases, headers=headers, assignments=assignments)


def test_a_patient_in_two_groups_and_splits_is_counted_and_said():
    [found] = find(
        make("a", patient="X", group="g1"),
        make("b", patient="X", group="g2"),
        make("c", patient="X", group="g2"),
        make("d", patient="Y", group="g3"),
        splits=["train", "test", "test", "eval"],
    )
    assert found.tabulate() == {
        "common": "the same PatientID (0010,0020), in several groups",
        "pairs": {"train-eval": 0, "train-test": 2, "eval-test": 0},
    }
    [line] = found.describe()
    assert line.startswith(
        "leak: 1 values of PatientID (0010,0020) occur in more than one group (first: g1 and g2)"
    )
    assert "in different splits: 2" in line
    assert "X" not in line


def test_a_patient_in_two_groups_of_one_split_is_said_too():
    [found] = find(
        make("a", patient="X", group="g1"), make("b", patient="X", group="g2"), splits=["train", "train"]
    )
    assert sum(found.pairs.values()) == 0
    assert found.describe()


def test_cases_of_one_group_share_their_patient_rightly():
    [found] = find(
        make("a", patient="X", group="g1"), make("b", patient="X", group="g1"), splits=["train", "test"]
    )
    assert found.describe() == []
    assert sum(found.pairs.values()) == 0


def test_studies_are_looked_at_beside_patients():
    patients, studies = find(
        make("a", patient="X", group="g1", study="1.2"),
        make("b", patient="Y", group="g2", study="1.2"),
        splits=["eval", "test"],
    )
    assert patients.describe() == []
    assert studies.pairs == {"train-eval": 0, "train-test": 0, "eval-test": 1}
    assert "StudyInstanceUID (0020,000D)" in studies.describe()[0]


@pytest.mark.parametrize("status", ["excluded", "quarantined"])
def test_cases_that_are_not_used_share_nothing(status):
    [found] = find(
        make("a", patient="X", group="g1"),
        make("b", patient="X", group="g2", status=status),
        splits=["train", "test"],
    )
    assert found.describe() == []


def test_pictures_have_no_headers_and_no_rows():
    assert (
        find(make("a", patient="", group="g1"), make("b", patient="", group="g2"), splits=["train", "test"])
        == []
    )
