"""From stored values to what a viewer shows: modality LUT, VOI LUT, MONOCHROME1 inversion.

A larger output is always brighter.

DICOM PS3.3 C.11.1 (modality), C.11.2 (VOI), C.7.6.16.2.9 and .10 (per frame). The whole chain is one function
of the stored value, so it is computed once per possible value and looked up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import cv2
import numpy as np
from pydicom.dataset import Dataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi

from medimg.dicom.lookup_tables import check_table
from medimg.dicom.tags import read_value
from medimg.errors import BadImage, quote_code

Bits = Literal[8, 16]
Level = Callable[[np.ndarray], np.ndarray]
"""Maps values to brightness in [0, 1], float64."""


@dataclass(frozen=True)
class Display:
    """The display chain of one frame, ready to be applied to the frame or to any part of it.

    Attributes:
        level: stored values to brightness.
        bits: of the output.
        table: output values by the bit pattern of the stored value; None where stored values have more than
            16 bits.
    """

    level: Level
    bits: Bits
    table: np.ndarray | None

    def apply(self, stored: np.ndarray) -> np.ndarray:
        """uint8 or uint16 of the same shape; `stored` has the dtype that the chain was made for."""
        if self.table is None:
            return _quantise(self.level(stored), self.bits)
        pattern = stored.view(f"u{stored.dtype.itemsize}")
        if pattern.dtype == np.uint8 and self.table.dtype == np.uint8:
            return cv2.LUT(np.ascontiguousarray(pattern), self.table)
        return np.take(self.table, pattern)


def to_display(stored: np.ndarray, dataset: Dataset, *, frame: int = 0, bits: Bits = 8) -> np.ndarray:
    """Maps a whole frame of stored values to display values; see `make_display`."""
    return make_display(stored, dataset, frame=frame, bits=bits).apply(stored)


def make_display(stored: np.ndarray, dataset: Dataset, *, frame: int = 0, bits: Bits = 8) -> Display:
    """Builds the display chain of one frame.

    The first of several windows counts; a VOI LUT sequence goes before windows. Without both, the frame's
    smallest and largest modality value become black and white (a constant frame becomes black). Attributes of
    the frame's own functional groups go before shared ones, those before the data set's. Padding (PS3.3
    C.7.5.1.1.2) is black and no part of that range. Colours are only scaled to the output's range.

    Args:
        stored: the whole frame, HW integers as `read_frame` returns them, or RGB as HWC.
        dataset: its header.
        frame: 0-based, for per-frame windows.
        bits: of the output.

    Raises:
        BadImage: the window has no positive width or is not finite, its function is unknown, or a lookup
            table is not whole.
    """
    if stored.ndim == 3:
        return linear_display(stored.dtype, largest=_colour_max(stored, dataset), bits=bits)
    modality = _modality(dataset, frame)
    voi = _voi(dataset, frame)
    padding = _find_padding(dataset, stored.dtype)
    if voi is None:
        inside = padding.leave_out(stored)
        is_monotonic = "ModalityLUTSequence" not in dataset
        voi = _span(_modality_range(inside, modality, is_monotonic=is_monotonic))
    inverted = read_value(dataset, "PhotometricInterpretation") == "MONOCHROME1"

    def level(values: np.ndarray, voi: Level = voi) -> np.ndarray:
        brightness = voi(modality(values))
        return padding.blacken(values, 1.0 - brightness if inverted else brightness)

    return _tabulate(level, stored.dtype, bits)


def linear_display(dtype: np.dtype, *, largest: float, bits: Bits, smallest: float = 0) -> Display:
    """The chain for unsigned values that are brightness already: `smallest` to `largest`, black to white."""
    span = largest - smallest
    return _tabulate(lambda values: np.clip((values - float(smallest)) / span, 0, 1), dtype, bits)


def describe_lost_contrast(stored: np.ndarray, dataset: Dataset) -> str:
    """Says if the display chain leaves one of 256 grey levels of a frame with several values; else empty.

    Args:
        stored: the whole frame, as for `make_display`; colours have no window.

    Raises:
        BadImage: as for `make_display`.
    """
    display = make_display(stored, dataset)
    if stored.ndim == 3:
        return ""
    values = _list_values(_find_padding(dataset, stored.dtype).leave_out(stored))
    if len(values) < 2 or len(np.unique(display.apply(values))) > 1:
        return ""
    by = "its lookup table" if dataset.get("VOILUTSequence") else "its window"
    center, width = (_number(read_value(dataset, name), None) for name in ("WindowCenter", "WindowWidth"))
    if center is not None and width is not None and not dataset.get("VOILUTSequence"):
        by = f"WindowCenter (0028,1050) {center:g} with WindowWidth (0028,1051) {width:g}"
    return f"{by} leaves 1 grey level of {len(values)} stored values from {values[0]} to {values[-1]}"


def linear(values: np.ndarray, *, center: float, width: float) -> np.ndarray:
    """VOI LUT function LINEAR, PS3.3 C.11.2.1.2.1; width >= 1. Brightness in [0, 1]."""
    if not width >= 1:
        raise BadImage(f"WindowWidth (0028,1051) is {width:g}, expected 1 or more for the function LINEAR")
    if width == 1:
        return (values > center - 0.5).astype(np.float64)
    return np.clip((values - (center - 0.5)) / (width - 1) + 0.5, 0, 1)


def linear_exact(values: np.ndarray, *, center: float, width: float) -> np.ndarray:
    """VOI LUT function LINEAR_EXACT, PS3.3 C.11.2.1.3.2; width > 0. Brightness in [0, 1]."""
    if not width > 0:
        raise BadImage(
            f"WindowWidth (0028,1051) is {width:g}, expected more than 0 for the function LINEAR_EXACT"
        )
    return np.clip((values - center) / width + 0.5, 0, 1)


def sigmoid(values: np.ndarray, *, center: float, width: float) -> np.ndarray:
    """VOI LUT function SIGMOID, PS3.3 C.11.2.1.3.1; width > 0. Brightness in [0, 1]."""
    if not width > 0:
        raise BadImage(f"WindowWidth (0028,1051) is {width:g}, expected more than 0 for the function SIGMOID")
    exponent = np.clip(-4 * (values - center) / width, -700, 700)  # exp(710) overflows float64.
    return 1 / (1 + np.exp(exponent))


def _list_values(stored: np.ndarray) -> np.ndarray:
    """The values that occur, sorted; of 16 bits they are counted, which is faster than sorting a frame."""
    if stored.dtype.itemsize > 2:
        return np.unique(stored)
    patterns = np.flatnonzero(np.bincount(stored.view(f"u{stored.dtype.itemsize}").ravel()))
    return np.sort(patterns.astype(f"u{stored.dtype.itemsize}").view(stored.dtype))


FUNCTIONS: dict[str, Callable[..., np.ndarray]] = {
    "LINEAR": linear,
    "LINEAR_EXACT": linear_exact,
    "SIGMOID": sigmoid,
}


def _tabulate(level: Level, dtype: np.dtype, bits: Bits) -> Display:
    if dtype.itemsize > 2:
        return Display(level, bits, None)
    patterns = np.arange(1 << (8 * dtype.itemsize), dtype=f"u{dtype.itemsize}")
    return Display(level, bits, _quantise(level(patterns.view(dtype)), bits))


def _quantise(brightness: np.ndarray, bits: Bits) -> np.ndarray:
    scaled = brightness * float((1 << bits) - 1)
    return np.rint(scaled).astype(np.uint8 if bits == 8 else np.uint16)


def _modality(dataset: Dataset, frame: int) -> Level:
    """Stored to modality values (HU, optical density), PS3.3 C.11.1."""
    if dataset.get("ModalityLUTSequence"):
        check_table(dataset, "ModalityLUTSequence")
        return lambda values: apply_modality_lut(values, dataset).astype(np.float64)
    source = _group(dataset, frame, "PixelValueTransformationSequence", "RescaleSlope")
    slope = _number(read_value(source, "RescaleSlope"), 1.0)
    intercept = _number(read_value(source, "RescaleIntercept"), 0.0)
    if slope == 0 or not np.isfinite([slope, intercept]).all():
        raise BadImage(
            f"RescaleSlope and RescaleIntercept (0028,1053/1052) are {slope:g} and {intercept:g}, "
            "expected a slope other than 0"
        )
    return lambda values: values.astype(np.float64) * slope + intercept


def _voi(dataset: Dataset, frame: int) -> Level | None:
    """Modality values to brightness, PS3.3 C.11.2.

    None where the header has neither a VOI LUT nor a window.
    """
    if dataset.get("VOILUTSequence"):
        check_table(dataset, "VOILUTSequence")
        largest = float((1 << int(dataset.VOILUTSequence[0].LUTDescriptor[2])) - 1)
        return lambda values: np.clip(apply_voi(np.rint(values).astype(np.int64), dataset) / largest, 0, 1)
    source = _group(dataset, frame, "FrameVOILUTSequence", "WindowCenter")
    center, width = (_number(read_value(source, name), None) for name in ("WindowCenter", "WindowWidth"))
    if center is None or width is None:
        return None
    name = str(read_value(source, "VOILUTFunction") or "LINEAR").upper()
    if name not in FUNCTIONS:
        expected = ", ".join(FUNCTIONS)
        raise BadImage(f"VOILUTFunction (0028,1056) is {quote_code(name)}, expected one of {expected}")
    function = FUNCTIONS[name]
    function(np.zeros(1), center=center, width=width)  # Refuses the width before any pixel is asked for.
    return lambda values: function(values, center=center, width=width)


def _group(dataset: Dataset, frame: int, sequence: str, keyword: str) -> Dataset:
    """Finds the item that holds the keyword (PS3.3 C.7.6.16).

    The frame's functional group, the shared one, or the data set itself.
    """
    per_frame = dataset.get("PerFrameFunctionalGroupsSequence") or []
    groups = [*per_frame[frame : frame + 1], *(dataset.get("SharedFunctionalGroupsSequence") or [])]
    for group in groups:
        for item in group.get(sequence) or []:
            if keyword in item:
                return item
    return dataset


def _number(value: Any, default: Any) -> Any:
    """The first value of a multi-valued number."""
    if isinstance(value, (list, tuple)) or (
        hasattr(value, "__getitem__") and not isinstance(value, (str, bytes))
    ):
        value = value[0] if len(value) else None
    return default if value in (None, "") else float(value)


@dataclass(frozen=True)
class _Padding:
    """Stored values that are none of the image's, from `first` to `last`; none where `first` > `last`."""

    first: int = 1
    last: int = 0

    def leave_out(self, stored: np.ndarray) -> np.ndarray:
        return stored if self.first > self.last else stored[~self._is_padding(stored)]

    def blacken(self, stored: np.ndarray, brightness: np.ndarray) -> np.ndarray:
        return brightness if self.first > self.last else np.where(self._is_padding(stored), 0.0, brightness)

    def _is_padding(self, stored: np.ndarray) -> np.ndarray:
        return (stored >= self.first) & (stored <= self.last)


