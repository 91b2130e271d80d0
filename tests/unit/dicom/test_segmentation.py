"""SEG objects on the slices of their series."""

from __future__ import annotations

import numpy as np
import pydicom
import pytest

from medimg.dicom.segmentation import read_segmentation
from medimg.dicom.volume import Volume, read_planes, read_volume
from medimg.errors import UnreadableFile
from tests.unit.dicom.series import write_segmentation, write_series
from tests.unit.dicom.test_volume import CT_SLICES

COUNT, ROWS, COLUMNS = 6, 5, 7  # 35 bits for each frame: frames do not start at whole bytes.


@pytest.fixture
def volume(tmp_path):
    return read_volume(write_series(tmp_path / "series", np.zeros((COUNT, ROWS, COLUMNS), np.uint16)))


def spot(*pixels: tuple[int, int]) -> np.ndarray:
    mask_HW = np.zeros((ROWS, COLUMNS), bool)
    for pixel in pixels:
        mask_HW[pixel] = True
    return mask_HW


def labels_of(segmentation) -> dict[int, list[tuple[int, int, int]]]:
    """Slice index to (y, x, label) of what is not background."""
    return {
        index: [(int(y), int(x), int(labels_HW[y, x])) for y, x in zip(*np.nonzero(labels_HW), strict=True)]
        for index, labels_HW in enumerate(segmentation.stack.slices)
        if labels_HW.any()
    }


def test_frames_lie_on_the_slices_they_reference_and_the_rest_is_background(tmp_path, volume):
    frames = [(2, 5, spot((4, 6))), (1, 2, spot((0, 1), (3, 3))), (1, 5, spot((1, 0)))]
    segmentation = read_segmentation(write_segmentation(tmp_path / "seg.dcm", frames), volume)
    assert labels_of(segmentation) == {1: [(0, 1, 1), (3, 3, 1)], 4: [(1, 0, 1), (4, 6, 2)]}
    assert segmentation.stack.count == COUNT
    assert segmentation.labels == {1: "segment 1", 2: "segment 2"}
    np.testing.assert_array_equal(segmentation.stack.affine, volume.affine)


def test_a_label_map_becomes_a_record_and_comes_back(tmp_path, volume):
    pytest.importorskip("tensorflow")
    from medimg.cases import Case, Record
    from medimg.examples.encoding import examples_to_record, record_to_examples

    stack = read_segmentation(write_segmentation(tmp_path / "seg.dcm", [(1, 3, spot((2, 2)))]), volume).stack
    record = Record(Case("study", "patient", ()), {"CT": volume.stack}, {"lesion": stack})
    found = examples_to_record(record_to_examples(record, largest_bytes=700)).masks["lesion"]
    np.testing.assert_array_equal(np.stack(list(found.slices)), np.stack(list(stack.slices)))
    np.testing.assert_allclose(found.affine, volume.affine)


def test_a_fractional_pixel_belongs_from_the_threshold_on(tmp_path, volume):
    values = np.zeros((ROWS, COLUMNS), np.uint8)
    values[0, :4] = 0, 49, 50, 100
    path = write_segmentation(
        tmp_path / "seg.dcm", [(1, 1, values)], SegmentationType="FRACTIONAL", MaximumFractionalValue=100
    )
    assert labels_of(read_segmentation(path, volume)) == {0: [(0, 2, 1), (0, 3, 1)]}
    assert labels_of(read_segmentation(path, volume, threshold=0.49)) == {
        0: [(0, 1, 1), (0, 2, 1), (0, 3, 1)]
    }


def test_overlapping_segments_are_refused_or_the_last_one_wins(tmp_path, volume):
    frames = [(2, 1, spot((1, 1), (2, 2))), (1, 1, spot((1, 1)))]
    path = write_segmentation(tmp_path / "seg.dcm", frames)
    with pytest.raises(UnreadableFile, match=r"seg\.dcm: segments 1 and 2 overlap in 1 pixel"):
        list(read_segmentation(path, volume).stack.slices)
    assert labels_of(read_segmentation(path, volume, overlap="last")) == {0: [(1, 1, 2), (2, 2, 2)]}


