import hashlib

import numpy as np
import openpyxl
import pydicom
import pytest

from medimg.datasets.cmmd.drawing import draw_breast, lesion_box
from medimg.datasets.cmmd.phantom import plan_breasts, write_phantom
from medimg.errors import UsageError

ROWS, COLUMNS = 143, 120


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantom")
    write_phantom(root, cases=20, seed=3, rows=ROWS, columns=COLUMNS)
    return root


def hash_files(root):
    return {
        path.relative_to(root): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def read_files(root):
    return [pydicom.dcmread(path) for path in sorted(root.rglob("*.dcm"))]


def read_rows(root):
    header, *rows = (
        openpyxl.load_workbook(next(root.glob("*.xlsx"))).worksheets[0].iter_rows(values_only=True)
    )
    return [dict(zip(header, row, strict=True)) for row in rows]


def test_the_same_arguments_give_the_same_bytes_and_another_seed_others(tree, tmp_path):
    write_phantom(tmp_path / "again", cases=20, seed=3, rows=ROWS, columns=COLUMNS)
    write_phantom(tmp_path / "other", cases=20, seed=4, rows=ROWS, columns=COLUMNS)
    assert hash_files(tmp_path / "again") == hash_files(tree)
    assert not set(hash_files(tmp_path / "other").values()) & set(hash_files(tree).values())


def test_the_headers_are_those_of_cmmd(tree):
    dataset = read_files(tree)[0]
    assert dataset.SOPClassUID == "1.2.840.10008.5.1.4.1.1.1.2"
    assert (dataset.Modality, dataset.PhotometricInterpretation, dataset.VOILUTFunction) == (
        "MG",
        "MONOCHROME2",
        "SIGMOID",
    )
    assert (dataset.WindowCenter, dataset.WindowWidth, dataset.BitsStored) == (128, 256, 8)
    assert dataset.PresentationIntentType == "FOR PRESENTATION"
    assert dataset.PatientAge.endswith("Y")
    assert "ViewPosition" not in dataset
    assert dataset.pixel_array.shape == (ROWS, COLUMNS)


def test_the_chest_wall_is_where_side_and_orientation_say(tree):
    for dataset in read_files(tree):
        image_HW = dataset.pixel_array.astype(float)
        left, right = image_HW[:, 0].mean(), image_HW[:, -1].mean()
        assert (left > right) == (dataset.ImageLaterality == "L")
        assert dataset.PatientOrientation[0] == ("A" if dataset.ImageLaterality == "L" else "P")


def test_every_breast_has_one_image_of_each_view(tree):
    views = [
        (dataset.PatientID, dataset.ImageLaterality, dataset.ViewCodeSequence[0].CodeValue)
        for dataset in read_files(tree)
    ]
    assert len(views) == len(set(views)) == 2 * len({view[:2] for view in views})


def test_no_uid_occurs_twice(tree):
    uids = [dataset.SOPInstanceUID for dataset in read_files(tree)]
    assert len(set(uids)) == len(uids)
    assert all(uid.startswith("2.25.") and uid.is_valid for uid in uids)


def test_the_quirks_of_the_collection_are_there(tree):
    rows, files = read_rows(tree), read_files(tree)
    labels = {}
    for row in rows:
        labels.setdefault(row["ID1"], set()).add(row["classification"])
    assert {"Benign", "Malignant"} in labels.values()
    assert {
        dataset.PatientID for dataset in files if dataset.BitsStored == 16 and dataset.WindowCenter == 32768
    } == {"D1-0003"}
    odd = {
        dataset.InstanceNumber: dataset.ViewCodeSequence[0].CodeMeaning
        for dataset in files
        if dataset.PatientID == "D1-0004"
    }
    assert odd == {2: "medio-lateral oblique", 3: "cranio-caudal"}
    assert {(dataset.PatientID, dataset.ImageLaterality) for dataset in files} > {
        (row["ID1"], row["LeftRight"]) for row in rows
    }
    assert any(row["subtype"] is None for row in rows if row["ID1"].startswith("D2"))
    assert all(row["subtype"] is None for row in rows if row["ID1"].startswith("D1"))
    assert {row["number"] for row in rows} == {2}


def test_one_pair_of_patients_shares_its_pixels_with_opposite_labels(tree):
    owners = {}
    for dataset in read_files(tree):
        owners.setdefault(dataset.PixelData, set()).add(dataset.PatientID)
    (pair,) = {frozenset(patients) for patients in owners.values() if len(patients) > 1}
    assert {row["classification"] for row in read_rows(tree) if row["ID1"] in pair} == {"Benign", "Malignant"}


def test_the_source_gives_the_label_away_as_in_the_collection():
    labelled = [breast for breast in plan_breasts(cases=160, seed=0) if breast.malignancy]
    share = {
        source: np.mean(
            [breast.malignancy == "Malignant" for breast in labelled if breast.patient.startswith(source)]
        )
        for source in ("D1", "D2")
    }
    assert 0.4 < share["D1"] < 0.6
    assert 0.9 < share["D2"] < 1


def test_the_truth_can_be_drawn_again_and_is_brighter_than_the_tissue_around(tree):
    written = {
        (d.PatientID, d.ImageLaterality, d.InstanceNumber): d.pixel_array
        for d in read_files(tree)
        if d.BitsStored == 8
    }
    for breast in plan_breasts(cases=20, seed=3):
        for number, view in breast.views:
            image_HW, mask_HW = draw_breast(breast, view=view, rows=ROWS, columns=COLUMNS)
            if breast.bits == 8:
                assert np.array_equal(image_HW, written[breast.patient, breast.side, number])
            box = lesion_box(mask_HW)
            assert (box is None) == (breast.malignancy is None)
            if box:
                (top, left), (bottom, right) = box
                around_HW = image_HW[top : bottom + 1, left : right + 1][
                    ~mask_HW[top : bottom + 1, left : right + 1]
                ]
                assert image_HW[mask_HW].mean() > around_HW.mean() + 5


def test_a_lesion_is_at_the_same_depth_in_both_views():
    for breast in plan_breasts(cases=20, seed=3):
        if breast.abnormality == "mass":
            boxes = [
                lesion_box(draw_breast(breast, view=view, rows=574, columns=480)[1]) for view in ("CC", "MLO")
            ]
            left, right = ([box[0][1] for box in boxes], [box[1][1] for box in boxes])
            assert abs(left[0] - left[1]) <= 2
            assert abs(right[0] - right[1]) <= 2


@pytest.mark.parametrize("cases", [1, 2, 5])
def test_a_tree_of_few_patients_can_be_written(tmp_path, cases):
    write_phantom(tmp_path, cases=cases, seed=0, rows=ROWS, columns=COLUMNS)
    assert len({dataset.PatientID for dataset in read_files(tmp_path)}) == cases


def test_a_phantom_of_no_patients_is_refused(tmp_path):
    with pytest.raises(UsageError, match="0 patients"):
        write_phantom(tmp_path, cases=0, seed=0)
