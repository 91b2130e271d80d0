"""What a run is (RunConfig): frozen dataclasses, checked where they are read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from medimg.cases import LabelSettings, ScanSettings
from medimg.catalogue.settings import CatalogueSettings
from medimg.catalogue.split import SplitSettings
from medimg.evaluation.classification.costs import Costs
from medimg.evaluation.classification.merging import Merge
from medimg.evaluation.gates import Gate
from medimg.images.prepare import Ingest
from medimg.numeric_types import Count, Finite, Fraction, MessageBytes, PositiveCount, Seed
from medimg.tasks.classification.settings import ModelSettings, TrainingSettings
from pipeline.config.deployment import Deployment, ObjectName

TRANSFORMED = ("heads", "roles", "clinical_inputs")
"""Of the model's settings those that decide labels and inputs, which is Transform's business.

All others are the Trainer's.
"""


@dataclass(frozen=True)
class ExampleSettings:
    """How cases become TFRecords.

    Attributes:
        cases_per_shard: cases in one file, 1 to 10 million; the unit of parallel work.
        unlabelled: also write the unlabelled cases, into splits of their own (`unlabelled_train` ...), so
            that a protocol can score them.
        largest_bytes: of one Example, 1 to 2^31 - 1; a larger study is split into blocks of slices.
    """

    cases_per_shard: PositiveCount = 32
    unlabelled: bool = False
    largest_bytes: MessageBytes = 32 * 2**20


@dataclass(frozen=True)
class DataGateSettings:
    """When DataGate stops a run.

    Attributes:
        quarantined_share: largest share of the labelled cases' images that may be quarantined, 0 to 1.
        drift: L-infinity distance between the splits' distributions of a clinical column, 0 to 1, above which
            a warning is given.
    """

    quarantined_share: Fraction = 0.05
    drift: Fraction = 0.25


@dataclass(frozen=True)
class EvaluationSettings:
    """What is measured on the test split and what a model must reach to be blessed.

    A count is at most 10 million.

    Attributes:
        slices: clinical columns, each value a slice.
        gates: bounds that every blessed model meets.
        bless_without: requirements of every model that this one need not meet: "answered_classes", that not
            every case of the first head gets the same answer.
        protocols: names of medimg.evaluation.protocols, each a rule of which cases count at which level.
        resamples: of the patient-clustered bootstrap, 1 or more.
        shortcuts: what a model must not owe its score to: clinical columns and counts of images
            (medimg.evaluation.classification.shortcuts), in the order in which the report adds them up. No
            label is one.
        explained_cases: cases of each kind of answer, right, wrong and uncertain, whose explanations are
            drawn; 0 for none.
        costs: what wrong answers cost, at most one for each head: the predicted class is then that of least
            expected cost. The model is the same.
        merge: derived heads with merged classes, measured in the report beside the heads that they are
            derived from.
        score_train: also score the train split, so that the report sets what was seen in training beside what
            was not; no gate looks at it.
        saliency_checked_cases: largest number of positives with an outlined lesion on which explanations are
            checked; 0 for no check.
        embedded_cases: largest number of cases of all splits that are embedded, drawn on maps and compared
            between splits; 0 for none.
    """

    slices: tuple[str, ...] = ()
    gates: tuple[Gate, ...] = ()
    bless_without: tuple[Literal["answered_classes"], ...] = ()
    protocols: tuple[str, ...] = ("cases",)
    resamples: PositiveCount = 2000
    shortcuts: tuple[str, ...] = ()
    explained_cases: Count = 4
    saliency_checked_cases: Count = 32
    embedded_cases: Count = 0
    merge: tuple[Merge, ...] = ()
    score_train: bool = True
    costs: tuple[Costs, ...] = ()


@dataclass(frozen=True)
class Tuning:
    """How a search has chosen settings (pipeline.experiments.tuning), so that whoever reads a report knows.

    It changes nothing in the run.

    Attributes:
        chosen: dotted key to value; the config must have these.
        objective, score: the figure on the eval split by which they were chosen, and what the chosen trial
            reached, -1e6 to 1e6.
        trials: different settings that were tried, failed ones included; 1 to 10 million.
        failed: those without a figure, 0 to 10 million.
        oracle, seed: of the search; 0 to 2 billion.
    """

    chosen: Mapping[str, Any]
    objective: str
    score: Finite
    trials: PositiveCount
    failed: Count
    oracle: str
    seed: Seed


@dataclass(frozen=True)
class RunConfig:
    """One experiment, complete. Its file in pipeline/configs/ states time, hardware and expected score.

    `deployment` says what it gets on a cluster and has no part in the result: two runs that differ in it
    alone are the same experiment. `tuning` is there where a search has chosen settings.
    """

    name: ObjectName
    data_set: str
    ingest: Ingest
    model: ModelSettings
    task: str = "classification"
    labels: LabelSettings = field(default_factory=LabelSettings)
    scan: ScanSettings = field(default_factory=ScanSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    examples: ExampleSettings = field(default_factory=ExampleSettings)
    data_gate: DataGateSettings = field(default_factory=DataGateSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    deployment: Deployment = field(default_factory=Deployment)
    tuning: Tuning | None = None

    @property
    def heads(self) -> dict[str, Sequence[str]]:
        """Head to classes, the positive one last."""
        return {head.name: head.classes for head in self.model.heads}

    @property
    def catalogue(self) -> CatalogueSettings:
        """The settings that decide the catalogue."""
        return CatalogueSettings(self.labels, self.split, self.scan)

    @property
    def columns(self) -> tuple[str, ...]:
        """Lists the clinical columns that Examples have: the model's inputs and the slices, nothing else."""
        return tuple(dict.fromkeys((*self.model.clinical_inputs, *self.evaluation.slices)))
