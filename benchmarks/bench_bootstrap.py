"""Intervals of all metrics of a two-class head against a plain loop over resamples, on one core.

The plain loop calls scikit-learn and numpy.

    python benchmarks/bench_bootstrap.py [--breasts 2000 --resamples 2000 --plain 500] [--write]

The plain loop draws patients itself and evaluates each metric on the drawn cases, as most evaluation scripts
do; it draws fewer resamples (`--plain`), and its time is scaled to all. Both are measured in processor
seconds, in turns, and the medians count. Goals: under 10 s, at least 20 times faster, and bounds that differ
by no more than the Monte-Carlo error, which is the spread of our own over other seeds.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import statistics
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ |= {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}  # Before numpy is loaded.

import numpy as np
import sklearn
from sklearn import metrics as sklearn_metrics

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from medimg.evaluation.classification.metrics import BINARY_METRICS, RADIOLOGISTS
from medimg.evaluation.classification.weighted_sample import ScoredCases
from medimg.evaluation.intervals import Bootstrap, bootstrap_intervals

TURNS = 5
SEEDS = 20
PlainMetric = Callable[[np.ndarray, np.ndarray], float]


@dataclass(frozen=True)
class Bounds:
    """Lower and upper bound of each metric, [M] each, in the order of BINARY_METRICS."""

    low: np.ndarray
    high: np.ndarray


def plain_specificity(labels: np.ndarray, scores: np.ndarray, *, sensitivity: float) -> float:
    false_positive_rate, true_positive_rate, _ = sklearn_metrics.roc_curve(
        labels, scores, drop_intermediate=False
    )
    return 1 - false_positive_rate[true_positive_rate >= sensitivity - 1e-9].min()


def plain_sensitivity(labels: np.ndarray, scores: np.ndarray) -> float:
    false_positive_rate, true_positive_rate, _ = sklearn_metrics.roc_curve(
        labels, scores, drop_intermediate=False
    )
    return true_positive_rate[false_positive_rate <= 0.1 + 1e-9].max()


def plain_partial_auc(labels: np.ndarray, scores: np.ndarray) -> float:
    """By the ROC curve of the swapped classes, whose false positive rate is one less the sensitivity."""
    return sklearn_metrics.roc_auc_score(1 - labels, -scores, max_fpr=0.2)


def plain_net_benefit(labels: np.ndarray, scores: np.ndarray, *, threshold: float) -> float:
    chosen = scores >= threshold
    return (chosen & (labels == 1)).mean() - (chosen & (labels == 0)).mean() * threshold / (1 - threshold)


def plain_bins(labels: np.ndarray, scores: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Share of cases, mean probability and share of positives in ten bins of equal mass."""
    parts = np.array_split(np.argsort(scores, kind="stable"), 10)
    rows = [(len(part) / len(scores), scores[part].mean(), labels[part].mean()) for part in parts]
    share, predicted, observed = np.array(rows).T
    return share, predicted, observed


def plain_ece(labels: np.ndarray, scores: np.ndarray) -> float:
    share, predicted, observed = plain_bins(labels, scores)
    return (share * np.abs(predicted - observed)).sum()


def plain_reliability(labels: np.ndarray, scores: np.ndarray) -> float:
    share, predicted, observed = plain_bins(labels, scores)
    return (share * (predicted - observed) ** 2).sum()


def plain_resolution(labels: np.ndarray, scores: np.ndarray) -> float:
    return (
        plain_reliability(labels, scores)
        + plain_uncertainty(labels, scores)
        - sklearn_metrics.brier_score_loss(labels, scores)
    )


def plain_uncertainty(labels: np.ndarray, scores: np.ndarray) -> float:
    return labels.mean() * (1 - labels.mean())


def plain_probabilistic_f1(labels: np.ndarray, scores: np.ndarray) -> float:
    precision, recall = scores[labels == 1].sum() / scores.sum(), scores[labels == 1].mean()
    return 2 * precision * recall / (precision + recall)


def decided(metric: Callable[..., float], **options: object) -> PlainMetric:
    """A metric of scikit-learn on the decisions at 0.5."""
    return lambda labels, scores: metric(labels, scores >= 0.5, **options)


PLAIN_METRICS: Mapping[str, PlainMetric] = {
    "auc": sklearn_metrics.roc_auc_score,
    "average_precision": sklearn_metrics.average_precision_score,
    "partial_auc_sensitivity_80": plain_partial_auc,
    "sensitivity_at_specificity_90": plain_sensitivity,
    "specificity_at_sensitivity_90": partial(plain_specificity, sensitivity=0.9),
    "specificity_at_sensitivity_85_9": partial(plain_specificity, sensitivity=RADIOLOGISTS),
    "sensitivity": decided(sklearn_metrics.recall_score),
    "specificity": decided(sklearn_metrics.recall_score, pos_label=0),
    "balanced_accuracy": decided(sklearn_metrics.balanced_accuracy_score),
    "accuracy": decided(sklearn_metrics.accuracy_score),
    "f1": decided(sklearn_metrics.f1_score),
    "probabilistic_f1": plain_probabilistic_f1,
    "net_benefit_2": partial(plain_net_benefit, threshold=0.02),
    "net_benefit_10": partial(plain_net_benefit, threshold=0.1),
    "net_benefit_50": partial(plain_net_benefit, threshold=0.5),
    "brier": sklearn_metrics.brier_score_loss,
    "brier_reliability": plain_reliability,
    "brier_resolution": plain_resolution,
    "brier_uncertainty": plain_uncertainty,
    "ece": plain_ece,
}


