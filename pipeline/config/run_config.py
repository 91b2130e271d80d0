"""What a run is (RunConfig) and where it reads and writes (Places): frozen dataclasses, checked where they are read."""

from __future__ import annotations

import dataclasses
import importlib
import json
import pkgutil
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import pydantic
from annotated_types import Ge

from medimg.catalogue.split import SplitSettings
from medimg.errors import UsageError, nearest
from medimg.evaluation.classification.costs import Costs
from medimg.evaluation.classification.merging import Merge
from medimg.evaluation.gates import Gate
from medimg.images.prepare import Ingest
from medimg.tasks.classification.settings import ModelSettings, Positive, TrainingSettings
from pipeline.config.deployment import Deployment, ObjectName

TRANSFORMED = ("heads", "roles", "clinical_inputs")
"""Of the model's settings those that decide labels and inputs, which is Transform's business; all others are the Trainer's."""


@dataclass(frozen=True)
class ExampleSettings:
    """How cases become TFRecords.

    Attributes:
        cases_per_shard: cases in one file; the unit of parallel work.
        unlabelled: also write the unlabelled cases, into splits of their own (`unlabelled_train` ...), so that a protocol can score them.
        largest_bytes: of one Example; a larger study is split into blocks of slices.
    """

    cases_per_shard: Positive = 32
    unlabelled: bool = False
    largest_bytes: Positive = 32 * 2**20


@dataclass(frozen=True)
class DataGateSettings:
    """When DataGate stops a run.

    Attributes:
        quarantined_share: largest share of the labelled cases' images that may be quarantined.
        drift: L-infinity distance between the splits' distributions of a clinical column above which a warning is given.
    """

    quarantined_share: float = 0.05
    drift: float = 0.25


@dataclass(frozen=True)
class EvaluationSettings:
    """What is measured on the test split and what a model must reach to be blessed.

    Attributes:
        slices: clinical columns, each value a slice.
        gates: bounds that every blessed model meets.
        protocols: names of medimg.evaluation.protocols, each a rule of which cases count at which level.
        resamples: of the patient-clustered bootstrap.
        shortcuts: what a model must not owe its score to: clinical columns and counts of images (medimg.evaluation.classification.shortcuts), in the order
            in which the report adds them up. No label is one.
        explained: cases of each kind of answer, right, wrong and uncertain, whose explanations are drawn; 0 for none.
        costs: what wrong answers cost, at most one for each head: the predicted class is then that of least expected cost. The model is the same.
        merge: derived heads with merged classes, measured in the report beside the heads that they are derived from.
        score_train: also score the train split, so that the report sets what was seen in training beside what was not; no gate looks at it.
        checked: at most so many positives with an outlined lesion, on which explanations are checked; 0 for no check.
        mapped: at most so many cases of all splits that are embedded, drawn on maps and compared between splits; 0 for none.
    """

    slices: tuple[str, ...] = ()
    gates: tuple[Gate, ...] = ()
    protocols: tuple[str, ...] = ("cases",)
    resamples: Positive = 2000
    shortcuts: tuple[str, ...] = ()
    explained: Annotated[int, Ge(0)] = 4
    checked: Annotated[int, Ge(0)] = 32
    mapped: Annotated[int, Ge(0)] = 0
    merge: tuple[Merge, ...] = ()
    score_train: bool = True
    costs: tuple[Costs, ...] = ()


@dataclass(frozen=True)
class Tuning:
    """How a search has chosen settings (pipeline.experiments.tuning), so that whoever reads a report knows. It changes nothing in the run.

    Attributes:
        chosen: dotted key to value; the config must have these.
        objective, score: the figure on the eval split by which they were chosen, and what the chosen trial reached.
        trials: different settings that were tried, failed ones included.
        failed: those without a figure.
        oracle, seed: of the search.
    """

    chosen: Mapping[str, Any]
    objective: str
    score: float
    trials: Positive
    failed: Annotated[int, Ge(0)]
    oracle: str
    seed: Annotated[int, Ge(0)]


@dataclass(frozen=True)
class RunConfig:
    """One experiment, complete. Its file in pipeline/configs/ states time, hardware and expected score.

    `deployment` says what it gets on a cluster and has no part in the result: two runs that differ in it alone are the same experiment. `tuning` is
    there where a search has chosen settings.
    """

    name: ObjectName
    data_set: str
    ingest: Ingest
    model: ModelSettings
    task: str = "classification"
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
    def columns(self) -> tuple[str, ...]:
        """The clinical columns that are written into the Examples: the model's inputs and the slices, nothing else."""
        return tuple(dict.fromkeys((*self.model.clinical_inputs, *self.evaluation.slices)))


@dataclass(frozen=True)
class Places:
    """Where a run reads and writes; the only thing that differs between a laptop and a cluster.

    Attributes:
        data_root: images and clinical tables, read only.
        pipeline_root: artifacts, by component and execution.
        metadata: the ML Metadata store: the path of a SQLite file, or the URI of a database without the password (pipeline.metadata.store).
        serving: pushed models, one numbered folder each.
        checkpoints: training in progress, kept over restarts.
        index: Parquet file of what was already read of the data root.
        schema: the curated schema, under a name that holds its hash; on a cluster the schema itself, as a `data:` URI.
        previous: an earlier catalogue whose groups keep their split, or empty.
        beam_args: passed to Beam as they are.
        pipeline: its name in a store that other runs share; empty where the config's name will do.
        metadata_password: of the database, if the store is one.
    """

    data_root: str
    pipeline_root: str
    metadata: str
    serving: str
    checkpoints: str
    index: str
    schema: str
    previous: str = ""
    beam_args: tuple[str, ...] = ()
    pipeline: str = ""
    metadata_password: str = field(default="", repr=False)


