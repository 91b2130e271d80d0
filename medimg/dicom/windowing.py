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

from medimg.errors import BadImage, shown_term

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
    the frame's own functional groups go before shared ones, those before the data set's. Colours are only
    scaled to the output's range.

    Args:
        stored: the whole frame, HW integers as `read_frame` returns them, or RGB as HWC.
        dataset: its header.
        frame: 0-based, for per-frame windows.
        bits: of the output.

    Raises:
        ValueError: the window has no positive width, or its function is unknown.
    """
    if stored.ndim == 3:
        return linear_display(stored.dtype, largest=_colour_max(stored, dataset), bits=bits)
    modality = _modality(dataset, frame)
    voi = _voi(dataset, frame)
    if voi is None:
        voi = _span(_modality_range(stored, modality, is_monotonic="ModalityLUTSequence" not in dataset))
    inverted = str(dataset.get("PhotometricInterpretation", "")) == "MONOCHROME1"

    def level(values: np.ndarray, voi: Level = voi) -> np.ndarray:
        brightness = voi(modality(values))
        return 1.0 - brightness if inverted else brightness

    return _tabulate(level, stored.dtype, bits)


def linear_display(dtype: np.dtype, *, largest: float, bits: Bits) -> Display:
    """The chain for unsigned values that are brightness already: 0 to `largest` becomes black to white."""
    return _tabulate(lambda values: np.clip(values / largest, 0, 1), dtype, bits)


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
        return lambda values: apply_modality_lut(values, dataset).astype(np.float64)
    source = _group(dataset, frame, "PixelValueTransformationSequence", "RescaleSlope")
    slope, intercept = _number(source.get("RescaleSlope"), 1.0), _number(source.get("RescaleIntercept"), 0.0)
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
        largest = float((1 << int(dataset.VOILUTSequence[0].LUTDescriptor[2])) - 1)
        return lambda values: np.clip(apply_voi(np.rint(values).astype(np.int64), dataset) / largest, 0, 1)
    source = _group(dataset, frame, "FrameVOILUTSequence", "WindowCenter")
    center, width = _number(source.get("WindowCenter"), None), _number(source.get("WindowWidth"), None)
    if center is None or width is None:
        return None
    name = str(source.get("VOILUTFunction") or "LINEAR").upper()
    if name not in FUNCTIONS:
        raise BadImage(
            f"VOILUTFunction (0028,1056) is {shown_term(name)}, expected one of {', '.join(FUNCTIONS)}"
        )
    function = FUNCTIONS[name]
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


def _modality_range(stored: np.ndarray, modality: Level, *, is_monotonic: bool) -> tuple[float, float]:
    # A modality LUT need not be monotonic, so the ends are sought among the values that occur.
    values = modality(np.array([stored.min(), stored.max()]) if is_monotonic else np.unique(stored))
    return float(values.min()), float(values.max())


def _span(ends: tuple[float, float]) -> Level:
    low, high = ends
    if high == low:
        return lambda values: np.zeros(values.shape)
    return lambda values: np.clip((values - low) / (high - low), 0, 1)


def _colour_max(stored: np.ndarray, dataset: Dataset) -> float:
    if str(dataset.get("PhotometricInterpretation", "")) == "PALETTE COLOR":
        return float(np.iinfo(stored.dtype).max)
    return float((1 << int(dataset.BitsStored)) - 1)
