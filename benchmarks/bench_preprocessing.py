"""How much faster `prepare_image` is than the same steps by pydicom and Pillow, with the same pixels or not.

    python benchmarks/bench_preprocessing.py [--rounds 9] [--write]

Both ways read the same files: decode -> modality LUT -> VOI LUT -> breast crop -> Pillow HAMMING resize to
1024 x 832, padded. The plain way applies pydicom's LUT functions to whole images; the crop's algorithm is the
same in both. Rounds are interleaved and in random order; medians are compared, so that a busy machine slows
both alike. Goal: 4 times, with 99.9 % of the pixels within one grey level.
"""

from __future__ import annotations

import argparse
import datetime
import platform
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import PIL
import pydicom
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut
from pydicom.uid import ExplicitVRLittleEndian, generate_uid

from medimg.images.breast_crop import breast_box, stride_of
from medimg.images.prepare import Ingest, prepare_image

INGEST = Ingest((1024, 832), orientation="mammogram", crop="breast")
KINDS = {
    "8 bit, 2294 x 1914 (as CMMD)": ((2294, 1914), 8, {"WindowCenter": 128, "WindowWidth": 256}),
    "16 bit, 12 stored, 3328 x 2560": ((3328, 2560), 12, {"WindowCenter": 2048, "WindowWidth": 3600}),
}
FILES_PER_KIND = 3


def plain_way(path: Path) -> np.ndarray:
    """LUTs by pydicom on the whole image, then the same crop, then Pillow."""
    dataset = pydicom.dcmread(path)
    values = apply_voi_lut(apply_modality_lut(dataset.pixel_array, dataset), dataset)
    display = np.rint(values / (2**dataset.BitsStored - 1) * 255).astype(np.uint8)
    step = stride_of(display.shape)
    cropped = display[breast_box(display[::step, ::step], shape=display.shape).slices]
    height, width = 1024, 832
    scale = min(height / cropped.shape[0], width / cropped.shape[1])
    new_height, new_width = round(cropped.shape[0] * scale), round(cropped.shape[1] * scale)
    padded = np.zeros((height, width), np.uint8)
    top = (height - new_height) // 2
    padded[top : top + new_height, :new_width] = Image.fromarray(cropped).resize(
        (new_width, new_height), Image.Resampling.HAMMING
    )
    return padded


def our_way(path: Path) -> np.ndarray:
    """What ExampleGen and prediction do."""
    return prepare_image(path, ingest=INGEST).pixels


def write_mammogram(
    path: Path, *, shape: tuple[int, int], bits_stored: int, window: Mapping[str, float], seed: int
) -> Path:
    """A half ellipse of textured tissue with the chest wall at the left, on zero."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[: shape[0], : shape[1]]
    squared = ((y / shape[0] - 0.5) / 0.42) ** 2 + (x / shape[1] / generator.uniform(0.5, 0.7)) ** 2
    full = 2**bits_stored - 1
    tissue = full * (0.3 + 0.4 * np.clip(1 - squared, 0, 1)) + generator.normal(0, full * 0.05, size=shape)
    pixels = np.where(squared < 1, np.clip(tissue, 0, full), 0).astype(
        np.uint8 if bits_stored <= 8 else np.uint16
    )
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.1.2", generate_uid()
    dataset.Rows, dataset.Columns = shape
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PixelRepresentation = (
        1,
        "MONOCHROME2",
        0,
    )
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = (
        pixels.dtype.itemsize * 8,
        bits_stored,
        bits_stored - 1,
    )
    dataset.RescaleSlope, dataset.RescaleIntercept, dataset.VOILUTFunction = 1, 0, "SIGMOID"
    dataset.WindowCenter, dataset.WindowWidth = window["WindowCenter"], window["WindowWidth"]
    dataset.PatientOrientation = ["A", "FR"]
    dataset.PixelData = pixels.tobytes()
    dataset["PixelData"].VR = "OW"
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.save_as(path, enforce_file_format=True)
    return path


def seconds_of(way: Callable[[Path], np.ndarray], files: list[Path]) -> float:
    start = time.perf_counter()
    for path in files:
        way(path)
    return time.perf_counter() - start


def measure(files: list[Path], *, rounds: int) -> dict[str, float]:
    """Medians over interleaved rounds, and how alike the outputs are."""
    times: dict[str, list[float]] = {"ours": [], "plain": []}
    ways = {"ours": our_way, "plain": plain_way}
    order = random.Random(0)
    for _ in range(rounds):
        for name in order.sample(list(ways), len(ways)):
            times[name].append(seconds_of(ways[name], files))
    differences = np.concatenate(
        [np.abs(our_way(path).astype(int) - plain_way(path)).ravel() for path in files]
    )
    ours, plain = statistics.median(times["ours"]), statistics.median(times["plain"])
    return {
        "ours_ms": 1000 * ours / len(files),
        "plain_ms": 1000 * plain / len(files),
        "ratio": plain / ours,
        "within_1": float((differences <= 1).mean()),
        "identical": float((differences == 0).mean()),
    }


def report(rounds: int) -> str:
    """A Markdown table of all kinds."""
    lines = [
        "| files | ours, ms | plain, ms | times faster | pixels within 1 grey level | identical |",
        "|---|---|---|---|---|---|",
    ]
    with tempfile.TemporaryDirectory() as folder:
        for number, (kind, (shape, bits_stored, window)) in enumerate(KINDS.items()):
            names = [Path(folder, f"{number}-{seed}.dcm") for seed in range(FILES_PER_KIND)]
            files = [
                write_mammogram(path, shape=shape, bits_stored=bits_stored, window=window, seed=seed)
                for seed, path in enumerate(names)
            ]
            found = measure(files, rounds=rounds)
            lines.append(
                f"| {kind} | {found['ours_ms']:.1f} | {found['plain_ms']:.1f} | {found['ratio']:.1f} "
                f"| {found['within_1']:.4%} | {found['identical']:.4%} |"
            )
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--write", action="store_true", help="also write preprocessing_YYYYMMDD.md beside this file"
    )
    arguments = parser.parse_args()
    versions = (
        f"Python {platform.python_version()}, numpy {np.__version__}, "
        f"pydicom {pydicom.__version__}, Pillow {PIL.__version__}"
    )
    table = report(arguments.rounds)
    text = f"# Preprocessing\n\n{versions}; {arguments.rounds} interleaved rounds, medians.\n\n{table}\n"
    print(text)
    if arguments.write:
        Path(__file__).with_name(f"preprocessing_{datetime.date.today():%Y%m%d}.md").write_text(text)


if __name__ == "__main__":
    main()