def _find_padding(dataset: Dataset, dtype: np.dtype) -> _Padding:
    """PixelPaddingValue (0028,0120) to PixelPaddingRangeLimit (0028,0121), in either order.

    Written with the wrong sign (US for SS), a value means the same bits.
    """
    limits = (read_value(dataset, name) for name in ("PixelPaddingValue", "PixelPaddingRangeLimit"))
    found = [int(limit) for limit in limits if isinstance(limit, int)]
    if "PixelPaddingValue" not in dataset or not found:
        return _Padding()
    bits, ends = 8 * dtype.itemsize, np.iinfo(dtype)
    values = [value - (1 << bits) if value > ends.max else value for value in found]
    values = [value + (1 << bits) if value < ends.min else value for value in values]
    return _Padding(min(values), max(values))


def _modality_range(stored: np.ndarray, modality: Level, *, is_monotonic: bool) -> tuple[float, float]:
    if not stored.size:
        return 0.0, 0.0
    # A modality LUT need not be monotonic, so the ends are sought among the values that occur.
    values = modality(np.array([stored.min(), stored.max()]) if is_monotonic else np.unique(stored))
    return float(values.min()), float(values.max())


def _span(ends: tuple[float, float]) -> Level:
    low, high = ends
    if high == low:
        return lambda values: np.zeros(values.shape)
    return lambda values: np.clip((values - low) / (high - low), 0, 1)


def _colour_max(stored: np.ndarray, dataset: Dataset) -> float:
    if read_value(dataset, "PhotometricInterpretation") == "PALETTE COLOR":
        return float(np.iinfo(stored.dtype).max)
    return float((1 << int(dataset.BitsStored)) - 1)
