"""Observations: what the tables say of wrong answers, in sentences with their counts.

None gives a reason, and each is silent where it does not hold.

All functions are pure: the run's tables are the only source.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from scipy.stats import hypergeom

from medimg.console.plurals import make_plural
from medimg.evaluation.figures import value_text
from medimg.images.colour import COLOUR_COLUMNS

FEW = 0.5
"""A class has few training cases if it has less than this share of what the median class has."""
CLOSE = 0.05
"""A case lies close to a training case if no larger share of the split's cases lies closer to theirs."""
SIGNIFICANCE = 0.05
"""Of the test by which a slice or a group is said to have more wrong answers, over all tests (Bonferroni)."""


@dataclass(frozen=True)
class Tables:
    """What wrong answers are held against.

    Attributes:
        answers: of `predicted_cases.tabulate_predicted_cases`, on the measured split; where neighbours were
            looked for, with columns `nearest` and `distance`, class and distance of the nearest case.
        train: the training cases with their `label`; empty where they were not scored.
        classes: of the head.
        unions: derived head to class to the union that it is in, for classes that are merged.
        slices: clinical columns.
        group_noun: what a group is called.
    """

    answers: pd.DataFrame
    train: pd.DataFrame
    classes: Sequence[str]
    unions: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    slices: Sequence[str] = ()
    group_noun: str = "group"


@dataclass(frozen=True)
class Errors:
    """Wrong answers, and those that they are among.

    Attributes:
        cases: every answer on the true classes in question.
        is_error: of `cases`, bool.
        called: "called mel", for what the errors have in common.
    """

    cases: pd.DataFrame
    is_error: pd.Series
    called: str

    @property
    def rows(self) -> pd.DataFrame:
        """The errors themselves."""
        return self.cases[self.is_error]

    @property
    def right(self) -> pd.DataFrame:
        """The right answers among the cases."""
        return self.cases[self.cases["label"] == self.cases["predicted"]]


def observe_pair(tables: Tables, label: str, predicted: str) -> list[str]:
    """Sentences on the cases of one class that were called another."""
    cases = tables.answers[tables.answers["label"] == label]
    return list(observe(tables, Errors(cases, cases["predicted"] == predicted, called=f"called {predicted}")))


def observe_all(tables: Tables) -> list[str]:
    """Sentences on all wrong answers."""
    cases = tables.answers
    return list(observe(tables, Errors(cases, cases["predicted"] != cases["label"], called="called wrongly")))


def observe(tables: Tables, errors: Errors) -> Iterator[str]:
    """What there is to say, in a fixed order; nothing without errors."""
    if not errors.is_error.any():
        return
    yield from observe_merges(errors, unions=tables.unions)
    yield from observe_few(errors, train=tables.train, classes=tables.classes)
    yield from observe_neighbours(errors)
    yield from observe_closeness(errors, answers=tables.answers)
    yield from observe_colour(errors, train=tables.train)
    yield from observe_groups(errors, noun=tables.group_noun)
    yield from observe_slices(errors, slices=tables.slices)


