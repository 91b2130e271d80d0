"""Checks a config against its data set and its task, and fills in what only the data know.

Every name in a config is checked here, before any work: for `medimg run`, `tune` and `compile` alike.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

from medimg.cases import DataSet
from medimg.catalogue.split import check_settings as check_split
from medimg.datasets import find_data_set
from medimg.errors import UsageError, nearest
from medimg.evaluation.classification.costs import check_costs
from medimg.evaluation.classification.merging import check_merges
from medimg.evaluation.classification.shortcuts import COUNTS
from medimg.evaluation.gates import Gate, check_gates, require_answers, split_slice
from medimg.evaluation.protocols import Protocol, find_protocols
from medimg.tasks import check_task_name
from medimg.tasks.classification.settings import Head, check_settings, check_training
from pipeline.config.run_config import RunConfig
from pipeline.config.schema import Columns, read_columns


def resolve_config(config: RunConfig, data_root: Path | None) -> RunConfig:
    """Fills in the classes that only the data know, and the metric that goes with their number.

    A folder's own labels are such classes. Without a data root the config itself must name them.

    Raises:
        UsageError: a name that the data set or the task does not have (the nearest right one is named), or
            settings that contradict each other.
    """
    data_set = check_task(config)
    check_split(config.split)
    heads = resolve_heads(config, data_set=data_set, data_root=data_root)
    model = dataclasses.replace(config.model, heads=heads)
    classes = {head.name: head.classes for head in heads}
    gates = require_answers(
        resolve_gates(config.evaluation.gates, classes=classes),
        head=heads[0].name if heads else "",
        without=config.evaluation.bless_without,
    )
    evaluation = dataclasses.replace(config.evaluation, gates=gates)
    check_roles(model.roles, data_set=data_set)
    check_settings(model)
    check_training(model, config.training)
    check_merges(evaluation.merge, heads=classes)
    check_costs(evaluation.costs, heads=classes, prevalence=config.training.prevalence)
    resolved = dataclasses.replace(config, model=model, evaluation=evaluation)
    columns = read_columns(data_set, data_root)
    check_columns(resolved, columns=columns)
    check_shortcuts(evaluation.shortcuts, columns=columns, data_set=data_set)
    check_protocols(resolved, columns=columns, data_set=data_set)
    check_gates(
        gates,
        heads=classes,
        slices=evaluation.slices,
        shortcuts=evaluation.shortcuts,
        prevalence=config.training.prevalence,
    )
    for gate in gates:
        check_gate_value(gate, columns=columns)
    return resolved


def check_task(config: RunConfig) -> DataSet:
    """Returns the config's data set; UsageError for an unknown one, or a task that it is not labelled for."""
    data_set = find_data_set(config.data_set, labels=config.labels)
    check_task_name(config.task)
    if config.task != data_set.task:
        raise UsageError(
            f"task: found {config.task!r}, expected {data_set.task!r}: "
            f"{data_set.name} has no targets for another"
        )
    return data_set


def resolve_heads(config: RunConfig, *, data_set: DataSet, data_root: Path | None) -> tuple[Head, ...]:
    """Returns the heads with all classes.

    Raises:
        UsageError: a head that the data set does not label, with fewer than two classes, or without one that
            the data set has: its cases would get no label in training and could not be measured.
    """
    known = data_set.list_classes(data_root) if data_set.list_classes and data_root else data_set.targets
    heads = []
    for head in config.model.heads:
        if head.name not in known:
            raise UsageError(
                f"head {head.name!r}: {data_set.name} has no such label; {nearest(head.name, known)}"
            )
        classes = tuple(head.classes or known[head.name])
        if not classes and data_root is None:
            raise UsageError(
                f"head {head.name!r}: only the data of {data_set.name} tell its classes; "
                "give --data DIR or set model.heads"
            )
        if left_out := sorted(set(known[head.name]) - set(classes)):
            raise UsageError(
                f"head {head.name!r} has classes {list(classes)}, but {data_set.name} also has {left_out}; "
                "expected all of them"
            )
        # Classes that only the data tell may be more than these data have: they may be a part of all.
        curated = data_set.targets.get(head.name, ())
        if curated and (unknown := sorted(set(classes) - set(curated))):
            raise UsageError(
                f"head {head.name!r}: {data_set.name} has no class {unknown[0]!r}; "
                f"{nearest(unknown[0], curated)}"
            )
        if len(classes) < 2:
            raise UsageError(f"head {head.name!r} has classes {list(classes)}, expected two or more")
        heads.append(dataclasses.replace(head, classes=classes))
    return tuple(heads)


