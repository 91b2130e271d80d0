"""What is shown of an image: padding is black, and the catalogue finds what a run could not show."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from medimg.dicom.read import read_frame
from medimg.dicom.windowing import to_display
from medimg.errors import UnreadableFile, UsageError
from medimg.images.prepare import Ingest, prepare_image
from tests.faults.catalogued import catalogue, noise, write_folder
from tests.unit.dicom.written import make_dataset, write_dicom

CT = "1.2.840.10008.5.1.4.1.1.2"
ULTRASOUND = "1.2.840.10008.5.1.4.1.1.6.1"
SECONDARY = "1.2.840.10008.5.1.4.1.1.7.2"
FRAME = Ingest((64, 64))


def padded(value: int, inside: np.ndarray, *, last: int | None = None) -> np.ndarray:
    pixels = np.full((64, 64), value, inside.dtype)
    pixels[:8] = value if last is None else last
    pixels[16:48, 16:48] = inside[16:48, 16:48]
    return pixels


@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(
    ("pixels", "attributes"),
    [
        (padded(-2000, noise(5).astype(np.int16) - 100), {"PixelPaddingValue": -2000}),
        (padded(65535, noise(5, bits=12)), {"PixelPaddingValue": 65535}),
        (padded(0, noise(5) // 2 + 60), {"PixelPaddingValue": 0}),
        (
            padded(-32768, noise(5).astype(np.int16), last=-30000),
            {"PixelPaddingValue": -32768, "PixelPaddingRangeLimit": -30000},
        ),
        (
            padded(4095, noise(5, bits=11), last=4000),
            {"PixelPaddingValue": 4095, "PixelPaddingRangeLimit": 4000},
        ),
        (
            padded(2500, noise(5, bits=11)),
            {"PixelPaddingValue": 2500, "WindowCenter": 1000, "WindowWidth": 900},
        ),
    ],
)
def test_padding_is_black_and_no_part_of_the_range(photometric, pixels, attributes):
    attributes |= {"SOPClassUID": CT, "PhotometricInterpretation": photometric}
    shown = to_display(pixels, make_dataset([pixels], **attributes))
    inside = shown[16:48, 16:48]
    assert (inside.min(), inside.max()) == (0, 255)
    outside = shown.copy()
    outside[16:48, 16:48] = 0
    assert outside.max() == 0


def test_a_frame_of_padding_alone_is_black():
    pixels = np.full((8, 8), 7, np.uint16)
    dataset = make_dataset([pixels], PixelPaddingValue=7, PhotometricInterpretation="MONOCHROME1")
    assert to_display(pixels, dataset).max() == 0


FLAGGED = {
    "far.dcm": {"WindowCenter": 3174, "WindowWidth": 2426},
    "wide.dcm": {"WindowCenter": 12000, "WindowWidth": 4000000},
    "below.dcm": {"WindowCenter": -900, "WindowWidth": 50},
    "narrow.dcm": {"WindowCenter": "20000.2", "WindowWidth": "0.1", "VOILUTFunction": "LINEAR_EXACT"},
}
REFUSED = {
    "zero.dcm": ({"WindowCenter": 100, "WindowWidth": 0}, "WindowWidth (0028,1051) is 0, expected 1 or more"),
    "slope.dcm": ({"RescaleSlope": 0}, "RescaleSlope and RescaleIntercept (0028,1053/1052) are 0"),
    "function.dcm": (
        {"WindowCenter": 1, "WindowWidth": 2, "VOILUTFunction": "CUBIC"},
        "VOILUTFunction (0028,1056) is a text of 5 characters, expected one",
    ),
    "nan.dcm": ({"WindowCenter": "NaN", "WindowWidth": 10}, "WindowCenter (0028,1050) is 'NaN', expected"),
    "inf.dcm": ({"WindowCenter": 5, "WindowWidth": "inf"}, "WindowWidth (0028,1051) is 'inf', expected"),
}


def test_the_catalogue_finds_what_a_run_could_not_show(tmp_path):
    data = write_folder(tmp_path / "data", named=[*FLAGGED, *REFUSED, "good.dcm"])
    for seed, name in enumerate([*FLAGGED, *REFUSED, "good.dcm"]):
        attributes = FLAGGED.get(name) or REFUSED.get(name, ({},))[0]
        pixels = noise(seed + 40, bits=12) + np.uint16(12_000)
        write_dicom(data / name, pixels, SOPClassUID=CT, SOPInstanceUID=f"1.2.{seed}", **attributes)
    found = catalogue(data)
    assert found.summary["cases"] == {"used": 17, "unlabelled": 0, "excluded": 0, "quarantined": 5}
    for name, (_, message) in REFUSED.items():
        assert found.status(name)[0] == "quarantined"
        assert message in found.status(name)[1]
        with pytest.raises(UnreadableFile):
            prepare_image(data / name, ingest=FRAME)
    for name in FLAGGED:
        window = [flag for flag in found.flags(name) if flag.startswith("window: WindowCenter (0028,1050)")]
        assert len(window) == 1
        assert "leaves 1 grey level of " in window[0]
    used = found.images[found.images["status"] == "used"].index
    for name in used:  # What the catalogue calls used, a run can show.
        prepare_image(data / name, ingest=FRAME)
    assert found.summary["quality_flags"]["window"] == 4
    assert "images flagged: " in found.out
    assert "4 window" in found.out


@pytest.mark.parametrize("bits", [10, 12])
def test_pictures_of_sixteen_bits_that_hold_fewer_are_reported_with_the_setting(tmp_path, bits):
    data = write_folder(tmp_path / "data", bits=bits)
    found = catalogue(data)
    setting = f"ingest.range=0,{(1 << bits) - 1}"
    said = [line for line in found.summary["anomalies"] if setting in line]
    assert len(said) == 1
    assert said[0].startswith(f"12 pictures of 16 bits, 00.png for one, hold values of {bits} bits")
    dark = prepare_image(data / "00.png", ingest=FRAME).pixels
    shown = prepare_image(data / "00.png", ingest=Ingest((64, 64), range=(0, (1 << bits) - 1))).pixels
    assert dark.max() <= 256 >> (16 - bits)
    assert shown.max() >= 250
    Image.fromarray(noise(3, bits=16)).save(data / "00.png")
    assert not [line for line in catalogue(data).summary["anomalies"] if "ingest.range" in line]


def test_the_range_is_for_pictures_of_sixteen_bits_and_has_two_ends(tmp_path):
    Image.fromarray(noise(1)).save(tmp_path / "a.png")
    ranged = Ingest((64, 64), range=(100, 4095))
    np.testing.assert_array_equal(prepare_image(tmp_path / "a.png", ingest=ranged).pixels, noise(1))
    pixels = np.array([[0, 100], [2097, 4095]], np.uint16)
    Image.fromarray(pixels).save(tmp_path / "b.png")
    np.testing.assert_array_equal(
        prepare_image(tmp_path / "b.png", ingest=Ingest(None, range=(100, 4095))).pixels, [[0, 0], [127, 255]]
    )
    with pytest.raises(UsageError, match=r"ingest\.range is 9,9, expected the smaller first"):
        Ingest(None, range=(9, 9))


def test_pictures_that_may_show_a_name_need_review(tmp_path):
    states = {
        "us.dcm": {"Modality": "US", "SOPClassUID": ULTRASOUND},
        "sc.dcm": {"Modality": "CT", "SOPClassUID": SECONDARY},
        "ot.dcm": {"Modality": " OT ", "SOPClassUID": CT, "BurnedInAnnotation": ""},
        "stated.dcm": {"Modality": "US", "SOPClassUID": ULTRASOUND, "BurnedInAnnotation": "NO"},
        "ct.dcm": {"Modality": "CT", "SOPClassUID": CT},
        "yes.dcm": {"Modality": "US", "SOPClassUID": ULTRASOUND, "BurnedInAnnotation": " YES"},
        "small.dcm": {"Modality": "CT", "SOPClassUID": CT, "BurnedInAnnotation": "yes "},
    }
    data = write_folder(tmp_path / "data", named=states)
    for seed, (name, attributes) in enumerate(states.items()):
        write_dicom(data / name, noise(seed + 70), SOPInstanceUID=f"1.3.{seed}", **attributes)
    found = catalogue(data)
    kinds = {"us.dcm": "US", "sc.dcm": "SC", "ot.dcm": "OT"}
    for name in states:
        flags = [flag for flag in found.flags(name) if flag.startswith("burned-in text")]
        text = f"burned-in text: {kinds.get(name)} without BurnedInAnnotation (0028,0301), needs review"
        assert flags == ([text] if name in kinds else [])
    assert found.summary["quality_flags"]["burned-in text"] == 3
    assert "3 burned-in text" in found.out
    for name in ("yes.dcm", "small.dcm"):
        assert found.status(name)[0] == "quarantined"


def test_text_in_a_tag_that_pixels_do_not_need_leaves_the_image(tmp_path):
    data = write_folder(tmp_path / "data", named=["s.dcm"])
    dataset = make_dataset([noise(50)], SOPClassUID=CT)
    dataset.save_as(data / "s.dcm", enforce_file_format=True)
    whole = (data / "s.dcm").read_bytes()
    at = whole.find(b"\x28\x00\x00\x01US")  # Before BitsAllocated (0028,0100).
    (data / "s.dcm").write_bytes(whole[:at] + b"\x28\x00\x30\x00DS\x0a\x000.05,0.05 " + whole[at:])
    found = catalogue(data)
    assert found.status("s.dcm") == ("used", "")
    assert "unreadable: PixelSpacing (0028,0030) is '0.05,0.05', expected a decimal number" in found.flags(
        "s.dcm"
    )
    np.testing.assert_array_equal(read_frame(data / "s.dcm"), noise(50))
