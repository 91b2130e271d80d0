"""The manifests parse, and name what the default deployment names."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import kubeflow
from pipeline.config import load_config

FOLDER = Path(kubeflow.__file__).parent / "manifests"
DEPLOYMENT = load_config("cmmd_classification").deployment


def read(name):
    return list(yaml.safe_load_all((FOLDER / name).read_text()))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.name)
def test_a_manifest_is_a_kubernetes_object_or_the_body_of_a_request(path):
    for document in read(path.name):
        assert {"apiVersion", "kind", "metadata"} <= set(document) or "trigger" in document


def test_the_claims_are_those_that_tasks_mount_and_many_can_mount_them():
    claims = {document["metadata"]["name"]: document["spec"]["accessModes"] for document in read("volumes.yaml")}
    assert claims == {volume.claim: ["ReadWriteMany"] for volume in DEPLOYMENT.volumes}


def test_the_service_account_is_the_deployments():
    assert read("service-account.yaml")[0]["metadata"]["name"] == DEPLOYMENT.service_account
    assert read("recurring-run.yaml")[0]["service_account"] == DEPLOYMENT.service_account


def test_a_recurring_run_gives_the_parameters_that_a_spec_has():
    from kubeflow.compile import PARAMETERS

    assert set(read("recurring-run.yaml")[0]["runtime_config"]["parameters"]) == set(PARAMETERS)


def test_no_manifest_holds_a_secret():
    for document in read("secrets.example.yaml"):
        assert set(document["stringData"].values()) == {"REPLACE-ME"}