def list_configs() -> list[str]:
    """Names of all configs, sorted."""
    package = importlib.import_module("pipeline.configs")
    return sorted(module.name for module in pkgutil.iter_modules(package.__path__))


def load_config(name: str, *, overrides: Iterable[str] = ()) -> RunConfig:
    """The config called `name` (a file in pipeline/configs/) with overrides applied: `key=value`, or `@file` with a JSON object of them.

    Raises:
        UsageError: no such config, file or key (the nearest right one is named), or a value of the wrong type.
    """
    if name not in list_configs():
        raise UsageError(f"no config {name!r}; {nearest(name, list_configs())}")
    values = to_plain(importlib.import_module(f"pipeline.configs.{name}").get_config())
    for override in overrides:
        apply_override(values, override)
    config = from_plain(values)
    check_chosen(config)
    return config


def check_chosen(config: RunConfig) -> None:
    """Raises UsageError for a config that says that a search has chosen its settings, and has others."""
    chosen = config.tuning.chosen if config.tuning else {}
    for key, value in read_keys(config, chosen).items():
        if value != chosen[key]:
            raise UsageError(f"config key {key}: found {value!r}, expected {chosen[key]!r}, which a search has chosen (--set tuning=null forgets it)")


def to_plain(config: RunConfig) -> dict[str, Any]:
    """The config as JSON-able values."""
    plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(config)))
    return plain


def from_plain(values: Mapping[str, Any]) -> RunConfig:
    """The inverse of `to_plain`; unknown keys and wrong types end in a UsageError that names the key."""
    try:
        config = pydantic.TypeAdapter(RunConfig).validate_python(dict(values))
    except pydantic.ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise UsageError(f"config key {key}: {first['msg'].lower()}, found {first['input']!r}") from None
    # pydantic leaves unknown keys of a dataclass aside, and a misspelt `slice` would make a gate one on the whole split.
    known = all_keys(to_plain(config))
    for key in all_keys(values):
        if key not in known:
            raise UsageError(f"config key {key}: no such config key; {nearest(key, known)}")
    return config


def apply_override(values: dict[str, Any], override: str) -> None:
    """Sets one `section.key=value`, or those of an `@file`, in plain config values, in place.

    A list is written with commas: `model.image_size=256,208`; its items are reached by position: `evaluation.gates.0.lower_bound=0.7`.
    """
    if override.startswith("@"):
        for key, value in read_overrides(Path(override[1:])).items():
            owner, part = find_key(values, key, source=f"--set {override}: {key}")
            owner[part] = value
        return
    key, separator, text = override.partition("=")
    if not separator:
        raise UsageError(f"--set {override}: expected key=value or @FILE")
    owner, part = find_key(values, key.strip(), source=f"--set {key.strip()}")
    owner[part] = parse_value(text, like=owner[part])


def list_keys(overrides: Iterable[str]) -> list[str]:
    """The dotted keys that overrides set."""
    return [
        key
        for override in overrides
        for key in (read_overrides(Path(override[1:])) if override.startswith("@") else [override.partition("=")[0].strip()])
    ]


def read_keys(config: RunConfig, keys: Iterable[str]) -> dict[str, Any]:
    """The config's plain values of dotted keys."""
    values = to_plain(config)
    found = {}
    for key in keys:
        owner, part = find_key(values, key, source=key)
        found[key] = owner[part]
    return found


def read_overrides(path: Path) -> dict[str, Any]:
    """A JSON file of dotted key to value. Raises UsageError where it is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UsageError(f"--set @{path}: {getattr(error, 'strerror', None) or error}, expected a JSON file of settings") from None
    if not isinstance(content, dict):
        raise UsageError(f"--set @{path}: found a {type(content).__name__}, expected a JSON object of dotted key to value")
    return content


def find_key(values: Any, key: str, *, source: str) -> tuple[Any, Any]:
    """Where a dotted key lies in plain config values: the dict or list that holds it, and its key or position there.

    Raises:
        UsageError: no such key; begins with `source` and names the nearest right one.
    """
    owner: Any = None
    part: Any = None
    node = values
    for name in key.split("."):
        owner, part = node, int(name) if isinstance(node, list) and name.isdigit() else name
        if not ((isinstance(owner, dict) and part in owner) or (isinstance(owner, list) and part in range(len(owner)))):
            raise UsageError(f"{source}: no such config key; {nearest(key, all_keys(values))}")
        node = owner[part]
    return owner, part


def parse_value(text: str, *, like: Any) -> Any:
    """JSON if it reads as JSON, a list where the present value is one, else the text itself."""
    if text.strip().lower() in ("none", "null"):
        return None
    if isinstance(like, list) and not text.strip().startswith("["):
        return [parse_value(item.strip(), like="") for item in text.split(",") if item.strip()]
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return {"true": True, "false": False}.get(text.strip().lower(), text)


def all_keys(values: Mapping[str, Any] | Sequence[Any], prefix: str = "") -> list[str]:
    """Dotted keys of nested plain values; an item of a list has its position as key, if it has keys itself."""
    keys = []
    items = values.items() if isinstance(values, Mapping) else [(str(position), item) for position, item in enumerate(values)]
    for name, value in items:
        if isinstance(values, Mapping):
            keys.append(f"{prefix}{name}")
        if isinstance(value, dict | list | tuple):
            keys += all_keys(value, f"{prefix}{name}.")
    return keys
