"""What a run gets on a cluster: resources per component, volumes, secrets.

On this machine none of it has a meaning.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

from pydantic import StringConstraints

from medimg.numeric_types import Count, PositiveFinite

# Kubernetes' names of objects and the longest that fits everywhere (RFC 1123 label).
ObjectName = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$")]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Za-z_][A-Za-z0-9_]*$")]
MountPath = Annotated[str, StringConstraints(pattern=r"^/[^:\s]*[^:/\s]$")]
# The extra of pyproject.toml with CUDA.
GPU = "gpu"


@dataclass(frozen=True)
class Resources:
    """What one component gets.

    Attributes:
        cpu: cores, the limit of the pod, above 0, at most 1e6.
        memory_gb: gigabytes (10^9 bytes), the limit of the pod, above 0, at most 1e6.
        gpus: number of GPUs, 0 to 10 million.
        gpu_type: Kubernetes' resource name, or for Vertex AI its own name such as NVIDIA_TESLA_T4.
        node_selector: labels that the node must have.
        retries: how often a failed task is tried again, 0 to 10 million.
        cache: reuse an earlier execution with equal inputs.
    """

    cpu: PositiveFinite = 2.0
    memory_gb: PositiveFinite = 8.0
    gpus: Count = 0
    gpu_type: str = "nvidia.com/gpu"
    node_selector: Mapping[str, str] = field(default_factory=dict)
    retries: Count = 1
    cache: bool = True


@dataclass(frozen=True)
class VolumeMount:
    """A persistent volume claim and where every task sees it."""

    claim: ObjectName
    path: MountPath


@dataclass(frozen=True)
class Secret:
    """One key of a Kubernetes secret, as an environment variable of every task."""

    name: ObjectName
    key: str
    variable: Variable


@dataclass(frozen=True)
class Deployment:
    """Everything that only a cluster needs to know.

    Attributes:
        extra: what the image of every component must have beside the core (a lock of `requirements/`), where
            the usual image lacks it. A component with GPUs runs in the image of the extra `gpu`, which then
            must have both.
        default: what a component gets that `components` does not name.
        components: resources by component ("Trainer"), each complete.
        volumes: mounted in every task; one holds `state`, one usually the raw data.
        secrets: for object stores that our own code reads. The launcher has its own.
        state: folder on one of the volumes (Vertex AI: on a bucket) for what outlives a run: pushed models,
            checkpoints, the index of the data.
        service_account: of the whole run. Neither Kubeflow's nor Vertex AI's spec has a place for it: it is
            given when the run is created.
    """

    extra: str = ""
    default: Resources = field(default_factory=Resources)
    components: Mapping[str, Resources] = field(default_factory=dict)
    volumes: tuple[VolumeMount, ...] = (
        VolumeMount("medimg-data", "/data"),
        VolumeMount("medimg-state", "/state"),
    )
    secrets: tuple[Secret, ...] = ()
    state: str = "/state"
    service_account: ObjectName = "medimg-pipeline"

    def of(self, component: str) -> Resources:
        """What a component gets."""
        return self.components.get(component, self.default)

    def extra_of(self, component: str) -> str:
        """The extra by which the image of a component is chosen; empty where the usual one will do."""
        return GPU if self.of(component).gpus else self.extra
