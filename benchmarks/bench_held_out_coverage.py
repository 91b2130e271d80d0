"""Coverage of conformal sets after the best of 30 epochs was chosen on the same split.

    python benchmarks/bench_held_out_coverage.py [--cohorts 400] [--write]

Drawn answers: each epoch sees the label and a noise of its own, none is better than another, so that the best
on eval is best by luck alone. Sets for a stated 0.90 are calibrated once on the cases that chose, as the
epoch that they chose answers them, and once on held-out answers as the Trainer makes them; both are measured
on new cases that the chosen epoch answers. A row is met where the mean lies within three standard errors of
what split conformal prediction promises, ceil(0.9 (n + 1)) / (n + 1), n being the cases that are calibrated
on.
"""

from __future__ import annotations

import argparse
import datetime
import math
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tensorflow as tf

from medimg.evaluation.classification.conformal import fit_conformal
from medimg.tasks.classification.fit import choose_epoch, hold_out
from medimg.tasks.classification.settings import Head, ModelSettings
from medimg.tasks.fitting import Data
from medimg.tasks.shared.eval_parts import part_eval

MODEL = ModelSettings(heads=(Head("kind", ("no", "yes")),), roles=("image",))
EPOCHS, LATER_CASES, COVERAGE = 30, 2000, 0.9
SIZES = (20, 30, 50, 100, 200, 400)


def answer(labels: np.ndarray, generator: np.random.Generator) -> np.ndarray:
    """What one epoch answers, [N, 2]."""
    logits = 1.0 * (2 * labels - 1) + generator.normal(0, 2.0, len(labels))
    yes = 1 / (1 + np.exp(-logits))
    return np.stack([1 - yes, yes], axis=1)


def measure_cohort(count: int, generator: np.random.Generator) -> tuple[float, float, int]:
    """Coverage of sets calibrated on what chose and on held-out answers, and the latter's number."""
    labels = generator.integers(0, 2, count)
    names = np.array([f"{generator.integers(1 << 60)}-{index}" for index in range(count)])
    data = Data(
        *(tf.data.Dataset.range(1), tf.data.Dataset.range(1), {}, {"kind": labels}),
        eval_ids=names,
        eval_groups=names,
    )
    parts = part_eval(names, labelled=labels >= 0)
    answers = [{"kind": answer(labels, generator)} for _ in range(EPOCHS)]
    chosen = answers[choose_epoch(answers, data, MODEL, cases=parts.choose)]["kind"]
    held_out = hold_out(answers, data, MODEL, parts=parts)["kind"]
    later = generator.integers(0, 2, LATER_CASES)
    new = answer(later, generator)
    covered = []
    for kept, values in ((parts.choose, chosen), (parts.calibrate, held_out)):
        sets = fit_conformal(labels[kept], values[kept], coverage=COVERAGE)
        covered.append(float(sets.contains(new)[np.arange(LATER_CASES), later].mean()))
    return covered[0], covered[1], int(parts.calibrate.sum())


def run(cohorts: int) -> Iterator[str]:
    """The whole report, line by line."""
    yield f"{cohorts} cohorts a row, {EPOCHS} epochs, seed 0."
    yield ""
    yield "| eval cases | calibrated on those that chose | on held-out answers | promised | met |"
    yield "|---|---|---|---|---|"
    for count in SIZES:
        generator = np.random.default_rng(count)
        found = np.array([measure_cohort(count, generator) for _ in range(cohorts)])
        promised = np.array([math.ceil((n + 1) * COVERAGE) / (n + 1) for n in found[:, 2]]).mean()
        error = found[:, 1].std(ddof=1) / math.sqrt(cohorts)
        met = abs(found[:, 1].mean() - promised) <= 3 * error
        yield (
            f"| {count} | {found[:, 0].mean():.3f} | {found[:, 1].mean():.3f} ± {error:.3f} "
            f"| {promised:.3f} | {'yes' if met else 'no'} |"
        )


def main() -> None:
    """Measures and prints, and writes if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cohorts", type=int, default=400)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    today = datetime.date.today()
    lines = [f"# Coverage of conformal sets after a choice among epochs, {today}", ""]
    for line in run(options.cohorts):
        print(line, flush=True)
        lines.append(line)
    if options.write:
        Path(__file__).with_name(f"held_out_coverage_{today:%Y%m%d}.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
