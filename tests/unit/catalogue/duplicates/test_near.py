"""Near duplicates are found by content, through every reader, and different images are not taken for one."""

from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np

from medimg.cases import Case, ImageRef
from medimg.catalogue.duplicates import perceptual_hash
from medimg.catalogue.duplicates.near import NearDuplicates, find_near_duplicates
from medimg.catalogue.duplicates.perceptual_hash import BITS, find_close_hashes, hash_image, iterate_turned
from medimg.catalogue.split import Search
from medimg.datasets.tissue.phantom import CLASSES, LOOKS, draw_tile
from tests.unit.catalogue.phantom import Picture, write_picture

SAME: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "recompressed": lambda tile: cv2.imdecode(
        cv2.imencode(".jpg", tile, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR
    ),
    "halved": lambda tile: cv2.resize(tile, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "mirrored": np.fliplr,
    "upside down": np.flipud,
    "turned by 90 degrees": np.rot90,
    "turned by 180 degrees": lambda tile: np.rot90(tile, 2),
    "transposed": lambda tile: tile.swapaxes(0, 1),
    "brightened": lambda tile: np.clip(tile * 1.1 + 5, 0, 255).astype(np.uint8),
}


def draw(seed: int, name: str = "colon") -> np.ndarray:
    return draw_tile(LOOKS[name], rng=np.random.default_rng([CLASSES.index(name), seed]))


def turn_and_zoom(tile: np.ndarray, *, degrees: float, zoom: float) -> np.ndarray:
    height, width = tile.shape[:2]
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, zoom)
    return cv2.warpAffine(tile, turn, (width, height), flags=cv2.INTER_CUBIC)


def search_files(root: Path, search: Search, names: list[str]) -> NearDuplicates:
    """Each file a case of its own, named like it."""
    cases = [Case(name, name, (ImageRef(name, "image"),)) for name in names]
    return find_near_duplicates(cases, search=search, data_root=root, workers=1)


def search_images(root: Path, search: Search, images: Mapping[str, np.ndarray]) -> NearDuplicates:
    for name, image in images.items():
        assert cv2.imwrite(str(root / name), np.ascontiguousarray(image))
    return search_files(root, search, list(images))


def test_an_image_is_known_again_however_it_was_stored_flipped_or_turned_by_quarters(tmp_path):
    copies = {f"{name}.png": change(draw(0)) for name, change in SAME.items()}
    found = search_images(tmp_path, "hash", {"an original.png": draw(0), "another.png": draw(1), **copies})
    assert {pair.cases for pair in found.pairs if "an original.png" in pair.cases} == {
        ("an original.png", name) for name in copies
    }
    assert not [pair for pair in found.pairs if "another.png" in pair.cases]


def test_an_image_that_is_turned_cropped_and_mirrored_is_found_by_its_keypoints_alone(tmp_path):
    images = {
        "a.png": draw(0),
        "b.png": np.fliplr(turn_and_zoom(draw(0), degrees=20, zoom=1.4)),
        "c.png": draw(1),
    }
    assert not search_images(tmp_path, "hash", images).pairs
    (pair,) = search_images(tmp_path, "keypoints", images).pairs
    assert pair.cases == ("a.png", "b.png")
    assert pair.hash_distance is None
    assert pair.keypoints >= 10


def test_different_images_of_one_class_are_no_near_duplicates(tmp_path):
    found = search_images(
        tmp_path,
        "keypoints",
        {f"{name}-{seed}.png": draw(seed, name) for name in CLASSES for seed in range(6)},
    )
    assert (found.compared, found.pairs) == (6 * len(CLASSES), [])


def test_a_label_that_stands_on_two_films_makes_them_no_near_duplicates(tmp_path):
    label = cv2.resize(
        np.random.default_rng(9).integers(0, 255, (6, 6), np.uint8), (30, 30), interpolation=cv2.INTER_NEAREST
    )
    films = {}
    for name, corner in (("a.png", 10), ("b.png", 240)):
        film = cv2.resize(
            np.random.default_rng(corner).integers(60, 200, (5, 5), np.uint8),
            (300, 300),
            interpolation=cv2.INTER_CUBIC,
        )
        film[corner : corner + 30, corner : corner + 30] = label
        films[name] = film
    assert not search_images(tmp_path, "keypoints", films).pairs


def test_images_without_contrast_are_told_and_are_near_to_nothing(tmp_path):
    found = search_images(
        tmp_path,
        "keypoints",
        {"a.png": np.full((50, 50), 3, np.uint8), "b.png": np.full((50, 50), 3, np.uint8)},
    )
    assert (found.pairs, found.compared, found.without_contrast) == ([], 2, 2)


def test_a_dicom_file_and_a_picture_of_it_are_near_duplicates(tmp_path):
    write_picture(tmp_path / "a.dcm", Picture("P1", "CC", look=7))
    stored_HW = np.random.default_rng(7).integers(0, 255, (20, 18), np.uint8)
    assert cv2.imwrite(str(tmp_path / "b.png"), stored_HW[:, ::-1])
    (pair,) = search_files(tmp_path, "hash", ["a.dcm", "b.png"]).pairs
    assert pair.hash_distance < 10


def test_images_of_one_case_are_no_pair_and_two_cases_are_one_pair_with_their_closest_images(tmp_path):
    for name, image in {
        "a1.png": draw(0),
        "a2.png": np.rot90(draw(0)),
        "b1.png": draw(0),
        "b2.png": SAME["recompressed"](draw(0)),
    }.items():
        assert cv2.imwrite(str(tmp_path / name), image)
    cases = [
        Case(name, name, tuple(ImageRef(f"{name}{number}.png", "image") for number in (1, 2)))
        for name in "ab"
    ]
    (pair,) = find_near_duplicates(cases, search="hash", data_root=tmp_path, workers=1).pairs
    assert (pair.cases, pair.hash_distance) == (("a", "b"), 0)


def test_an_image_that_cannot_be_compared_is_told(tmp_path):
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    assert cv2.imwrite(str(tmp_path / "a.png"), draw(0))
    found = search_files(tmp_path, "hash", ["a.png", "broken.png"])
    assert found.compared == 1
    (line,) = found.anomalies
    assert line.startswith("not compared with other images: broken.png: ")


def test_distances_are_those_of_the_images_turned_in_the_way_that_fits_best(monkeypatch):
    tiles = [cv2.cvtColor(draw(seed), cv2.COLOR_BGR2GRAY) for seed in range(5)]
    hashes = np.stack([hash_image(tile) for tile in [*tiles, *(np.rot90(tile) for tile in tiles)]])
    monkeypatch.setattr(perceptual_hash, "BLOCK_VALUES", 3 * len(hashes))  # Three rows at a time.
    pairs, distances = find_close_hashes(hashes, distance=BITS)
    assert len(pairs) == len(hashes) * (len(hashes) - 1) // 2
    for (first, second), distance in zip(pairs, distances, strict=True):
        turned = [int((one[0] != hashes[second]).sum()) for one in iterate_turned(hashes[first : first + 1])]
        assert distance == min(turned)
        assert (distance < 10) == (second == first + len(tiles))
