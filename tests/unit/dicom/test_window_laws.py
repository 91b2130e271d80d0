"""Laws of the display chain, over any window, rescale and stored type, beside pydicom's and DCMTK's."""

from __future__ import annotations

import subprocess
from shutil import which

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from pydicom.pixels.processing import apply_modality_lut, apply_windowing

from medimg.dicom.windowing import FUNCTIONS, make_display, to_display
from tests.unit.dicom.test_read import some_pixels
from tests.unit.dicom.written import make_dataset, write_dicom

KINDS = [("uint8", 8), ("int8", 8), ("uint16", 12), ("uint16", 16), ("int16", 12), ("int16", 16)]
CHAINS = st.fixed_dictionaries(
    {
        "WindowCenter": st.integers(-3000, 3000),
        "WindowWidth": st.integers(1, 6000),
        "VOILUTFunction": st.sampled_from(["LINEAR", "LINEAR_EXACT", "SIGMOID"]),
        "RescaleSlope": st.sampled_from([1, 0.5, 2, -1, -0.25]),
        "RescaleIntercept": st.sampled_from([0, -1024, 17.5]),
    }
)


def stored_range(dtype: str, bits: int, *, steps: int = 257) -> np.ndarray:
    """Stored values from the smallest to the largest, ascending."""
    low = 0 if dtype.startswith("u") else -(2 ** (bits - 1))
    return np.linspace(low, low + 2**bits - 1, steps).astype(dtype)[np.newaxis]


@given(kind=st.sampled_from(KINDS), chain=CHAINS, bits=st.sampled_from([8, 16]))
def test_any_window_is_what_pydicom_makes_of_it(kind, chain, bits):
    dtype, stored_bits = kind
    stored = stored_range(dtype, stored_bits)
    dataset = make_dataset([stored], BitsStored=stored_bits, HighBit=stored_bits - 1, **chain)
    windowed = apply_windowing(apply_modality_lut(stored, dataset), dataset).astype(np.float64)
    low, high = pydicom_range(stored_bits, dataset)
    expected = np.clip((windowed - low) / (high - low), 0, 1) * (2**bits - 1)
    found = to_display(stored, dataset, bits=bits)
    assert np.abs(found - expected).max() <= 0.5 + 1e-3


def pydicom_range(bits: int, dataset) -> tuple[float, float]:
    """What pydicom scales to: the rescale of the first and the last stored value, in this order."""
    low = -(2 ** (bits - 1)) if dataset.PixelRepresentation else 0
    slope, intercept = float(dataset.RescaleSlope), float(dataset.RescaleIntercept)
    return low * slope + intercept, (low + 2**bits - 1) * slope + intercept


@given(kind=st.sampled_from(KINDS), chain=CHAINS, bits=st.sampled_from([8, 16]), windowed=st.booleans())
def test_brightness_rises_with_the_value_and_stays_in_range(kind, chain, bits, windowed):
    dtype, stored_bits = kind
    stored = stored_range(dtype, stored_bits)
    facts = chain if windowed else {"RescaleSlope": chain["RescaleSlope"], "RescaleIntercept": 3}
    dataset = make_dataset([stored], BitsStored=stored_bits, HighBit=stored_bits - 1, **facts)
    shown = to_display(stored, dataset, bits=bits)
    assert shown.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert (np.diff(shown[0].astype(int)) * np.sign(chain["RescaleSlope"]) >= 0).all()
    inverted = make_dataset(
        [stored],
        BitsStored=stored_bits,
        HighBit=stored_bits - 1,
        PhotometricInterpretation="MONOCHROME1",
        **facts,
    )
    total = shown.astype(int) + to_display(stored, inverted, bits=bits)
    assert np.abs(total - (2**bits - 1)).max() <= 1


@given(
    name=st.sampled_from(sorted(FUNCTIONS)),
    center=st.floats(-1e4, 1e4),
    width=st.floats(1, 1e5, exclude_min=True),
    step=st.floats(0, 1e5),
)
def test_a_window_is_symmetric_about_its_middle_and_is_bounded(name, center, width, step):
    middle = center - 0.5 if name == "LINEAR" else center
    below, above = FUNCTIONS[name](np.array([middle - step, middle + step]), center=center, width=width)
    assert 0 <= below <= above <= 1
    assert below + above == pytest.approx(1, abs=1e-6)


@given(kind=st.sampled_from(KINDS), chain=CHAINS)
def test_a_part_of_a_frame_is_shown_as_in_the_frame(kind, chain):
    dtype, stored_bits = kind
    stored = stored_range(dtype, stored_bits, steps=60).reshape(6, 10)
    dataset = make_dataset([stored], BitsStored=stored_bits, HighBit=stored_bits - 1, **chain)
    display = make_display(stored, dataset)
    whole = to_display(stored, dataset)
    np.testing.assert_array_equal(display.apply(stored[2:5, ::-2]), whole[2:5, ::-2])


@pytest.mark.skipif(which("dcm2pnm") is None, reason="DCMTK is not installed here")
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("dtype", "bits"), [("uint8", 8), ("uint16", 12), ("int16", 16)])
@pytest.mark.parametrize(
    ("function", "options"), [("LINEAR", ["+Wfl"]), ("SIGMOID", ["+Wfs"]), ("", ["+Wm"])]
)
def test_a_frame_is_shown_as_dcmtk_shows_it(tmp_path, photometric, dtype, bits, function, options):
    stored = some_pixels(dtype, (40, 30), bits=bits)
    window = {"WindowCenter": 900, "WindowWidth": 1500, "VOILUTFunction": function} if function else {}
    facts = {"PhotometricInterpretation": photometric, "RescaleSlope": 2, "RescaleIntercept": -100, **window}
    path = write_dicom(tmp_path / "a.dcm", stored, BitsStored=bits, HighBit=bits - 1, **facts)
    use = ["+Wi", "1", *options] if function else options
    subprocess.run(["dcm2pnm", *use, str(path), str(tmp_path / "a.pgm")], check=True, capture_output=True)
    theirs = np.asarray(Image.open(tmp_path / "a.pgm")).astype(int)
    ours = to_display(stored, make_dataset([stored], BitsStored=bits, HighBit=bits - 1, **facts))
    assert np.abs(ours - theirs).max() <= 1
    assert len(np.unique(ours)) > 10
