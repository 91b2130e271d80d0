"""The cost model's figures: CPU seconds and bytes of every component at two sizes.

From the two follow what is fixed and what grows with the images.

    python benchmarks/bench_scale.py [--data SMALL LARGE] [--rounds 2] [--write]

SMALL and LARGE are CMMD trees of full-size images; without them two are drawn (80 and 320 patients, 4.4 MB
and about half a second an image). Each measurement is a process of its own that runs the flagship config
twice, the second time with more epochs: only the Trainer and what follows it run again. CPU seconds are user
and system time of the process and all its children; imports are outside, save those that a component makes
itself.

What ReportGen keeps in memory is too little to be seen at these sizes, so its measuring is run by itself on
invented predictions of many cases.
"""

from __future__ import annotations

import argparse
import importlib
import json
import logging
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import psutil

PATIENTS = (80, 320)
EPOCHS = (1, 4)
# (cases, resamples)
REPORTS = ((50_000, 20), (50_000, 60), (200_000, 20))
# Reading the data root comes before the first component.
INDEX = "index of the data root"
EPOCH = "Trainer, each epoch"
AGAINST = "Evaluator, with a baseline"


def cpu_seconds() -> float:
    """User and system time of this process and of all its descendants, those that have ended included."""
    process = psutil.Process()
    return sum(sum(one.cpu_times()[:4]) for one in (process, *process.children(recursive=True)))


class Meter(logging.Filter):
    """Reads the CPU time off whenever TFX says that a component begins or ends; every record passes."""

    def __init__(self) -> None:
        super().__init__()
        self.spent: dict[str, float] = {}
        self._since = cpu_seconds()

    def filter(self, record: logging.LogRecord) -> bool:
        from pipeline.local.component_progress import FINISHED, RUNNING

        message = record.getMessage()
        if RUNNING.search(message):
            self.spent.setdefault(INDEX, cpu_seconds() - self._since)
            self._since = cpu_seconds()
        elif found := FINISHED.search(message):
            self.spent[found[1]] = cpu_seconds() - self._since
        return True


def measure(data: Path) -> None:
    """Runs the flagship on `data`; prints, as JSON, the images, and what each component spent and wrote."""
    # Before the first clock starts: runs of any size need them.
    for name in ("pipeline.cache_keys", "pipeline.pipeline", "tfx.orchestration.local.local_dag_runner"):
        importlib.import_module(name)
    from pipeline.config.overrides import load_config
    from pipeline.config.places import RunRequest
    from pipeline.local.run import run_config

    with tempfile.TemporaryDirectory() as folder:
        run = Path(folder) / "run"
        spent = []
        for epochs in EPOCHS:
            # Whatever comes out is pushed, so that the Pusher has work, and the second run a baseline.
            gates = '[{"metric": "auc", "head": "malignancy", "lower_bound": -1.0}]'
            config = load_config(
                "cmmd_classification", overrides=[f"training.epochs={epochs}", f"evaluation.gates={gates}"]
            )
            meter = Meter()
            logging.getLogger("absl").addFilter(meter)
            run_config(config, RunRequest(data_root=data, to=run))
            logging.getLogger("absl").removeFilter(meter)
            spent.append(meter.spent)
            if epochs == EPOCHS[0]:
                written = {one.name: count_bytes(one) for one in (run / "artifacts").iterdir()} | {
                    INDEX: count_bytes(run / "index.parquet")
                }
        first, second = spent
        epoch = (second["Trainer"] - first["Trainer"]) / (EPOCHS[1] - EPOCHS[0])
        cpu = {
            **first,
            "Trainer": first["Trainer"] - EPOCHS[0] * epoch,
            EPOCH: epoch,
            AGAINST: second["Evaluator"],
        }
        summary = json.loads(
            next((run / "artifacts").glob("CatalogueGen/catalogue/*/summary.json")).read_text()
        )
    images = sum(summary["images"].values())
    print(json.dumps({"images": images, "data": count_bytes(data), "cpu": cpu, "bytes": written}))


