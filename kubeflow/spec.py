"""A compiled pipeline as its file has it: tasks, where their inputs come from, what they run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from medimg.errors import UsageError, nearest


@dataclass(frozen=True)
class SpecTask:
    """One node of the DAG.

    Attributes:
        name: of the task, which is the component's.
        after: names of the tasks that must have ended well.
        inputs: `task.inputs` of the spec.
        definitions: the component's `inputDefinitions` and `outputDefinitions`.
        image, command: what to run; `{{$}}` stands for the ExecutorInput.
        mounts: claim by mount path.
    """

    name: str
    after: frozenset[str]
    inputs: Mapping[str, Any]
    definitions: Mapping[str, Any]
    image: str
    command: tuple[str, ...]
    mounts: Mapping[str, str]


@dataclass(frozen=True)
class Spec:
    """A whole pipeline; `parameters` holds the default, or None where a value must be given."""

    name: str
    root: str
    parameters: Mapping[str, Any]
    tasks: Mapping[str, SpecTask]


def read_spec(path: Path) -> Spec:
    """Reads a file of `medimg compile`.

    Raises:
        UsageError: there is no such file, or it is no pipeline spec of version 2.1.
    """
    try:
        documents = list(yaml.safe_load_all(path.read_text()))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(
            f"{path}: cannot be read as YAML ({type(error).__name__}); expected a file of medimg compile"
        ) from None
    pipeline = documents[0] if documents and isinstance(documents[0], dict) else {}
    if pipeline.get("schemaVersion") != "2.1.0" or "deploymentSpec" not in pipeline:
        raise UsageError(
            f"{path}: schemaVersion {pipeline.get('schemaVersion')}, "
            "expected a pipeline spec 2.1.0 as medimg compile writes it"
        )
    platform = documents[1] if len(documents) > 1 else {}
    tasks = {task.name: task for task in list_tasks(pipeline, platform)}
    definitions = pipeline["root"].get("inputDefinitions", {}).get("parameters", {})
    parameters = {name: definition.get("defaultValue") for name, definition in definitions.items()}
    return Spec(pipeline["pipelineInfo"]["name"], pipeline.get("defaultPipelineRoot", ""), parameters, tasks)


def list_tasks(pipeline: Mapping[str, Any], platform: Mapping[str, Any]) -> Iterator[SpecTask]:
    """The tasks of a pipeline document, with what the platform document says of their volumes."""
    executors = pipeline["deploymentSpec"]["executors"]
    kubernetes = (
        platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {}).get("executors", {})
    )
    for name, task in pipeline["root"]["dag"]["tasks"].items():
        component = pipeline["components"][task["componentRef"]["name"]]
        label = component["executorLabel"]
        container = executors[label]["container"]
        mounts = kubernetes.get(label, {}).get("pvcMount", [])
        definitions = {side: component.get(f"{side}Definitions", {}) for side in ("input", "output")}
        yield SpecTask(
            name=name,
            after=frozenset(task.get("dependentTasks", [])),
            inputs=task.get("inputs", {}),
            definitions=definitions,
            image=container["image"],
            command=(*container.get("command", []), *container.get("args", [])),
            mounts={mount["mountPath"]: mount["constant"] for mount in mounts},
        )


def parse_parameters(given: list[str], *, known: list[str]) -> dict[str, str]:
    """`name=value` texts as a dictionary; UsageError for an unknown name or a text without `=`."""
    parsed = {}
    for text in given:
        name, separator, value = text.partition("=")
        if not separator:
            raise UsageError(f"--parameter {text}: expected name=value")
        if name not in known:
            raise UsageError(f"--parameter {name}: no such parameter; {nearest(name, known)}")
        parsed[name] = value
    return parsed
