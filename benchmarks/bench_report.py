"""How long a report of many cases takes from its sources, and how large its page is.

    python benchmarks/bench_report.py [--cases 5000] [--write]

The cases are drawn: two breasts a patient, two heads, three slicing columns, three protocols, two shortcuts,
2,000 resamples, and images of the size of Examples for every misclassified case that is shown. On a machine
that does other work, look at the time on one core.
"""

from __future__ import annotations

import argparse
import io
import os
import platform
import resource
import tempfile
import time
from datetime import datetime, timezone
from pathlib import Path

import numpy as np
from PIL import Image

from medimg.reporting.bundle import SHORTCUTS_FILE, derive, write_bundle
from medimg.reporting.run_facts import RunFacts
from medimg.reporting.sections.classification.misclassifications import list_misclassifications
from tests.unit.evaluation.predictions import HEADS, draw_predictions
from tests.unit.reporting.report_data import SUMMARY, add_eval_cases, tabulate_drawn

IMAGE_SHAPE = (512, 416)
GOAL_SECONDS, GOAL_MEGABYTES = 60, 15


def draw_image(seed: int) -> bytes:
    """Noise, which compresses worse than any mammogram."""
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, IMAGE_SHAPE, dtype=np.uint8)).save(
        buffer, "PNG"
    )
    return buffer.getvalue()


def write_sources(to: Path, *, cases: int) -> None:
    """A report's folder with its sources alone."""
    predictions = add_eval_cases(draw_predictions(patients=cases // 2))
    predictions["shortcut_malignancy"] = np.where(predictions["clinical_source"] == "D2", 0.8, 0.4)
    facts = RunFacts(
        title="drawn",
        config_name="bench",
        data_set="cmmd",
        heads=HEADS,
        summary=SUMMARY,
        protocols=["P1", "P2", "P4"],
        slices=["source", "laterality", "age_band"],
        shortcuts=["source", "age_band"],
    )
    gallery = {
        one.case_id: dict.fromkeys(("CC", "MLO"), draw_image(number))
        for number, one in enumerate(list_misclassifications(predictions, facts))
    }
    write_bundle(to, predictions=predictions, facts=facts, gallery=gallery)
    tabulate_drawn(predictions).to_parquet(to / SHORTCUTS_FILE)


def main() -> None:
    """Prints the figures, and writes them to a dated file when asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cases", type=int, default=5000)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_sources(folder, cases=options.cases)
        started, spent = time.perf_counter(), time.process_time()
        figures = derive(folder)
        seconds, spent = time.perf_counter() - started, time.process_time() - spent
        page = (folder / "report.html").stat().st_size / 1e6
        whole = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
    lines = [
        f"from sources to page and documents: {seconds:.1f} s, "
        f"{spent:.1f} s of them on one core (goal < {GOAL_SECONDS} s)",
        f"report.html: {page:.1f} MB (goal < {GOAL_MEGABYTES} MB), the folder {whole:.1f} MB",
        f"figures with intervals of 2,000 resamples: {len(figures)}",
        f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6:.1f} GB",
    ]
    print("\n".join(lines))
    if options.write:
        today = datetime.now(timezone.utc)
        machine = (
            f"{os.cpu_count()} CPU cores, Python {platform.python_version()}, load {os.getloadavg()[0]:.0f}"
        )
        text = f"# Report of {options.cases:,} cases, {today:%Y-%m-%d}\n\n{machine}.\n\n" + "".join(
            f"- {line}\n" for line in lines
        )
        (Path(__file__).parent / f"report_{today:%Y%m%d}.md").write_text(text)


if __name__ == "__main__":
    main()
