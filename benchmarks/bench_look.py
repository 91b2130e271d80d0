"""How long it takes to look at many images: embeddings, maps, figures and the search for near duplicates.

    python benchmarks/bench_look.py [--images 10000] [--write]

The images are drawn: RGB JPEGs of 600 x 450, of seven classes and two to a group. The network is that of
`ham10000_small_cnn`, untrained. On a machine that does other work, look at the time on the processor: two
cores at rest take half of it.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import tensorflow as tf

from components.report_gen.embedding import embed_cases
from components.trainer.exported_model import Exported
from medimg.catalogue.duplicates.near import pair_cases, read_signature
from medimg.evaluation.representation.figures import EmbeddingSettings, measure_embedded, tabulate_embedded
from medimg.tasks import find_task
from medimg.tasks.classification.model import build_model
from pipeline.config.overrides import load_config

HEIGHT, WIDTH, CLASSES = 450, 600, 7
GOAL_SECONDS, CORES = 300, 2


def draw_image(number: int) -> bytes:
    """Draws a JPEG of a spot on skin, coloured by its class.

    Place and texture are the same for the two images of a group.
    """
    of_group, own = np.random.default_rng((1, number // 2)), np.random.default_rng((2, number))
    texture_HWC = cv2.resize(
        of_group.normal(size=(12, 16, 3)).astype(np.float32), (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC
    )
    y, x, radius = of_group.uniform(150, 300), of_group.uniform(200, 400), of_group.uniform(50, 120)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    spot_HW = np.exp(-(((rows - y) ** 2 + (columns - x) ** 2) / radius**2))
    colour = np.random.default_rng((3, number // 2 % CLASSES)).uniform(-90, 30, 3)
    image_HWC = 180 + 12 * texture_HWC + spot_HW[..., None] * colour + own.normal(0, 6, (HEIGHT, WIDTH, 1))
    return cv2.imencode(".jpg", np.clip(image_HWC, 0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 90])[
        1
    ].tobytes()


def write_images(to: Path, *, images: int) -> pd.DataFrame:
    """Writes the images as files and as Examples; their cases, without paths."""
    cases = pd.DataFrame(
        {"case_id": [f"{number:05d}" for number in range(images)], "number": np.arange(images)}
    )
    group = cases["number"] // 2
    split = np.where(group % 5 == 0, "test", "train")
    with tf.io.TFRecordWriter(str(to / "examples")) as writer:
        for case_id, number in zip(cases["case_id"], cases["number"], strict=True):
            jpeg = draw_image(number)
            (to / f"{case_id}.jpg").write_bytes(jpeg)
            features = {"case_id": case_id.encode(), "image_image": jpeg}
            lists = {
                name: tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))
                for name, value in features.items()
            }
            writer.write(tf.train.Example(features=tf.train.Features(feature=lists)).SerializeToString())
    names = group.map("{:05d}".format)
    return cases.assign(
        group_id=names,
        cluster_id=names,
        split=split,
        label_diagnosis=(group % CLASSES).map("class {}".format),
    )


def open_untrained() -> Exported:
    """The network of HAM10000's small config."""
    config = load_config("ham10000_small_cnn")
    return Exported(
        find_task(config.task),
        config.model,
        build_model(config.model, clinical_width=0),
        saved=None,
        clinical_sizes={},
    )


@contextmanager
def clock(rows: list[tuple[str, float, float]], what: str) -> Iterator[None]:
    """Adds a row: what, seconds on the clock, seconds on the processor."""
    started, spent = time.perf_counter(), processor_seconds()
    yield
    rows.append((what, time.perf_counter() - started, processor_seconds() - spent))
    print(*rows[-1], flush=True)


def processor_seconds() -> float:
    """Of this process and all its threads, user and system."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(images: int) -> list[tuple[str, float, float]]:
    """All rows."""
    rows: list[tuple[str, float, float]] = []
    exported = open_untrained()
    assert exported.task.embed is not None
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cases = write_images(folder, images=images)
        with clock(rows, "embed: decode, thumbnails, network"):
            names, vectors = embed_cases(
                [str(folder / "examples")],
                list(cases["case_id"]),
                exported=exported,
                embedder=exported.task.embed(exported.network),
            )
        tables = []
        for embedding, vectors_ND in vectors.items():
            with clock(rows, f"components, t-SNE and UMAP-like map of {embedding}"):
                tables.append(
                    tabulate_embedded(
                        cases.set_index("case_id").loc[names].reset_index(), {embedding: vectors_ND}
                    )
                )
        with clock(rows, "overlap, class neighbours and leak, with 2,000 resamples"):
            measure_embedded(
                pd.concat(tables),
                EmbeddingSettings("diagnosis", tuple(f"class {index}" for index in range(CLASSES))),
            )
        with clock(rows, "search for near duplicates by perceptual hash, in one process"):
            signatures = [
                read_signature((f"{case_id}.jpg", 0), root=name, keypoints=False)
                for case_id in cases["case_id"]
            ]
            pair_cases(signatures, owned=[{case_id} for case_id in cases["case_id"]])
    return rows


def main() -> None:
    """Prints the figures, and writes them to a dated file when asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    rows = measure(options.images)
    on_clock = sum(row[1] for row in rows)
    on_processor = sum(row[2] for row in rows)
    today = datetime.now(timezone.utc)
    goal = (
        f"{GOAL_SECONDS} s on {CORES} cores, so {CORES * GOAL_SECONDS} s on the processor, "
        "for one embedding, its t-SNE and the search for duplicates"
    )
    lines = [
        f"# Looking at {options.images:,} images, {today:%Y-%m-%d}",
        "",
        f"{os.cpu_count()} CPU cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.0f}.",
        f"Drawn RGB JPEGs of {WIDTH} x {HEIGHT}; the network of `ham10000_small_cnn`, untrained.",
        "",
        "| what | seconds on the clock | on the processor |",
        "|---|---|---|",
        *(f"| {what} | {clocked:.0f} | {spent:.0f} |" for what, clocked, spent in rows),
        f"| all | {on_clock:.0f} | {on_processor:.0f} |",
        "",
        f"Goal: {goal}. Peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB.",
    ]
    text = "\n".join(lines) + "\n"
    print(text)
    if options.write:
        (Path(__file__).parent / f"look_{today:%Y%m%d}.md").write_text(text)


if __name__ == "__main__":
    main()