def resolve_gates(gates: Sequence[Gate], *, classes: Mapping[str, Sequence[str]]) -> tuple[Gate, ...]:
    """Returns the gates, with the macro average where an AUC is asked for of more than two classes."""
    several = {head for head, names in classes.items() if len(names) > 2}
    return tuple(
        dataclasses.replace(gate, metric="macro_auc")
        if gate.head in several and gate.metric == "auc"
        else gate
        for gate in gates
    )


def check_roles(roles: Sequence[str], *, data_set: DataSet) -> None:
    """Raises UsageError for a view that no case of the data set can have."""
    for role in roles:
        if role not in data_set.roles:
            raise UsageError(
                f"model.roles: {data_set.name} has no images in the role {role!r}; "
                f"{nearest(role, data_set.roles)}"
            )


def check_columns(config: RunConfig, *, columns: Columns) -> None:
    """Raises UsageError for an input or a slice that is not a clinical column of the data set."""
    for key, names in (
        ("model.clinical_inputs", config.model.clinical_inputs),
        ("evaluation.slices", config.evaluation.slices),
    ):
        for column in names:
            columns.expect(column, key=key)
            if key == "model.clinical_inputs" and column in columns.ids:
                raise UsageError(
                    f"{key}: column {column!r} of {columns.data_set} has another text for each patient, "
                    "expected numbers or a few words"
                )


def check_shortcuts(shortcuts: Sequence[str], *, columns: Columns, data_set: DataSet) -> None:
    """Raises UsageError for a shortcut that no catalogue could have, or that is a finding.

    A finding is no shortcut but what the images are read for. `shortcut_<head>` itself is not declared in the
    schema: what reads by the schema, the statistics, Transform and so every model, then never sees it.
    """
    for shortcut in shortcuts:
        if shortcut in data_set.targets:
            raise UsageError(
                f"evaluation.shortcuts: {shortcut!r} is read off the images, "
                "expected what is known without them"
            )
        if shortcut not in COUNTS:
            columns.expect(shortcut, key="evaluation.shortcuts", more=COUNTS)


def check_protocols(config: RunConfig, *, columns: Columns, data_set: DataSet) -> None:
    """Raises UsageError for a protocol that is unknown or could not be measured on the data set."""
    names = config.evaluation.protocols
    if not names:
        raise UsageError("evaluation.protocols: found none, expected at least one, such as cases")
    for protocol in find_protocols(names):
        check_level(protocol, data_set=data_set)
        for column, value in protocol.where.items():
            key = f"evaluation.protocols: {protocol.name}"
            columns.expect(column, key=key)
            columns.expect_value(column, value, key=key)
            if column not in config.columns:
                raise UsageError(
                    f"{key} counts cases by {column!r}, which the run does not keep; "
                    "expected it among evaluation.slices"
                )


def check_level(protocol: Protocol, *, data_set: DataSet) -> None:
    """Raises UsageError for a protocol of a level that the data set's cases do not have."""
    if protocol.aggregate == "views" or protocol.level in ("case", *data_set.levels):
        return
    raise UsageError(
        f"evaluation.protocols: {protocol.name} counts by {protocol.level}, "
        f"expected a level of {data_set.name}: {', '.join(data_set.levels)}"
    )


def check_gate_value(gate: Gate, *, columns: Columns) -> None:
    """Raises UsageError for a gate on a slice that no case of the data set can be in."""
    if chosen := split_slice(gate.slice):
        columns.expect_value(*chosen, key=f"gate on slice {gate.slice!r}")