def test_a_frame_on_no_slice_of_the_series_is_refused(tmp_path, volume):
    path = write_segmentation(tmp_path / "seg.dcm", [(1, 1, spot()), (1, COUNT + 1, spot((1, 1)))])
    with pytest.raises(UnreadableFile, match=r"seg\.dcm: frame 1 references 1\.2\.3\.4\.7 \(0 of the series"):
        read_segmentation(path, volume)


def test_two_frames_of_one_segment_on_one_slice_are_refused(tmp_path, volume):
    path = write_segmentation(tmp_path / "seg.dcm", [(1, 2, spot((0, 0))), (1, 2, spot((1, 1)))])
    with pytest.raises(UnreadableFile, match="frames 0 and 1 are both segment 1"):
        read_segmentation(path, volume)


def test_a_flipped_mask_is_refused(tmp_path, volume):
    path = write_segmentation(
        tmp_path / "seg.dcm", [(1, 1, spot((0, 0)))], ImageOrientationPatient=[1, 0, 0, 0, -1, 0]
    )
    with pytest.raises(UnreadableFile, match="ImageOrientationPatient of frame 0"):
        read_segmentation(path, volume)


def test_a_mask_of_another_size_is_refused(tmp_path, volume):
    path = write_segmentation(tmp_path / "seg.dcm", [(1, 1, np.zeros((ROWS + 1, COLUMNS), bool))])
    with pytest.raises(UnreadableFile, match="has 6 x 7 pixels, expected 5 x 7"):
        read_segmentation(path, volume)


def test_an_image_is_no_segmentation(volume):
    with pytest.raises(UnreadableFile, match="expected Segmentation Storage"):
        read_segmentation(volume.planes[0].path, volume)


@pytest.mark.parametrize("name", ["seg_image_ct_binary.dcm", "seg_image_ct_true_fractional.dcm"])
def test_a_real_segmentation_equals_its_frames(shared_data, name):
    volume = read_volume(sorted(CT_SLICES.iterdir())[1:])
    path = shared_data / "seg" / "highdicom" / name
    frames = pydicom.dcmread(path).pixel_array
    expected = frames > 0 if frames.max() == 1 else frames >= 127.5
    np.testing.assert_array_equal(np.stack(list(read_segmentation(path, volume).stack.slices)), expected)


def test_real_overlapping_segments_are_refused(shared_data):
    # Its series lacks slices, so it is no volume to `read_volume`.
    planes = [plane for path in sorted(CT_SLICES.iterdir()) for plane in read_planes(path)]
    volume = Volume(tuple(planes), affine=None)
    path = shared_data / "seg" / "highdicom" / "seg_image_ct_binary_overlap.dcm"
    with pytest.raises(UnreadableFile, match=r"segments 1 and 2 overlap in \d+ pixel"):
        list(read_segmentation(path, volume).stack.slices)
    second = pydicom.dcmread(path).pixel_array[len(planes) :].astype(bool)
    drawn = np.stack(list(read_segmentation(path, volume, overlap="last").stack.slices))
    np.testing.assert_array_equal(drawn == 2, second)


def test_a_real_liver_lies_on_the_slices_in_reverse_order_of_its_frames(shared_data):
    volume = read_volume(sorted((shared_data / "seg").glob("segmentations__ct-*.dcm")))
    path = shared_data / "seg" / "segmentations__liver.dcm"
    segmentation = read_segmentation(path, volume)
    dataset = pydicom.dcmread(path)
    expected = {}
    for group, frame_HW in zip(dataset.PerFrameFunctionalGroupsSequence, dataset.pixel_array, strict=True):
        expected[group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID] = frame_HW
    for plane, labels_HW in zip(volume.planes, segmentation.stack.slices, strict=True):
        np.testing.assert_array_equal(labels_HW, expected[plane.sop_instance_uid])
        assert labels_HW.any()


def test_a_real_segmentation_of_another_study_is_refused(shared_data):
    volume = read_volume(sorted((shared_data / "seg" / "mr").glob("*.dcm")))
    with pytest.raises(UnreadableFile, match=r"DicomSeg\.dcm: frame 0 references"):
        read_segmentation(shared_data / "seg" / "DicomSeg.dcm", volume)
