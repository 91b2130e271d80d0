"""How many near duplicates are found, and how many of the found ones are false.

Also what alterations hide an image, and what the search costs.

    python benchmarks/bench_duplicates.py --data TILES [--different FOLDER ...] [--images 10000] [--write]

TILES holds class folders with the tables that name each tile's source (`<class>_source_group.csv`): two tiles
of one source are a true pair. A `--different` folder holds images that all show something else: any pair
found among them is false. --write keeps the figures in benchmarks/duplicates_<date>.md.
"""

from __future__ import annotations

import argparse
import datetime
import itertools
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from sklearn.metrics import precision_recall_curve
from sklearn.preprocessing import normalize

from medimg.cases import Case, ImageRef
from medimg.catalogue.duplicates.keypoints import LEAST_AGREEING, Keypoints, count_agreeing, find_keypoints
from medimg.catalogue.duplicates.near import (
    GREY,
    HASH_DISTANCE,
    NearDuplicates,
    find_near_duplicates,
    read_signature,
)
from medimg.catalogue.duplicates.perceptual_hash import BITS, find_close_hashes, hash_image
from medimg.catalogue.duplicates.thumbnails import embed_pixels
from medimg.catalogue.duplicates.visual_words import CANDIDATES, embed_words
from medimg.catalogue.split import Search
from medimg.datasets.tissue.cases import find_class_folders, read_sources
from medimg.datasets.tissue.phantom import write_phantom
from medimg.images.prepare import Ingest, prepare_image
from medimg.images.scan import list_files, sniff

FALSE_SHARE = 0.01
SAMPLED = 200
NO_KEYPOINTS = Keypoints(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8))
SEARCHES: tuple[Search, ...] = ("hash", "keypoints")


def recompress(image: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_GRAYSCALE)


def crop(image: np.ndarray, *, share: float) -> np.ndarray:
    return image[round(image.shape[0] * share) :, round(image.shape[1] * share) :]


def turn(image: np.ndarray, *, degrees: float, zoom: float) -> np.ndarray:
    height, width = image.shape
    return cv2.warpAffine(
        image,
        cv2.getRotationMatrix2D((width / 2, height / 2), degrees, zoom),
        (width, height),
        flags=cv2.INTER_CUBIC,
    )


ALTERATIONS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG of quality 40": recompress,
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "turned by 90 degrees and JPEG of quality 40": lambda image: recompress(
        np.ascontiguousarray(np.rot90(image))
    ),
    "mirrored, contrast and brightness up by a tenth": lambda image: np.clip(
        image[:, ::-1] * 1.1 + 10, 0, 255
    ).astype(np.uint8),
    "2 % cropped at two sides": lambda image: crop(image, share=0.02),
    "10 % cropped at two sides": lambda image: crop(image, share=0.1),
    "mirrored, turned by 17 degrees, zoomed by 1.3": lambda image: np.ascontiguousarray(
        turn(image, degrees=17, zoom=1.3)[:, ::-1]
    ),
}


def name_folder(root: Path) -> str:
    return "/".join(root.resolve().parts[-2:])


def list_images(root: Path) -> list[str]:
    return [name for name in list_files(root) if sniff(root / name)]


def read_truth(root: Path) -> dict[str, str]:
    """The source of each tile, by path below the root."""
    return {
        f"{folder.path}/{file}": source
        for folder in find_class_folders(root)
        for file, source in read_sources(root, folder).items()
    }


def search_files(root: Path, names: Sequence[str], search: Search) -> NearDuplicates:
    return find_near_duplicates(
        [Case(name, name, (ImageRef(name, "image"),)) for name in names], search=search, data_root=root
    )


def measure_recall(root: Path) -> Iterator[str]:
    """Rows of the table of true and false pairs."""
    sources = read_truth(root)
    names = sorted(sources)
    position = {name: index for index, name in enumerate(names)}
    labels = np.array([sources[name] for name in names])
    above = np.triu_indices(len(names), 1)
    truth = (labels[:, None] == labels)[above]
    yield (
        f"{len(names):,} tiles of {len(set(labels))} sources: "
        f"{truth.sum():,} true pairs among {len(truth):,}. A pair is false if its tiles are of"
    )
    yield (
        "different sources. What this truth leaves open: the sources are what others found out "
        "(LC25000-clean), not its makers' record; two tiles"
    )
    yield (
        "of one source may share little; and so few sources say little of how often two tissues look alike.\n"
    )
    yield (
        "| search | pairs found | of them false | true pairs found | in one cluster "
        "| pairs in one cluster that are false |"
    )
    yield "|---|---|---|---|---|---|"
    for search in SEARCHES:
        found = search_files(root, names, search).pairs
        ends = np.array([list(map(position.__getitem__, pair.cases)) for pair in found])
        linked = coo_array((np.ones(len(ends)), ends.T), shape=(len(names), len(names)))
        clusters = connected_components(linked)[1]
        joined = (clusters[:, None] == clusters)[above]
        false = (labels[ends[:, 0]] != labels[ends[:, 1]]).sum()
        direct = (len(ends) - false) / truth.sum()
        yield (
            f"| {search} | {len(ends):,} | {false} | {direct:.1%} "
            f"| {joined[truth].mean():.1%} | {1 - truth[joined].mean():.2%} |"
        )
    keypoints = [
        read_signature((name, 0), root=str(root), keypoints=True).keypoints or NO_KEYPOINTS for name in names
    ]
    agreeing = [
        count_agreeing(keypoints[first], keypoints[second])
        for first, second in np.argwhere(np.triu(labels[:, None] == labels, 1))
    ]
    enough = np.mean(np.array(agreeing) >= LEAST_AGREEING)
    yield (
        f"\nOf a large cluster each tile is compared with {CANDIDATES} others only. "
        f"Were all true pairs compared, {enough:.1%} would agree."
    )
    yield "\n| embedding, by cosine alone | true pairs found where 1 % of the found ones are false |"
    yield "|---|---|"
    colour = Ingest(image_size=None, channels=3)
    pixels = embed_pixels(prepare_image(root / name, ingest=colour).pixels for name in names)
    for what, embeddings in (
        ("pixels of the thumbnail", pixels),
        ("pixels of the thumbnail, the mean one taken off", pixels - pixels.mean(axis=0)),
        ("visual words, no geometry", embed_words(keypoints)),
    ):
        unit = normalize(embeddings)
        precision, recall, _ = precision_recall_curve(truth, (unit @ unit.T)[above])
        yield f"| {what} | {recall[precision >= 1 - FALSE_SHARE].max():.1%} |"


