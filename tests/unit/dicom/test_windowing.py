"""Display values equal pydicom's chain and the standard's formulas, and a larger one is always brighter."""

from typing import Any

import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.sequence import Sequence as DicomSequence

from medimg.dicom.parse import open_dicom
from medimg.dicom.read import read_frame
from medimg.dicom.windowing import describe_lost_contrast, linear_display, to_display
from medimg.errors import UnreadableFile
from tests.unit.dicom.test_read import some_pixels
from tests.unit.dicom.written import make_dataset


def lookup_table(entries: np.ndarray, *, first: int, bits: int) -> DicomSequence:
    item = Dataset()
    item.LUTDescriptor = [len(entries), first, bits]
    item["LUTDescriptor"].VR = "US"
    item.LUTData = entries.tolist()
    item["LUTData"].VR = "US"
    return DicomSequence([item])


CHAINS: list[dict[str, Any]] = [
    {"WindowCenter": 40, "WindowWidth": 400, "RescaleSlope": 1, "RescaleIntercept": -1024},
    {"WindowCenter": 2000.5, "WindowWidth": 900, "VOILUTFunction": "LINEAR"},
    {"WindowCenter": 2000, "WindowWidth": 1},
    {"WindowCenter": 2000, "WindowWidth": 0.5, "VOILUTFunction": "LINEAR_EXACT"},
    {"WindowCenter": [2653, 1000], "WindowWidth": [900, 10], "VOILUTFunction": "SIGMOID"},
    {"WindowCenter": -500, "WindowWidth": 1000, "RescaleSlope": -0.5, "RescaleIntercept": 3},
    {
        "VOILUTSequence": lookup_table(np.arange(1000, dtype=np.uint16) ** 2 % 1021, first=1500, bits=10),
        "WindowCenter": 1,
        "WindowWidth": 2,
    },
    {
        "ModalityLUTSequence": lookup_table(np.arange(4096, dtype=np.uint16)[::-1] * 3, first=0, bits=16),
        "WindowCenter": 6000,
        "WindowWidth": 9000,
    },
]


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("chain", CHAINS, ids=lambda chain: "-".join(chain))
def test_display_values_equal_pydicom_within_rounding(chain, bits):
    stored = some_pixels("uint16", (64, 64), bits=12)
    dataset = make_dataset([stored], BitsStored=12, HighBit=11, **chain)
    expected = apply_voi_lut(apply_modality_lut(stored, dataset), dataset).astype(np.float64)
    low, high = output_range(dataset)
    expected = (expected - low) / (high - low) * (2**bits - 1)
    found = to_display(stored, dataset, bits=bits)
    assert found.dtype == (np.uint8 if bits == 8 else np.uint16)
    assert np.abs(found - expected).max() <= 0.5 + 1e-6
    assert found.max() > found.min()


def output_range(dataset: Dataset) -> tuple[float, float]:
    """The range of pydicom's result: of the LUT, or of all stored values after the modality LUT.

    See PS3.3 C.11.2.1.2.1.
    """
    if "VOILUTSequence" in dataset:
        return 0, 1023
    if "ModalityLUTSequence" in dataset:
        return 0, 65535
    slope, intercept = float(dataset.get("RescaleSlope", 1)), float(dataset.get("RescaleIntercept", 0))
    return intercept, 4095 * slope + intercept


def test_linear_window_follows_the_formula_of_the_standard():
    stored = np.array([[-200, 0, 39, 40, 240, 600]], np.int16)
    dataset = make_dataset([stored], WindowCenter=40, WindowWidth=400)
    # PS3.3 C.11.2.1.2.1: ((x - (c - 0.5)) / (w - 1) + 0.5) * 255
    assert to_display(stored, dataset).tolist() == [[0, 102, 127, 128, 255, 255]]


