"""The launcher's ExecutorInput as a task can use it.

URIs become local paths, every artifact has a name and a type, and small files come out of the spec.

It is handled as the JSON that it comes as, so that what is wrong with it is said before TensorFlow is
imported.
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from kubeflow.uris import holds_files, is_uri, to_local
from medimg.errors import MedimgError

# Stands in the folder of an output that a component cleared. An empty folder would not survive an object
# store, and be taken for a lost one.
NOTHING = "NOTHING"


@dataclass(frozen=True)
class LocalInput:
    """An ExecutorInput with local paths.

    Attributes:
        message: the ExecutorInput.
        uris: the remote URI by local path, for the way back.
    """

    message: dict[str, Any]
    uris: dict[str, str]


def localise(
    message: Mapping[str, Any], *, inputs: Mapping[str, Any], outputs: Mapping[str, Any], root: str
) -> LocalInput:
    """Prepares an ExecutorInput for a task that runs here.

    Args:
        message: the ExecutorInput as JSON values.
        inputs, outputs: the component's definitions from the spec as JSON values. They have the types, which
            KFP's backend may hand over empty or as `system.Artifact`.
        root: what stands in front of the launcher's folders.

    Raises:
        MedimgError: an input is not there, or the folder of an output cannot be made.
    """
    local, uris = copy.deepcopy(dict(message)), {}
    for definitions, side in ((inputs, "inputs"), (outputs, "outputs")):
        for name, artifact in list_artifacts(local, side):
            # TFX identifies artifacts by name, the launcher does not always give them one.
            artifact["name"] = artifact.get("name") or artifact["uri"]
            if declared := definitions.get("artifacts", {}).get(name, {}).get("artifactType"):
                artifact["type"] = declared
            remote, artifact["uri"] = artifact["uri"], to_local(artifact["uri"], root=root)
            uris[artifact["uri"]] = remote
    requested = local.get("outputs", {})
    for entry in (requested, *requested.get("parameters", {}).values()):
        if file := entry.get("outputFile"):
            entry["outputFile"] = to_local(file, root=root)
    check_inputs(local, uris)
    make_outputs(local, uris)
    parameters = local.get("inputs", {}).get("parameterValues", {})
    for name, value in parameters.items():
        if isinstance(value, str):
            parameters[name] = localise_parameter(name, value, root=root)
    return LocalInput(local, uris)


def list_artifacts(message: Mapping[str, Any], side: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name of the input or output and artifact, in the message's order."""
    for name, entry in message.get(side, {}).get("artifacts", {}).items():
        for artifact in entry.get("artifacts", []):
            yield name, artifact


def check_inputs(local: dict[str, Any], uris: Mapping[str, str]) -> None:
    """Takes inputs out that their maker left empty on purpose; raises MedimgError for one that is gone."""
    for name, artifact in list_artifacts(local, "inputs"):
        path = Path(artifact["uri"])
        if not holds_files(path):
            raise MedimgError(
                f"input {name}: {uris[artifact['uri']]} holds nothing (looked in {path}); "
                "expected what an earlier task wrote. "
                "If that was a cached execution whose files were deleted since, run again without the cache"
            )
        if (path / NOTHING).is_file():
            local["inputs"]["artifacts"][name]["artifacts"] = []


def make_outputs(local: dict[str, Any], uris: Mapping[str, str]) -> None:
    """Makes the outputs' folders, which the launcher leaves to the task."""
    for name, artifact in list_artifacts(local, "outputs"):
        folder = artifact["uri"]
        try:
            Path(folder).mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise MedimgError(
                f"output {name}: {uris[folder]} cannot be written ({folder}: {error.strerror})"
            ) from None


def localise_parameter(name: str, value: str, *, root: str) -> str:
    """A parameter with local paths; a `data:` URI becomes a file with its content.

    Raises:
        MedimgError: the parameter is the URI of something that is not there.
    """
    if value.startswith("data:"):
        path = Path(tempfile.mkdtemp(prefix="medimg-")) / name
        path.write_bytes(urlopen(value).read())  # noqa: S310  A data: URI is read from itself.
        return str(path)
    local = to_local(value, root=root)
    if is_uri(value) and not Path(local).exists():
        raise MedimgError(
            f"parameter {name}: {value} is not at {local}; "
            "expected the bucket mounted there, or a path on a mounted volume"
        )
    return local
