"""From the reports of a cross-validation's folds to one report of all cases.

It has the same sources, so that all that is derived is derived alike.
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from medimg.errors import MedimgError, UsageError
from medimg.evaluation.classification.above_shortcut import measure_above_shortcut
from medimg.evaluation.figures import Figure, measure
from medimg.evaluation.folds import OUT_OF_FOLD
from medimg.evaluation.gates import ABOVE_SHORTCUT, OVERALL, Gate, split_slice
from medimg.evaluation.intervals import Bootstrap
from medimg.evaluation.protocols import PROTOCOLS
from medimg.reporting.bundle import (
    CHECKS_FILE,
    EXPLANATIONS_FILE,
    LEGEND_FILE,
    PREDICTIONS_FILE,
    SHORTCUTS_FILE,
    find_explanations,
    find_gallery,
    write_bundle,
)
from medimg.reporting.run_facts import RunFacts, read_facts
from medimg.reporting.sections.classification.misclassifications import list_misclassifications
from medimg.reporting.sections.classification.predicted_cases import (
    MISCLASSIFIED,
    choose_examples,
    tabulate_predicted_cases,
)

MODEL = "model"
"""The hash in which the folds of one cross-validation differ."""


@dataclass(frozen=True)
class Fold:
    """The report of one fold: its folder, its facts, and its test split's predictions as ones out of fold."""

    number: int
    folder: Path
    facts: RunFacts
    predictions: pd.DataFrame


def pool_reports(folders: Sequence[Path], to: Path, *, gates: Sequence[Gate]) -> RunFacts:
    """Writes the sources of one report of all cases, each scored by the model of its own fold.

    Eval predictions stay with the folds: sets of classes are calibrated for one model, and there is none for
    all.

    Args:
        folders: the folds' reports; the first is that of fold 0.
        to: written anew.
        gates: what the pooled figures must reach.

    Raises:
        MedimgError: a case is in two folds, or the folds differ in data, code or schema.
    """
    folds = [read_fold(folder, number) for number, folder in enumerate(folders)]
    check_same(folds)
    predictions = pool_predictions(folds)
    facts = pool_facts(folds, judged=judge_gates(predictions, folds[0].facts, gates), gates=gates)
    shutil.rmtree(to, ignore_errors=True)
    shown = {case.case_id for case in list_misclassifications(predictions, facts)}
    # A pair's most confident errors of all are among those of each fold. Where a fold did not show the
    # pair, their images are not there.
    gallery = {
        case_id: images
        for fold in folds
        for case_id, images in read_gallery(fold.folder).items()
        if case_id in shown
    }
    write_bundle(to, predictions=predictions, facts=facts, gallery=gallery)
    pool_shortcuts(folds, to)
    pool_explanations(folds, to, predictions=predictions, facts=facts)
    return facts


def read_fold(folder: Path, number: int) -> Fold:
    """A fold's report. Raises MedimgError if its measured cases are of another fold."""
    facts = read_facts(folder)
    try:
        predictions = pd.read_parquet(folder / PREDICTIONS_FILE)
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder}: {error}, expected the report of a fold") from None
    tested = predictions[predictions["split"] == facts.split]
    others = tested[tested["fold"].fillna(-1) != number]
    if len(others):
        raise MedimgError(
            f"{folder}: case {others['case_id'].iloc[0]} is of fold {others['fold'].iloc[0]}, "
            f"expected cases of fold {number} alone"
        )
    return Fold(number, folder, facts, tested.assign(split=OUT_OF_FOLD))


def check_same(folds: Sequence[Fold]) -> None:
    """Checks that all folds were made from the same data, schema and code, else they are no cross-validation.

    Raises:
        MedimgError: two folds differ.
    """
    first = folds[0].facts.hashes
    for fold in folds[1:]:
        for name in sorted((first.keys() | fold.facts.hashes.keys()) - {MODEL}):
            if first.get(name) != fold.facts.hashes.get(name):
                raise MedimgError(
                    f"fold {fold.number}: another {name} than fold 0, "
                    "expected the same for all folds; run again"
                )


def pool_predictions(folds: Sequence[Fold]) -> pd.DataFrame:
    """The folds' predictions below each other. Raises MedimgError where a case is in two."""
    pooled = pd.concat([fold.predictions for fold in folds], ignore_index=True).sort_values(
        "case_id", ignore_index=True
    )
    doubled = pooled.loc[pooled["case_id"].duplicated(), "case_id"]
    if len(doubled):
        raise MedimgError(f"case {doubled.iloc[0]} was tested in two folds, expected each case in one")
    return pooled


def judge_gates(predictions: pd.DataFrame, facts: RunFacts, gates: Sequence[Gate]) -> list[tuple[str, bool]]:
    """Each gate in words, and whether the pooled figure on every labelled case passes it.

    No pushed model has seen none of the cases, so that there is nothing to check a gate's `change` against.
    """
    if not gates:
        return []
    sliced_by = list(dict.fromkeys(where[0] for gate in gates if (where := split_slice(gate.slice))))
    settings = dataclasses.replace(
        facts.measurement_settings,
        protocols=[PROTOCOLS["cases"]],
        slices=sliced_by,
        split=OUT_OF_FOLD,
        bootstrap=Bootstrap(resamples=0),
    )
    metrics = {gate.metric for gate in gates}
    figures = measure(predictions, settings, metrics=metrics, costs=facts.cost_matrices)
    if ABOVE_SHORTCUT in metrics:
        with_intervals = dataclasses.replace(settings, bootstrap=facts.bootstrap)
        figures += measure_above_shortcut(predictions, with_intervals)
    return [judge_gate(gate, figures) for gate in gates]


