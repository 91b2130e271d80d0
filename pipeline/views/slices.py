"""What the Evaluator has measured on each slice, and the report's charts of it."""

from __future__ import annotations

import pandas as pd

from components.report_gen.evaluator_results import list_evaluated, only_head, read_evaluation
from medimg.evaluation.classification.metrics import metrics_of
from medimg.evaluation.gates import OVERALL
from medimg.reporting.sections.classification.performance import describe_performance
from medimg.reporting.sections.shared.slices import describe_slices
from pipeline.views.drawing import Drawing
from pipeline.views.run import FinishedRun


def tabulate_slices(run: FinishedRun, head: str) -> pd.DataFrame:
    """Tabulates the Evaluator's figures of one head as Model Analysis reads them.

    A row per slice in the report's order, a column per count and metric.

    NaN where a figure is undefined on a slice, as an AUC is where one class is missing.
    """
    heads = run.data.facts.heads
    figures = read_evaluation(str(run.output("Evaluator", "evaluation")), only_head=only_head(heads))
    mine = pd.DataFrame([row for row in list_evaluated(figures) if row["head"] == head])
    table = mine.pivot(index="slice", columns="metric", values="value").astype(float)
    counts = [name for name in ("n", "positives") if name in table]
    metrics = [name for name in metrics_of(heads[head]) if name in table]
    columns = [OVERALL, *run.data.facts.slices]
    slices = sorted(table.index, key=lambda name: (columns.index(name.partition("=")[0]), name))
    return table.loc[slices, [*counts, *metrics]].astype(dict.fromkeys(counts, int)).rename_axis(columns=None)


def draw_curves(run: FinishedRun, head: str) -> Drawing:
    """The report's curves of one head on the whole split; none for more than two classes."""
    return Drawing(describe_performance(run.data, head).charts)


def draw_slices(run: FinishedRun, head: str) -> Drawing:
    """The report's intervals of the first metric per slice, one chart per protocol."""
    return Drawing(describe_slices(run.data, head).charts)
