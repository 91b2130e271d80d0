"""A bundle on MLflow: settings as params, figures as metrics, hashes as tags, all files as artifacts."""

from __future__ import annotations

import itertools
import math
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from medimg.errors import MedimgError, UsageError
from medimg.evaluation.figures import Figure, read_metrics
from medimg.reporting.bundle import METRICS_FILE
from medimg.sharing.manifest import Manifest, read_manifest

METRICS_AT_ONCE, PARAMS_AT_ONCE = 500, 100
"""What MLflow takes in one call, tags being few."""
SQLITE = "sqlite:///"
ENVIRONMENT = {
    # It would tell its makers of each call.
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # A folder as the store: outdated for servers, but the only one that needs nothing else, and here the user
    # has named it.
    "MLFLOW_ALLOW_FILE_STORE": "true",
    # Where no server answers, say so after seconds instead of minutes.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
}
"""Defaults of MLflow that are ours; what the user has set stays."""
CREDENTIALS = re.compile(r"//[^/@\s]*@")
"""User and password of an address, which messages leave out."""
T = TypeVar("T")


@dataclass(frozen=True)
class Tracked:
    """Where a bundle is on MLflow.

    Attributes:
        experiment, run_id: of MLflow.
        metrics: numbers that were logged.
        undefined: figures without a value, which MLflow cannot hold.
    """

    experiment: str
    run_id: str
    metrics: int
    undefined: int


def track(folder: Path, *, uri: str, name: str) -> Tracked:
    """Logs a bundle as a new MLflow run in the experiment of its config.

    Args:
        folder: of `medimg.sharing.packing.pack`.
        uri: of the tracking store: http(s)://, sqlite:///FILE or a folder. Credentials come from MLflow's own
            variables of the environment.
        name: of the MLflow run.

    Raises:
        UsageError: MLflow is not installed.
        MedimgError: the store cannot be reached or refuses the run, which is then marked as failed.
    """
    mlflow = import_mlflow()
    manifest, figures = read_manifest(folder), read_metrics(folder / METRICS_FILE)
    metrics = dict(itertools.chain.from_iterable(map(list_metrics, figures)))
    try:
        client = mlflow.MlflowClient(tracking_uri=uri)
        run_id = client.create_run(
            find_experiment(client, manifest.config_name, uri=uri), run_name=name, tags=list_tags(manifest)
        ).info.run_id
        try:
            log(client, run_id, params=manifest.config, metrics=metrics, make=mlflow.entities)
            client.log_artifacts(run_id, str(folder))
        except BaseException:
            client.set_terminated(run_id, "FAILED")
            raise
        client.set_terminated(run_id)
    except (mlflow.MlflowException, OSError) as error:
        raise MedimgError(f"MLflow: {CREDENTIALS.sub('//', str(error).splitlines()[0])[:300]}") from None
    return Tracked(
        manifest.config_name, run_id, len(metrics), sum(math.isnan(figure.value) for figure in figures)
    )


def import_mlflow() -> ModuleType:
    """MLflow, imported with our defaults. Raises UsageError where it is not installed."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        import mlflow
    except ModuleNotFoundError:
        raise UsageError(
            "--to mlflow: MLflow is not installed; the extra `share` has it (pip install 'medimg-tfx[share]')"
        ) from None
    return mlflow


def find_experiment(client: Any, name: str, *, uri: str) -> str:
    """Id of the experiment of this name, made if there is none."""
    known = client.get_experiment_by_name(name)
    if known:
        return str(known.experiment_id)
    # MLflow would put the artifacts of a SQLite store below whatever folder the command runs in.
    beside = (
        Path(uri.removeprefix(SQLITE)).resolve().parent / "mlartifacts" if uri.startswith(SQLITE) else None
    )
    return str(client.create_experiment(name, artifact_location=beside and beside.as_uri()))


def log(
    client: Any, run_id: str, *, params: Mapping[str, str], metrics: Mapping[str, float], make: Any
) -> None:
    """Logs params and metrics in as few calls as MLflow allows; `make` is mlflow.entities."""
    for part in batches(params.items(), PARAMS_AT_ONCE):
        client.log_batch(run_id, params=[make.Param(key, value) for key, value in part])
    now = int(client.get_run(run_id).info.start_time)
    for some in batches(metrics.items(), METRICS_AT_ONCE):
        client.log_batch(run_id, metrics=[make.Metric(key, value, now, 0) for key, value in some])


def batches(items: Iterable[T], size: int) -> Iterator[list[T]]:
    """The items in lists of `size`, the last one shorter."""
    iterator = iter(items)
    while part := list(itertools.islice(iterator, size)):
        yield part


def list_metrics(figure: Figure) -> Iterator[tuple[str, float]]:
    """Names and numbers of a figure: its value, the ends of its interval, units and patients.

    Nothing where it is undefined.

    What two figures must share to be compared is before the slash, so that MLflow shows them as one group:
    `malignancy.P1.breast.test.source:D1/auc`, `.../auc.low`.
    """
    if math.isnan(figure.value):
        return
    head, name, slice_name, protocol, level, split = figure.key
    key = f"{'.'.join(map(clean_name, (head, protocol, level, split, slice_name)))}/{clean_name(name)}"
    yield key, figure.value
    if not math.isnan(figure.low):
        yield f"{key}.low", figure.low
        yield f"{key}.high", figure.high
    yield f"{key}.n", figure.n
    yield f"{key}.groups", figure.groups


def clean_name(text: str) -> str:
    """A text of the characters that MLflow allows in a name.

    `=` becomes a colon, any other its code: `<40` becomes `_x3c_40`.
    """
    return "".join(
        letter if re.match(r"[\w.\- ]", letter) else ":" if letter == "=" else f"_x{ord(letter):x}_"
        for letter in text
    )


def list_tags(manifest: Manifest) -> dict[str, str]:
    """What a run is of, for searching."""
    facts = {
        name: str(getattr(manifest, name)) for name in ("data_set", "licence", "doi", "synthetic", "title")
    }
    blessed = {None: "not gated", True: "true", False: "false"}[manifest.blessed]
    return {
        **facts,
        "blessed": blessed,
        **{f"sha256.{name}": value for name, value in manifest.hashes.items()},
    }
