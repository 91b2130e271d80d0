"""NIfTI volumes: axis order, geometry, quantisation."""

from __future__ import annotations

import numpy as np
import pytest

from medimg.errors import UnreadableFile
from medimg.images.nifti import read_nifti

nibabel = pytest.importorskip("nibabel", reason="needs the extra volumes")


def write(path, values_xyz: np.ndarray, affine: np.ndarray | None = None):
    nibabel.save(nibabel.Nifti1Image(values_xyz, np.diag([1.0, 1, 1, 1]) if affine is None else affine), path)
    return path


def volume_of(stack) -> np.ndarray:
    return np.stack([slice_HW.astype(float) * stack.slope + stack.intercept for slice_HW in stack.slices])


@pytest.mark.parametrize("codes", ["LPS", "RAS", "LAS", "PIR", "SRA", "ASL", "RSP", "IPR"])
@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
def test_every_stored_orientation_gives_the_same_volume_and_patient_coordinates(tmp_path, codes, ending):
    upright_xyz = np.arange(4 * 5 * 6, dtype=np.int16).reshape(4, 5, 6)
    upright_affine = np.array(
        [[-0.5, 0, 0, 10.0], [0, -0.75, 0, 20.0], [0, 0, 2.0, -30.0], [0, 0, 0, 1]]
    )  # Axes L, P, S; coordinates RAS.
    upright = nibabel.Nifti1Image(upright_xyz, upright_affine)
    turn = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(upright_affine), nibabel.orientations.axcodes2ornt(codes)
    )
    path = tmp_path / f"a{ending}"
    nibabel.save(upright.as_reoriented(turn), path)
    stack = read_nifti(path, kind="image")
    np.testing.assert_array_equal(volume_of(stack), upright_xyz.transpose(2, 1, 0))
    # Voxel x=1, y=2, z=3 lies at RAS (9.5, 18.5, -24), which is LPS (-9.5, -18.5, -24).
    np.testing.assert_allclose(stack.affine @ [3, 2, 1, 1], [-9.5, -18.5, -24, 1])


def test_real_numbers_are_off_by_half_a_step_at_most(tmp_path):
    values = np.random.default_rng(0).normal(0, 3, (6, 5, 4)).astype(np.float32)
    stack = read_nifti(write(tmp_path / "a.nii.gz", values), kind="image")
    error = np.abs(volume_of(stack) - volume_of_floats(tmp_path / "a.nii.gz")).max()
    assert stack.slope <= (float(values.max()) - float(values.min())) / 65535 * 1.001
    assert error <= stack.slope / 2 * 1.01


def volume_of_floats(path) -> np.ndarray:
    """By nibabel, whole: identity affine means axes R, A, S."""
    return np.asarray(nibabel.load(path).dataobj)[::-1, ::-1].transpose(2, 1, 0)


@pytest.mark.parametrize(
    ("values", "dtype", "intercept"),
    [
        ([-1024, 0, 3071], np.uint16, -1024),
        ([0, 100, 255], np.uint8, 0),
        ([0, 100, 256], np.uint16, 0),
        ([-3, 0, 4], np.uint8, -3),
        ([-3, 0, 252], np.uint8, -3),
        ([-3, 0, 253], np.uint16, -3),
        ([7, 8, 9], np.uint8, 0),  # Stored as they are where that is possible.
        ([0, 1, 65535], np.uint16, 0),
        ([-1, 0, 65534], np.uint16, -1),
        ([1000, 1001, 65535], np.uint16, 0),
        ([1000, 1001, 65536], np.uint16, 1000),
        ([70000, 70001, 135535], np.uint16, 70000),
        ([5, 5, 5], np.uint8, 0),
    ],
)
def test_whole_numbers_that_span_at_most_65535_are_exact(tmp_path, values, dtype, intercept):
    volume_xyz = np.resize(np.array(values, np.int32), (3, 4, 5))
    stack = read_nifti(write(tmp_path / "a.nii", volume_xyz), kind="image")
    assert (stack.slope, stack.intercept, stack.count) == (1, intercept, 5)
    assert next(iter(stack.slices)).dtype == dtype
    np.testing.assert_array_equal(volume_of(stack), volume_of_floats(tmp_path / "a.nii"))


@pytest.mark.parametrize("values", [[0, 1, 65536], [-1, 0, 65535], [0.0, 0.25, 100.0]])
def test_other_numbers_are_quantised_to_16_bits(tmp_path, values):
    volume_xyz = np.resize(np.array(values, np.float32), (3, 4, 5))
    stack = read_nifti(write(tmp_path / "a.nii", volume_xyz), kind="image")
    span = values[-1] - values[0]
    assert stack.slope == pytest.approx(span / 65535)
    assert stack.slope != 1
    assert next(iter(stack.slices)).dtype == np.uint16
    assert np.abs(volume_of(stack) - volume_of_floats(tmp_path / "a.nii")).max() <= stack.slope / 2 * 1.01
    # The ends are not cut off.
    assert volume_of(stack).max() == pytest.approx(values[-1], abs=stack.slope / 2)


def test_a_large_offset_costs_float32s_rounding_and_no_more(tmp_path):
    values = np.resize(1e6 + np.array([0.02, 0.5, 1.0]), (3, 4, 5))
    stack = read_nifti(write(tmp_path / "a.nii", values), kind="image")
    # float32's numbers are 0.0625 apart there: what lies beyond the ends is cut off, and does not wrap round.
    assert np.abs(volume_of(stack) - volume_of_floats(tmp_path / "a.nii")).max() <= 0.0625 / 2


