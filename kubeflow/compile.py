"""A config as a pipeline spec for Kubeflow Pipelines or Vertex AI: YAML, version 2.1.

The DAG is the local one. TFX turns it into a spec; what TFX cannot say is added to the result: parameters
with defaults, retries, resources, caching, the versions, the task that takes fingerprints, and a second
document with volumes, secrets and node selectors, which Kubeflow keeps apart as "platform". Vertex AI takes
the same YAML as its template; it has no such document, and its buckets are mounted at /gcs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from kubeflow.fingerprint_task import FINGERPRINTS, add_fingerprints
from kubeflow.request import (
    CompileRequest,
    Target,
    check_root,
    choose_image,
    expect_known,
    find_state,
    parse_images,
)
from kubeflow.spec import parse_parameters
from kubeflow.versions import installed_versions, list_extras
from medimg.errors import UsageError
from medimg.files import replace_file
from pipeline.beam.flags import parse_beam
from pipeline.config.deployment import Deployment, Resources
from pipeline.config.places import Places
from pipeline.config.resolve import resolve_config
from pipeline.config.run_config import RunConfig

if TYPE_CHECKING:
    from tfx.orchestration.pipeline import Pipeline

COMMAND = ("python", "-m", "kubeflow.entrypoint")
# What a run is given; every component with an exec property of that name takes its value from it.
PARAMETERS: Mapping[str, str | None] = {"data_root": None, "previous": "", "split_file": ""}
GPU_TYPES = {"kfp": re.compile(r"[a-z0-9.-]+/[A-Za-z0-9._-]+"), "vertex": re.compile(r"[A-Z][A-Z0-9_]+")}


@dataclass(frozen=True)
class Documents:
    """The two documents of a spec; `platform` is empty for Vertex AI."""

    pipeline: dict[str, Any]
    platform: dict[str, Any] = field(default_factory=dict)


class PlainDumper(yaml.SafeDumper):
    """Writes a value out wherever it stands: not every reader of YAML knows anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


def compile_config(config: RunConfig, request: CompileRequest) -> Documents:
    """The spec of a config.

    Raises:
        UsageError: a name, a parameter, a path or the deployment is not what the target takes, or only the
            data tell what the config needs.
    """
    expect_compiler()
    given = parse_images(request.images)
    check_root(request.root, request.target)
    defaults = {**PARAMETERS, **parse_parameters(list(request.parameters), known=sorted(PARAMETERS))}
    state = find_state(config, request)
    config = resolve_config(config, request.data)
    from tfx.orchestration.kubeflow.v2.kubeflow_v2_dag_runner import (
        KubeflowV2DagRunner,
        KubeflowV2DagRunnerConfig,
    )

    dag = make_dag(config, request, state=state)
    components = [FINGERPRINTS, *(component.id for component in dag.components)]
    expect_known("--image", given, [*components, *list_extras()], kind="component or extra")
    expect_known("deployment.extra", [config.deployment.extra], list_extras(), kind="extra")
    expect_known("deployment.components", config.deployment.components, components)
    runner = KubeflowV2DagRunnerConfig(default_commands=list(COMMAND), use_pipeline_spec_2_1=True)
    pipeline = KubeflowV2DagRunner(runner).run(dag, write_out=False)["pipelineSpec"]
    add_fingerprints(pipeline)
    for name in components:
        image = choose_image(name, given, config.deployment)
        complete_task(
            pipeline, name, image=image, resources=config.deployment.of(name), target=request.target
        )
    pipeline["root"]["inputDefinitions"] = {
        "parameters": {name: define_parameter(value) for name, value in defaults.items()}
    }
    pipeline["defaultPipelineRoot"] = request.root
    return Documents(
        pipeline, make_platform(config.deployment, components) if request.target == "kfp" else {}
    )


def write_spec(documents: Documents, to: Path, *, config: RunConfig) -> None:
    """Writes the documents as one YAML file, whole or not at all. Raises UsageError for another suffix."""
    if to.suffix not in (".yaml", ".yml"):
        raise UsageError(f"--to {to}: expected a name that ends in .yaml")
    header = (
        f"# {config.name}, compiled with {installed_versions()}.\n"
        f"# A spec cannot name them: run it as service account {config.deployment.service_account}, "
        f"and give Kubeflow the pipeline root {documents.pipeline['defaultPipelineRoot']}.\n"
    )
    text = header + yaml.dump_all(
        [document for document in (documents.pipeline, documents.platform) if document],
        Dumper=PlainDumper,
        sort_keys=True,
        width=150,
    )
    to.parent.mkdir(parents=True, exist_ok=True)
    replace_file(to, write=lambda temporary: temporary.write_text(text))


def expect_compiler() -> None:
    """Raises UsageError where the definition of the spec, which TFX does not bring, is not installed."""
    try:
        there = find_spec("kfp.pipeline_spec")
    except ModuleNotFoundError:
        there = None
    if there is None:
        raise UsageError(
            "medimg compile needs the package kfp-pipeline-spec, which is not installed here: "
            "docker run IMAGE compile ... has it"
        )