@pytest.mark.parametrize(
    ("attributes", "expected"),
    [
        ({}, [0, 64, 255]),
        ({"WindowWidth": 10}, [0, 64, 255]),  # Half a window is none.
        ({"WindowCenter": 10}, [0, 64, 255]),
        ({"WindowCenter": "", "WindowWidth": ""}, [0, 64, 255]),
        # The edge, at the center less a half, is black still: PS3.3 C.11.2.1.2.1.
        ({"WindowCenter": 0.5, "WindowWidth": 1}, [0, 0, 255]),
        ({"WindowCenter": 0.4, "WindowWidth": 1}, [0, 255, 255]),
        ({"WindowCenter": 0.5, "WindowWidth": 2}, [0, 128, 255]),
        ({"WindowCenter": 0, "WindowWidth": 0.01, "VOILUTFunction": "LINEAR_EXACT"}, [0, 128, 255]),
        ({"WindowCenter": 0, "WindowWidth": 0.01, "VOILUTFunction": "sigmoid"}, [0, 128, 255]),
        ({"WindowCenter": [0, 300], "WindowWidth": [1, 900], "VOILUTFunction": ""}, [0, 255, 255]),
        # The brightness follows the modality's values, which a negative slope turns round.
        ({"RescaleSlope": -1}, [255, 191, 0]),
        ({"RescaleSlope": -2, "RescaleIntercept": 7}, [255, 191, 0]),
        ({"RescaleIntercept": 1000, "WindowCenter": 1000, "WindowWidth": 2}, [0, 255, 255]),
        ({"PhotometricInterpretation": "MONOCHROME1", "WindowCenter": 0.5, "WindowWidth": 1}, [255, 255, 0]),
    ],
)
def test_each_part_of_the_chain_does_what_the_standard_says(attributes, expected):
    stored = np.array([[-100, 0, 300]], np.int16)
    with np.errstate(all="raise"):
        assert to_display(stored, make_dataset([stored], **attributes)).tolist() == [expected]


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
def test_without_a_window_a_modality_lut_spans_black_to_white_although_it_goes_up_and_down(dtype):
    stored = np.array([[0, 1, 2, 3]], dtype)
    table = lookup_table(np.array([50, 100, 0, 50], np.uint16), first=0, bits=16)
    assert to_display(stored, make_dataset([stored], ModalityLUTSequence=table)).tolist() == [
        [128, 255, 0, 128]
    ]


def test_a_modality_lut_goes_before_a_rescale():
    stored = np.array([[0, 1, 2, 3]], np.uint8)
    table = lookup_table(np.array([0, 10, 10, 40], np.uint16), first=0, bits=16)
    dataset = make_dataset([stored], ModalityLUTSequence=table, RescaleSlope=100, RescaleIntercept=7)
    assert to_display(stored, dataset).tolist() == [[0, 64, 64, 255]]


def test_values_are_rounded_before_a_voi_lut_and_its_ends_hold_outside_of_it():
    stored = np.arange(10, dtype=np.uint8)[np.newaxis]
    table = lookup_table(np.array([5, 50, 80, 255], np.uint16), first=1, bits=8)
    dataset = make_dataset([stored], VOILUTSequence=table, RescaleSlope=0.6, RescaleIntercept=0)
    # 0.6, 1.2, 1.8, 2.4, 3, 3.6 ... are 1, 1, 2, 2, 3, 4.
    assert to_display(stored, dataset).tolist() == [[5, 5, 5, 50, 50, 80, 255, 255, 255, 255]]


def test_sigmoid_passes_half_at_the_center():
    stored = np.array([[0, 128, 255]], np.uint8)
    dataset = make_dataset([stored], WindowCenter=128, WindowWidth=256, VOILUTFunction="SIGMOID")
    assert to_display(stored, dataset).tolist() == [
        [round(255 / (1 + np.exp(2))), 128, round(255 / (1 + np.exp(-4 * 127 / 256)))]
    ]


@pytest.mark.parametrize(("photometric", "brightest"), [("MONOCHROME1", (0, 0)), ("MONOCHROME2", (1, 1))])
@pytest.mark.parametrize("window", [{}, {"WindowCenter": 2, "WindowWidth": 10}])
def test_larger_value_always_means_brighter(photometric, brightest, window):
    stored = np.array([[0, 1], [2, 3]], np.uint8)
    display = to_display(stored, make_dataset([stored], PhotometricInterpretation=photometric, **window))
    assert np.unravel_index(display.argmax(), display.shape) == brightest


def test_without_a_window_the_frame_spans_black_to_white():
    stored = np.array([[-100, 0, 300]], np.int16)
    assert to_display(stored, make_dataset([stored])).tolist() == [[0, 64, 255]]


def test_a_constant_frame_without_a_window_is_black():
    stored = np.full((3, 3), 77, np.uint16)
    assert to_display(stored, make_dataset([stored])).max() == 0


@pytest.mark.parametrize("dtype", ["uint32", "int32"])
def test_stored_values_of_32_bits_are_windowed_too(dtype):
    stored = np.array([[0, 50_000, 100_000]], dtype)
    dataset = make_dataset([stored], WindowCenter=50_000, WindowWidth=100_000, VOILUTFunction="LINEAR_EXACT")
    assert to_display(stored, dataset, bits=16).tolist() == [[0, 32768, 65535]]


WIDE, FAR = {"WindowCenter": 500, "WindowWidth": 1000}, {"WindowCenter": 3000, "WindowWidth": 10}


