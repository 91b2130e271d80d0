"""The trials of a search: what each reached, their record on disk and in ML Metadata, and their table."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from rich import box
from rich.console import Console
from rich.table import Column, Table

from medimg.errors import UsageError, nearest
from medimg.evaluation.classification.metrics import metrics_of
from medimg.evaluation.gates import LOWER_IS_BETTER, OF_THE_CASES
from medimg.files import replace_file

if TYPE_CHECKING:
    from ml_metadata import MetadataStore
    from ml_metadata.proto import metadata_store_pb2 as mlmd

TRIALS_FILE = "trials.json"
LOSS = "loss"


@dataclass(frozen=True)
class Objective:
    """A head's figure on the eval split that trials are judged by."""

    head: str
    metric: str

    def __str__(self) -> str:
        return f"{self.head}/{self.metric}"

    @property
    def direction(self) -> Literal["min", "max"]:
        """Whether the smallest or the largest is best, as the metric's own definition has it."""
        return "min" if self.metric == LOSS or self.metric in LOWER_IS_BETTER else "max"


@dataclass(frozen=True)
class Trial:
    """Settings that were tried, and what came of them.

    Attributes:
        key: hash of all that decides the result: config, data, code.
        values: dotted key to value.
        figures: `<head>/<metric>` on the eval split; None where it is undefined.
        epochs, seconds: of training, all members of an ensemble together.
        model: path of the exported model below the search's directory.
        failed: why there are no figures; empty where there are.
    """

    key: str
    values: Mapping[str, object]
    figures: Mapping[str, float | None] = field(default_factory=dict)
    epochs: int = 0
    seconds: float = 0.0
    model: str = ""
    failed: str = ""

    def score(self, objective: Objective) -> float | None:
        """The figure that it is judged by; None where it failed or the figure is undefined."""
        return self.figures.get(str(objective))

    def reason(self, objective: Objective) -> str:
        """Why it has no score."""
        return self.failed or f"{objective} is undefined on the eval split"


def find_objective(text: str, heads: Mapping[str, Sequence[str]]) -> Objective:
    """`HEAD/METRIC`, or a metric of the first head.

    Args:
        heads: head to classes, the positive one last.

    Raises:
        UsageError: no such figure is measured on eval; the nearest is named.
    """
    head, _, metric = text.rpartition("/")
    found = Objective(head or next(iter(heads)), metric)
    known = [
        f"{name}/{one}"
        for name, classes in heads.items()
        for one in ("auc", LOSS, *metrics_of(classes))
        if one not in OF_THE_CASES
    ]
    if str(found) not in known:
        raise UsageError(
            f"--objective {text}: no such figure of the eval split; {nearest(str(found), set(known))}"
        )
    return found


def rank(trials: Iterable[Trial], objective: Objective) -> list[Trial]:
    """Best first, the earlier of equals; those without a score last."""
    sign = 1 if objective.direction == "min" else -1

    def order(trial: Trial) -> tuple[bool, float]:
        score = trial.score(objective)
        return (True, 0.0) if score is None else (False, sign * score)

    return sorted(trials, key=order)


def read_trials(run: Path) -> dict[str, Trial]:
    """The record of a search by key; empty where there is none yet."""
    path = run / TRIALS_FILE
    try:
        return (
            {values["key"]: Trial(**values) for values in json.loads(path.read_text())}
            if path.exists()
            else {}
        )
    except (ValueError, TypeError, KeyError) as error:
        raise UsageError(
            f"{path}: not a record of trials ({error}); "
            "remove it, and what was trained is found again in the store"
        ) from None


def write_trials(run: Path, trials: Iterable[Trial]) -> None:
    """Writes the record whole or not at all."""
    content = json.dumps([dataclasses.asdict(trial) for trial in trials], indent=1)
    replace_file(run / TRIALS_FILE, write=lambda temporary: temporary.write_text(content))


def note_trial(
    store: MetadataStore,
    trial: Trial,
    objective: Objective,
    *,
    execution: mlmd.Execution,
    models: Sequence[mlmd.Artifact],
) -> None:
    """Puts settings and score, or why there is none, on the Trainer's execution and on its model."""
    from ml_metadata.proto import metadata_store_pb2 as mlmd

    if trial.failed:
        execution.last_known_state = mlmd.Execution.FAILED  # A killed process has left it running.
    score = trial.score(objective)
    for item in (execution, *models):
        noted = item.custom_properties
        noted["tuning.settings"].string_value = json.dumps(dict(trial.values))
        noted["tuning.objective"].string_value = str(objective)
        if score is None:
            noted["tuning.failed"].string_value = trial.reason(objective)
        else:
            noted["tuning.score"].double_value = score
    store.put_executions([execution])
    if models:
        store.put_artifacts(models)


def print_trials(trials: Sequence[Trial], objective: Objective, *, console: Console) -> None:
    """Trials by rank with their settings; `trial` is the number in the order of the search."""
    settings = list(trials[0].values)
    table = Table(
        "rank",
        "trial",
        *settings,
        Column(str(objective), no_wrap=True),
        "epochs",
        "seconds",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    numbers = {trial.key: str(number) for number, trial in enumerate(trials, start=1)}
    for place, trial in enumerate(rank(trials, objective), start=1):
        score = trial.score(objective)
        reached = (
            ("", "failed", "", "")
            if score is None
            else (str(place), f"{score:.4f}", str(trial.epochs), f"{trial.seconds:.0f}")
        )
        table.add_row(
            reached[0],
            numbers[trial.key],
            *(format_value(trial.values[key]) for key in settings),
            *reached[1:],
        )
    console.print(table)


def describe(values: Mapping[str, object]) -> str:
    """Settings on one line."""
    return ", ".join(f"{key} {format_value(value)}" for key, value in values.items())


def format_value(value: object) -> str:
    """A setting as a person reads it."""
    return f"{value:.3g}" if isinstance(value, float) else json.dumps(value).strip('"')