def observe_merges(errors: Errors, *, unions: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """Errors within one union of a declared merge."""
    rows = errors.rows
    for head, union_of in unions.items():
        within = rows[
            rows["label"].map(union_of).notna()
            & (rows["label"].map(union_of) == rows["predicted"].map(union_of))
        ]
        if len(within):
            members: dict[str, list[str]] = {}
            for name, union in union_of.items():
                members.setdefault(union, []).append(name)
            hit = sorted(set(within["label"].map(union_of)))
            merged = ", ".join(f"{join_words(members[union])} are {union}" for union in hit)
            number = len(within)
            yield f"{share(number, rows)} {be(number)} within a merged class of {head}, where {merged}."


def observe_few(errors: Errors, *, train: pd.DataFrame, classes: Sequence[str]) -> Iterator[str]:
    """Errors on classes with few training cases."""
    if train.empty:
        return
    counts = {name: int((train["label"] == name).sum()) for name in classes}
    median = float(np.median(list(counts.values())))
    rows, cases = errors.rows, errors.cases
    hit = [name for name, count in counts.items() if count < FEW * median and (rows["label"] == name).any()]
    if hit:
        of_each = join_words([f"{name} has {counts[name]}" for name in hit])
        count, of_all = (int(part["label"].isin(hit).sum()) for part in (rows, cases))
        beside = f"; so {be(of_all)} {share(of_all, cases)} cases" if of_all < len(cases) else ""
        yield (
            f"{share(count, rows)} {be(count)} of a class with less than half the {median:g} training cases "
            f"of the median class: {of_each}{beside}."
        )


def observe_neighbours(errors: Errors) -> Iterator[str]:
    """Most errors lie nearest to a training case of the class that they were called, or of their own."""
    if "nearest" not in errors.cases:
        return
    rows, right = (part[part["nearest"].notna()] for part in (errors.rows, errors.right))
    embedded = "" if len(rows) == errors.is_error.sum() else " that were embedded"
    others = ""
    if len(right):
        apart = int((right["nearest"] != right["label"]).sum())
        others = f"; for {share(apart, right)} right answers it is of another class"
    for column, words in (
        ("predicted", "the class that they were called"),
        ("label", "their own class all the same"),
    ):
        count = int((rows["nearest"] == rows[column]).sum())
        if is_most(count, rows):
            yield f"For {share(count, rows)}{embedded} the nearest training case is of {words}{others}."


def observe_closeness(errors: Errors, *, answers: pd.DataFrame) -> Iterator[str]:
    """Errors that all but repeat a training case of the class that they were called."""
    if "nearest" not in answers:
        return
    limit = answers["distance"].quantile(CLOSE)
    rows = errors.rows
    count = int(((rows["nearest"] == rows["predicted"]) & (rows["distance"] <= limit)).sum())
    if count:
        yield (
            f"For {share(count, rows)} a training case of the class that they were called lies "
            f"within {limit:.3g}, as close as the closest {100 * CLOSE:g} % of all cases lie to any."
        )


def observe_colour(errors: Errors, *, train: pd.DataFrame) -> Iterator[str]:
    """Most errors have a mean colour nearer to that of the called class than to that of their own."""
    if not set(COLOUR_COLUMNS) <= set(train) & set(errors.cases):
        return
    means = train.groupby("label")[list(COLOUR_COLUMNS)].mean()
    rows = errors.rows
    rows = rows[rows["label"].isin(means.index) & rows["predicted"].isin(means.index)]
    colours_N3 = rows[list(COLOUR_COLUMNS)].to_numpy()
    to_own, to_called = (
        np.linalg.norm(colours_N3 - means.loc[rows[name]].to_numpy(), axis=1)
        for name in ("label", "predicted")
    )
    count = int((to_called < to_own).sum())
    if is_most(count, errors.rows):
        yield (
            f"The mean colour of {share(count, errors.rows)} is nearer to the training mean of the class "
            "that they were called than to that of their own "
            f"({to_called.mean():.1f} against {to_own.mean():.1f} on average, in CIELAB)."
        )


def observe_groups(errors: Errors, *, noun: str) -> Iterator[str]:
    """Most errors are of one group, and more than would be by chance."""
    rows, cases = errors.rows, errors.cases
    (group, count), *_ = Counter(rows["group_id"]).most_common(1)
    inside, tested = cases["group_id"] == group, cases["group_id"].nunique()
    p_value = find_excess(errors, inside, tested=tested)
    if is_most(count, rows) and p_value < SIGNIFICANCE:
        yield (
            f"{share(count, rows)} are of one {noun}, {group}, "
            f"which has {share(int(inside.sum()), cases)} cases "
            f"(Fisher's exact test, p = {p_value:.2g} for {tested} {make_plural(noun)})."
        )


def observe_slices(errors: Errors, *, slices: Sequence[str]) -> Iterator[str]:
    """Values of clinical columns with more errors than the other cases, by Fisher's exact test, one-sided."""
    columns = {
        column: errors.cases[f"clinical_{column}"].map(value_text, na_action="ignore") for column in slices
    }
    tested = sum(texts.nunique() for texts in columns.values())
    for column, texts in columns.items():
        for value in sorted(texts.dropna().unique()):
            inside = texts == value
            p_value = find_excess(errors, inside, tested=tested)
            if p_value < SIGNIFICANCE:
                hit, others = int((inside & errors.is_error).sum()), int((~inside & errors.is_error).sum())
                yield (
                    f"Of the {inside.sum()} cases with {column} {value}, {hit} {be(hit)} {errors.called}, "
                    f"of the other {(~inside).sum()}, {others} "
                    f"(Fisher's exact test, p = {p_value:.2g} for {tested} values looked at)."
                )


def find_excess(errors: Errors, inside: pd.Series, *, tested: int) -> float:
    """Returns Fisher's exact p-value, one-sided, that cases inside are errors more often than the others.

    It is multiplied by the number of such tests, at most 1.
    """
    hit = int((inside & errors.is_error).sum())
    return min(
        1.0, tested * float(hypergeom.sf(hit - 1, len(inside), int(errors.is_error.sum()), int(inside.sum())))
    )


def is_most(count: int, rows: pd.DataFrame) -> bool:
    """More than half, and more than one: a single case speaks for itself."""
    return count > max(1, len(rows) / 2)


def share(count: int, rows: pd.DataFrame) -> str:
    """`3 of 7`."""
    return f"{count} of {len(rows)}"


def be(number: int) -> str:
    """The verb that goes with a number."""
    return "is" if number == 1 else "are"


def join_words(words: Sequence[str]) -> str:
    """`a, b and c`."""
    *others, last = words
    return f"{', '.join(others)} and {last}" if others else last
