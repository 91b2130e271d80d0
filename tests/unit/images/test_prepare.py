"""One path from files to pixels: what a file is, what it holds, and how it reaches the model."""

import hashlib
import pickle
from dataclasses import replace

import cv2
import numpy as np
import pytest
from PIL import Image
from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

from medimg.cases import Header
from medimg.errors import UnreadableFile
from medimg.files import WORK_FOLDER
from medimg.images.breast_crop import breast_box, stride_of
from medimg.images.encoding import encode_png
from medimg.images.prepare import Ingest, prepare_image
from medimg.images.scan import list_files, scan_file, sniff
from tests.unit.dicom.test_read import LOSSLESS, some_pixels
from tests.unit.dicom.written import EXPLICIT, RLE, make_dataset, write_dicom

BREAST = Ingest((128, 104), orientation="mammogram", crop="breast")
WINDOW = {"WindowCenter": 2048, "WindowWidth": 3000, "VOILUTFunction": "SIGMOID"}


def breast(dtype: str = "uint16", *, side: str = "left", peak: int = 3000) -> np.ndarray:
    """A half ellipse of tissue at one edge, noise within, zero around."""
    y, x = np.mgrid[:600, :480]
    inside = ((y - 290) / 220) ** 2 + (x / 260) ** 2 < 1
    tissue = np.random.default_rng(4).integers(peak // 2, peak, size=inside.shape)
    image = np.where(inside, tissue, 0).astype(dtype)
    return image if side == "left" else image[:, ::-1].copy()


# --- files


def test_files_are_listed_sorted_and_links_out_of_the_root_are_refused(tmp_path):
    root, outside = tmp_path / "root", tmp_path / "outside"
    (root / "b").mkdir(parents=True)
    outside.mkdir()
    for path in (root / "b" / "2.dcm", root / "b" / "1.dcm", root / "a.txt", outside / "secret.dcm"):
        path.write_bytes(b"x")
    (root / "folder").symlink_to(outside)
    (root / "file.dcm").symlink_to(outside / "secret.dcm")
    assert list_files(root) == ["a.txt", "b/1.dcm", "b/2.dcm", "file.dcm", "folder"]
    for link in ("folder", "file.dcm"):
        with pytest.raises(
            UnreadableFile, match=r"^a link that leads out of the data root, read with --follow-links"
        ):
            scan_file(link, root=str(root))


def test_the_work_folder_of_a_fetch_is_no_input_and_only_at_the_top(tmp_path):
    for name in (f"{WORK_FOLDER}/parts/1.dcm", f"a/{WORK_FOLDER}/2.dcm", f"{WORK_FOLDER}-2/3.dcm", "4.dcm"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert list_files(tmp_path) == [f"{WORK_FOLDER}-2/3.dcm", "4.dcm", f"a/{WORK_FOLDER}/2.dcm"]


def test_the_kind_of_a_file_is_told_by_its_content(tmp_path):
    write_dicom(tmp_path / "a.png", some_pixels("uint8"))
    (tmp_path / "b.dcm").write_bytes(encode_png(some_pixels("uint8")))
    Image.fromarray(some_pixels("uint8")).save(tmp_path / "c", format="JPEG")
    (tmp_path / "d.csv").write_text("ID1,LeftRight\n")
    assert [sniff(tmp_path / name) for name in ("a.png", "b.dcm", "c", "d.csv")] == [
        "dicom",
        "png",
        "jpeg",
        None,
    ]


def test_a_table_is_no_image_but_a_broken_image_is_refused(tmp_path):
    (tmp_path / "clinical.xlsx").write_bytes(b"PK\x03\x04")
    (tmp_path / "series").mkdir()
    (tmp_path / "series" / "1-1.dcm").write_text("<html>503 Service Unavailable</html>")
    assert scan_file("clinical.xlsx", root=str(tmp_path)) is None
    with pytest.raises(
        UnreadableFile, match=r"^series/1-1.dcm: is called an image and is none that can be read"
    ):
        scan_file("series/1-1.dcm", root=str(tmp_path))
    with pytest.raises(UnreadableFile, match=r"^absent.dcm: No such file"):
        scan_file("absent.dcm", root=str(tmp_path))


def test_a_scanned_file_states_its_content(tmp_path):
    path = write_dicom(tmp_path / "a.dcm", some_pixels("uint16"), PatientID="D1-0001", ImageLaterality="L")
    header = scan_file("a.dcm", root=str(tmp_path))
    assert isinstance(header, Header)
    assert (header.path, header.kind, header.size) == ("a.dcm", "dicom", path.stat().st_size)
    assert header.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert (header.tags["PatientID"], header.tags["ImageLaterality"], header.tags["Rows"]) == (
        "D1-0001",
        "L",
        7,
    )
    assert pickle.loads(pickle.dumps(header)) == header  # noqa: S301 - our own bytes


def test_the_pixel_hash_is_the_same_over_lossless_syntaxes_and_formats(tmp_path):
    image = some_pixels("uint16", (40, 50))
    for number, syntax in enumerate(LOSSLESS):
        write_dicom(tmp_path / f"{number}.dcm", image, syntax=syntax, PatientID=str(number))
    (tmp_path / "a.png").write_bytes(encode_png(image))
    headers = [scan_file(path, root=str(tmp_path)) for path in list_files(tmp_path)]
    assert len(headers) == len(LOSSLESS) + 1
    assert len({header.pixel_hash for header in headers if header}) == 1
    assert len({header.sha256 for header in headers if header}) == len(headers)


def test_the_pixel_hash_tells_one_changed_value_another_shape_and_another_frame_apart(tmp_path):
    image = some_pixels("uint8", (8, 6))
    changed = image.copy()
    changed[3, 3] ^= 1
    for name, frames in {
        "a": [image],
        "b": [changed],
        "c": [image.reshape(6, 8)],
        "d": [image, image],
        "e": [image, changed],
    }.items():
        write_dicom(tmp_path / name, *frames)
    assert len({scan_file(name, root=str(tmp_path)).pixel_hash for name in "abcde"}) == 5


def test_copies_of_a_real_ct_have_one_pixel_hash(shared_data):
    root = shared_data / "transfer_syntaxes"
    lossless = [
        path.name
        for path in root.glob("CTImage.dcm*")
        if path.name[-7:-4] not in (".50", ".51", ".53", ".55", ".81", ".91")
    ]
    assert len(lossless) == 10
    assert len({scan_file(name, root=str(root)).pixel_hash for name in lossless}) == 1


# --- pixels


def plain_chain(stored: np.ndarray, dataset, ingest: Ingest) -> np.ndarray:
    """The same steps, one after the other on whole images, by pydicom and Pillow."""
    values = apply_voi_lut(apply_modality_lut(stored, dataset), dataset)
    full = 2**ingest.bits - 1
    display = np.rint(values / (2**dataset.BitsStored - 1) * full).astype(
        np.uint8 if ingest.bits == 8 else np.uint16
    )
    if dataset.PhotometricInterpretation == "MONOCHROME1":
        display = full - display
    if dataset.PatientOrientation[0] == "P":
        display = np.ascontiguousarray(display[:, ::-1])
    step = stride_of(display.shape)
    cropped = display[breast_box(display[::step, ::step], shape=display.shape).slices]
    scale = min(ingest.image_size[0] / cropped.shape[0], ingest.image_size[1] / cropped.shape[1])
    height, width = round(cropped.shape[0] * scale), round(cropped.shape[1] * scale)
    small = Image.fromarray(cropped).resize((width, height), Image.Resampling.HAMMING)
    padded = np.zeros(ingest.image_size, display.dtype)
    top = (ingest.image_size[0] - height) // 2
    padded[top : top + height, :width] = np.asarray(small)
    return padded


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("photometric", ["MONOCHROME1", "MONOCHROME2"])
@pytest.mark.parametrize(("side", "orientation"), [("left", ["A", "FR"]), ("right", ["P", "FL"])])
def test_the_prepared_image_equals_the_plain_chain(tmp_path, side, orientation, photometric, bits):
    stored = breast(side=side)
    stored = 4095 - stored if photometric == "MONOCHROME1" else stored
    facts = {
        "BitsStored": 12,
        "HighBit": 11,
        "PatientOrientation": orientation,
        "PhotometricInterpretation": photometric,
        **WINDOW,
    }
    path = write_dicom(tmp_path / "a.dcm", stored, **facts)
    ingest = replace(BREAST, bits=bits)
    expected = plain_chain(stored, make_dataset([stored], **facts), ingest).astype(int)
    assert np.abs(prepare_image(path, ingest=ingest).pixels - expected).max() <= 1


@pytest.mark.parametrize(
    "ingest",
    [
        BREAST,
        replace(BREAST, fit="stretch"),
        replace(BREAST, image_size=None),
        Ingest((200, 100)),
        Ingest(None),
    ],
)
@pytest.mark.parametrize("side", ["left", "right"])
def test_points_follow_the_pixels(tmp_path, ingest, side):
    stored = breast("uint8", side=side, peak=80)
    row, column = 300, 100 if side == "left" else 480 - 101
    stored[row - 6 : row + 7, column - 6 : column + 7] = 255
    path = write_dicom(tmp_path / "a.dcm", stored, PatientOrientation=["A" if side == "left" else "P", "F"])
    prepared = prepare_image(path, ingest=ingest)
    y, x = np.nonzero(prepared.pixels > 200)
    expected = (prepared.stored_to_prepared @ (row, column, 1))[:2]
    np.testing.assert_allclose((y.mean(), x.mean()), expected, atol=0.6)


def test_a_mammogram_is_left_aligned_and_vertically_centred_on_black(tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm", breast("uint8", side="right", peak=200), PatientOrientation=["P", "F"]
    )
    pixels = prepare_image(path, ingest=replace(BREAST, image_size=(100, 200))).pixels
    columns = np.nonzero(pixels.max(axis=0))[0]
    assert columns.min() == 0
    assert columns.max() < 120
    pixels = prepare_image(path, ingest=replace(BREAST, image_size=(400, 100))).pixels
    rows = np.nonzero(pixels.max(axis=1))[0]
    assert abs(rows.min() - (399 - rows.max())) <= 4


def test_other_images_are_centred(tmp_path):
    (tmp_path / "a.png").write_bytes(encode_png(np.full((10, 10), 200, np.uint8)))
    pixels = prepare_image(tmp_path / "a.png", ingest=Ingest((20, 40))).pixels
    assert np.nonzero(pixels.max(axis=0))[0].tolist() == list(range(10, 30))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("colour", [False, True])
def test_channels_and_bits_are_as_asked(tmp_path, channels, bits, colour):
    image = np.full((40, 40, 3), (200, 100, 50), np.uint8) if colour else np.full((40, 40), 100, np.uint8)
    (tmp_path / "a.png").write_bytes(encode_png(image))
    pixels = prepare_image(tmp_path / "a.png", ingest=Ingest((20, 20), bits=bits, channels=channels)).pixels
    assert pixels.shape == ((20, 20) if channels == 1 else (20, 20, 3))
    assert pixels.dtype == (np.uint8 if bits == 8 else np.uint16)
    grey = 0.299 * 200 + 0.587 * 100 + 0.114 * 50 if colour else 100
    expected = ((200, 100, 50) if colour else (100, 100, 100)) if channels == 3 else grey
    np.testing.assert_allclose(pixels[10, 10] / (257 if bits == 16 else 1), expected, atol=1)


def test_16_bits_keep_what_8_bits_lose(tmp_path):
    ramp = np.tile(np.arange(4096, dtype=np.uint16), (4, 1))
    path = write_dicom(tmp_path / "a.dcm", ramp, BitsStored=12, HighBit=11)
    assert len(np.unique(prepare_image(path, ingest=Ingest(None, bits=16)).pixels)) == 4096
    assert len(np.unique(prepare_image(path, ingest=Ingest(None, bits=8)).pixels)) == 256


def test_each_frame_is_prepared_by_its_number(tmp_path):
    frames = [np.full((8, 8), value, np.uint8) for value in (10, 20, 30)]
    path = write_dicom(
        tmp_path / "a.dcm",
        *frames,
        syntax=RLE,
        WindowCenter=128,
        WindowWidth=256,
        VOILUTFunction="LINEAR_EXACT",
    )
    assert [
        int(prepare_image(path, frame=frame, ingest=Ingest(None)).pixels[0, 0]) for frame in range(3)
    ] == [10, 20, 30]
    with pytest.raises(UnreadableFile, match=r"frame 3 asked for"):
        prepare_image(path, frame=3, ingest=Ingest(None))


@pytest.mark.parametrize(
    "image",
    [some_pixels("uint8", (20, 30)), some_pixels("uint16", (20, 30)), some_pixels("uint8", (20, 30, 3))],
)
def test_png_keeps_values_and_the_order_of_colours(image):
    decoded = cv2.imdecode(np.frombuffer(encode_png(image), np.uint8), cv2.IMREAD_UNCHANGED)
    np.testing.assert_array_equal(decoded if image.ndim == 2 else decoded[..., ::-1], image)


def test_a_damaged_display_attribute_is_refused_by_name(tmp_path):
    path = write_dicom(
        tmp_path / "a.dcm", some_pixels("uint8"), syntax=EXPLICIT, WindowCenter=1, WindowWidth=-5
    )
    with pytest.raises(UnreadableFile, match=r"^a.dcm: WindowWidth .0028,1051. is -5, expected 1 or more"):
        prepare_image(path, ingest=Ingest(None))
