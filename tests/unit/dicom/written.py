"""DICOM files written at test time: tiny, seeded, odd on purpose."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from openjpeg.utils import encode as encode_openjpeg
from PIL import Image
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.pixels.encoders import RLELosslessEncoder
from pydicom.uid import UID, generate_uid

EXPLICIT = "1.2.840.10008.1.2.1"
RLE = "1.2.840.10008.1.2.5"
JPEG_BASELINE = "1.2.840.10008.1.2.4.50"
JPEG_LOSSLESS = "1.2.840.10008.1.2.4.70"
JPEG_LS = "1.2.840.10008.1.2.4.80"
JPEG_2000 = "1.2.840.10008.1.2.4.90"


def make_dataset(frames: list[np.ndarray], *, syntax: str = EXPLICIT, **attributes: Any) -> Dataset:
    """A data set with these frames (HW or HWC, one integer type).

    `attributes` replace or, where None, remove what follows from the frames.
    """
    first = frames[0]
    bits = first.dtype.itemsize * 8
    dataset = Dataset()
    dataset.SOPClassUID, dataset.SOPInstanceUID = (
        UID("1.2.840.10008.5.1.4.1.1.7"),
        generate_uid(entropy_srcs=["medimg"]),
    )
    dataset.Rows, dataset.Columns = first.shape[:2]
    dataset.SamplesPerPixel = 1 if first.ndim == 2 else 3
    dataset.PhotometricInterpretation = "MONOCHROME2" if first.ndim == 2 else "RGB"
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = bits, bits, bits - 1
    dataset.PixelRepresentation = int(first.dtype.kind == "i")
    if first.ndim == 3:
        dataset.PlanarConfiguration = 0
    if len(frames) > 1:
        dataset.NumberOfFrames = len(frames)
    for keyword, value in attributes.items():
        if value is None:
            delattr(dataset, keyword)
        else:
            setattr(dataset, keyword, value)
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dataset.file_meta.MediaStorageSOPClassUID, dataset.file_meta.MediaStorageSOPInstanceUID = (
        dataset.SOPClassUID,
        dataset.SOPInstanceUID,
    )
    encapsulated = UID(syntax).is_encapsulated
    dataset.PixelData = (
        encapsulate([encode(frame, dataset) for frame in frames])
        if encapsulated
        else native_bytes(frames, syntax)
    )
    dataset["PixelData"].VR = "OB" if encapsulated or bits == 8 else "OW"
    dataset["PixelData"].is_undefined_length = encapsulated
    return dataset


def write_dicom(path: Path, *frames: np.ndarray, syntax: str = EXPLICIT, **attributes: Any) -> Path:
    """Writes the frames as one DICOM file; see `make_dataset`."""
    make_dataset(list(frames), syntax=syntax, **attributes).save_as(path, enforce_file_format=True)
    return path


def native_bytes(frames: list[np.ndarray], syntax: str) -> bytes:
    order = ">" if syntax == "1.2.840.10008.1.2.2" else "<"
    data = b"".join(frame.astype(frame.dtype.newbyteorder(order)).tobytes() for frame in frames)
    return data + b"\0" * (len(data) % 2)


def encode(frame: np.ndarray, dataset: Dataset) -> bytes:
    """One encoded frame, by an encoder that is not the decoder's own package where there is one."""
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if syntax == RLE:
        # All bits and the frame's own size: the header may lie about them on purpose.
        bits = frame.dtype.itemsize * 8
        options = {
            "rows": frame.shape[0],
            "columns": frame.shape[1],
            "samples_per_pixel": dataset.SamplesPerPixel,
            "number_of_frames": 1,
        }
        options |= {
            "bits_allocated": bits,
            "bits_stored": bits,
            "pixel_representation": dataset.PixelRepresentation,
            "planar_configuration": 0,
        }
        options |= {"photometric_interpretation": dataset.PhotometricInterpretation}
        return RLELosslessEncoder.encode(frame, encoding_plugin="pydicom", **options)
    if syntax == JPEG_2000:
        return encode_openjpeg(
            frame, bits_stored=dataset.BitsStored, photometric_interpretation=1 if frame.ndim == 3 else 2
        )
    unsigned = frame.view(f"u{frame.dtype.itemsize}")
    if syntax == JPEG_LS:
        return imagecodecs.jpegls_encode(unsigned)
    if syntax == JPEG_LOSSLESS:
        colours = {"colorspace": "RGB", "outcolorspace": "RGB"} if frame.ndim == 3 else {}
        return imagecodecs.jpeg8_encode(
            unsigned, lossless=True, bitspersample=frame.dtype.itemsize * 8, **colours
        )
    colours = (
        {
            "colorspace": "RGB",
            "outcolorspace": "YCBCR" if "YBR" in dataset.PhotometricInterpretation else "RGB",
        }
        if frame.ndim == 3
        else {}
    )
    return imagecodecs.jpeg8_encode(frame, level=95, subsampling="444", **colours)


def with_codestream(image: np.ndarray, encoded: bytes, syntax: str, **attributes: object) -> Dataset:
    """A data set whose header describes the image and whose pixels are this codestream."""
    dataset = make_dataset([image], **attributes)
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.PixelData = encapsulate([encoded])
    return dataset


def pillow_jpeg(image: np.ndarray, **options: object) -> bytes:
    target = io.BytesIO()
    Image.fromarray(image).save(target, format="JPEG", quality=95, **options)
    return target.getvalue()
