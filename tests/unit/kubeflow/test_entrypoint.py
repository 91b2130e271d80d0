"""The entrypoint says in one line what is wrong, before it imports TFX.

It prepares what the launcher hands over.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kubeflow.entrypoint import explain
from kubeflow.executor_input import NOTHING, localise
from kubeflow.uris import ROOT_VARIABLE
from kubeflow.versions import installed_versions
from medimg.errors import MedimgError

INPUTS = {"artifacts": {"examples": {"artifactType": {"instanceSchema": "title: tfx.Examples\n"}}}}
OUTPUTS = {"artifacts": {"model": {"artifactType": {"instanceSchema": "title: tfx.Model\n"}}}}


def make_message(**parameters):
    """An ExecutorInput with one input and one output, as KFP's backend makes it."""
    return {
        "inputs": {
            "parameterValues": parameters,
            "artifacts": {
                "examples": {
                    "artifacts": [
                        {"uri": "minio://bucket/1/examples", "type": {"schemaTitle": "system.Artifact"}}
                    ]
                }
            },
        },
        "outputs": {
            "artifacts": {"model": {"artifacts": [{"uri": "minio://bucket/1/model", "type": {}}]}},
            "outputFile": "/tmp/kfp_outputs/output_metadata.json",
        },
    }


@pytest.fixture
def root(tmp_path) -> Path:
    """What stands for the root of the file system, with the input downloaded."""
    examples = tmp_path / "minio" / "bucket" / "1" / "examples"
    examples.mkdir(parents=True)
    (examples / "data").touch()
    return tmp_path


def prepare(root, **parameters):
    return localise(make_message(**parameters), inputs=INPUTS, outputs=OUTPUTS, root=str(root))


def call(root, message, *, compiled_with=None, environment=None):
    """Runs the entrypoint as a container would; returns exit code and lines of stderr."""
    command = [
        sys.executable,
        "-m",
        "kubeflow.entrypoint",
        "--component",
        "Trainer",
        "--compiled-with",
        compiled_with or installed_versions(),
    ]
    command += [
        "--executor_class_path",
        "absent.Executor",
        "--json_serialized_invocation_args",
        json.dumps(message),
    ]
    result = subprocess.run(
        command,
        capture_output=True,
        text=True,
        env={**os.environ, ROOT_VARIABLE: str(root), **(environment or {})},
    )
    return result.returncode, result.stderr.strip().splitlines()


def test_artifacts_get_local_paths_names_and_the_specs_types(root):
    local = prepare(root)
    (example,) = local.message["inputs"]["artifacts"]["examples"]["artifacts"]
    (model,) = local.message["outputs"]["artifacts"]["model"]["artifacts"]
    assert example["uri"] == f"{root}/minio/bucket/1/examples"
    assert example["type"] == {"instanceSchema": "title: tfx.Examples\n"}
    assert example["name"] == "minio://bucket/1/examples"
    assert model["type"] == {"instanceSchema": "title: tfx.Model\n"}
    assert local.uris[model["uri"]] == "minio://bucket/1/model"
    assert Path(model["uri"]).is_dir()


def test_parameters_get_local_paths_also_inside_json(root):
    (root / "s3" / "raw").mkdir(parents=True)
    values = prepare(root, data_root="s3://raw", push='{"base": "minio://bucket/models"}', count=3).message[
        "inputs"
    ]["parameterValues"]
    assert values == {
        "data_root": f"{root}/s3/raw",
        "push": f'{{"base": "{root}/minio/bucket/models"}}',
        "count": 3,
    }


def test_a_file_in_the_spec_becomes_a_file_of_the_task(root):
    values = prepare(
        root, schema_file=f"data:text/plain;base64,{base64.b64encode(b'feature {}').decode()}"
    ).message["inputs"]["parameterValues"]
    assert Path(values["schema_file"]).read_text() == "feature {}"


def test_an_input_left_empty_on_purpose_is_no_input(root):
    (root / "minio" / "bucket" / "1" / "examples" / NOTHING).touch()
    assert prepare(root).message["inputs"]["artifacts"]["examples"]["artifacts"] == []


def test_a_cached_input_whose_files_were_deleted_is_named(root):
    (root / "minio" / "bucket" / "1" / "examples" / "data").unlink()
    code, lines = call(root, make_message())
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith("error: Trainer: input examples: minio://bucket/1/examples holds nothing")
    assert "without the cache" in lines[0]


def test_an_output_that_cannot_be_written_is_named(root):
    message = make_message()
    message["outputs"]["artifacts"]["model"]["artifacts"][0]["uri"] = "s3://bucket/1/model"
    (root / "s3").write_text("a file where the launcher's folder should be")
    code, lines = call(root, message)
    assert code == 1
    assert lines == [
        "error: Trainer: output model: s3://bucket/1/model cannot be written "
        f"({root}/s3/bucket/1/model: Not a directory)"
    ]


def test_raw_data_that_are_not_mounted_are_named(root):
    with pytest.raises(
        MedimgError,
        match=r"parameter data_root: gs://raw/cmmd is not at .*/gcs/raw/cmmd; "
        "expected the bucket mounted there",
    ):
        prepare(root, data_root="gs://raw/cmmd")


def test_an_image_of_other_versions_refuses_the_spec(root):
    code, lines = call(root, make_message(), compiled_with="medimg=9.9.9,tfx=1.16.0")
    assert code == 1
    assert len(lines) == 1
    assert lines[0].startswith(
        f"error: Trainer: this image has {installed_versions()}, "
        "the spec was compiled with medimg=9.9.9,tfx=1.16.0"
    )


def test_an_exception_is_told_by_the_medimg_error_behind_it():
    wrapped = RuntimeError("Traceback ...")
    wrapped.__cause__ = MedimgError("a.dcm: no pixels")
    assert explain(wrapped) == "a.dcm: no pixels"
    assert (
        explain(RuntimeError("Traceback (most recent call last):\n  x\nOSError: disk"))
        == "RuntimeError: OSError: disk"
    )
    assert explain(ValueError("")) == "ValueError: no message"