def test_a_stack_is_read_again_each_time_it_is_iterated(tmp_path):
    stack = read_nifti(
        write(tmp_path / "a.nii.gz", np.arange(60, dtype=np.int16).reshape(3, 4, 5)), kind="image"
    )
    np.testing.assert_array_equal(volume_of(stack), volume_of(stack))


def test_labels_keep_their_values_although_stored_as_floats(tmp_path):
    labels = np.resize(np.array([0, 1, 2, 4], np.float32), (3, 4, 5))
    stack = read_nifti(write(tmp_path / "a.nii", labels), kind="mask")
    assert (stack.slope, stack.intercept) == (1.0, 0.0)
    assert next(iter(stack.slices)).dtype == np.uint8
    np.testing.assert_array_equal(np.stack(list(stack.slices)), volume_of_floats(tmp_path / "a.nii"))


@pytest.mark.parametrize(
    ("values", "labels"),
    [([0.0, 0.9995, 2.0], [0, 1, 2]), ([0.0, 1.0009, 65535.0], [0, 1, 65535]), ([3.0, 3.0, 3.0], [3, 3, 3])],
)
def test_labels_that_a_scaling_has_moved_by_a_thousandth_are_rounded(tmp_path, values, labels):
    stack = read_nifti(
        write(tmp_path / "a.nii", np.resize(np.array(values, np.float32), (3, 4, 3))), kind="mask"
    )
    found = np.stack(list(stack.slices))
    assert found.dtype == (np.uint8 if max(labels) <= 255 else np.uint16)
    assert sorted(np.unique(found)) == sorted(set(labels))
    np.testing.assert_array_equal(found, np.rint(volume_of_floats(tmp_path / "a.nii")))


@pytest.mark.parametrize("label", [0.5, 1.002, 0.998, -1.0, 65536.0, 70000.0])
def test_a_mask_with_other_values_than_labels_is_refused(tmp_path, label):
    with pytest.raises(UnreadableFile, match=r"a\.nii: values from .* expected labels"):
        read_nifti(write(tmp_path / "a.nii", np.full((3, 4, 5), label, np.float32)), kind="mask")


@pytest.mark.parametrize("kind", ["image", "mask"])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_counted_and_refused(tmp_path, value, kind):
    values = np.zeros((3, 4, 5), np.float32)
    values[0, :2, 2] = value
    with pytest.raises(UnreadableFile, match=r"a\.nii: slice 2 has 2 values that are not finite"):
        read_nifti(write(tmp_path / "a.nii", values), kind=kind)


@pytest.mark.parametrize("shape", [(3, 4), (3, 4, 5, 2, 2)])
def test_other_than_three_or_four_axes_are_refused(tmp_path, shape):
    with pytest.raises(UnreadableFile, match=r"has shape \(3, 4.*\), expected three axes, or four"):
        read_nifti(write(tmp_path / "a.nii", np.zeros(shape, np.int16)), kind="image")


@pytest.mark.parametrize(("shape", "volume"), [((3, 4, 5), 1), ((3, 4, 5), -1), ((3, 4, 5, 2), -1)])
def test_a_volume_that_the_file_does_not_have_is_refused(tmp_path, shape, volume):
    path = write(tmp_path / "a.nii", np.zeros(shape, np.int16))
    with pytest.raises(UnreadableFile, match=f"volume {volume} asked for, found shape"):
        read_nifti(path, kind="image", volume=volume)


def test_a_file_cut_short_or_of_another_kind_is_refused(tmp_path):
    whole = write(tmp_path / "a.nii.gz", np.random.default_rng(0).normal(size=(20, 20, 20))).read_bytes()
    (tmp_path / "a.nii.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "b.nii").write_text("no image")
    for name in ("a.nii.gz", "b.nii", "absent.nii"):
        with pytest.raises(UnreadableFile, match=name):
            read_nifti(tmp_path / name, kind="image")


def test_one_volume_of_a_fourth_axis_is_read(tmp_path):
    values = np.arange(3 * 4 * 5 * 2, dtype=np.int16).reshape(3, 4, 5, 2)
    stack = read_nifti(write(tmp_path / "a.nii", values), kind="image", volume=1)
    np.testing.assert_array_equal(volume_of(stack), values[::-1, ::-1, :, 1].transpose(2, 1, 0))
    with pytest.raises(UnreadableFile, match="volume 2 asked for"):
        read_nifti(tmp_path / "a.nii", kind="image", volume=2)


def test_a_real_brain_volume_keeps_its_values_and_its_mask_lies_in_the_brain(shared_data):
    folder = shared_data / "brain" / "brats_2013_pat0004_1"
    flair = read_nifti(folder / "Flair_subtrMeanDivStd.nii.gz", kind="image")
    tumour = read_nifti(folder / "OTMultiClass.nii.gz", kind="mask")
    brain = read_nifti(folder / "brainmask.nii.gz", kind="mask")
    # The file's axes are already L, P, S.
    expected = np.asarray(nibabel.load(folder / "Flair_subtrMeanDivStd.nii.gz").dataobj).transpose(2, 1, 0)
    assert np.abs(volume_of(flair) - expected).max() <= flair.slope / 2 * 1.01
    labels, inside = np.stack(list(tumour.slices)), np.stack(list(brain.slices))
    assert set(np.unique(labels)) <= {0, 1, 2, 3, 4}
    assert (inside[labels > 0] > 0).mean() > 0.99
