"""The box holds the breast, never less, and hardly more; where no breast is found there is no box."""

import cv2
import numpy as np
import pytest

from medimg.images.breast_crop import SMALLEST_SHARE, Box, breast_box, stride_of
from medimg.images.prepare import WHOLE_FRAME, Ingest, prepare_image
from tests.unit.dicom.written import write_dicom


def box_of(image: np.ndarray) -> Box | None:
    step = stride_of(image.shape)
    return breast_box(image[::step, ::step], shape=image.shape)


def draw(shape: tuple[int, int], bright: Box, *, dtype: str = "uint8") -> np.ndarray:
    image = np.zeros(shape, dtype)
    image[bright.slices] = np.iinfo(dtype).max // 2
    return image


def draw_oblique(
    seed: int, *, air: int = 12, fat: int = 70, muscle: int = 235
) -> tuple[np.ndarray, np.ndarray]:
    """An MLO view with a bright pectoral muscle, skin that fades into noisy air, and the breast's outline."""
    random = np.random.default_rng(seed)
    rows, columns = np.mgrid[:960, :480]
    breast = ((rows - random.uniform(520, 620)) / 340) ** 2 + (columns / random.uniform(280, 400)) ** 2 < 1
    breast |= (columns < 200) & (rows < 560)
    depth = cv2.distanceTransform(breast.astype(np.uint8), cv2.DIST_L2, 5)
    image = air + (fat - air) * np.clip(depth / 40, 0.25, 1) * breast
    image[(columns < random.uniform(120, 240) * (1 - rows / 650)) & (rows < 650)] = muscle
    image += random.normal(0, 2, image.shape)
    return np.clip(image, 0, 255).astype(np.uint8), breast


def share_within(box: Box, outline: np.ndarray) -> float:
    return float(outline[box.slices].sum() / outline.sum())


@pytest.mark.parametrize("dtype", ["uint8", "uint16"])
@pytest.mark.parametrize("seed", range(5))
def test_the_box_holds_the_whole_breast_and_at_most_8_pixels_more(seed, dtype):
    top, height, width = np.random.default_rng(seed).integers((0, 200, 120), (200, 400, 400)).tolist()
    box = box_of(draw((701, 603), Box(top, 0, top + height, width), dtype=dtype))
    assert max(0, top - 7) <= box.top <= top
    assert box.left == 0
    assert top + height <= box.bottom < top + height + 8
    assert width <= box.right < width + 8


@pytest.mark.parametrize(
    ("shape", "stride"),
    [
        ((255, 1000), 1),
        ((1000, 255), 1),
        ((256, 256), 8),
        ((256, 1000), 8),
        ((1000, 256), 8),
        ((300, 300, 3), 8),
    ],
)
def test_images_are_thinned_from_256_pixels_on_in_both_directions(shape, stride):
    assert stride_of(shape) == stride


def test_the_largest_region_is_that_of_the_most_pixels():
    image = draw((100, 100), Box(5, 0, 10, 100))
    image[5:95, 90:] = 120  # A frame around the other three quarters, of 1,350 pixels.
    image[30:80, 0:40] = 120
    assert box_of(image) == Box(30, 0, 80, 40)


def test_the_high_byte_of_16_bits_says_what_is_bright():
    image = np.full((100, 90), 0x00FF, np.uint16)
    image[20:60, 0:50] = 0x8000
    assert box_of(image) == Box(20, 0, 60, 50)


def test_small_images_are_looked_at_pixel_by_pixel():
    assert box_of(draw((100, 90), Box(11, 0, 83, 37))) == Box(11, 0, 83, 37)


def test_a_right_breast_reaches_the_other_side():
    assert box_of(draw((100, 90), Box(11, 50, 83, 90))) == Box(11, 50, 83, 90)


@pytest.mark.parametrize("muscle", [120, 180, 255])
@pytest.mark.parametrize("seed", range(4))
def test_a_bright_muscle_is_not_taken_for_the_breast(seed, muscle):
    image, outline = draw_oblique(seed, muscle=muscle)
    box = box_of(image)
    assert share_within(box, outline) >= 0.99
    assert (box.right - box.left) < 0.95 * image.shape[1]