def draw_breasts(breasts: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, probabilities and patients of two breasts each, correlated within the patient."""
    generator = np.random.default_rng(0)
    patient = np.arange(breasts) // 2
    labels = generator.integers(0, 2, breasts)
    logit = (
        1.5 * (labels - 0.5) + 0.7 * generator.normal(size=breasts)[patient] + generator.normal(size=breasts)
    )
    return labels, 1 / (1 + np.exp(-logit)), patient


def draw_plainly(
    labels: np.ndarray, scores: np.ndarray, patients: np.ndarray, *, resamples: int, seed: int
) -> np.ndarray:
    """Every metric of each resample, [R, M]."""
    members = [np.flatnonzero(patients == patient) for patient in np.unique(patients)]
    generator = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        chosen = np.concatenate(
            [members[index] for index in generator.integers(len(members), size=len(members))]
        )
        values.append([PLAIN_METRICS[name](labels[chosen], scores[chosen]) for name in BINARY_METRICS])
    return np.array(values)


def draw_ours(
    labels: np.ndarray, scores: np.ndarray, patients: np.ndarray, *, resamples: int, seed: int
) -> Bounds:
    """The product's intervals."""
    intervals = bootstrap_intervals(
        ScoredCases(labels, scores, patients), BINARY_METRICS, Bootstrap(resamples=resamples, seed=seed)
    )
    low = np.array([intervals[name].low for name in BINARY_METRICS])
    high = np.array([intervals[name].high for name in BINARY_METRICS])
    return Bounds(low, high)


def measure(
    breasts: int, *, resamples: int, plainly: int
) -> tuple[list[float], list[float], Bounds, list[Bounds]]:
    """Returns processor seconds of ours and of the plain loop by turn, the plain loop's bounds, and ours.

    Our bounds are those of several seeds.
    """
    case = draw_breasts(breasts)
    ours: list[float] = []
    plain: list[float] = []
    values = []
    for turn in range(TURNS):
        start = time.process_time()
        draw_ours(*case, resamples=resamples, seed=turn)
        ours.append(time.process_time() - start)
        start = time.process_time()
        values.append(draw_plainly(*case, resamples=plainly // TURNS, seed=turn))
        plain.append((time.process_time() - start) * resamples / (plainly // TURNS))
    low, high = np.quantile(np.concatenate(values), [0.025, 0.975], axis=0)
    others = [draw_ours(*case, resamples=resamples, seed=100 + seed) for seed in range(SEEDS)]
    return ours, plain, Bounds(low, high), others


def compare_bounds(plain: Bounds, ours: list[Bounds], *, ratio: float) -> Iterator[str]:
    """The rows of a Markdown table.

    Differences in standard errors of Monte Carlo, the plain loop's with `ratio` times our variance.
    """
    yield "| metric | ours (mean over seeds) | plain loop | largest difference, Monte-Carlo standard errors |"
    yield "|---|---|---|---|"
    low = np.array([bounds.low for bounds in ours])
    high = np.array([bounds.high for bounds in ours])
    for index, name in enumerate(BINARY_METRICS):
        errors = []
        for drawn, bound in ((low[:, index], plain.low[index]), (high[:, index], plain.high[index])):
            error = drawn.std(ddof=1) * np.sqrt(ratio + 1 / len(drawn))
            errors.append(abs(drawn.mean() - bound) / error if error > 0 else float(drawn.mean() != bound))
        mean = f"{low[:, index].mean():.4f} to {high[:, index].mean():.4f}"
        yield f"| {name} | {mean} | {plain.low[index]:.4f} to {plain.high[index]:.4f} | {max(errors):.1f} |"


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--breasts", type=int, default=2000)
    parser.add_argument("--resamples", type=int, default=2000)
    parser.add_argument("--plain", type=int, default=500, help="resamples of the plain loop")
    parser.add_argument(
        "--write", action="store_true", help="also write bootstrap_YYYYMMDD.md beside this file"
    )
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", category=FutureWarning)
    ours, plain, bounds, others = measure(
        arguments.breasts, resamples=arguments.resamples, plainly=arguments.plain
    )
    versions = (
        f"Python {platform.python_version()}, numpy {np.__version__}, "
        f"scikit-learn {sklearn.__version__}, one thread"
    )
    setting = f"{arguments.breasts} breasts, {len(BINARY_METRICS)} metrics, {arguments.resamples} resamples"
    seconds, slow = statistics.median(ours), statistics.median(plain)
    speed = (
        f"- processor seconds, ours: median {seconds:.2f} s, longest {max(ours):.2f} s (goal < 10 s)\n"
        f"- plain loop: median {slow:.0f} s, scaled from {arguments.plain} resamples\n"
        f"- {slow / seconds:.0f} times faster (goal >= 20)"
    )
    table = compare_bounds(bounds, others, ratio=arguments.resamples / arguments.plain)
    text = f"# Bootstrap\n\n{versions}; {setting}; {TURNS} turns.\n\n{speed}\n\n" + "\n".join(table) + "\n"
    print(text)
    if arguments.write:
        Path(__file__).with_name(f"bootstrap_{datetime.date.today():%Y%m%d}.md").write_text(text)


if __name__ == "__main__":
    main()
