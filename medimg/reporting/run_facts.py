"""Facts of a run: what its report says and needs beside the predictions."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from medimg.console.terminal import say
from medimg.errors import UsageError
from medimg.evaluation.figures import MeasurementSettings
from medimg.evaluation.intervals import RESAMPLES, Bootstrap
from medimg.evaluation.representation.figures import EmbeddingSettings
from medimg.reporting.published_results import Literature, read_literature

FACTS_FILE = "facts.json"
RENAMED_KEYS: Mapping[str, str] = {
    "evaluation.checked": "evaluation.saliency_checked_cases",
    "evaluation.explained": "evaluation.explained_cases",
    "evaluation.mapped": "evaluation.embedded_cases",
}
"""Dotted config keys of earlier versions, and their present names."""


@dataclass(frozen=True)
class RunFacts:
    """What a report says of its run, and what its figures are measured with.

    Attributes:
        title, config_name: for people, and the config's name.
        data_set, licence, doi: of the data.
        blessed: whether every gate passed; None where none was asked for.
        gates: each gate in words and whether it passed.
        summary: the catalogue's summary.json: input, cases, images, splits, groups, excluded, quarantined,
            anomalies.
        heads: head to classes, the positive one last; the first head is the headline.
        config: dotted key to value, as shown.
        versions, hashes: of packages, and of data, code and model.
        warnings: lines that a reader must see: drift, what was quarantined while writing Examples.
        synthetic: the images are drawn, so the figures say nothing about medicine.
        split: the split that is measured.
        protocols, slices, resamples, seed: as for `medimg.evaluation.figures.measure`.
        shortcuts: what the model must not owe its score to; see medimg.evaluation.classification.shortcuts.
        costs: head to what its answers cost, true class by answered class, where that decides the predicted
            class; see medimg.evaluation.classification.costs.
        prevalence: the class frequencies that the probabilities are meant for: "train", or "balanced" where
            all are alike; empty if not known.
        folds: number of models whose predictions out of fold are measured together (medimg.evaluation.folds);
            0 for one model.
        evaluated: the Evaluator's figures, each with head, metric, slice and value (None where undefined).
        merges: the derived heads among `heads`, each as the values of a
            medimg.evaluation.classification.merging.Merge.
        renamed: config keys that the folder has under names of RENAMED_KEYS; not written.
    """

    title: str
    config_name: str
    data_set: str
    heads: Mapping[str, Sequence[str]]
    licence: str = ""
    doi: str = ""
    blessed: bool | None = None
    gates: Sequence[tuple[str, bool]] = ()
    summary: Mapping[str, Any] = field(default_factory=dict)
    config: Mapping[str, str] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    hashes: Mapping[str, str] = field(default_factory=dict)
    warnings: Sequence[str] = ()
    synthetic: bool = False
    split: str = "test"
    protocols: Sequence[str] = ("cases",)
    slices: Sequence[str] = ()
    resamples: int = RESAMPLES
    seed: int = 0
    shortcuts: Sequence[str] = ()
    evaluated: Sequence[Mapping[str, Any]] = ()
    folds: int = 0
    merges: Sequence[Mapping[str, Any]] = ()
    costs: Mapping[str, Sequence[Sequence[float]]] = field(default_factory=dict)
    prevalence: str = ""
    renamed: Sequence[str] = ()

    @property
    def headline(self) -> str:
        """The first head, which the first screen is about."""
        return next(iter(self.heads))

    @property
    def bootstrap(self) -> Bootstrap:
        """The bootstrap of every interval."""
        return Bootstrap(self.resamples, self.seed)

    @property
    def measurement_settings(self) -> MeasurementSettings:
        """What is measured of the predictions: all heads under all protocols, on the measured split."""
        return MeasurementSettings(
            *(self.heads, self.protocols, self.slices, self.split, self.bootstrap),
            prevalence=self.prevalence,
        )

    @property
    def embedding_settings(self) -> EmbeddingSettings:
        """What is measured of embedded cases: the first head, on the measured split."""
        return EmbeddingSettings(
            self.headline, self.heads[self.headline], split=self.split, bootstrap=self.bootstrap
        )

    @property
    def literature(self) -> Literature:
        """What is known of the data set beside its files; nothing if these are not the published ones."""
        return read_literature(self.data_set) if self.summary.get("is_published", True) else Literature()

    @property
    def group_noun(self) -> str:
        """What a group is called, as the catalogue says."""
        return str(self.summary.get("group_noun", "group"))

    @property
    def gated(self) -> set[tuple[str, str]]:
        """Head and metric of each gate: what the run is judged by."""
        return {
            (gate["head"], gate["metric"]) for gate in json.loads(self.config.get("evaluation.gates", "[]"))
        }

    @property
    def cost_matrices(self) -> dict[str, np.ndarray]:
        """`costs` as arrays [C, C]."""
        return {head: np.array(rows, dtype=np.float64) for head, rows in self.costs.items()}

    def derived_from(self, head: str) -> list[str]:
        """The heads whose classes are unions of this one's."""
        return [merge["name"] for merge in self.merges if merge["head"] == head]


def rename_keys(values: Mapping[str, Any], *, within: str = "") -> tuple[dict[str, Any], list[str]]:
    """Gives config keys of earlier versions their present names; every key keeps its place.

    Args:
        values: dotted key to value as in facts.json, or one mapping in another as in run.json.
        within: what stands before the keys of `values`, with its dot; empty for a whole config.

    Returns:
        The values, and the keys of RENAMED_KEYS that were among them. Where a key is there under both names,
        the value of the present one stays.
    """
    renamed, found = {}, []
    for key, value in values.items():
        path = f"{within}{key}"
        present = RENAMED_KEYS.get(path, path).removeprefix(within)
        if isinstance(value, Mapping):
            value, below = rename_keys(value, within=f"{path}.")
            found += below
        if present != key:
            found.append(path)
            value = values.get(present, value)
        renamed[present] = value
    return renamed, found


def describe_renamed(keys: Iterable[str]) -> str:
    """Returns one line that says which config keys were read by their present names; empty for no key."""
    pairs = [f"{key} as {RENAMED_KEYS[key]}" for key in dict.fromkeys(keys)]
    return (
        f"config keys of an earlier version, read by their present names: {', '.join(pairs)}" if pairs else ""
    )


def say_renamed(console: Console, keys: Iterable[str]) -> None:
    """Prints one line for all config keys that were read by their present names; nothing if none were."""
    if line := describe_renamed(keys):
        say(console, line)


def write_facts(folder: Path, facts: RunFacts) -> None:
    """Writes facts.json."""
    values = dataclasses.asdict(facts)
    del values["renamed"]
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False)
    (folder / FACTS_FILE).write_text(text + "\n", encoding="utf-8")


def read_facts(folder: Path) -> RunFacts:
    """Reads the run's facts, of an earlier version too; UsageError where there are none."""
    try:
        values = json.loads((folder / FACTS_FILE).read_text(encoding="utf-8"))
        values["gates"] = [(text, bool(passed)) for text, passed in values["gates"]]
        values["config"], values["renamed"] = rename_keys(values.get("config", {}))
        return RunFacts(**values)
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise UsageError(f"{folder}: {error}, expected the report of a finished run") from None
