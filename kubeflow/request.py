"""What is compiled, for where: images, root, parameters and state, checked before any work is done."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast, get_args

from kubeflow.uris import is_uri, to_local
from medimg.errors import UsageError, nearest
from pipeline.config.deployment import Deployment
from pipeline.config.run_config import RunConfig

Target = Literal["kfp", "vertex"]
SCHEMES = {"kfp": ("minio", "s3", "gs"), "vertex": ("gs",)}
IMAGE = re.compile(
    r"(?P<host>[a-zA-Z0-9.-]+(:[0-9]+)?/)?[a-z0-9]+([._/-]+[a-z0-9]+)*"
    r"(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?"
)
ROOT = re.compile(
    r"(?P<scheme>[a-z0-9]+)://(?P<bucket>[a-z0-9][a-z0-9._-]{1,61}[a-z0-9])(/[A-Za-z0-9._=+-]+)*/?"
)


@dataclass(frozen=True)
class CompileRequest:
    """What is compiled, for where.

    Attributes:
        images: `IMAGE` for all components; `extra=IMAGE` for those that need the extra, `Component=IMAGE` for
            one.
        root: URI under which the platform keeps the artifacts.
        parameters: `name=value`, the defaults of the pipeline's parameters.
        data: a copy of the data, or a part of it, for data sets whose classes and columns only the data tell.
        beam: where Beam's work is done, see `pipeline.beam.flags.parse_beam`.
        beam_args: further flags for Beam, which win.
    """

    images: tuple[str, ...]
    root: str
    target: Target = "kfp"
    parameters: tuple[str, ...] = ()
    data: Path | None = None
    beam: str = "local"
    beam_args: tuple[str, ...] = ()


def find_target(name: str) -> Target:
    """The target of that name. Raises UsageError for another one."""
    for target in get_args(Target):
        if target == name:
            return cast("Target", target)
    raise UsageError(f"--target {name}: expected {' or '.join(get_args(Target))}")


def parse_images(texts: Iterable[str]) -> dict[str, str]:
    """The images by component or extra; the one for all others is called ""."""
    images = {}
    for text in texts:
        name, _, image = text.rpartition("=")
        if not IMAGE.fullmatch(image):
            raise UsageError(
                f"--image {text}: {image!r} is no name of an image; "
                "expected HOST/NAME:TAG or NAME@sha256:DIGEST, lower case"
            )
        images[name] = image
    return images


def choose_image(component: str, images: Mapping[str, str], deployment: Deployment) -> str:
    """A component's own image, else that of the extra that it needs, else the one for all.

    Raises UsageError where there is none.
    """
    extra = deployment.extra_of(component)
    if image := images.get(component) or images.get(extra):
        return image
    if extra:
        raise UsageError(
            f"--image: {component} needs an image with the extra {extra}, "
            f"expected --image {extra}=IMAGE or {component}=IMAGE"
        )
    raise UsageError(
        f"--image: none for {component}, expected one image for all components, or {component}=IMAGE"
    )


def check_root(root: str, target: Target) -> None:
    """Raises UsageError for a root that the target's launcher does not know."""
    found = ROOT.fullmatch(root)
    if not found or found["scheme"] not in SCHEMES[target]:
        expected = " or ".join(f"{scheme}://bucket/folder" for scheme in SCHEMES[target])
        raise UsageError(f"--root {root}: expected {expected} for {target}")


def expect_known(what: str, names: Iterable[str], known: list[str], *, kind: str = "component") -> None:
    """Raises UsageError for a name that is not among the known ones; the empty one names nothing."""
    for name in names:
        if name and name not in known:
            raise UsageError(f"{what} {name}: no such {kind}; {nearest(name, known)}")


def find_state(config: RunConfig, request: CompileRequest) -> str:
    """The folder of what outlives a run, one per config, as the tasks see it.

    Raises:
        UsageError: it is not on a volume of the deployment (Kubeflow) or no bucket (Vertex AI), and would be
            gone with the pod.
    """
    deployment = config.deployment
    if request.target == "vertex":
        state = (
            f"{request.root.rstrip('/')}/state"
            if deployment.state == Deployment().state
            else deployment.state
        )
        if not is_uri(state):
            raise UsageError(
                f"deployment.state {state}: expected gs://bucket/folder, Vertex AI mounts no volumes"
            )
        return f"{to_local(state).rstrip('/')}/{config.name}"
    paths = [volume.path for volume in deployment.volumes]
    if len(set(paths)) < len(paths):
        raise UsageError(f"deployment.volumes: two volumes at one path in {', '.join(sorted(paths))}")
    if not any(Path(deployment.state).is_relative_to(path) for path in paths):
        raise UsageError(
            f"deployment.state {deployment.state}: not on a volume of the deployment "
            f"({', '.join(paths) or 'none'}), expected a path below one"
        )
    return f"{deployment.state.rstrip('/')}/{config.name}"
