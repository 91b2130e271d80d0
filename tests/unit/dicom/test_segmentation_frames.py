"""Which slice each frame of a SEG object belongs to, and which pixels and numbers it has."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest
from pydicom.dataset import Dataset

from medimg.dicom.segmentation import read_segmentation
from medimg.dicom.volume import read_volume
from medimg.errors import UnreadableFile
from tests.unit.dicom.series import AXIAL, write_segmentation, write_series
from tests.unit.dicom.test_segmentation import COLUMNS, COUNT, ROWS, labels_of, spot
from tests.unit.dicom.test_volume import item
from tests.unit.dicom.written import write_dicom


@pytest.fixture
def volume(tmp_path):
    return read_volume(write_series(tmp_path / "series", np.zeros((COUNT, ROWS, COLUMNS), np.uint16)))


def change(path, **attributes: object):
    dataset = pydicom.dcmread(path)
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.save_as(path)
    return path


def source(uid: str, frame: int | None = None) -> Dataset:
    reference = item(ReferencedSOPInstanceUID=uid)
    if frame is not None:
        reference.ReferencedFrameNumber = frame
    return reference


def with_sources(path, *frames: list[Dataset]):
    """Replaces what each frame references."""
    groups = pydicom.dcmread(path).PerFrameFunctionalGroupsSequence
    for group, sources in zip(groups, frames, strict=True):
        group.DerivationImageSequence = [item(SourceImageSequence=sources)]
    return change(path, PerFrameFunctionalGroupsSequence=groups)


# --- numbers and pixels


@pytest.mark.parametrize(
    ("numbers", "dtype"), [((1,), np.uint8), ((3, 255), np.uint8), ((256,), np.uint16), ((1, 400), np.uint16)]
)
def test_pixels_hold_the_segments_numbers_in_a_type_for_the_largest(tmp_path, volume, numbers, dtype):
    frames = [(number, 2, spot((0, index))) for index, number in enumerate(numbers)]
    segmentation = read_segmentation(write_segmentation(tmp_path / "seg.dcm", frames), volume)
    assert {labels_HW.dtype for labels_HW in segmentation} == {np.dtype(dtype)}
    assert labels_of(segmentation) == {1: [(0, index, number) for index, number in enumerate(numbers)]}


@pytest.mark.parametrize(
    ("threshold", "maximum", "inside"),
    [
        (1.0, 100, [100]),
        (0.5, 100, [50, 51, 99, 100]),
        (0.01, 100, [1, 50, 51, 99, 100]),
        (0.0001, 100, [1, 50, 51, 99, 100]),  # Nothing is no part of a segment, however low the threshold.
        (0.2, 255, [51, 99, 100]),
        (0.2, None, [51, 99, 100]),  # 255 where the file does not say.
    ],
)
def test_a_fraction_is_of_the_maximum_that_the_file_states(tmp_path, volume, threshold, maximum, inside):
    values = np.zeros((ROWS, COLUMNS), np.uint8)
    stored = [0, 1, 50, 51, 99, 100]
    values[0, : len(stored)] = stored
    path = write_segmentation(tmp_path / "seg.dcm", [(1, 1, values)], SegmentationType="FRACTIONAL")
    if maximum:
        change(path, MaximumFractionalValue=maximum)
    found = labels_of(read_segmentation(path, volume, threshold=threshold))
    assert [stored[x] for _, x, _ in found[0]] == inside


@pytest.mark.parametrize("threshold", [0, -0.1, 1.01])
def test_a_threshold_out_of_its_range_is_refused(tmp_path, volume, threshold):
    path = write_segmentation(tmp_path / "seg.dcm", [(1, 1, spot())])
    with pytest.raises(ValueError, match=f"threshold is {threshold}, expected more than 0 and at most 1"):
        read_segmentation(path, volume, threshold=threshold)


def test_the_larger_number_wins_in_whichever_order_the_frames_are(tmp_path, volume):
    for order in ([2, 10, 3], [10, 3, 2], [3, 2, 10]):
        frames = [(number, 1, spot((0, 0), (0, number % 7))) for number in order]
        path = write_segmentation(tmp_path / "seg.dcm", frames)
        found = labels_of(read_segmentation(path, volume, overlap="last"))
        # Segments 3 and 10 share the pixel (0, 3) as well.
        assert found == {0: [(0, 0, 10), (0, 2, 2), (0, 3, 10)]}


def test_an_overlap_is_counted_and_names_its_frame(tmp_path, volume):
    frames = [(1, 1, spot((1, 1), (2, 2), (3, 3))), (4, 1, spot((0, 0))), (7, 1, spot((1, 1), (3, 3)))]
    path = write_segmentation(tmp_path / "seg.dcm", frames)
    with pytest.raises(UnreadableFile, match=r"segments 1 and 7 overlap in 2 pixel\(s\) of frame 2"):
        list(read_segmentation(path, volume).stack.slices)


def test_segments_are_known_by_their_labels_and_one_may_have_no_frame(tmp_path, volume):
    path = write_segmentation(tmp_path / "seg.dcm", [(5, 1, spot((0, 0)))])
    segments = [item(SegmentNumber=2, SegmentLabel="liver"), item(SegmentNumber=5)]
    change(path, SegmentSequence=segments)
    segmentation = read_segmentation(path, volume)
    assert segmentation.labels == {2: "liver", 5: ""}
    assert labels_of(segmentation) == {0: [(0, 0, 5)]}


# --- what is no segmentation of this series


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        (
            {"SegmentationType": "LABELMAP"},
            r"SegmentationType .* is 'LABELMAP', expected BINARY or FRACTIONAL",
        ),
        ({"SegmentationType": None}, r"SegmentationType .* is missing, expected BINARY or FRACTIONAL"),
        ({"SegmentSequence": []}, "Segment Sequence .* is missing or empty"),
        ({"SegmentSequence": None}, "Segment Sequence .* is missing or empty"),
        ({"SegmentSequence": [item(SegmentNumber=2)]}, r"frame 0 is of segment 1, expected one of \[2\]"),
        ({"Rows": ROWS - 1}, f"has 4 x 7 pixels, expected {ROWS} x {COLUMNS}"),
        ({"Columns": COLUMNS + 1}, f"has 5 x 8 pixels, expected {ROWS} x {COLUMNS}"),
        ({"PerFrameFunctionalGroupsSequence": [item()]}, "frame 0 is of segment None, expected one of"),
    ],
)
def test_what_contradicts_itself_or_the_series_is_refused(tmp_path, volume, attributes, message):
    path = change(write_segmentation(tmp_path / "seg.dcm", [(1, 1, spot((0, 0)))]), **attributes)
    with pytest.raises(UnreadableFile, match=rf"^seg\.dcm: {message}"):
        read_segmentation(path, volume)


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([], r"references no image \(0 of the series' slices\)"),
        ([source("9.9")], r"references 9\.9 \(0 of the series' slices\)"),
        ([source("1.2.3.4.1"), source("1.2.3.4.2")], r"references 1\.2\.3\.4\.1, 1\.2\.3\.4\.2 \(2 of"),
        ([source("1.2.3.4.1", frame=2)], r"references 1\.2\.3\.4\.1 \(0 of the series' slices\)"),
    ],
)
def test_a_frame_must_reference_exactly_one_slice(tmp_path, volume, sources, message):
    path = with_sources(write_segmentation(tmp_path / "seg.dcm", [(1, 1, spot((0, 0)))]), sources)
    with pytest.raises(UnreadableFile, match=message):
        read_segmentation(path, volume)


@pytest.mark.parametrize(
    "sources",
    [
        [source("1.2.3.4.3")],
        [source("1.2.3.4.3", frame=1)],
        [source("1.2.3.4.3"), source("1.2.3.4.3", frame=1)],
        [source("9.9"), source("1.2.3.4.3"), source("9.8")],
    ],
)
def test_one_slice_may_be_referenced_in_several_ways_and_beside_other_images(tmp_path, volume, sources):
    path = with_sources(write_segmentation(tmp_path / "seg.dcm", [(1, 1, spot((0, 0)))]), sources)
    assert labels_of(read_segmentation(path, volume)) == {2: [(0, 0, 1)]}


@pytest.fixture
def enhanced(tmp_path):
    """A volume of one file, whose frames lie in the order 2, 0, 1."""
    groups = [item(PlanePositionSequence=[item(ImagePositionPatient=[0.0, 0, z])]) for z in (4, 0, 2)]
    shared = item(
        PlaneOrientationSequence=[item(ImageOrientationPatient=list(AXIAL))],
        PixelMeasuresSequence=[item(PixelSpacing=[0.5, 0.75])],
    )
    path = write_dicom(
        tmp_path / "image.dcm",
        *np.zeros((3, ROWS, COLUMNS), np.uint16),
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=groups,
        SOPInstanceUID="1.2.9",
    )
    return read_volume([path])


def test_frames_of_a_multi_frame_image_are_referenced_by_their_number_from_1(tmp_path, enhanced):
    frames = [(1, 1, spot((0, 0))), (1, 1, spot((1, 1))), (1, 1, spot((2, 2)))]
    path = write_segmentation(tmp_path / "seg.dcm", frames)
    with_sources(path, [source("1.2.9", 1)], [source("1.2.9", 2)], [source("1.2.9", 3)])
    assert labels_of(read_segmentation(path, enhanced)) == {
        0: [(1, 1, 1)],
        1: [(2, 2, 1)],
        2: [(0, 0, 1)],
    }


@pytest.mark.parametrize("number", [None, 0, 4])
def test_a_multi_frame_image_is_no_slice_without_the_number_of_one_of_its_frames(tmp_path, enhanced, number):
    path = with_sources(
        write_segmentation(tmp_path / "seg.dcm", [(1, 1, spot((0, 0)))]), [source("1.2.9", number)]
    )
    with pytest.raises(UnreadableFile, match=r"references 1\.2\.9 \(0 of the series' slices\)"):
        read_segmentation(path, enhanced)


# --- where a frame says that it lies

# Slice 2 lies at (-120, -60, 32.5), pixels are 0.5 by 0.75 mm.
PLACES = {
    "ImagePositionPatient": "PlanePositionSequence",
    "ImageOrientationPatient": "PlaneOrientationSequence",
    "PixelSpacing": "PixelMeasuresSequence",
}


def placed(path, is_own: bool, keyword: str, value: list[float]):
    """States an attribute of the only frame, in its own group or in the shared one."""
    stated = item(**{PLACES[keyword]: [item(**{keyword: value})]})
    if not is_own:
        return change(path, SharedFunctionalGroupsSequence=[stated])
    group = pydicom.dcmread(path).PerFrameFunctionalGroupsSequence[0]
    group[PLACES[keyword]] = stated[PLACES[keyword]]
    return change(path, PerFrameFunctionalGroupsSequence=[group])


@pytest.mark.parametrize("is_own", [True, False])
@pytest.mark.parametrize(
    ("keyword", "within", "out"),
    [
        ("ImagePositionPatient", [-120, -60, 32.74], [-120, -60, 32.76]),
        ("ImagePositionPatient", [-119.76, -60, 32.5], [-119.74, -60, 32.5]),
        ("ImagePositionPatient", [-120, -60.24, 32.5], [-120, -60.26, 32.5]),
        ("ImageOrientationPatient", [1, 0.0009, 0, -0.0009, 1, 0], [1, 0.0011, 0, 0, 1, 0]),
        ("ImageOrientationPatient", list(AXIAL), [0, 1, 0, 1, 0, 0]),
        ("ImageOrientationPatient", list(AXIAL), [-1, 0, 0, 0, 1, 0]),
        ("PixelSpacing", [0.5009, 0.7491], [0.5011, 0.75]),
        ("PixelSpacing", [0.5, 0.75], [0.75, 0.5]),
    ],
)
def test_a_frame_lies_where_its_slice_does_up_to_half_a_pixel(tmp_path, volume, is_own, keyword, within, out):
    path = write_segmentation(tmp_path / "seg.dcm", [(1, 2, spot((0, 0)))])
    placed(path, is_own, keyword, within)
    assert labels_of(read_segmentation(path, volume)) == {1: [(0, 0, 1)]}
    placed(path, is_own, keyword, out)
    with pytest.raises(UnreadableFile, match=rf"{keyword} of frame 0 is .* as in 005\.dcm"):
        read_segmentation(path, volume)