@pytest.mark.parametrize(
    ("values", "attributes", "said"),
    [
        ((0, 500, 1000), WIDE, ""),
        ((499, 500), {"WindowCenter": 500, "WindowWidth": 2}, ""),
        ((7,), WIDE, ""),
        ((7,), FAR, ""),
        (
            (4, 7),
            FAR,
            "WindowCenter (0028,1050) 3000 with WindowWidth (0028,1051) 10 leaves 1 grey level of 2 stored "
            "values from 4 to 7",
        ),
        ((4, 7), {**FAR, "PixelPaddingValue": 4}, ""),
        (
            (0, 1, 2),
            {"VOILUTSequence": lookup_table(np.full(3, 5, np.uint16), first=0, bits=10), **FAR},
            "its lookup table leaves 1 grey level of 3 stored values from 0 to 2",
        ),
    ],
)
def test_a_chain_that_leaves_one_grey_level_of_several_values_is_said(
    values: tuple[int, ...], attributes: dict[str, Any], said: str
) -> None:
    stored = np.resize(np.array(values, np.uint16), (4, 4))
    assert describe_lost_contrast(stored, make_dataset([stored], **attributes)) == said


def test_colours_are_only_scaled():
    stored = some_pixels("uint8", (4, 4, 3))
    dataset = make_dataset([stored], WindowCenter=10, WindowWidth=3)
    np.testing.assert_array_equal(to_display(stored, dataset), stored)
    np.testing.assert_array_equal(to_display(stored, dataset, bits=16), stored.astype(np.uint16) * 257)


@pytest.mark.parametrize("photometric", ["RGB", "PALETTE COLOR"])
def test_colours_are_scaled_from_the_bits_of_what_holds_them(photometric):
    # Colours that were stored have the data set's bits; those of a palette fill their own type.
    stored = np.array([[[0, 2048, 4095]]], np.uint16)
    dataset = make_dataset([stored], BitsStored=12, HighBit=11, PhotometricInterpretation=photometric)
    largest = 4095 if photometric == "RGB" else 65535
    for bits in (8, 16):
        full = 2**bits - 1
        expected = [round(value / largest * full) for value in (0, 2048, 4095)]
        assert to_display(stored, dataset, bits=bits).tolist() == [[expected]]


def frame_group(*, center: float, width: float, intercept: float) -> Dataset:
    window, rescale, group = Dataset(), Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth, window.VOILUTFunction = center, width, "LINEAR_EXACT"
    rescale.RescaleSlope, rescale.RescaleIntercept = 1, intercept
    group.FrameVOILUTSequence, group.PixelValueTransformationSequence = (
        DicomSequence([window]),
        DicomSequence([rescale]),
    )
    return group


def test_every_frame_has_the_window_of_its_own_functional_group():
    stored = np.array([[0, 10, 20]], np.uint8)
    facts = [(10, 20, 0), (20, 40, 0), (10, 20, -5)]
    groups = [
        frame_group(center=center, width=width, intercept=intercept) for center, width, intercept in facts
    ]
    dataset = make_dataset(
        [stored] * 3, PerFrameFunctionalGroupsSequence=DicomSequence(groups), WindowCenter=1000, WindowWidth=2
    )
    found = [to_display(stored, dataset, frame=frame).tolist()[0] for frame in range(3)]
    assert found == [[0, 128, 255], [0, 64, 128], [0, 64, 191]]


def test_a_real_multi_frame_file_windows_its_first_frame_only(shared_data):
    path = shared_data / "transfer_syntaxes" / "MultiframeWindowing.dcm"
    with open_dicom(path) as file:
        first, second = read_frame(path, frame=0), read_frame(path, frame=1)
        # Frame 0 has the window 16/128, LINEAR; the others have none.
        expected = np.clip((first - 15.5) / 127 + 0.5, 0, 1) * 255
        assert np.abs(to_display(first, file.dataset, frame=0) - expected).max() <= 0.5
        found = to_display(second, file.dataset, frame=1)
        assert (found.min(), found.max()) == (0, 255)


def test_a_shared_functional_group_is_used_where_the_frame_has_none():
    stored = np.array([[0, 10]], np.uint8)
    window, group = Dataset(), Dataset()
    window.WindowCenter, window.WindowWidth, window.VOILUTFunction = 10, 20, "LINEAR_EXACT"
    group.FrameVOILUTSequence = DicomSequence([window])
    dataset = make_dataset(
        [stored], SharedFunctionalGroupsSequence=DicomSequence([group]), WindowCenter=1000, WindowWidth=2
    )
    assert to_display(stored, dataset).tolist() == [[0, 128]]


