"""The manifests are what Kubernetes takes, and agree with the default deployment and with each other."""

from __future__ import annotations

import re
from pathlib import Path

import kubernetes_validate
import pytest
import yaml

import kubeflow
from pipeline.config.overrides import load_config

FOLDER = Path(kubeflow.__file__).parent / "manifests"
REPOSITORY = Path(__file__).resolve().parents[3]
DEPLOYMENT = load_config("cmmd_classification").deployment
# The body of a request to Kubeflow Pipelines, which tests/components/test_compile.py looks at.
REQUESTS = ("recurring-run.yaml",)
OBJECTS = [
    pytest.param(document, id=f"{path.name}: {document['kind']} {document['metadata']['name']}")
    for path in sorted(FOLDER.glob("*.yaml"))
    if path.name not in REQUESTS
    for document in yaml.safe_load_all(path.read_text())
]


def read(name, kind=None):
    return [
        document
        for document in yaml.safe_load_all((FOLDER / name).read_text())
        if kind in (None, document["kind"])
    ]


def find_all(value, key):
    """The values of a key, wherever it stands."""
    if isinstance(value, dict):
        yield from (value[key],) if key in value else ()
        for one in value.values():
            yield from find_all(one, key)
    elif isinstance(value, list):
        for one in value:
            yield from find_all(one, key)


@pytest.mark.parametrize("document", OBJECTS)
def test_kubernetes_own_schema_takes_a_manifest_without_a_field_that_it_does_not_know(document):
    kubernetes_validate.validate(document, kubernetes_validate.latest_version(), strict=True)


def test_a_misspelt_field_would_be_found():
    (claim, *_) = read("volumes.yaml")
    claim["spec"]["accessMode"] = claim["spec"].pop("accessModes")
    with pytest.raises(kubernetes_validate.ValidationError, match="accessMode"):
        kubernetes_validate.validate(claim, kubernetes_validate.latest_version(), strict=True)


def test_the_claims_are_those_that_tasks_mount_and_many_can_mount_them():
    claims = {
        document["metadata"]["name"]: document["spec"]["accessModes"] for document in read("volumes.yaml")
    }
    assert claims == {volume.claim: ["ReadWriteMany"] for volume in DEPLOYMENT.volumes}


def test_everything_that_a_manifest_names_is_in_a_manifest():
    objects = [document.values[0] for document in OBJECTS]
    for kind, key in (("PersistentVolumeClaim", "claimName"), ("ConfigMap", "configMapRef")):
        named = {one if isinstance(one, str) else one["name"] for one in find_all(objects, key)}
        assert named <= {document["metadata"]["name"] for document in objects if document["kind"] == kind}
    labels = [
        document["spec"]["template"]["metadata"]["labels"]
        for document in objects
        if document["kind"] == "Deployment"
    ]
    assert [
        document
        for document in objects
        if document["kind"] == "Service" and document["spec"]["selector"] not in labels
    ] == []


def test_flink_is_tuned_as_the_cluster_that_the_tests_run():
    tried = yaml.safe_load((FOLDER.parent / "flink/conf/flink-conf.yaml").read_text())
    (given,) = (
        yaml.safe_load(one["data"]["FLINK_PROPERTIES"]) for one in read("beam-workers.yaml", "ConfigMap")
    )
    assert {name: tried[name] for name in given if name in tried} == {
        name: given[name] for name in given if name in tried
    }
    assert set(given) - set(tried) == {
        "jobmanager.rpc.address",
        "jobmanager.memory.process.size",
        "taskmanager.memory.process.size",
    }


def test_flink_and_the_job_server_have_the_versions_of_the_jars_and_of_the_image():
    images = set(find_all(read("beam-workers.yaml"), "image"))
    beam = re.search(
        r"^apache-beam==(\S+)", (REPOSITORY / "requirements/py313.lock").read_text(), re.MULTILINE
    )
    flink = re.search(
        r"^apache-flink-libraries==(\d+\.\d+)",
        (FOLDER.parent / "flink/libraries.txt").read_text(),
        re.MULTILINE,
    )
    assert images == {
        "REPLACE-ME",
        f"flink:{flink[1]}-java17",
        f"apache/beam_flink{flink[1]}_job_server:{beam[1]}",
    }


def test_the_command_that_the_workers_manifest_names_mounts_their_claim_where_they_mount_it():
    comment = "".join(
        line.removeprefix("#")
        for line in (FOLDER / "beam-workers.yaml").read_text().splitlines()
        if line.startswith("#")
    )
    override = re.search(r"--set '(deployment\.volumes=\[.*?\])'", comment)[1]
    volumes = {
        volume.path: volume.claim
        for volume in load_config("cmmd_classification", overrides=[override]).deployment.volumes
    }
    (workers,) = (
        one["spec"]["template"]["spec"]
        for one in read("beam-workers.yaml", "Deployment")
        if one["metadata"]["name"] == "medimg-taskmanager"
    )
    claims = {
        volume["name"]: volume["persistentVolumeClaim"]["claimName"]
        for volume in workers["volumes"]
        if "persistentVolumeClaim" in volume
    }
    mounts = {
        mount["mountPath"]: claims[mount["name"]]
        for mount in workers["containers"][1]["volumeMounts"]
        if mount["name"] in claims
    }
    assert mounts.items() <= volumes.items()


def test_the_service_account_is_the_deployments():
    assert read("service-account.yaml")[0]["metadata"]["name"] == DEPLOYMENT.service_account
    assert (
        yaml.safe_load((FOLDER / "recurring-run.yaml").read_text())["service_account"]
        == DEPLOYMENT.service_account
    )


def test_a_recurring_run_gives_the_parameters_that_a_spec_has():
    from kubeflow.compile import PARAMETERS

    assert set(
        yaml.safe_load((FOLDER / "recurring-run.yaml").read_text())["runtime_config"]["parameters"]
    ) == set(PARAMETERS)


def test_no_manifest_holds_a_secret():
    for document in read("secrets.example.yaml"):
        assert set(document["stringData"].values()) == {"REPLACE-ME"}
