"""The deployment artefact itself: the flagship's spec, compiled for a cluster.

It runs task by task to a pushed and blessed model.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from medimg.datasets import find_data_set
from tests.e2e.conftest import FLAGSHIP_PATIENTS, SMALL_FLAGSHIP

pytest.importorskip("kfp.pipeline_spec", reason="the package kfp-pipeline-spec is not installed")
pytestmark = pytest.mark.e2e

ROOT = "minio://mlpipeline/v2/artifacts"


def run_spec(spec, to, *more):
    """`medimg run-spec` as the shell calls it."""
    command = [sys.executable, "-m", "cli.app", "run-spec", spec, "--to", to, *more]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder with the flagship's spec in small; its volume is the folder itself."""
    from kubeflow.compile import compile_config, write_spec
    from kubeflow.request import CompileRequest
    from pipeline.config.overrides import load_config

    folder = tmp_path_factory.mktemp("kubeflow")
    volumes = json.dumps([{"claim": "medimg-state", "path": str(folder)}])
    config = load_config(
        "cmmd_classification",
        overrides=[*SMALL_FLAGSHIP, f"deployment.volumes={volumes}", f"deployment.state={folder}/state"],
    )
    write_spec(
        compile_config(config, CompileRequest(("registry.example/medimg:0.1.0",), ROOT)),
        folder / "flagship.yaml",
        config=config,
    )
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_compiled_spec_runs_without_a_cluster_to_a_pushed_and_blessed_model(place):
    find_data_set("cmmd").write_phantom(place / "data", cases=FLAGSHIP_PATIENTS, seed=1)
    result = run_spec(place / "flagship.yaml", place / "run", "--parameter", f"data_root={place / 'data'}")
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == "BLESSED"
    (pushed,) = (place / "state" / "cmmd-classification" / "models").iterdir()
    assert (pushed / "saved_model.pb").is_file()
    assert (
        place
        / "run"
        / "artifacts"
        / "minio"
        / "mlpipeline/v2/artifacts/cmmd-classification/1/ReportGen/report/report.html"
    ).is_file()
    outputs = list((place / "run" / "tasks").glob("*/output_metadata.json"))
    assert len(outputs) == 12
    uris = [
        artifact["uri"]
        for file in outputs
        for one in json.loads(file.read_text()).get("artifacts", {}).values()
        for artifact in one["artifacts"]
    ]
    assert all(uri.startswith(f"{ROOT}/cmmd-classification/1/") for uri in uris)
    # Equal data would be found in Kubeflow's cache: what the first task told of them is what the catalogue
    # says of itself.
    catalogue = json.loads((place / "run/tasks/CatalogueGen/output_metadata.json").read_text())["artifacts"][
        "catalogue"
    ]["artifacts"][0]
    assert (place / "run/tasks/Fingerprints/data").read_text() == catalogue["metadata"]["content_hash"]
    # No path of a pod is left for other tasks, or people, to stumble over.
    assert not any("/artifacts/minio/" in file.read_text() for file in outputs)


def test_a_spec_of_another_version_is_refused_in_one_line(place):
    other = place / "other.yaml"
    other.write_text((place / "flagship.yaml").read_text().replace("medimg=", "medimg=9."))
    result = run_spec(other, place / "refused", "--parameter", "data_root=/data")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert "this image has medimg=" in line
    assert "the spec was compiled with medimg=9." in line


@pytest.mark.parametrize(
    ("folder", "data_root", "words"),
    [
        (
            "absent/state",
            "/no/such/folder",
            "Fingerprints: /no/such/folder: no such folder, "
            "expected one with CMMD_clinicaldata_revision.xlsx",
        ),
        (
            "file/state",
            "/data",
            "Fingerprints: state {place}/file/state/cmmd-classification cannot be written by user ",
        ),
    ],
)
def test_a_cluster_without_data_or_room_for_models_is_found_out_by_the_first_task(
    place, folder, data_root, words
):
    (place / "file").touch()
    other = place / "other.yaml"
    other.write_text((place / "flagship.yaml").read_text().replace(f"{place}/state", f"{place}/{folder}"))
    result = run_spec(other, place / "refused", "--parameter", f"data_root={data_root}", "--workers", "1")
    assert result.returncode == 1
    (line,) = result.stderr.splitlines()
    assert words.format(place=place) in line
    assert result.stdout == ""


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ((), "parameter data_root has no default"),
        (("--parameter", "data_rot=/data"), "did you mean 'data_root'?"),
        (("--mode", "cluster"), "expected subprocess or container"),
    ],
)
def test_wrong_use_of_run_spec_ends_with_exit_2_and_one_line(place, more, words):
    result = run_spec(place / "flagship.yaml", place / "refused", *more)
    assert result.returncode == 2
    (line,) = result.stderr.splitlines()
    assert words in line
