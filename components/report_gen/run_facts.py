"""The facts of a run that its report states."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow_model_analysis as tfma
from tfx.types import artifact_utils
from tfx.types.artifact import Artifact

from components.artifacts import GateReport, Rejects
from components.case_example_gen.outcome import WHOLE_FRAME
from components.evaluator.eval_config import CASES
from components.report_gen.evaluator_results import list_evaluated, passes
from components.trainer.serving import FACTS_FILE
from medimg.catalogue.split import TEST
from medimg.catalogue.tables import Catalogue
from medimg.evaluation.classification.costs import read_cost_matrices
from medimg.evaluation.gates import Gate, split_slice
from medimg.hashing import hash_tree
from medimg.reporting.run_facts import RunFacts

PACKAGES = (
    "tfx",
    "tensorflow",
    "keras",
    "apache-beam",
    "tensorflow-model-analysis",
    "tensorflow-data-validation",
    "ml-metadata",
    "pydicom",
    "numpy",
)


def gather_facts(
    input_dict: Mapping[str, list[Artifact]],
    exec_properties: Mapping[str, str],
    *,
    catalogue: Catalogue,
    evaluated: Mapping[tuple[str, str, str], float],
    model: Path,
) -> RunFacts:
    """Gathers what the report says of the run: blessing, counts, versions, hashes, warnings.

    No path and no time is among them.
    """
    config = json.loads(exec_properties["config"])
    summary = catalogue.summary
    gate = json.loads(Path(artifact_utils.get_single_uri(input_dict["gate"]), GateReport.FILE).read_text())
    rejects = json.loads(
        Path(artifact_utils.get_single_uri(input_dict["rejects"]), Rejects.FILE).read_text()
    )["rejects"]
    gates = [Gate(**values) for values in config["evaluation"]["gates"]]
    validation = (
        tfma.load_validation_result(artifact_utils.get_single_uri(input_dict["evaluation"]))
        if gates
        else None
    )
    heads = {head["name"]: list(head["classes"]) for head in config["model"]["heads"]}
    costs = read_cost_matrices(config["evaluation"]["costs"], heads=heads)
    outcomes = [(describe_gate(one, evaluated), passes(one, validation, heads=heads)) for one in gates]
    unreadable = [
        f"{reject['case_id']} could not be read while writing Examples: {reject['reason']}"
        for reject in rejects
        if reject.get("kept") != WHOLE_FRAME
    ]
    whole = [reject["reason"] for reject in rejects if reject.get("kept") == WHOLE_FRAME]
    if whole:
        unreadable.append(f"images that were not cropped: {len(whole)}, {whole[0]}")
    return RunFacts(
        title=f"{summary['title'] or config['data_set']}: {config['model']['heads'][0]['name']}",
        config_name=config["name"],
        data_set=config["data_set"],
        heads=heads,
        licence=summary["licence"],
        doi=summary["doi"],
        blessed=bool(validation.validation_ok) if validation else None,
        gates=outcomes,
        summary=summary,
        config=dict(flatten(without_folders(config))),
        versions={name: version(name) for name in PACKAGES},
        hashes={
            "catalogue": summary["content_hash"],
            **json.loads(exec_properties["facts"]),
            "model": hash_tree(model),
        },
        warnings=[*unreadable, *gate["warnings"]],
        synthetic=bool(summary.get("synthetic")),
        split=TEST,
        protocols=config["evaluation"]["protocols"],
        slices=config["evaluation"]["slices"],
        resamples=config["evaluation"]["resamples"],
        shortcuts=config["evaluation"]["shortcuts"],
        costs=as_lists(costs),
        prevalence=json.loads((model / FACTS_FILE).read_text(encoding="utf-8"))["prevalence"],
        evaluated=list(list_evaluated(evaluated)),
    )


def as_lists(matrices: Mapping[str, np.ndarray]) -> dict[str, list[list[float]]]:
    """Returns matrices as nested lists, as JSON has them."""
    return {name: matrix.tolist() for name, matrix in matrices.items()}


def describe_gate(gate: Gate, evaluated: Mapping[tuple[str, str, str], float]) -> str:
    """The gate in words, with what was found."""
    found = evaluated.get((gate.head, f"{CASES}/{gate.metric}", gate.slice))
    if found is None and split_slice(gate.slice):
        return f"{gate}: no such slice in the {TEST} split"
    return (
        f"{gate}: found {found:.3f}" if found is not None and not math.isnan(found) else f"{gate}: undefined"
    )


def without_folders(config: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the config with a file of weights by its name alone.

    Its folder concerns this machine only, and its hash is among the facts.
    """
    weights = config["model"]["weights"]
    return {**config, "model": {**config["model"], "weights": weights and Path(weights).name}}


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    """Dotted key and value of nested settings."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", json.dumps(value) if isinstance(value, list) else str(value)
