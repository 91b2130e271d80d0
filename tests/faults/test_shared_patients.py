"""One patient or study of the headers in several groups of the table is a leak, and is said first."""

from __future__ import annotations

import numpy as np
import pytest
from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

from medimg.catalogue import index
from tests.faults.catalogued import catalogue, noise, write_folder
from tests.unit.datasets.hospital import read_here
from tests.unit.dicom.written import make_dataset

CT = "1.2.840.10008.5.1.4.1.1.2"
PATIENT, STUDY, IMAGE = 0x00100020, 0x0020000D, 0x00080018
COUNT = 16


@pytest.fixture(autouse=True)
def _read_in_this_process(monkeypatch):
    monkeypatch.setattr(index, "guarded_map", read_here)


def write_slices(folder, values: dict[int, list[str]], *, key: str = "file"):
    """Slices with these values of elements, each in a group of its own by the table."""
    write_folder(folder, pictures=0)
    rows = [f"{key},label" if key != "file" else "file,patient_id,label"]
    for number in range(COUNT):
        name, label = f"{number:02d}.dcm", "ab"[number // 4 % 2]
        dataset = make_dataset([noise(number)], SOPClassUID=CT, SOPInstanceUID=f"1.2.{number}", Modality="CT")
        for tag, texts in values.items():
            text = texts[number].encode()
            text += b" " * (len(text) % 2)
            representation = "LO" if tag == PATIENT else "UI"
            dataset[tag] = RawDataElement(Tag(tag), representation, len(text), text, 0, False, True)
        dataset.save_as(folder / name, enforce_file_format=True)
        rows.append(
            f"{name},ACC{number:03d},{label}" if key == "file" else f"{values[IMAGE][number]},{label}"
        )
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


SHARED = [
    ("PatientID (0010,0020)", PATIENT, [f"HOSPITAL{number // 4}" for number in range(COUNT)]),
    ("PatientID (0010,0020)", PATIENT, [f"{'00' * (number % 2)}47{number // 4}" for number in range(COUNT)]),
    ("StudyInstanceUID (0020,000D)", STUDY, [f"1.2.840.{number // 4}" for number in range(COUNT)]),
    ("StudyInstanceUID (0020,000D)", STUDY, [f"HOSPITAL-STUDY-{number // 4}" for number in range(COUNT)]),
]


@pytest.mark.parametrize(("name", "tag", "values"), SHARED)
def test_what_several_groups_share_is_a_leak_and_is_said_first(tmp_path, name, tag, values):
    found = catalogue(write_slices(tmp_path / "data", {tag: values}))
    leak = f"leak: 4 values of {name} occur in more than one group (first: ACC000 and ACC001)"
    assert found.out.partition("anomaly: ")[2].startswith(leak)
    assert found.summary["anomalies"][0].startswith(leak)
    [row] = [
        row for row in found.summary["leakage"] if row["common"] == f"the same {name}, in several groups"
    ]
    assert sum(row["pairs"].values()) > 0
    assert "HOSPITAL" not in found.out + str(found.summary) + found.images.to_csv() + found.cases.to_csv()


def test_texts_in_the_place_of_uids_are_told_apart_and_not_shown(tmp_path):
    uids = {tag: [f"HOSPITAL-{number:02d}" for number in range(COUNT)] for tag in (STUDY, IMAGE)}
    found = catalogue(write_slices(tmp_path / "data", uids))
    assert found.summary["cases"]["used"] == COUNT
    assert found.summary["leaks"] == []
    assert found.images["sop_instance_uid"].nunique() == COUNT
    assert "HOSPITAL" not in found.out + str(found.summary) + found.images.to_csv() + found.cases.to_csv()


def test_labels_find_images_by_texts_in_the_place_of_uids(tmp_path):
    values = {tag: [f"HOSPITAL-{number:02d}" for number in range(COUNT)] for tag in (PATIENT, IMAGE)}
    found = catalogue(write_slices(tmp_path / "data", values, key="sop_instance_uid"))
    assert found.summary["cases"]["used"] == COUNT
    np.testing.assert_array_equal(
        found.cases["label_label"], ["ab"[number // 4 % 2] for number in range(COUNT)]
    )