def judge_gate(gate: Gate, figures: Sequence[Figure]) -> tuple[str, bool]:
    """The gate in words with what was found, and whether it passes.

    An absent slice and an undefined figure do not.
    """
    bound = str(dataclasses.replace(gate, change=None))
    value = next(
        (
            one.value
            for one in figures
            if (one.head, one.name, one.slice) == (gate.head, gate.metric, gate.slice)
        ),
        None,
    )
    if value is None and gate.slice != OVERALL:
        return f"{bound}: no such slice", False
    if value is None or math.isnan(value):
        return f"{bound}: undefined", False
    return f"{bound}: found {value:.3f} {OUT_OF_FOLD}", value >= gate.lower_bound


def pool_facts(
    folds: Sequence[Fold], *, judged: Sequence[tuple[str, bool]], gates: Sequence[Gate]
) -> RunFacts:
    """What the report says of all folds together."""
    all_facts = [fold.facts for fold in folds]
    first = all_facts[0]
    shown = {
        "split.test_fold": "each in turn",
        "evaluation.gates": json.dumps([dataclasses.asdict(gate) for gate in gates]),
    }
    blessed = all(passes for _, passes in judged) if judged else None
    models = "; ".join(facts.hashes[MODEL] for facts in all_facts)
    summary = pool_summary([facts.summary for facts in all_facts])
    return dataclasses.replace(
        first,
        blessed=blessed,
        gates=judged,
        summary=summary,
        config={**first.config, **shown},
        hashes={**first.hashes, MODEL: models},
        warnings=merge_lines([facts.warnings for facts in all_facts]),
        split=OUT_OF_FOLD,
        evaluated=[],
        folds=len(folds),
    )


def pool_summary(summaries: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The catalogue's summary, the same for all folds but for the splits: all of them are one here."""
    first = summaries[0]
    splits = [{**row, "split": OUT_OF_FOLD} for row in first["splits"]]
    return {
        **first,
        "groups": {OUT_OF_FOLD: sum(first["groups"].values())},
        "splits": splits,
        "leakage": [],  # Each step parts the groups again; what one leaks is among its anomalies.
        "anomalies": merge_lines([summary["anomalies"] for summary in summaries]),
    }


def merge_lines(lines: Sequence[Sequence[str]]) -> list[str]:
    """Lines of all folds once; those that not all folds have name theirs."""
    folds_of: dict[str, list[int]] = {}
    for fold, mine in enumerate(lines):
        for line in dict.fromkeys(mine):
            folds_of.setdefault(line, []).append(fold)
    return [
        line if len(folds) == len(lines) else f"fold {', '.join(map(str, folds))}: {line}"
        for line, folds in folds_of.items()
    ]


def read_gallery(folder: Path) -> dict[str, dict[str, bytes]]:
    """PNGs by role, by case, of a report's folder."""
    gallery: dict[str, dict[str, bytes]] = {}
    for case_id, images in find_gallery(folder).items():
        gallery[case_id] = {role: path.read_bytes() for role, path in images.items()}
    return gallery


def pool_shortcuts(folds: Sequence[Fold], to: Path) -> None:
    """Writes the table of shortcuts, if there is one, with the fold of each case.

    What was a case's train split follows from its fold.
    """
    if not (folds[0].folder / SHORTCUTS_FILE).exists():
        return
    tables = [pd.read_parquet(fold.folder / SHORTCUTS_FILE) for fold in folds]
    tested = {
        case_id: fold.number
        for fold, table in zip(folds, tables, strict=True)
        for case_id in table.loc[table["split"] == fold.facts.split, "case_id"]
    }
    pooled = tables[0].assign(fold=tables[0]["case_id"].map(tested).astype("Int64"))
    pooled.assign(split=pooled["split"].where(pooled["fold"].isna(), OUT_OF_FOLD)).to_parquet(
        to / SHORTCUTS_FILE, index=False
    )


def pool_explanations(folds: Sequence[Fold], to: Path, *, predictions: pd.DataFrame, facts: RunFacts) -> None:
    """Writes the folds' checks, maps of as many cases of each kind as a fold has, and of misclassified ones.

    The latter are those that the page shows.
    A case that its fold did not draw has none.
    """
    head, count = facts.headline, int(facts.config.get("evaluation.explained_cases", 0))
    costs_CC = facts.cost_matrices.get(head)
    table = tabulate_predicted_cases(
        predictions, head=head, classes=facts.heads[head], costs_CC=costs_CC, split=OUT_OF_FOLD
    )
    kinds = {case.case_id: MISCLASSIFIED for case in list_misclassifications(predictions, facts)}
    kinds |= {case.case_id: kind for kind, case in choose_examples(table, count=count)}
    rows = []
    for fold in folds:
        for row in find_explanations(fold.folder):
            if row["case_id"] in kinds:
                name = f"explanations/fold-{fold.number}/{row['file'].name}"
                copy_file(row["file"], to / name)
                rows.append({**row, "kind": kinds[row["case_id"]], "file": name})
    legend = next((path for fold in folds if (path := fold.folder / LEGEND_FILE).exists()), None)
    checks = [pd.read_parquet(path) for fold in folds if (path := fold.folder / CHECKS_FILE).exists()]
    if rows and legend:
        copy_file(legend, to / LEGEND_FILE)
        rows.sort(key=lambda row: list(kinds).index(row["case_id"]))
        (to / EXPLANATIONS_FILE).write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if checks:
        (to / CHECKS_FILE).parent.mkdir(exist_ok=True)
        pd.concat(checks, ignore_index=True).assign(split=OUT_OF_FOLD).to_parquet(
            to / CHECKS_FILE, index=False
        )


def copy_file(source: Path, to: Path) -> None:
    """Copies a file, with the folder that it goes to."""
    to.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, to)