def test_a_frames_own_group_goes_before_a_shared_one_and_an_item_without_a_window_before_none():
    stored = np.array([[0, 10, 20]], np.uint8)
    shared = frame_group(center=1000, width=2, intercept=500)
    own = frame_group(center=10, width=20, intercept=0)
    dataset = make_dataset(
        [stored] * 2,
        SharedFunctionalGroupsSequence=DicomSequence([shared]),
        PerFrameFunctionalGroupsSequence=DicomSequence([own, Dataset()]),
        WindowCenter=1,
        WindowWidth=1,
    )
    assert to_display(stored, dataset, frame=0).tolist() == [[0, 128, 255]]
    # The second frame's group holds nothing: 500 to 520 are below the shared window.
    assert to_display(stored, dataset, frame=1).tolist() == [[0, 0, 0]]
    explained = Dataset()
    explained.WindowCenterWidthExplanation = "none"
    shared.FrameVOILUTSequence = DicomSequence([explained])
    dataset.WindowCenter, dataset.WindowWidth = 510, 1
    assert to_display(stored, dataset, frame=1).tolist() == [[0, 255, 255]]


@pytest.mark.parametrize(
    ("attributes", "message"),
    [
        ({"WindowCenter": 0, "WindowWidth": 0}, "WindowWidth .* is 0, expected 1 or more"),
        ({"WindowCenter": 0, "WindowWidth": 0.5}, "WindowWidth .* is 0.5, expected 1 or more .* LINEAR"),
        ({"WindowCenter": 0, "WindowWidth": -1}, "WindowWidth .* is -1, expected 1 or more .* LINEAR"),
        (
            {"WindowCenter": 0, "WindowWidth": 0, "VOILUTFunction": "LINEAR_EXACT"},
            "WindowWidth .* is 0, expected more than 0 for the function LINEAR_EXACT",
        ),
        (
            {"WindowCenter": 0, "WindowWidth": 0, "VOILUTFunction": "SIGMOID"},
            "WindowWidth .* is 0, expected more than 0 for the function SIGMOID",
        ),
        ({"RescaleSlope": "1e999", "RescaleIntercept": 1}, "is '1e999', expected a decimal number"),
        ({"RescaleSlope": 1, "RescaleIntercept": "-1e999"}, "is '-1e999', expected a decimal number"),
        (
            {"WindowCenter": 0, "WindowWidth": 5, "VOILUTFunction": "CUBIC"},
            "VOILUTFunction .* is a text of 5 characters, expected one of LINEAR",
        ),
        ({"RescaleSlope": 0, "RescaleIntercept": 1}, "expected a slope other than 0"),
    ],
)
def test_a_window_that_means_nothing_is_refused(attributes, message):
    stored = some_pixels("uint8")
    with pytest.raises(ValueError, match=message):
        to_display(stored, make_dataset([stored], **attributes))
    with (
        pytest.raises(UnreadableFile, match=message),
        open_dicom(make_dataset([stored], **attributes)) as file,
    ):
        to_display(stored, file.dataset)


@pytest.mark.parametrize("bits", [8, 16])
def test_what_is_brighter_than_the_brightest_is_white(bits):
    stored = np.array([[0, 4094, 4095, 4096, 65535]], np.uint16)
    found = linear_display(stored.dtype, largest=4095, bits=bits).apply(stored)
    white = 2**bits - 1
    assert found.tolist() == [[0, round(4094 / 4095 * white), white, white, white]]


@pytest.mark.parametrize(
    ("dtype", "stated", "padding"),
    [
        (np.uint16, ("US", 60_000), 60_000),
        (np.uint16, ("SS", -2_000), 63_536),
        (np.int16, ("SS", -2_000), -2_000),
        (np.int16, ("US", 63_536), -2_000),
    ],
)
def test_a_padding_value_of_the_wrong_sign_means_the_same_bits(dtype, stated, padding):
    stored = np.array([[padding, 0], [500, 1000]], dtype)
    dataset = make_dataset([stored])
    dataset.add_new("PixelPaddingValue", *stated)
    assert to_display(stored, dataset).tolist() == [[0, 0], [128, 255]]


@pytest.mark.parametrize("limits", [(10, 20), (20, 10)])
def test_all_values_from_the_padding_value_to_its_limit_are_black(limits):
    stored = np.array([[9, 10, 15, 20, 21, 30]], np.uint16)
    dataset = make_dataset([stored])
    for name, limit in zip(("PixelPaddingValue", "PixelPaddingRangeLimit"), limits, strict=True):
        dataset.add_new(name, "US", limit)
    assert to_display(stored, dataset).tolist() == [[0, 0, 0, 0, 146, 255]]
