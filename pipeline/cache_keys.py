"""What stands for the content of data, schema, code and baseline in the cache keys.

Computed by the runner, handed to `create_pipeline` as values.

TFX's cache key holds exec properties and input artifacts' ids, never file content: without these an edited
label would go unnoticed.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import medimg
from medimg.catalogue.build import data_fingerprint
from medimg.catalogue.tables import SUMMARY
from medimg.datasets import find_data_set
from medimg.errors import UsageError
from medimg.files import hash_file
from medimg.hashing import hash_code, hash_tree, newest_version, submodules
from pipeline.config.places import Places
from pipeline.config.run_config import RunConfig

REPORTING = Path(medimg.__file__).parent / "reporting"
TEXTS = [REPORTING / name for name in ("templates", "data_sets", "checklists")]


@dataclass(frozen=True)
class CodeFingerprints:
    """One hash per component, over exactly the modules that it can reach by imports."""

    catalogue: str
    examples: str
    gate: str
    transform: str
    trainer: str
    evaluator: str
    report: str
    baseline: str


@dataclass(frozen=True)
class Fingerprints:
    """sha256 of content, by what it is of; empty where there is none."""

    data: str
    previous: str
    schema: str
    baseline: str
    code: CodeFingerprints
    weights: str = ""
    catalogue: str = ""


def take_fingerprints(config: RunConfig, places: Places) -> Fingerprints:
    """Hashes the data root (incrementally, by its index), schema, sources, pushed models and weights.

    Raises:
        UsageError: the data root, a table or the file of weights is missing.
    """
    return Fingerprints(
        data=data_fingerprint(
            find_data_set(config.data_set, scan=config.scan),
            data_root=Path(places.data_root),
            index_path=Path(places.index),
            split_file=Path(places.split_file) if places.split_file else None,
        ),
        previous=previous_fingerprint(places.previous),
        schema=hash_file(Path(places.schema)),
        baseline=baseline_fingerprint(Path(places.serving)),
        code=code_fingerprints(config),
        weights=weights_fingerprint(config.model.weights),
        catalogue=hash_file(Path(places.catalogue, SUMMARY)) if places.catalogue else "",
    )


def previous_fingerprint(previous: str) -> str:
    """Hash of an earlier catalogue's cases, which have the split that is kept; empty for none."""
    return hash_file(Path(previous) / "cases.parquet") if previous else ""


def weights_fingerprint(weights: str | None) -> str:
    """Hash of a file of weights; empty for none and for ImageNet's, which a release of Keras fixes."""
    path = find_weights(weights)
    return hash_file(path) if path else ""


def find_weights(weights: str | None) -> Path | None:
    """Returns the file of weights that a config names, if it names one; UsageError if it is missing."""
    if weights is None or weights == "imagenet":
        return None
    if not Path(weights).is_file():
        raise UsageError(f"model.weights: no file {weights}; expected none, imagenet or a file of weights")
    return Path(weights)


def baseline_fingerprint(serving: Path) -> str:
    """Hash of the newest pushed model's files; empty if there is none.

    A second push of the same model has the same hash.
    """
    version = newest_version([path.name for path in serving.iterdir()] if serving.is_dir() else [])
    return hash_tree(serving / version) if version else ""


def code_fingerprints(config: RunConfig) -> CodeFingerprints:
    """Hashes of the code behind each component of this config."""
    task = f"medimg.tasks.{config.task}"
    preprocess, explain = f"{task}.preprocess", f"{task}.explain"
    trained = [name for name in submodules(task) if name not in (preprocess, f"{task}.search_space")]
    explained = [name for name in submodules(task) if name == explain]
    return CodeFingerprints(
        # Without the executor's own imports: the list of data sets would make every one of them count.
        catalogue=hash_code(
            ["medimg.catalogue.build", f"medimg.datasets.{config.data_set}.cases"],
            alone=["components.catalogue_gen.executor"],
        ),
        examples=hash_code(["components.case_example_gen.executor"]),
        gate=hash_code(["components.data_gate.executor"]),
        transform=hash_code([preprocess], alone=["components.entry_points"]),
        trainer=hash_code(
            ["components.trainer.run", *trained],
            alone=["components.entry_points"],
            # The task's record names it, but how a model is explained has no part in what it learns.
            without=[explain, *submodules("medimg.explain")],
        ),
        evaluator=hash_code(["components.evaluator.tfma_metrics"]),
        # What page and documents are made of is no module, but as much of the report as its code.
        report=hash_code(
            ["components.report_gen.executor", *explained],
            folders=TEXTS,
        ),
        baseline=hash_code(["components.baseline_model.executor"]),
    )
