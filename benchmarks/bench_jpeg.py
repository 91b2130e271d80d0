"""CaseExampleGen on RGB JPEGs that need no preparation: its speed against a plain loop's.

    python benchmarks/bench_jpeg.py [--rounds 5] [--images 10000] [--folder /dev/shm] [--write]

The loop reads a file's bytes, lets Pillow parse the header, and writes an Example with the pixels and the row
of the table to one TFRecord; nothing else. CaseExampleGen also compares each file's sha256 with the
catalogue's, refuses what may name a patient, quarantines what cannot be read, and writes deterministic
Examples into shards; it is measured on one thread and on two, as `medimg run` works on two cores. A second
loop compares the sha256 too, which is the least that such a loop must do to be sure of its data. The files
have the size in pixels and about the size in bytes of HAM10000's. All of it happens in one process, imports
are outside the clock, the rounds are interleaved, and ratios are formed within a round. Goal: 0.9. Files and
records go to --folder; one in memory leaves the disk's moods out. CPU seconds show what a way costs while
others are at work.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path

from medimg.cases import Case, Header

MODES = ("loop", "checking loop", "1 thread", "2 threads")
TABLE = "HAM10000_metadata.csv"
COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization", "dataset")
ROW = ("nv", "histo", "45.0", "male", "back", "rosendahl")
PICTURES = 100


def write_data(root: Path, *, images: int) -> None:
    """Writes the table and the images: PICTURES synthetic ones, each under many ids."""
    import cv2
    import numpy as np

    rng = np.random.default_rng(0)
    pictures = []
    for _ in range(PICTURES):
        cloud = cv2.resize(
            rng.standard_normal((9, 12), dtype=np.float32), (600, 450), interpolation=cv2.INTER_CUBIC
        )
        noisy_HWC = 150 + 40 * cloud[..., None] + 19 * rng.standard_normal((450, 600, 3))
        pictures.append(
            cv2.imencode(".jpg", noisy_HWC.clip(0, 255).astype(np.uint8), [cv2.IMWRITE_JPEG_QUALITY, 98])[
                1
            ].tobytes()
        )
    root.mkdir()
    rows = [(f"HAM_{number // 2:07d}", f"ISIC_{number:07d}", *ROW) for number in range(images)]
    for number, row in enumerate(rows):
        (root / f"{row[1]}.jpg").write_bytes(pictures[number % PICTURES])
    (root / TABLE).write_text("\n".join(",".join(row) for row in (COLUMNS, *rows)))


def list_cases(root: Path) -> Sequence[Case]:
    """The cases as CatalogueGen would hand them on, each with its file's sha256."""
    from medimg.datasets.ham10000 import cases as ham10000

    paths = sorted(root.glob("*.jpg"))
    hashes = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}
    return ham10000.list_cases(
        root, [Header(path.name, "jpeg", 1, hashes[path.name], path.name, {}) for path in paths]
    ).cases


def make_loop(root: Path, to: Path, *, check: bool) -> Callable[[], object]:
    """The plain loop."""
    import csv

    import tensorflow as tf
    from PIL import Image

    hashes = {case.case_id: case.images[0].sha256 for case in list_cases(root)} if check else {}

    def text(value: str) -> tf.train.Feature:
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))

    def work() -> None:
        with (root / TABLE).open(newline="") as table, tf.io.TFRecordWriter(str(to / "records")) as writer:
            for row in csv.DictReader(table):
                content = (root / f"{row['image_id']}.jpg").read_bytes()
                if check and hashlib.sha256(content).hexdigest() != hashes[row["image_id"]]:
                    raise ValueError(row["image_id"])
                with Image.open(io.BytesIO(content)) as image:
                    if image.mode != "RGB":
                        raise ValueError(row["image_id"])
                features = {name: text(value) for name, value in row.items()}
                features["image"] = tf.train.Feature(bytes_list=tf.train.BytesList(value=[content]))
                writer.write(
                    tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()
                )

    return work


def make_engine(root: Path, to: Path, *, threads: int) -> Callable[[], object]:
    """CaseExampleGen's work under Beam."""
    import apache_beam as beam

    from components.case_example_gen import executor
    from pipeline.beam.flags import parse_beam
    from pipeline.config.overrides import load_config

    config = load_config("ham10000_small_cnn")
    shards = list(
        executor.plan_shards("train", list(list_cases(root)), str(to), config.examples.cases_per_shard)
    )
    arguments = list(parse_beam("local", cores=threads))

    def work() -> None:
        write = executor.WriteShard(str(root), config.ingest, config.examples.largest_bytes)
        with beam.Pipeline(argv=arguments) as pipeline:
            _ = pipeline | beam.Create(shards) | beam.Reshuffle() | beam.ParDo(write)

    return work


def measure(mode: str, root: Path) -> dict[str, float]:
    """Wall and CPU seconds of one way of writing all images."""
    with tempfile.TemporaryDirectory(dir=root.parent) as folder:
        to = Path(folder)
        loop = mode.endswith("loop")
        work = (
            make_loop(root, to, check=mode != "loop")
            if loop
            else make_engine(root, to, threads=int(mode.split()[0]))
        )
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def describe(rounds: Sequence[Mapping[str, Mapping[str, float]]], *, images: int) -> str:
    """A Markdown table: each way's speed as a share of the plain loop's, and milliseconds an image."""
    lines = [
        "| | speed / loop's | CPU time, loop's / its own | ms an image | CPU ms an image |",
        "|---|---|---|---|---|",
    ]
    for mode in MODES:
        wall = [found["loop"]["wall"] / found[mode]["wall"] for found in rounds]
        cpu = [found["loop"]["cpu"] / found[mode]["cpu"] for found in rounds]
        spent_wall = 1000 * statistics.median(found[mode]["wall"] for found in rounds) / images
        spent_cpu = 1000 * statistics.median(found[mode]["cpu"] for found in rounds) / images
        ratios = " | ".join(
            f"{statistics.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
            for values in (wall, cpu)
        )
        lines.append(f"| {mode} | {ratios} | {spent_wall:.2f} | {spent_cpu:.2f} |")
    return "\n".join(lines)


def main() -> None:
    """Prints the table, and writes it to a dated file when asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--images", type=int, default=10_000)
    parser.add_argument(
        "--folder",
        type=Path,
        help="for images and records, 6 GB while it runs; the system's temporary folder by default",
    )
    parser.add_argument("--write", action="store_true", help="also write jpeg_YYYYMMDD.md beside this file")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        root = Path(folder) / "data"
        write_data(root, images=options.images)
        size = sum(path.stat().st_size for path in root.glob("*.jpg")) / options.images
        measure("2 threads", root)  # The first run of Beam and TensorFlow imports, and is not counted.
        rounds = []
        for _ in range(options.rounds):
            rounds.append({mode: measure(mode, root) for mode in MODES})
    today = datetime.now(timezone.utc)
    setting = (
        f"Python {platform.python_version()}, {options.rounds} interleaved rounds, "
        f"{options.images} JPEGs of 600 x 450 and {size / 1000:.0f} kB. Medians, in brackets least and most."
    )
    table = describe(rounds, images=options.images)
    text = f"# RGB JPEGs into Examples, {today:%Y-%m-%d}\n\n{setting}\n\n{table}\n"
    print(text)
    if options.write:
        Path(__file__).with_name(f"jpeg_{today:%Y%m%d}.md").write_text(text)


if __name__ == "__main__":
    main()
