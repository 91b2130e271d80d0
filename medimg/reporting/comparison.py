"""Runs side by side: figures of equal keys in one row, and paired tests where the cases are the same."""

from __future__ import annotations

import dataclasses
import math
import string
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pandas as pd

from medimg.console.plurals import count
from medimg.errors import UsageError
from medimg.evaluation.comparison import Difference, compare_predictions
from medimg.evaluation.figures import Figure, read_metrics
from medimg.evaluation.gates import OVERALL
from medimg.evaluation.paired_tests import adjust_holm
from medimg.evaluation.protocols import find_protocols
from medimg.reporting.bundle import METRICS_FILE, PREDICTIONS_FILE
from medimg.reporting.run_facts import RunFacts, read_facts

KEY = ("head", "metric", "slice", "protocol", "level", "split")
Key = tuple[str, str, str, str, str, str]


@dataclass(frozen=True)
class Side:
    """One run of a comparison."""

    name: str
    facts: RunFacts
    figures: Sequence[Figure]
    predictions: pd.DataFrame

    @property
    def by_key(self) -> dict[Key, Figure]:
        """The figures by their key."""
        return {figure.key: figure for figure in self.figures}

    @property
    def cases(self) -> set[str]:
        """Ids of the cases of the measured split."""
        return set(self.predictions.loc[self.predictions["split"] == self.facts.split, "case_id"])


@dataclass(frozen=True)
class ComparisonRow:
    """What runs have of one key.

    Attributes:
        key: head, metric, slice, protocol, level, split.
        figures: one per run; None where it has none.
        tests: one per run after the first, of that run less the first; None where there is none.
    """

    key: Key
    figures: Sequence[Figure | None]
    tests: Sequence[Difference | None]


@dataclass(frozen=True)
class Comparison:
    """Rows in the order of the first run, and lines on the tests that a reader must see."""

    sides: Sequence[Side]
    rows: Sequence[ComparisonRow]
    notes: Sequence[str]

    @property
    def letters(self) -> str:
        """What the runs are called in tables."""
        return string.ascii_uppercase[: len(self.sides)]


def read_side(name: str, folder: Path) -> Side:
    """A run from its report's folder, or from a bundle's.

    Raises:
        UsageError: it is neither.
    """
    try:
        return Side(
            name,
            read_facts(folder),
            read_metrics(folder / METRICS_FILE),
            pd.read_parquet(folder / PREDICTIONS_FILE),
        )
    except (OSError, ValueError) as error:
        raise UsageError(f"{folder}: {error}, expected the report of a finished run") from None


def compare(sides: Sequence[Side]) -> Comparison:
    """Lines up two or more runs; every later one is tested against the first.

    Holm's adjustment covers all tests together.
    """
    found = [test_pair(sides[0], side) for side in sides[1:]]
    tests = adjust_tests([tests for tests, _ in found])
    figures = [side.by_key for side in sides]
    rows = []
    for key in dict.fromkeys(chain.from_iterable(figures)):
        of_key = [side.get(key) for side in figures]
        rows.append(ComparisonRow(key, of_key, [side.get(key) for side in tests]))
    reasons: list[tuple[str, str]] = []
    costs: list[str] = []
    for letter, side, pair in zip(string.ascii_uppercase[1:], sides[1:], found, strict=False):
        reasons += [(letter, reason) for reason in explain_missing(*pair)]
        costs += explain_costs(letter, sides[0].facts, side.facts)
    notes = [*join_alike(reasons), *costs]
    total = sum(not math.isnan(test.p_value) for side in tests for test in side.values())
    if total:
        notes.append(
            f"{count(total, 'paired test')} of the whole split; p (Holm) is adjusted for all of them"
        )
    return Comparison(sides, rows, notes)


def adjust_tests(tests: Sequence[Sequence[Difference]]) -> list[dict[Key, Difference]]:
    """The tests of each run by the key of their figures, with Holm's adjustment over all of them."""
    adjusted = iter(adjust_holm([test.p_value for test in chain.from_iterable(tests)]))
    by_key = []
    for of_run in tests:
        by_key.append({key_of(test): dataclasses.replace(test, adjusted=next(adjusted)) for test in of_run})
    return by_key