def make_dag(config: RunConfig, request: CompileRequest, *, state: str) -> Pipeline:
    """The pipeline with a cluster's places.

    `data_root`, `previous` and `split_file` are left open: they become parameters.
    """
    from pipeline.cache_keys import Fingerprints, code_fingerprints, weights_fingerprint
    from pipeline.local.run_schema import make_schema
    from pipeline.pipeline import create_pipeline

    # The schema travels in the spec: no pod has the file that a local run would write, and equal content is
    # an equal cache key.
    schema = make_schema(config, data_root=request.data).encode()
    places = Places(
        data_root="",
        pipeline_root=request.root,
        metadata="",  # The platform has its own store.
        serving=f"{state}/models",
        checkpoints=f"{state}/checkpoints",
        index=f"{state}/index.parquet",
        schema=f"data:text/plain;base64,{base64.b64encode(schema).decode()}",
        beam_args=make_beam_flags(config, request),
    )
    fingerprints = Fingerprints(
        data="",
        previous="",
        schema=hashlib.sha256(schema).hexdigest(),
        baseline="",
        code=code_fingerprints(config),
        weights=weights_fingerprint(config.model.weights),
    )
    return create_pipeline(config, places, fingerprints)


def make_beam_flags(config: RunConfig, request: CompileRequest) -> tuple[str, ...]:
    """Beam's flags; in the pod itself as many workers as it has cores."""
    return parse_beam(
        request.beam, request.beam_args, cores=math.ceil(config.deployment.of("CaseExampleGen").cpu)
    )


def complete_task(
    pipeline: dict[str, Any], name: str, *, image: str, resources: Resources, target: Target
) -> None:
    """Adds what TFX leaves out.

    That is parameters, caching, retries, image and resources, and for our entrypoint the name, the versions
    and the types of outputs.
    """
    task = pipeline["root"]["dag"]["tasks"][name]
    definitions = pipeline["components"][name]
    container = pipeline["deploymentSpec"]["executors"][definitions["executorLabel"]]["container"]
    for parameter in PARAMETERS:
        # TFX's RuntimeParameter would come to the same, but loses the default.
        if parameter in task.get("inputs", {}).get("parameters", {}):
            task["inputs"]["parameters"][parameter] = {"componentInputParameter": parameter}
    # What looks at the data each time is what the others' cache keys rely on.
    task["cachingOptions"] = {"enableCache": True} if resources.cache and name != FINGERPRINTS else {}
    if resources.retries:
        task["retryPolicy"] = {
            "maxRetryCount": resources.retries,
            "backoffDuration": "30s",
            "backoffFactor": 2.0,
            "backoffMaxDuration": "600s",
        }
    container["image"] = image
    container["resources"] = make_resources(name, resources, target)
    outputs = definitions.get("outputDefinitions", {})
    stamp = [
        "--component",
        name,
        "--compiled-with",
        installed_versions(),
        "--json_serialized_outputs_spec_args",
        json.dumps(outputs, sort_keys=True),
    ]
    container["args"] = [*stamp, *container["args"]]


def make_resources(name: str, resources: Resources, target: Target) -> dict[str, Any]:
    """The limits of a pod as the spec has them."""
    limits = {"cpuLimit": resources.cpu, "memoryLimit": resources.memory_gb}
    accelerator = {}
    if resources.gpus:
        if not GPU_TYPES[target].fullmatch(resources.gpu_type):
            expected = {
                "kfp": "a resource such as nvidia.com/gpu",
                "vertex": "a type such as NVIDIA_TESLA_T4",
            }[target]
            raise UsageError(
                f"deployment: gpu_type of {name} is {resources.gpu_type!r}, expected {expected} for {target}"
            )
        accelerator = {"accelerator": {"type": resources.gpu_type, "count": str(resources.gpus)}}
    if resources.node_selector and target == "vertex":
        raise UsageError(f"deployment: node_selector of {name}: Vertex AI has none, expected it empty")
    return {**limits, **accelerator}


def define_parameter(default: str | None) -> dict[str, str | bool]:
    """A text parameter of the pipeline; without a default every run must give a value."""
    return (
        {"parameterType": "STRING"}
        if default is None
        else {"parameterType": "STRING", "defaultValue": default, "isOptional": True}
    )


def make_platform(deployment: Deployment, components: Iterable[str]) -> dict[str, Any]:
    """Kubeflow's platform document: volumes, secrets and node selectors by executor.

    Names stand there twice, for older and newer backends.
    """

    def constant(name: str) -> dict[str, dict[str, str]]:
        return {"runtimeValue": {"constant": name}}

    volumes = [
        {"constant": volume.claim, "pvcNameParameter": constant(volume.claim), "mountPath": volume.path}
        for volume in deployment.volumes
    ]
    secrets = [
        {
            "secretName": secret.name,
            "secretNameParameter": constant(secret.name),
            "keyToEnv": [{"secretKey": secret.key, "envVar": secret.variable}],
        }
        for secret in deployment.secrets
    ]
    executors = {}
    for name in components:
        selector = deployment.of(name).node_selector
        given = {
            "pvcMount": volumes,
            "secretAsEnv": secrets,
            "nodeSelector": {"labels": dict(selector)} if selector else {},
        }
        executors[f"{name}_executor"] = {key: value for key, value in given.items() if value}
    return {"platforms": {"kubernetes": {"deploymentSpec": {"executors": executors}}}}
