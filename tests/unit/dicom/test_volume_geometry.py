"""How far slices may be from an even volume, and what each header attribute does to it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from medimg.dicom.volume import read_planes, read_volume
from medimg.errors import UnreadableFile
from tests.unit.dicom.series import AXIAL, SAGITTAL, write_series
from tests.unit.dicom.test_volume import item, ramp, values_of
from tests.unit.dicom.test_windowing import lookup_table
from tests.unit.dicom.written import write_dicom


def along(*places: float) -> dict[str, object]:
    """Positions along the normal of axial slices."""
    return {"ImagePositionPatient": [[0.0, 0.0, place] for place in places]}


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        # Of slices 5 mm apart 1 %: 0.05 mm. The first and the last are where they are by definition.
        (along(0, 5.051, 10, 15, 20), r"^004\.dcm: lies 0\.051 mm from where .* expected at most 0\.050 mm"),
        (along(0, 5, 10, 14.94, 20), r"^002\.dcm: lies 0\.060 mm from where"),
        # Of slices 0.5 mm apart not 1 %, but 0.01 mm.
        (along(0, 0.5, 1.011, 1.5, 2), r"lies 0\.011 mm from where .* expected at most 0\.010 mm"),
        # Half a slice is no missing one, and 2 and 3 gaps are 1 and 2.
        (along(0, 2, 4, 7, 9), "from where even spacing puts it"),
        (along(0, 2, 4, 7.75, 9.75), "from where even spacing puts it"),
        (along(0, 2, 4, 7.85, 9.85), r"3\.850 mm from .*, expected 2\.000; 1 slice\(s\) between them"),
        (along(0, 2, 4, 10, 12), r"^002\.dcm: lies 6\.000 mm from 003\.dcm, .* 2 slice\(s\) between"),
        (along(0, 2, 4, 4.009, 6), r"lies at the position of 003\.dcm \(0\.0090 mm apart\)"),
        (along(3, 3, 3, 3, 3), "lies at the position of"),
        (
            {"ImagePositionPatient": [[0, 0.2 * (z == 4), z] for z in (0, 2, 4, 6, 8)]},
            r"lies 0\.200 mm from where",
        ),
        ({"ImageOrientationPatient": [list(AXIAL)] * 4 + [[1, 0.0002, 0, 0, 1, 0]]}, "orientation is"),
        ({"PixelSpacing": [[0.5, 0.75]] * 4 + [[0.5002, 0.75]]}, "spacing_mm is"),
        ({"PixelSpacing": [[0.5, 0.75]] * 4 + [[0.5, 0.7498]]}, "spacing_mm is"),
        ({"PixelSpacing": [[0.75, 0.5]] * 4 + [[0.5, 0.75]]}, "spacing_mm is"),
        ({"RescaleSlope": 1, "RescaleIntercept": [0, 0, 0, 0, -1]}, r"intercept is -1\.0, expected 0\.0"),
        ({"RescaleSlope": [1, 1, 1.0001, 1, 1]}, r"slope is 1\.0001, expected 1\.0"),
        ({"PixelRepresentation": [0, 0, 1, 0, 0]}, "signed is True, expected False"),
        # Each vector has a length, and both an angle.
        ({"ImageOrientationPatient": [1.1, 0, 0, 0, 1, 0]}, "two perpendicular unit vectors"),
        ({"ImageOrientationPatient": [0.9, 0, 0, 0, 1, 0]}, "two perpendicular unit vectors"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1.1, 0]}, "two perpendicular unit vectors"),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 0.9, 0]}, "two perpendicular unit vectors"),
        ({"ImageOrientationPatient": [1, 0, 0, 0.02, 1, 0]}, "two perpendicular unit vectors"),
        ({"ImageOrientationPatient": [1, 0, 0, -0.02, 1, 0]}, "two perpendicular unit vectors"),
        ({"ImagePositionPatient": [0, 0, 0, 0]}, "ImagePositionPatient of frame 0 is .*, expected 3 numbers"),
        ({"ImagePositionPatient": [0, 0]}, "ImagePositionPatient of frame 0 is .*, expected 3 numbers"),
        ({"PixelSpacing": [0.5, 0.5, 0.5]}, "PixelSpacing of frame 0 is .*, expected 2 numbers"),
        ({"PixelSpacing": ""}, "PixelSpacing of frame 0 is missing, expected 2 numbers"),
        ({"ImageOrientationPatient": ""}, "ImageOrientationPatient of frame 0 is missing, expected 6"),
        ({"PixelSpacing": ["nan", "0.5"]}, "PixelSpacing of frame 0 is .*, expected 2 numbers"),
    ],
)
def test_what_is_just_out_of_the_tolerance_is_refused(tmp_path, attributes, words):
    paths = write_series(tmp_path, ramp(), **attributes)
    with pytest.raises(UnreadableFile, match=words) as refused:
        read_volume(paths)
    assert str(refused.value)[:8] in {path.name + ":" for path in paths}


@pytest.mark.parametrize(
    "attributes",
    [
        along(0, 5.049, 10, 15, 20),
        along(0, 0.5, 1.009, 1.5, 2),
        along(0, 0.011, 0.022, 0.033, 0.044),
        {"ImagePositionPatient": [[0, 0.019 * (z == 4), z] for z in (0, 2, 4, 6, 8)]},
        {"ImageOrientationPatient": [list(AXIAL)] * 4 + [[1, 0.00009, 0, 0, 1, 0]]},
        {"PixelSpacing": [[0.5, 0.75]] * 4 + [[0.50009, 0.74991]]},
        {"ImageOrientationPatient": [1.004, 0, 0, 0.009, 0.996, 0]},
        {"BitsStored": 16, "RescaleSlope": "", "RescaleIntercept": ""},
    ],
)
def test_what_is_just_within_the_tolerance_is_a_volume(tmp_path, attributes):
    volume = read_volume(write_series(tmp_path, ramp(), **attributes))
    np.testing.assert_array_equal(values_of(volume.stack), ramp())


def test_a_volume_steps_evenly_from_the_first_slice_to_the_last(tmp_path):
    volume = read_volume(write_series(tmp_path, ramp(), **along(0, 5.04, 10.02, 15, 20.02)))
    np.testing.assert_allclose(volume.affine[:3, 0], [0, 0, 20.02 / 4])
    np.testing.assert_allclose(volume.affine[:3, 3], [0, 0, 0])


@settings(max_examples=25)
@given(
    order=st.permutations(range(5)), orientation=st.sampled_from([AXIAL, SAGITTAL, (0.8, 0.6, 0, 0, 0, -1)])
)
def test_any_order_of_the_files_gives_the_same_volume(tmp_path_factory, order, orientation):
    folder = tmp_path_factory.mktemp("series")
    paths = write_series(folder, ramp(), orientation=orientation)
    volume = read_volume([paths[index] for index in order])
    np.testing.assert_array_equal(np.stack(list(volume)), ramp())
    np.testing.assert_allclose(volume.affine[:3, 3], [-120, -60, 30])
    step = np.cross(orientation[:3], orientation[3:]) * 2.5
    np.testing.assert_allclose(volume.affine[:3, 0], step, atol=1e-9)


# --- a single slice


@pytest.mark.parametrize(
    ("attributes", "step_mm"),
    [
        ({"SpacingBetweenSlices": 3, "SliceThickness": 9}, 3),
        ({"SpacingBetweenSlices": -3, "SliceThickness": 9}, 3),
        ({"SpacingBetweenSlices": 0, "SliceThickness": 9}, 9),
        ({"SpacingBetweenSlices": "", "SliceThickness": 9}, 9),
        ({"SliceThickness": 9}, 9),
    ],
)
def test_a_single_slice_is_as_high_as_its_header_says(tmp_path, attributes, step_mm):
    volume = read_volume(write_series(tmp_path, ramp(1), orientation=SAGITTAL, **attributes))
    assert volume.shape == (1, 6, 4)
    np.testing.assert_allclose(volume.affine[:3, 0], [-step_mm, 0, 0], atol=1e-9)  # The normal points right.
    np.testing.assert_allclose(volume.affine[:3, 3], [-120, -60, 30])


def test_a_single_slice_of_unknown_height_has_no_affine(tmp_path):
    volume = read_volume(write_series(tmp_path, ramp(1), SliceThickness=""))
    assert volume.affine is None
    assert volume.stack.affine is None


def test_a_series_without_files_is_refused():
    with pytest.raises(UnreadableFile, match="a series without files, expected at least one slice"):
        read_volume([])


# --- stored values


@pytest.mark.parametrize("order", [slice(None), slice(None, None, -1)])
@pytest.mark.parametrize("signed", [0, 1])
def test_slices_of_8_and_12_bits_make_a_volume_of_16(tmp_path, signed, order):
    stored = np.zeros((3, 6, 4), np.int16 if signed else np.uint16)
    stored[0, 0, 0], stored[1, 0, 0], stored[2, 0, 0] = 100, 100, 2000
    bits = [8, 8, 12][order]
    paths = write_series(
        tmp_path,
        stored[order],
        BitsStored=bits,
        HighBit=[bit - 1 for bit in bits],
        PixelRepresentation=signed,
    )
    volume = read_volume(paths)
    assert {slice_HW.dtype for slice_HW in volume} == {np.dtype(np.uint16)}
    np.testing.assert_array_equal(values_of(volume.stack), stored[order])


@pytest.mark.parametrize(("bits", "dtype"), [(7, np.uint8), (8, np.uint8), (9, np.uint16), (16, np.uint16)])
def test_slices_take_the_smaller_type_that_holds_their_bits(tmp_path, bits, dtype):
    volume = read_volume(write_series(tmp_path, ramp(), BitsStored=bits, HighBit=bits - 1))
    assert next(iter(volume)).dtype == dtype


@pytest.mark.parametrize("bits", [17, 32])
def test_more_than_16_bits_are_refused(tmp_path, bits):
    paths = write_series(tmp_path, ramp().astype(np.uint32), BitsStored=bits, HighBit=bits - 1)
    with pytest.raises(UnreadableFile, match=rf"BitsStored \(0028,0101\) is {bits}, expected at most 16"):
        read_volume(paths)


def test_a_modality_lut_is_refused(tmp_path):
    table = lookup_table(np.arange(4, dtype=np.uint16), first=0, bits=16)
    paths = write_series(tmp_path, ramp(), ModalityLUTSequence=table)
    with pytest.raises(UnreadableFile, match="has a Modality LUT Sequence"):
        read_volume(paths)


# --- multi-frame objects


def write_enhanced(path, groups: list[Dataset], shared: Dataset, **attributes):
    count = len(groups)
    return write_dicom(
        path,
        *ramp(count),
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=groups,
        **attributes,
    )


def test_a_frames_own_group_goes_before_the_shared_one_and_that_before_the_data_set(tmp_path):
    empty, filled = item(), item(SpacingBetweenSlices=7.0)
    empty.SpacingBetweenSlices = None
    shared = item(
        PlanePositionSequence=[item(ImagePositionPatient=[9.0, 9, 9])],
        PlaneOrientationSequence=[item(ImageOrientationPatient=list(AXIAL))],
        PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.75])],
        PixelValueTransformationSequence=[item(RescaleSlope=2, RescaleIntercept=-5)],
    )
    own = item(
        PlanePositionSequence=[item(ImagePositionPatient=[1.0, 2, 3])],
        PixelMeasuresSequence=[empty, filled],
        PixelValueTransformationSequence=[item(RescaleSlope=3, RescaleIntercept=-7)],
    )
    path = write_enhanced(
        tmp_path / "a.dcm",
        [own, item()],
        shared,
        ImagePositionPatient=[8, 8, 8],
        PixelSpacing=[8, 8],
        RescaleSlope=8,
        RescaleIntercept=8,
        SliceThickness=4.0,
    )
    first, second = read_planes(path)
    assert (first.position.tolist(), second.position.tolist()) == ([1, 2, 3], [9, 9, 9])
    assert (first.slope, first.intercept, second.slope, second.intercept) == (3, -7, 2, -5)
    assert first.spacing_mm.tolist() == second.spacing_mm.tolist() == [0.5, 0.75]
    assert (first.thickness_mm, second.thickness_mm) == (7, 4)
    assert (first.name, second.name) == ("a.dcm", "a.dcm frame 1")
    assert (first.frame, second.frame) == (0, 1)


def test_a_frame_that_is_no_slice_is_named_in_the_refusal(tmp_path):
    groups = [item(PlanePositionSequence=[item(ImagePositionPatient=[0.0, 0, z])]) for z in (0, 2, 4, 4)]
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=list(AXIAL))],
        PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.75])],
    )
    path = write_enhanced(tmp_path / "a.dcm", groups, shared)
    with pytest.raises(UnreadableFile, match=r"^a\.dcm frame 3: lies at the position of a\.dcm frame 2"):
        read_volume([path])
    del groups[2].PlanePositionSequence
    path = write_enhanced(tmp_path / "a.dcm", groups, shared)
    with pytest.raises(UnreadableFile, match=r"^a\.dcm: ImagePositionPatient of frame 2 is missing"):
        read_volume([path])
