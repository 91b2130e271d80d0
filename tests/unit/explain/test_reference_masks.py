"""The outline of a lesion goes the same way as its pixels: orientation, crop, resize and padding."""

import numpy as np
import pydicom
import pytest

from medimg.cases import Annotation
from medimg.datasets import find_data_set
from medimg.datasets.cmmd.phantom import write_phantom
from medimg.datasets.outlines import read_lesions
from medimg.examples.record import read_record
from medimg.explain.reference_masks import draw_mask, widen
from medimg.images.prepare import Ingest
from medimg.images.scan import list_files, scan_file


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    """Phantom breasts whose outlines are painted white in the stored pixels.

    All that moves pixels is switched on.
    """
    root = tmp_path_factory.mktemp("phantom")
    write_phantom(root, cases=6, seed=5, rows=287, columns=240)
    outlines = read_lesions(root)
    for path in root.rglob("*.dcm"):
        dataset = pydicom.dcmread(path)
        pixels_HW = dataset.pixel_array // 2
        pixels_HW[draw_mask(outlines.get(dataset.SOPInstanceUID, ()), shape=pixels_HW.shape)] = (
            2**dataset.BitsStored - 1
        )
        dataset.PixelData = pixels_HW.tobytes()
        dataset.save_as(path)
    headers = [header for path in list_files(root) if (header := scan_file(path, root=str(root)))]
    ingest = Ingest(image_size=(160, 150), orientation="mammogram", crop="breast")
    cases = [case for case in find_data_set("cmmd").list_cases(root, headers).cases if case.annotations]
    return [read_record(case, data_root=root, ingest=ingest)[0] for case in cases]


def test_the_records_are_of_both_sides_so_that_flips_are_tested(records):
    assert {record.case.clinical["laterality"] for record in records} == {"L", "R"}


def test_an_outline_lies_on_its_pixels_after_flip_crop_resize_and_padding(records):
    for record in records:
        for role, stack in record.images.items():
            painted_HW = next(iter(stack.slices)) > 200
            mask_HW = draw_mask(
                [item for item in record.case.annotations if item.role == role], shape=painted_HW.shape
            )
            overlap = (mask_HW & painted_HW).sum() / (mask_HW | painted_HW).sum()
            assert overlap > 0.85, f"{record.case.case_id} {role}"


def test_every_view_of_a_phantom_with_a_lesion_is_outlined_once(records):
    assert records
    for record in records:
        assert sorted(item.role for item in record.case.annotations) == ["CC", "MLO"]


def test_a_box_is_filled_with_both_corners_within():
    mask_HW = draw_mask([Annotation("CC", "mass", "box", ((2, 3), (4, 6)))], shape=(10, 10))
    assert np.argwhere(mask_HW).min(axis=0).tolist() == [2, 3]
    assert np.argwhere(mask_HW).max(axis=0).tolist() == [4, 6]


def test_several_outlines_are_filled_together_at_fractions_of_a_pixel():
    triangle = Annotation("CC", "mass", "polygon", ((1, 1), (1, 7), (7, 1)))
    box = Annotation("CC", "mass", "box", ((8.6, 8.6), (9, 9)))
    mask_HW = draw_mask([triangle, box], shape=(10, 12))
    assert mask_HW[1, 1:8].all()
    assert mask_HW[1:8, 1].all()
    assert not mask_HW[6, 6]
    assert np.argwhere(mask_HW[8:]).tolist() == [[1, 9]]
    assert not draw_mask([], shape=(4, 5)).any()


def test_an_outline_beyond_the_edge_is_cut_off():
    mask_HW = draw_mask(
        [Annotation("CC", "mass", "polygon", ((-5, -5), (-5, 3), (3, 3), (3, -5)))], shape=(6, 6)
    )
    assert mask_HW[:4, :4].all()
    assert mask_HW.sum() == 16


def test_a_widened_mask_reaches_so_many_pixels_further():
    point_HW = np.zeros((9, 9), bool)
    point_HW[4, 4] = True
    assert np.argwhere(widen(point_HW, pixels=2).any(axis=0)).ravel().tolist() == [2, 3, 4, 5, 6]
    assert (widen(point_HW, pixels=0) == point_HW).all()
