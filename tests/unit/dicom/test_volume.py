"""A series as a volume: order, geometry, values and refusals."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pydicom.data
import pytest
from pydicom.dataset import Dataset

from medimg.dicom import volume as volume_module
from medimg.dicom.volume import read_volume
from medimg.errors import UnreadableFile
from tests.unit.dicom.series import AXIAL, SAGITTAL, write_series
from tests.unit.dicom.written import write_dicom

CT_SLICES = Path(pydicom.data.__file__).parent / "test_files" / "dicomdirtests" / "77654033" / "CT2"


def ramp(count: int = 5, *, dtype: type = np.uint16) -> np.ndarray:
    return np.arange(count * 6 * 4).reshape(count, 6, 4).astype(dtype)


def values_of(stack) -> np.ndarray:
    return np.stack([slice_HW.astype(float) * stack.slope + stack.intercept for slice_HW in stack.slices])


@pytest.mark.parametrize("orientation", [AXIAL, SAGITTAL, (-1.0, 0, 0, 0, 1, 0), (0.8, 0.6, 0, 0, 0, -1)])
def test_slices_are_sorted_along_the_normal_whatever_their_names_and_numbers(tmp_path, orientation):
    paths = write_series(tmp_path, ramp(), orientation=orientation)
    for order in (paths, paths[::-1], [paths[index] for index in (3, 0, 4, 1, 2)]):
        np.testing.assert_array_equal(np.stack(list(read_volume(order))), ramp())


def test_the_affine_leads_to_the_patient_coordinates_of_the_standards_equation(tmp_path):
    volume = read_volume(write_series(tmp_path, ramp(), orientation=SAGITTAL))
    # PS3.3 C.7.6.2.1-1 by hand: x of the row cosine steps by the column spacing (0.75), y by the row spacing
    # (0.5), z along the normal (-1, 0, 0).
    found = volume.affine @ [2, 3, 1, 1]
    np.testing.assert_allclose(found, [-120 - 2 * 2.5, -60 + 0.75, 30 - 3 * 0.5, 1])


def test_a_tilted_gantry_is_a_shear_of_the_affine(tmp_path):
    positions = [[0.0, 0.3 * index, 2.0 * index] for index in range(5)]
    volume = read_volume(write_series(tmp_path, ramp(), ImagePositionPatient=positions))
    np.testing.assert_allclose(volume.affine @ [4, 0, 0, 1], [0, 1.2, 8, 1])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.int8, np.int16])
def test_modality_values_are_exact_for_signed_and_unsigned_slices(tmp_path, dtype):
    stored = np.random.default_rng(0).integers(
        np.iinfo(dtype).min, np.iinfo(dtype).max, (3, 6, 4), dtype=dtype, endpoint=True
    )
    stack = read_volume(write_series(tmp_path, stored, RescaleSlope=0.5, RescaleIntercept=-1024)).stack
    assert {slice_HW.dtype for slice_HW in stack.slices} == {np.dtype(f"u{np.dtype(dtype).itemsize}")}
    np.testing.assert_array_equal(values_of(stack), stored * 0.5 - 1024)


def test_pixels_are_read_one_slice_at_a_time(tmp_path, monkeypatch):
    read = []
    real = volume_module.read_frame
    monkeypatch.setattr(
        volume_module, "read_frame", lambda path, *, frame: read.append(path) or real(path, frame=frame)
    )
    slices = iter(read_volume(write_series(tmp_path, ramp())).stack.slices)
    assert not read
    next(slices)
    next(slices)
    assert len(read) == 2


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        (
            {"ImagePositionPatient": [[0, 0, z] for z in (0, 2, 4, 8, 10)]},
            "lies 4.000 mm from .*, expected 2.000; 1 slice.* missing",
        ),
        ({"ImagePositionPatient": [[0, 0, z] for z in (0, 2, 4, 4, 6)]}, "lies at the position of"),
        (
            {"ImagePositionPatient": [[0, 0, z] for z in (0, 2, 4, 6.5, 8)]},
            "mm from where even spacing puts it",
        ),
        (
            {"ImagePositionPatient": [[0, y, 2 * y] for y in (0, 1, 2, 8, 4)]},
            "mm from where even spacing puts it",
        ),
        ({"ImageOrientationPatient": [list(AXIAL)] * 4 + [list(SAGITTAL)]}, "orientation is"),
        ({"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]}, "expected two perpendicular unit vectors"),
        ({"PixelSpacing": [[0.5, 0.5]] * 4 + [[0.6, 0.5]]}, "spacing_mm is"),
        ({"RescaleSlope": [1, 1, 1, 2, 1]}, "slope is 2.0, expected 1.0"),
        (
            {"SeriesInstanceUID": ["1.2", "1.2", "1.2", "1.3", "1.2"]},
            "series_instance_uid is 1.3, expected 1.2",
        ),
    ],
)
def test_a_series_that_is_no_even_volume_is_refused_with_the_facts(tmp_path, attributes, words):
    paths = write_series(tmp_path, ramp(), **attributes)
    with pytest.raises(UnreadableFile, match=rf"^\d\d\d\.dcm: .*({words})"):
        read_volume(paths)


def test_a_slice_of_another_size_is_refused(tmp_path):
    paths = write_series(tmp_path, ramp())
    write_series(tmp_path / "other", np.zeros((5, 7, 4), np.uint16))
    with pytest.raises(UnreadableFile, match=r"shape is \(7, 4\), expected \(6, 4\)"):
        read_volume([*paths[:4], tmp_path / "other" / "001.dcm"])


def test_a_slice_without_a_position_is_refused(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", ramp(1)[0])
    with pytest.raises(UnreadableFile, match=r"a\.dcm: ImagePositionPatient of frame 0 is missing"):
        read_volume([path])


def test_colours_are_refused(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", np.zeros((6, 4, 3), np.uint8))
    with pytest.raises(UnreadableFile, match=r"SamplesPerPixel .* is 3, expected 1"):
        read_volume([path])


def test_frames_of_an_enhanced_object_are_sorted_by_their_own_positions(tmp_path):
    order = [2, 0, 3, 1]
    groups = [item(PlanePositionSequence=[item(ImagePositionPatient=[0.0, 0.0, 3.0 * z])]) for z in order]
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=list(AXIAL))],
        PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.75], SliceThickness=3.0)],
        PixelValueTransformationSequence=[item(RescaleSlope=2, RescaleIntercept=-5)],
    )
    path = write_dicom(
        tmp_path / "a.dcm",
        *ramp(4)[order],
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=groups,
    )
    volume = read_volume([path])
    np.testing.assert_array_equal(values_of(volume.stack), ramp(4) * 2.0 - 5)
    np.testing.assert_allclose(volume.affine @ [3, 2, 1, 1], [0.75, 1, 9, 1])


def test_of_shared_groups_only_the_first_counts(tmp_path):
    groups = [item(PlanePositionSequence=[item(ImagePositionPatient=[0.0, 0.0, 3.0 * z])]) for z in range(4)]
    first = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=list(AXIAL))],
        PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.75], SliceThickness=3.0)],
    )
    second = item(PixelValueTransformationSequence=[item(RescaleSlope=2, RescaleIntercept=-5)])
    path = write_dicom(
        tmp_path / "a.dcm",
        *ramp(4),
        SharedFunctionalGroupsSequence=[first, second],
        PerFrameFunctionalGroupsSequence=groups,
    )
    np.testing.assert_array_equal(values_of(read_volume([path]).stack), ramp(4))


def test_real_ct_slices_are_hounsfield_units(shared_data):
    paths = sorted((shared_data / "seg").glob("segmentations__ct-*.dcm"))
    volume = read_volume(paths)
    expected = [dataset.pixel_array.astype(float) - 1024 for dataset in map(pydicom.dcmread, reversed(paths))]
    np.testing.assert_array_equal(values_of(volume.stack), np.stack(expected))
    assert [plane.position[2] for plane in volume.planes] == sorted(
        plane.position[2] for plane in volume.planes
    )


def test_real_oblique_mr_slices_make_a_volume(shared_data):
    volume = read_volume(sorted((shared_data / "seg" / "mr").glob("*.dcm")))
    assert volume.shape == (9, 256, 256)
    for index, plane in enumerate(volume.planes):
        np.testing.assert_allclose((volume.affine @ [index, 0, 0, 1])[:3], plane.position, atol=1e-4)


def test_a_real_series_with_slices_left_out_is_refused():
    with pytest.raises(UnreadableFile, match=r"expected 1.250; 161 slice\(s\) between them are missing"):
        read_volume(sorted(CT_SLICES.iterdir()))


def item(**attributes: object) -> Dataset:
    dataset = Dataset()
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset
