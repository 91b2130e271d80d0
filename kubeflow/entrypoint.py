"""What a container of the pipeline runs: one component, called as KFP's launcher and Vertex AI call it.

TFX's own entrypoint opens URIs itself (it knows gs alone), wants every artifact typed and has no word for an
output left empty. This one sees to that and calls the same executors. Its last line on failure is `error:
<component>: <what happened>`.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from kubeflow.executor_input import NOTHING, LocalInput, localise
from kubeflow.uris import local_root
from kubeflow.versions import check_versions
from medimg.errors import MedimgError, name_speaker, one_line

if TYPE_CHECKING:
    from tfx.dsl.components.base.base_executor import BaseExecutor


def make_parser() -> argparse.ArgumentParser:
    """What every task is given. The arguments with underscores are TFX's."""
    parser = argparse.ArgumentParser(prog="kubeflow.entrypoint", description=__doc__, allow_abbrev=False)
    parser.add_argument("--component", required=True)
    parser.add_argument("--compiled-with", required=True)
    parser.add_argument("--json_serialized_invocation_args", required=True)
    parser.add_argument("--json_serialized_inputs_spec_args", default="{}")
    parser.add_argument("--json_serialized_outputs_spec_args", default="{}")
    return parser


def parse_arguments(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """The arguments of a component's task, and what is left for Beam."""
    parser = make_parser()
    parser.add_argument("--executor_class_path", required=True)
    return parser.parse_known_args(list(arguments))


def prepare(arguments: argparse.Namespace) -> LocalInput:
    """Checks the versions and brings the launcher's message to this machine."""
    check_versions(arguments.compiled_with)
    return localise(
        json.loads(arguments.json_serialized_invocation_args),
        inputs=json.loads(arguments.json_serialized_inputs_spec_args),
        outputs=json.loads(arguments.json_serialized_outputs_spec_args),
        root=local_root(),
    )


def execute(local: LocalInput, executor_class: str, *, inputs_spec: str, beam_args: list[str]) -> None:
    """Runs the executor and writes the ExecutorOutput, with remote URIs, to the launcher's output file."""
    from absl import logging
    from google.protobuf import json_format
    from kfp.pipeline_spec import pipeline_spec_pb2
    from tfx.orchestration.kubeflow.v2.container import kubeflow_v2_entrypoint_utils as translation
    from tfx.orchestration.portable import outputs_utils
    from tfx.utils import import_utils

    logging.set_verbosity(logging.INFO)
    message = json_format.ParseDict(
        local.message, pipeline_spec_pb2.ExecutorInput(), ignore_unknown_fields=True
    )
    spec = json_format.Parse(inputs_spec, pipeline_spec_pb2.ComponentInputsSpec(), ignore_unknown_fields=True)
    names: dict[int, str] = {}
    inputs = translation.parse_raw_artifact_dict(message.inputs.artifacts, names)
    outputs = translation.parse_raw_artifact_dict(message.outputs.artifacts, names)
    properties = translation.parse_execution_properties(
        message.inputs.parameter_values, message.inputs.parameters, spec
    )
    folders = {name: artifacts[0].uri for name, artifacts in outputs.items()}
    executor = make_executor(
        import_utils.import_class_by_path(executor_class),
        folder=Path(message.outputs.output_file).parent,
        beam_args=beam_args,
    )
    executor.Do(inputs, outputs, properties)

    for name, artifacts in outputs.items():
        if not artifacts:
            Path(folders[name], NOTHING).touch()
    written = {name: artifacts for name, artifacts in outputs.items() if artifacts}
    outputs_utils.tag_output_artifacts_with_version(written)
    for blessing in written.get("blessing", []):
        # It names models by TFX's numbers, which mean nothing outside this process.
        translation.refactor_model_blessing(blessing, names)
    output = pipeline_spec_pb2.ExecutorOutput()
    for name, artifacts in translation.translate_executor_output(written, names).items():
        output.artifacts[name].CopyFrom(artifacts)
        for artifact in output.artifacts[name].artifacts:
            artifact.uri = local.uris.get(artifact.uri, artifact.uri)
            for key, value in artifact.metadata.items():
                # The blessing says by path which models were compared; that path is gone with the pod.
                if isinstance(value, str) and value in local.uris:
                    artifact.metadata[key] = local.uris[value]
    file = Path(message.outputs.output_file)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json_format.MessageToJson(output))


def make_executor(kind: type[BaseExecutor], *, folder: Path, beam_args: list[str]) -> BaseExecutor:
    """Makes an executor in the context that TFX gives it.

    It has its own name and temporary folder, and Beam's arguments if it uses Beam.
    """
    from tfx.dsl.components.base.base_beam_executor import BaseBeamExecutor

    more = (
        {"beam_pipeline_args": beam_args}
        if issubclass(kind, BaseBeamExecutor)
        else {"extra_flags": beam_args}
    )
    return kind(kind.Context(unique_id=folder.name, tmp_dir=str(folder / ".temp"), **more))


def explain(error: BaseException) -> str:
    """Returns one line: the MedimgError behind an exception, else the exception itself.

    Of an exception with a traceback in its text it is the last line, which is where Beam puts the cause.
    """
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, MedimgError):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or ["no message"]
    return f"{type(error).__name__}: {lines[-1] if lines[0].startswith('Traceback') else lines[0]}"


def run_and_exit(component: str, work: Callable[[], None]) -> NoReturn:
    """Ends with 0, or 1 and one line that names the component."""
    code = 0
    try:
        work()
    except Exception as error:
        if not isinstance(error, MedimgError):
            traceback.print_exc()
        sys.stderr.write(f"error: {one_line(name_speaker(component, explain(error)))}\n")
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    # Beam's and TensorFlow's threads can crash an interpreter that ends in the ordinary way, after the work
    # is done.
    os._exit(code)


def main() -> None:
    """Executes one component."""
    arguments, beam_args = parse_arguments(sys.argv[1:])
    inputs_spec = arguments.json_serialized_inputs_spec_args
    run_and_exit(
        arguments.component,
        lambda: execute(
            prepare(arguments), arguments.executor_class_path, inputs_spec=inputs_spec, beam_args=beam_args
        ),
    )


if __name__ == "__main__":
    main()
