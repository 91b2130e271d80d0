"""CaseExampleGen against a plain loop of the same work.

Measured are wall time per core, the gain of a second thread, and peak memory at 100 and 1,000 images.

    python benchmarks/bench_example_gen.py [--data DIR] [--rounds 3] [--images 1000] [--write]

DIR is a CMMD tree of full-size images; without it one is drawn (4.4 MB and about half a second an image).
Each measurement is a process of its own; the rounds are interleaved; ratios are formed within a round.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

INGEST = {
    "image_size": [1024, 832],
    "bits": 8,
    "channels": 1,
    "orientation": "mammogram",
    "crop": "breast",
    "fit": "pad",
}


def measure(mode: str, images: int, catalogue: Path, data: Path) -> None:
    """Does the work of one measurement and prints seconds and peak memory as JSON.

    Imports are outside the clock.
    """
    import resource

    import tensorflow as tf  # Both sides pay for it before the clock starts.

    from components.case_example_gen import executor
    from medimg.catalogue.tables import catalogue_cases, read_catalogue
    from medimg.examples.encoding import record_to_examples
    from medimg.examples.record import read_record
    from pipeline.beam.flags import parse_beam

    ingest = executor.ingest_from_json(json.dumps(INGEST))
    tables = read_catalogue(catalogue)
    cases = [
        case
        for split in ("train", "eval", "test")
        for case in catalogue_cases(tables, statuses=("used",), split=split)
    ]
    chosen, count = [], 0
    for case in cases:
        if count >= images:
            break
        chosen.append(case)
        count += len(case.images)
    with tempfile.TemporaryDirectory() as folder:
        if mode == "loop":
            started = time.perf_counter()
            with tf.io.TFRecordWriter(str(Path(folder) / "records")) as writer:
                for case in chosen:
                    record, _ = read_record(case, data_root=data, ingest=ingest)
                    for example in record_to_examples(record):
                        writer.write(example)
        else:
            threads = int(mode.removeprefix("beam"))
            shards = list(executor.plan_shards("train", chosen, folder, 16))
            arguments = list(parse_beam("local", cores=threads))
            import apache_beam as beam

            started = time.perf_counter()
            with beam.Pipeline(argv=arguments) as pipeline:
                _ = (
                    pipeline
                    | beam.Create(shards)
                    | beam.Reshuffle()
                    | beam.ParDo(executor.WriteShard(str(data), ingest, 2**25))
                )
        seconds = time.perf_counter() - started
    print(
        json.dumps(
            {
                "images": count,
                "seconds": seconds,
                "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
            }
        )
    )


def child(mode: str, images: int, catalogue: Path, data: Path) -> dict[str, Any]:
    """One measurement in a fresh process."""
    command = [
        sys.executable,
        __file__,
        "--data",
        str(data),
        "--catalogue",
        str(catalogue),
        "--mode",
        mode,
        "--images",
        str(images),
    ]
    result = subprocess.run(
        command, capture_output=True, text=True, check=True, cwd=Path(__file__).resolve().parents[1]
    )
    values: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
    return values


def main() -> None:
    """Prints the ratios, and writes them to a dated file when asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path)
    parser.add_argument("--catalogue", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--mode")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.mode:
        measure(options.mode, options.images, options.catalogue, options.data)
        return
    from medimg.catalogue.build import BuildOptions, build_catalogue
    from medimg.catalogue.split import SplitSettings
    from medimg.datasets import find_data_set
    from medimg.datasets.cmmd.phantom import write_phantom

    if not options.data:
        options.data = Path(tempfile.mkdtemp()) / "data"
        write_phantom(options.data, cases=options.images // 2, seed=0, rows=2294, columns=1914)
    catalogue = options.catalogue or Path(tempfile.mkdtemp()) / "catalogue"
    if not catalogue.exists():
        build_catalogue(
            find_data_set("cmmd"),
            data_root=options.data,
            to=catalogue,
            options=BuildOptions(SplitSettings(), index_path=catalogue / "index.parquet"),
        )
    modes = [("loop", options.images), ("beam1", options.images), ("beam2", options.images), ("beam2", 100)]
    rounds = []
    for _ in range(options.rounds):
        rounds.append(
            {f"{mode}-{images}": child(mode, images, catalogue, options.data) for mode, images in modes}
        )
    large = options.images

    def divide(over: str, under: str, what: str) -> list[float]:
        return [measured[over][what] / measured[under][what] for measured in rounds]

    ratios = {
        "wall, one thread / plain loop (goal <= 1.15)": divide(f"beam1-{large}", f"loop-{large}", "seconds"),
        "speed, two threads / one (goal >= 1.6)": divide(f"beam1-{large}", f"beam2-{large}", "seconds"),
        f"peak memory, {large} images / 100 (goal <= 1.2)": divide(f"beam2-{large}", "beam2-100", "peak_mb"),
    }
    lines = [
        f"{name}: median {statistics.median(values):.2f} (min {min(values):.2f}, max {max(values):.2f})"
        for name, values in ratios.items()
    ]
    lines += [
        f"{name}: {values['seconds']:.1f} s, {values['images']} images, peak {values['peak_mb']:.0f} MB"
        for name, values in rounds[-1].items()
    ]
    print("\n".join(lines))
    if options.write:
        today = datetime.now(timezone.utc)
        setting = (
            f"Python {platform.python_version()}, {options.rounds} interleaved rounds, "
            f"full-size CMMD stand-in, ingest {INGEST}."
        )
        text = f"# CaseExampleGen, {today:%Y-%m-%d}\n\n{setting}\n\n"
        (Path(__file__).parent / f"example_gen_{today:%Y%m%d}.md").write_text(
            text + "".join(f"- {line}\n" for line in lines)
        )


if __name__ == "__main__":
    main()