def measure_different(root: Path) -> str:
    """A row on images of which no two show the same."""
    signatures = [read_signature((name, 0), root=str(root), keypoints=True) for name in list_images(root)]
    keypoints = [one.keypoints or NO_KEYPOINTS for one in signatures]
    _, distances = find_close_hashes(np.stack([one.hash_UV for one in signatures]), distance=BITS)
    agreeing = [count_agreeing(one, other) for one, other in itertools.combinations(keypoints, 2)]
    cells = name_folder(root), len(signatures), f"{len(distances):,}", distances.min(), max(agreeing)
    return f"| {' | '.join(map(str, cells))} |"


def measure_alterations(root: Path, names: Sequence[str]) -> Iterator[str]:
    """Rows of the shares that are known again."""
    images = [prepare_image(root / name, ingest=GREY).pixels for name in names]
    for what, alter in ALTERATIONS.items():
        close, agreeing = [], []
        for image in images:
            altered = alter(image)
            hashes = np.stack([hash_image(image), hash_image(altered)])
            close.append(len(find_close_hashes(hashes, distance=HASH_DISTANCE)[0]))
            agreeing.append(count_agreeing(find_keypoints(image), find_keypoints(altered)))
        by_keypoints = np.mean(np.array(agreeing) >= LEAST_AGREEING)
        yield f"| {name_folder(root)}: {what} | {np.mean(close):.0%} | {by_keypoints:.0%} |"


def measure_cost(images: int) -> Iterator[str]:
    """Yields rows of CPU time by step, which other work on the machine does not change, and of wall time."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_phantom(root, cases=max(8, images // 43), seed=0)  # 43 tiles of each donor.
        names = list_images(root)[:images]
        grey = [prepare_image(root / name, ingest=GREY).pixels for name in names[:SAMPLED]]
        keypoints = [find_keypoints(image) for image in grey]
        hashes = np.random.default_rng(0).choice(np.array([-1, 1], np.int8), (images, 16, 16))
        for what, step, count in (
            (
                "decoding an image",
                lambda: [prepare_image(root / name, ingest=GREY) for name in names[:SAMPLED]],
                len(grey),
            ),
            ("its hash", lambda: list(map(hash_image, grey)), len(grey)),
            ("its keypoints", lambda: list(map(find_keypoints, grey)), len(grey)),
            ("words of its keypoints", lambda: embed_words(keypoints), len(grey)),
            (
                "agreement of a pair",
                lambda: list(itertools.starmap(count_agreeing, itertools.pairwise(keypoints))),
                len(grey) - 1,
            ),
            (
                f"comparing a hash with {images:,} others",
                lambda: find_close_hashes(hashes, distance=HASH_DISTANCE),
                images,
            ),
        ):
            start = time.process_time()
            step()
            yield f"| {what} | {(time.process_time() - start) / count * 1000:.2f} ms CPU |"
        for search in SEARCHES:
            start = time.perf_counter()
            search_files(root, names, search)
            seconds = time.perf_counter() - start
            yield f"| {len(names):,} images by {search}, all of it | {seconds:.0f} s wall |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, required=True, help="tiles in class folders with tables of their sources"
    )
    parser.add_argument(
        "--different",
        type=Path,
        action="append",
        default=[],
        help="a folder of images of which no two show the same",
    )
    parser.add_argument("--images", type=int, default=10_000, help="drawn tiles to measure the time on")
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    different = [measure_different(folder) for folder in arguments.different]
    altered: list[str] = []
    for folder in (arguments.data, *arguments.different):
        altered += measure_alterations(folder, list_images(folder)[:60])
    lines = [
        f"# Near duplicates, {datetime.date.today():%Y-%m-%d}",
        "",
        f"{os.cpu_count()} cores, Python {platform.python_version()}. "
        f"`hash`: up to {HASH_DISTANCE} of {BITS} bits differ. "
        f"`keypoints`: that, or {LEAST_AGREEING} keypoints or more agree.",
        "",
        f"## Against the sources of `{arguments.data.name}`",
        "",
        *measure_recall(arguments.data),
        "",
        "## Images that are all different",
        "",
        "| folder | images | pairs | nearest hashes, bits | most keypoints that agree |",
        "|---|---|---|---|---|",
        *different,
        "",
        "## Alterations after which an image is known again",
        "",
        "| alteration | by hash | by keypoints |",
        "|---|---|---|",
        *altered,
        "",
        "## Cost",
        "",
        "| what | time |",
        "|---|---|",
        *measure_cost(arguments.images),
    ]
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    lines += [
        "",
        f"Peak memory of the parent process: {peak_mib:,.0f} MiB. "
        f"One run each, load average {os.getloadavg()[0]:.1f}.",
    ]
    print("\n".join(lines))
    if arguments.write:
        Path(__file__).with_name(f"duplicates_{datetime.date.today():%Y%m%d}.md").write_text(
            "\n".join(lines) + "\n"
        )


if __name__ == "__main__":
    main()