def measure_report(cases: int, resamples: int) -> None:
    """Measures invented predictions as ReportGen does the test split's.

    Prints CPU seconds and peak memory as JSON.
    """
    import resource

    import numpy as np
    import pandas as pd

    from medimg.evaluation.figures import measure as measure_figures
    from pipeline.config.overrides import load_config

    config = load_config("cmmd_classification")
    rng = np.random.default_rng(0)
    patients = [f"D1-{number // 2:08d}" for number in range(cases)]
    breasts = [f"{patient}-{number % 2}" for number, patient in enumerate(patients)]
    identity = {"case_id": breasts, "group_id": patients, "level_patient": patients, "level_breast": breasts}
    columns = {f"clinical_{name}": rng.choice(["A", "B"], cases) for name in config.evaluation.slices}
    for head in config.model.heads:
        columns[f"label_{head.name}"] = rng.choice(head.classes, cases)
        scores = rng.dirichlet(np.ones(len(head.classes)), cases)
        columns |= {f"p_{head.name}_{name}": scores[:, index] for index, name in enumerate(head.classes)}
    predictions = pd.DataFrame({**identity, "split": "test", **columns})
    started, before = cpu_seconds(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    evaluation = config.evaluation
    measure_figures(
        predictions,
        heads=config.heads,
        protocols=evaluation.protocols,
        slices=evaluation.slices,
        resamples=resamples,
    )
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    print(
        json.dumps(
            {"cases": cases, "resamples": resamples, "cpu": cpu_seconds() - started, "peak_mb": peak / 1024}
        )
    )


def count_bytes(path: Path) -> int:
    """Size of a file, or of all files below a folder."""
    return sum(one.stat().st_size for one in (path, *path.rglob("*")) if one.is_file())


def part(sizes: Sequence[Mapping[str, Any]], what: str, name: str) -> tuple[float, float]:
    """(what is fixed, what each image adds) of one component, from the measurements at two sizes."""
    small, large = sizes
    each = (large[what].get(name, 0) - small[what].get(name, 0)) / (large["images"] - small["images"])
    return small[what].get(name, 0) - each * small["images"], each


def child(*arguments: str) -> dict[str, Any]:
    """One measurement in a fresh process."""
    command = [sys.executable, __file__, *arguments]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    values: dict[str, Any] = json.loads(result.stdout.strip().splitlines()[-1])
    return values


def make_table(rounds: Sequence[Sequence[Mapping[str, Any]]]) -> list[str]:
    """A row per component: medians over the rounds, and how far the rounds differ in what an image adds."""
    lines = [
        "| component | CPU s, fixed | CPU ms per image | its range "
        "| MB written, fixed | kB written per image |",
        "|---|---|---|---|---|---|",
    ]
    for name in rounds[0][0]["cpu"]:
        fixed, each = zip(*(part(sizes, "cpu", name) for sizes in rounds), strict=True)
        wrote, more = part(rounds[0], "bytes", name)
        spread = f"{min(each) * 1e3:.1f} to {max(each) * 1e3:.1f}"
        cpu = f"{statistics.median(fixed):.1f} | {statistics.median(each) * 1e3:.1f} | {spread}"
        lines.append(f"| {name} | {cpu} | {wrote / 1e6:.2f} | {more / 1e3:.2f} |")
    return lines


def make_report_table(reports: Sequence[Mapping[str, Any]]) -> list[str]:
    """A row per size of the test split and number of resamples."""
    lines = [
        "| measuring of the report: cases | resamples | CPU s | MB more than the predictions |",
        "|---|---|---|---|",
    ]
    return lines + [
        f"| {one['cases']:,} | {one['resamples']} | {one['cpu']:.1f} | {one['peak_mb']:.0f} |"
        for one in reports
    ]


def main() -> None:
    """Prints the table, and writes it to a dated file when asked."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, nargs=2)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--measure", type=Path)
    parser.add_argument("--measure-report", type=int, nargs=2)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return
    if options.measure_report:
        measure_report(*options.measure_report)
        return
    if not options.data:
        from medimg.datasets.cmmd.phantom import write_phantom

        options.data = [Path(tempfile.mkdtemp()) / "data" for _ in PATIENTS]
        for folder, patients in zip(options.data, PATIENTS, strict=True):
            write_phantom(folder, cases=patients, seed=0, rows=2294, columns=1914)
    rounds = []
    for _ in range(options.rounds):
        rounds.append([child("--measure", str(folder)) for folder in options.data])
    reports = [child("--measure-report", str(cases), str(resamples)) for cases, resamples in REPORTS]
    small, large = rounds[0]
    each = (large["data"] - small["data"]) / (large["images"] - small["images"])
    setting = (
        f"Python {platform.python_version()}, {os.cpu_count()} cores, config cmmd_classification, "
        f"full-size CMMD stand-ins of {small['images']} and {large['images']} images, "
        f"{each / 1e6:.2f} MB each; {options.rounds} rounds, medians."
    )
    lines = [*make_table(rounds), "", *make_report_table(reports)]
    text = f"{setting}\n\n" + "\n".join(lines) + "\n"
    print(text)
    if options.write:
        today = datetime.now(timezone.utc)
        (Path(__file__).parent / f"scale_{today:%Y%m%d}.md").write_text(
            f"# CPU and bytes of every component, {today:%Y-%m-%d}\n\n{text}"
        )


if __name__ == "__main__":
    main()
