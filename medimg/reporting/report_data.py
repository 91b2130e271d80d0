"""What a report's folder holds, read once.

The pages and documents are drawn from it and from nothing else.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from medimg.catalogue.split import EVAL, TRAIN
from medimg.evaluation.classification.baselines import BaselineFigure
from medimg.evaluation.classification.held_out import take_calibration_cases
from medimg.evaluation.figures import Figure, read_units
from medimg.evaluation.folds import note_folds
from medimg.evaluation.gates import OVERALL
from medimg.evaluation.protocols import Protocol, find_gap, find_protocols, roll_up
from medimg.reporting.charts.base import Chart
from medimg.reporting.run_facts import RunFacts

CALIBRATION_SPLIT = EVAL
DEVELOPMENT_SPLITS = {TRAIN: "seen in training", EVAL: "the epoch was chosen on it"}
"""Splits that a model knows in some way, and in which."""
COVERAGE = 0.9
"""The chance with which a conformal set is to hold the true class."""


@dataclass(frozen=True)
class ReportData:
    """All that a report is made of.

    Attributes:
        facts: of the run.
        predictions: cases of the splits that were scored; see medimg.evaluation.protocols.
        figures: of the model, under every protocol and on every slice.
        gallery: image files by role, by case_id.
        baselines: what prevalence and shortcuts reach on the measured split, fitted on train; empty where
            none were asked for.
        in_sample: the same, fitted and scored on all labelled cases.
        certainty: of `medimg.evaluation.classification.uncertainty.measure_uncertainty`; empty where no case
            of the eval split was scored.
        explanations: rows of explanations/index.json, the files as paths; `legend` is the image that explains
            their colours.
        development_figures: of DEVELOPMENT_SPLITS, without an interval, which is for unseen cases; each
            under the first protocol that its head has; no gate and no headline looks at them.
        embedded: the table of medimg.evaluation.representation.figures; None where no case was embedded.
            `overlap` are its figures.
        checks: of `medimg.explain.measured_checks.measure_checks`; empty where no lesion is outlined.
    """

    facts: RunFacts
    predictions: pd.DataFrame
    figures: Sequence[Figure]
    gallery: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)
    baselines: Sequence[BaselineFigure] = ()
    in_sample: Sequence[BaselineFigure] = ()
    certainty: Sequence[Figure] = ()
    explanations: Sequence[Mapping[str, Any]] = ()
    legend: Path | None = None
    development_figures: Sequence[Figure] = ()
    checks: Sequence[Figure] = ()
    embedded: pd.DataFrame | None = None
    overlap: Sequence[Figure] = ()

    @property
    def all_figures(self) -> list[Figure]:
        """Everything that metrics.json holds; of several models' predictions each figure says so."""
        return note_folds(
            [*self.figures, *self.development_figures, *self.certainty, *self.checks, *self.overlap],
            self.facts.folds,
        )

    @property
    def headline(self) -> Figure | None:
        """The first head's first metric on the whole split, under the first protocol that has units."""
        mine = self.overall(self.facts.headline)
        return next((figure for figure in mine if figure.n), next(iter(mine), None))

    def overall(self, head: str) -> list[Figure]:
        """Figures of one head on the whole split, under every protocol."""
        return [figure for figure in self.figures if figure.head == head and figure.slice == OVERALL]

    def find(self, like: Figure, **changes: str) -> Figure | None:
        """The figure that differs from another in the named parts of its key only."""
        key = ("head", "name", "slice", "protocol", "level", "split")
        wanted = tuple(changes.get(name, getattr(like, name)) for name in key)
        return next((figure for figure in self.figures if figure.key == wanted), None)

    def protocol_of(self, head: str) -> Protocol | None:
        """The first protocol that is defined for a head: that of its curves and confusion matrix."""
        return find_protocol(self.predictions, self.facts, head)

    def units(self, head: str, protocol: Protocol, *, split: str = "") -> tuple[np.ndarray, np.ndarray]:
        """Class indices [N] and probabilities [N, C] of a split's units under a protocol.

        Of the measured split if none is named; of CALIBRATION_SPLIT, those that may be calibrated on.
        """
        classes = self.facts.heads[head]
        if split == CALIBRATION_SPLIT:
            rows = take_calibration_cases(self.predictions, split=split, heads={head: classes})
        else:
            rows = self.predictions[self.predictions["split"] == (split or self.facts.split)]
        return read_units(
            roll_up(rows, protocol=protocol, head=head, classes=classes), head=head, classes=classes
        )


def find_protocol(predictions: pd.DataFrame, facts: RunFacts, head: str) -> Protocol | None:
    """The first protocol that is defined for a head on the measured split."""
    rows = predictions[predictions["split"] == facts.split]
    rules = find_protocols(facts.protocols)
    return next(
        (rule for rule in rules if not find_gap(rows, protocol=rule, head=head, classes=facts.heads[head])),
        None,
    )


@dataclass(frozen=True)
class Section:
    """One part of the page.

    Attributes:
        title: its heading.
        template: file in templates/sections/ without its endings.
        values: what the template shows.
        charts, tables: what it draws and lists, by name; they become figures/<name>.svg and .png, and
            tables/<name>.csv.
        absent: why there is nothing to show, in one line, instead of the template.
    """

    title: str
    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    charts: Mapping[str, Chart] = field(default_factory=dict)
    tables: Mapping[str, pd.DataFrame] = field(default_factory=dict)
    absent: str = ""


def make_id(*parts: str) -> str:
    """A name for files and elements of ASCII letters, digits and hyphens only."""
    return "-".join(map(encode_letters, parts))


def encode_letters(text: str) -> str:
    """The text with its code in place of each letter that is no ASCII letter or digit."""
    return "".join(letter if letter.isalnum() and letter.isascii() else f"{ord(letter):x}" for letter in text)