def explain_missing(tests: Iterable[Difference], why: str) -> Iterator[str]:
    """One line for each reason why a run has no test, or some of its figures have no p-value.

    `{}` stands for the run's letter.
    """
    if why:
        yield f"no paired test of {{}} with A: {why}"
    untested = Counter((test.head, test.protocol, test.note) for test in tests if math.isnan(test.p_value))
    for (head, protocol, note), number in untested.items():
        yield f"no p-value of {{}} against A for {count(number, 'figure')} of {head}, {protocol}: {note}"


def join_alike(reasons: Iterable[tuple[str, str]]) -> Iterator[str]:
    """Each line once, with the letters of all runs that it holds for."""
    letters: dict[str, list[str]] = {}
    for letter, reason in reasons:
        letters.setdefault(reason, []).append(letter)
    for reason, found in letters.items():
        yield reason.replace("{}", ", ".join(found), 1)


def explain_costs(letter: str, first: RunFacts, second: RunFacts) -> Iterator[str]:
    """One line for each head whose predicted classes follow other costs in a run than in the first."""
    for head in first.heads:
        if head in second.heads and first.costs.get(head) != second.costs.get(head):
            yield (
                f"{head}: {letter} and A decide by different costs: figures of the predicted class differ by "
                "that too, mean costs do not compare"
            )


def key_of(test: Difference) -> Key:
    """The key of the figures that a test is of."""
    return test.head, test.name, OVERALL, test.protocol, test.level, test.split


def test_pair(first: Side, second: Side) -> tuple[list[Difference], str]:
    """Every metric of two runs on the same cases, or why they cannot be tested."""
    obstacle = find_obstacle(first, second)
    if obstacle:
        return [], obstacle
    heads = {head: classes for head, classes in first.facts.heads.items() if head in second.facts.heads}
    protocols = find_protocols(name for name in first.facts.protocols if name in second.facts.protocols)
    facts = first.facts
    try:
        pair = first.predictions, second.predictions
        costs = facts.cost_matrices, second.facts.cost_matrices
        prevalences = {facts.prevalence, second.facts.prevalence}
        settings = dataclasses.replace(
            facts.measurement_settings,
            heads=heads,
            protocols=protocols,
            prevalence="balanced" if "balanced" in prevalences else facts.prevalence,
        )
        return compare_predictions(*pair, settings, costs=costs), ""
    except UsageError as error:
        return [], str(error)


def find_obstacle(first: Side, second: Side) -> str:
    """Why two runs have no cases, heads or protocols to be tested on; empty if they have."""
    if first.facts.split != second.facts.split:
        return f"measured on split {first.facts.split} and {second.facts.split}"
    apart = first.cases ^ second.cases
    if apart:
        shared = len(first.cases & second.cases)
        return f"different {first.facts.split} cases: {shared} are in both, {len(apart)} in one only"
    for head in first.facts.heads.keys() & second.facts.heads.keys():
        if list(first.facts.heads[head]) != list(second.facts.heads[head]):
            return f"head {head} has other classes"
    if not first.facts.heads.keys() & second.facts.heads.keys():
        return "no head in common"
    if not set(first.facts.protocols) & set(second.facts.protocols):
        return "no protocol in common"
    return ""


def tabulate(comparison: Comparison) -> pd.DataFrame:
    """Every row with every digit.

    A run's figures are `A`, `A low`, `A high`, `A n`, `A groups`, its test against A `B - A` and so on.
    """
    rows = []
    for row in comparison.rows:
        values: dict[str, str | float | None] = dict(zip(KEY, row.key, strict=True))
        values.update(list_numbers(row, comparison.letters))
        rows.append(values)
    return pd.DataFrame(rows)


def list_numbers(row: ComparisonRow, letters: Collection[str]) -> Iterator[tuple[str, str | float | None]]:
    """Columns and values of one row."""
    for letter, figure in zip(letters, row.figures, strict=True):
        yield letter, figure.value if figure else None
        for name in ("low", "high", "n", "groups"):
            yield f"{letter} {name}", getattr(figure, name) if figure else None
    first = row.figures[0]
    for letter, figure, test in zip(list(letters)[1:], row.figures[1:], row.tests, strict=True):
        yield f"{letter} - A", figure.value - first.value if figure and first else None
        for name in ("low", "high", "p_value", "adjusted", "test", "note"):
            yield f"{letter} - A {name}", getattr(test, name) if test else None