@pytest.mark.parametrize("dense", [150, 250])
def test_dense_tissue_within_fat_is_not_taken_for_the_breast(dense):
    image, outline = draw_oblique(1, muscle=80)
    cv2.circle(image, (150, 600), 90, dense, thickness=-1)
    assert share_within(box_of(image), outline) >= 0.99


def test_the_air_of_a_scanned_film_may_be_grey():
    image, outline = draw_oblique(2, air=60, fat=110)
    box = box_of(image)
    assert share_within(box, outline) >= 0.99
    assert (box.right - box.left) < 0.95 * image.shape[1]


def test_a_burnt_in_label_does_not_widen_the_box():
    image = draw((800, 600), Box(100, 0, 700, 300))
    image[10:60, 500:590] = 255
    assert box_of(image).right < 310


def draw_spot() -> np.ndarray:
    """A spot view turned by a quarter: chest wall below, a bright compression paddle in a corner."""
    image = np.full((788, 1318), 20, np.uint8)
    image[260:, :1250] = 95
    image[:200, 1000:] = 240
    return image


def test_a_paddle_is_no_breast():
    image = draw_spot()
    assert share_within(box_of(image), image == 95) >= 0.99


@pytest.mark.parametrize(
    "image", [np.zeros((300, 400), np.uint8), np.full((300, 400), 9, np.uint16), np.zeros((1, 1), np.uint8)]
)
def test_an_image_with_nothing_in_it_has_no_box(image):
    assert box_of(image) is None


def test_specks_alone_are_no_breast():
    image = np.zeros((800, 800), np.uint8)
    image[::200, ::200] = 255
    assert box_of(image) is None


@pytest.mark.parametrize(("left", "found"), [(0, True), (2, True), (3, False), (30, False)])
def test_only_what_reaches_a_side_is_a_breast(left, found):
    image = draw((100, 100), Box(20, left, 80, 60))
    assert (box_of(image) is not None) is found
    assert (box_of(image[:, ::-1]) is not None) is found


@pytest.mark.parametrize(("rows", "found"), [(9, False), (10, True), (11, True)])
def test_only_what_is_large_enough_is_a_breast(rows, found):
    assert SMALLEST_SHARE * 200 == 10
    assert (box_of(draw((200, 200), Box(0, 0, rows, 200))) is not None) is found


def test_an_image_without_a_breast_is_kept_whole_and_flagged(tmp_path):
    prepared = {}
    for name, left in (("middle", 100), ("edge", 0)):
        path = write_dicom(tmp_path / f"{name}.dcm", draw((300, 300), Box(100, left, 200, left + 100)))
        prepared[name] = prepare_image(path, ingest=Ingest(None, crop="breast"))
    assert (prepared["middle"].pixels.shape, prepared["middle"].flag) == ((300, 300), WHOLE_FRAME)
    assert prepared["edge"].pixels.shape[0] < 120
    assert prepared["edge"].flag == ""


def test_a_view_turned_by_a_quarter_is_turned_before_it_is_cropped(tmp_path):
    tags = {"PatientOrientation": ["R", "P"], "ImageLaterality": "L", "ViewPosition": "CC", "Modality": "MG"}
    path = write_dicom(tmp_path / "spot.dcm", draw_spot(), **tags)
    prepared = prepare_image(path, ingest=Ingest(None, crop="breast", orientation="mammogram"))
    height, width = prepared.pixels.shape
    assert 1250 <= height < 1270
    assert 528 <= width < 540
    # The corner at the chest wall and the outer side comes first.
    assert (prepared.stored_to_prepared @ (787, 0, 1)).round().tolist() == [0, 0, 1]


def test_real_breasts_are_kept(shared_data):
    """By eye all 60 boxes hold the whole breast; here what stands out from air by a quarter."""
    for path in sorted((shared_data / "ddsm_density").rglob("*.dcm")):
        stored = prepare_image(path, ingest=Ingest(None)).pixels
        box = box_of(stored)
        assert box is not None, path.name
        smooth = cv2.GaussianBlur(stored, (15, 15), 0)
        air = np.percentile(smooth, 5)
        outline = smooth > air + 0.25 * (np.median(smooth[smooth > smooth.mean()]) - air)
        _, regions, statistics, _ = cv2.connectedComponentsWithStats(outline.astype(np.uint8), connectivity=4)
        largest = regions == 1 + statistics[1:, cv2.CC_STAT_AREA].argmax()
        assert share_within(box, largest) >= 0.99, path.name
