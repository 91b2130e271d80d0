"""Every config becomes a spec that kfp's own parser loads."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from medimg.datasets import find_data_set
from pipeline.beam.flags import LOCAL_RUNNER
from pipeline.config.overrides import list_configs, load_config
from tests.components.compiled_specs import IMAGE, ROOTS, compile_spec

pytest.importorskip("kfp.pipeline_spec", reason="the package kfp-pipeline-spec is not installed")

REPOSITORY = Path(__file__).resolve().parents[2]
# Loads a spec as kfp does, and its platform document with every field known to Kubeflow.
LOAD = """
import sys, yaml
from google.protobuf import json_format
from kfp import components
from kfp.kubernetes import kubernetes_executor_config_pb2
for path in sys.argv[1:]:
    loaded = components.load_component_from_file(path)
    documents = list(yaml.safe_load_all(open(path)))
    for document in documents[1:]:
        for config in document["platforms"]["kubernetes"]["deploymentSpec"]["executors"].values():
            json_format.ParseDict(config, kubernetes_executor_config_pb2.KubernetesExecutorConfig())
    print(loaded.pipeline_spec.pipeline_info.name, len(loaded.pipeline_spec.root.dag.tasks))
"""
# Makes what Kubeflow's API takes of a recurring run; it knows every field and knows no other.
MAKE_RECURRING_RUN = """
import sys, yaml
import kfp_server_api as api
def make(kind, value):
    if isinstance(value, dict) and hasattr(api, kind):
        model = getattr(api, kind)(**value)
        for name, one in value.items():
            make(model.openapi_types[name], one)
make("V2beta1RecurringRun", yaml.safe_load(open(sys.argv[1])))
"""


def container(documents, component):
    return documents.pipeline["deploymentSpec"]["executors"][f"{component}_executor"]["container"]


def task(documents, component):
    return documents.pipeline["root"]["dag"]["tasks"][component]


@pytest.fixture(scope="module")
def demo():
    """The demo's spec for Kubeflow."""
    return compile_spec("cmmd_demo")


@pytest.fixture(scope="session")
def kfp_python() -> str:
    """The Python with kfp's SDK beside this one; TFX and the SDK do not go together in one."""
    python = Path(sys.prefix, "kfp", "bin", "python")
    if not python.exists():
        pytest.skip("kfp's SDK is not in .venv/kfp: `make test` puts it there (setup/kfp.sh)")
    return str(python)


@pytest.mark.parametrize("component", ["CaseExampleGen", "StatisticsGen", "Transform", "Evaluator"])
def test_a_pods_beam_work_is_done_by_our_own_local_runner(component, demo):
    assert f"--runner={LOCAL_RUNNER}" in container(demo, component)["args"]


def test_nothing_is_pushed_before_the_report_has_counted_the_cases(demo):
    assert "ReportGen" in task(demo, "Pusher")["dependentTasks"]


def test_every_config_loads_in_kfps_own_parser(kfp_python, tmp_path):
    from kubeflow.compile import write_spec

    paths, expected = [], []
    for name in list_configs():
        data_set = find_data_set(load_config(name).data_set)
        data = tmp_path / data_set.name if data_set.list_classes else None
        if data and not data.exists():
            data_set.write_phantom(data, cases=12, seed=0)
        for target in ROOTS:
            path = tmp_path / f"{name}_{target}.yaml"
            write_spec(compile_spec(name, target=target, data=data), path, config=load_config(name))
            paths.append(path)
            expected.append(f"{load_config(name).name} 13")
    loaded = subprocess.run([kfp_python, "-c", LOAD, *paths], capture_output=True, text=True)
    assert loaded.returncode == 0, loaded.stderr
    assert loaded.stdout.splitlines() == expected


@pytest.mark.parametrize(("misspelt", "code"), [("cron_schedule", 0), ("cron_scedule", 1)])
def test_the_recurring_run_of_the_manifests_has_the_fields_of_kfps_own_api(
    kfp_python, tmp_path, misspelt, code
):
    text = (REPOSITORY / "kubeflow/manifests/recurring-run.yaml").read_text()
    (tmp_path / "run.yaml").write_text(text.replace("cron_schedule", misspelt))
    made = subprocess.run(
        [kfp_python, "-c", MAKE_RECURRING_RUN, tmp_path / "run.yaml"],
        capture_output=True,
        text=True,
    )
    assert made.returncode == code, made.stderr


def test_a_spec_read_back_has_its_tasks_parameters_and_volumes(demo, tmp_path):
    from kubeflow.compile import write_spec
    from kubeflow.spec import read_spec

    write_spec(demo, tmp_path / "demo.yaml", config=load_config("cmmd_demo"))
    spec = read_spec(tmp_path / "demo.yaml")
    assert spec.parameters == {"data_root": None, "previous": "", "split_file": ""}
    assert spec.tasks["Transform"].after == {"CaseExampleGen", "DataGate", "ImportSchemaGen"}
    assert spec.tasks["Trainer"].mounts == {"/data": "medimg-data", "/state": "medimg-state"}
    assert "&id" not in (tmp_path / "demo.yaml").read_text()


def test_equal_input_gives_an_equal_spec(demo):
    assert compile_spec("cmmd_demo") == demo


def test_only_what_looks_at_data_and_pushed_models_is_never_cached(demo):
    cached = {
        name
        for name, one in demo.pipeline["root"]["dag"]["tasks"].items()
        if one["cachingOptions"].get("enableCache")
    }
    assert set(demo.pipeline["components"]) - cached == {"Fingerprints"}


def test_the_catalogue_and_the_baseline_have_the_fingerprints_of_what_they_read_in_their_cache_key(demo):
    asked = task(demo, "Fingerprints")["inputs"]["parameters"]
    read = {
        "CatalogueGen": {"data_set", "data_root", "previous", "split_file", "index", "scan"},
        "BaselineModel": {"serving"},
    }
    for component, value in (("CatalogueGen", "data"), ("BaselineModel", "baseline")):
        given = dict(task(demo, component)["inputs"]["parameters"])
        assert "Fingerprints" in task(demo, component)["dependentTasks"]
        assert given.pop(value) == {
            "taskOutputParameter": {"producerTask": "Fingerprints", "outputParameterKey": value}
        }
        assert {name for name, source in given.items() if asked.get(name) == source} == read[component]
    assert set(asked) == read["CatalogueGen"] | read["BaselineModel"]


def test_a_spec_does_not_depend_on_the_machine_that_compiles_it(demo, monkeypatch):
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    assert compile_spec("cmmd_demo") == demo


def test_the_data_root_is_a_parameter_of_every_component_that_reads_it():
    documents = compile_spec("cmmd_demo", parameters=("data_root=/data/cmmd",))
    for component in ("Fingerprints", "CatalogueGen", "CaseExampleGen"):
        assert task(documents, component)["inputs"]["parameters"]["data_root"] == {
            "componentInputParameter": "data_root"
        }
    assert documents.pipeline["root"]["inputDefinitions"]["parameters"] == {
        "data_root": {"parameterType": "STRING", "defaultValue": "/data/cmmd", "isOptional": True},
        "previous": {"parameterType": "STRING", "defaultValue": "", "isOptional": True},
        "split_file": {"parameterType": "STRING", "defaultValue": "", "isOptional": True},
    }


def test_every_task_carries_its_name_the_versions_and_the_types_of_its_outputs(demo):
    from kubeflow.entrypoint import parse_arguments
    from kubeflow.versions import installed_versions

    for name in demo.pipeline["components"]:
        arguments, _ = parse_arguments(["--executor_class_path", "", *container(demo, name)["args"]])
        assert (arguments.component, arguments.compiled_with) == (name, installed_versions())
        assert json.loads(arguments.json_serialized_outputs_spec_args) == demo.pipeline["components"][
            name
        ].get("outputDefinitions", {})


def test_every_artifact_type_of_our_own_is_found_by_its_title(demo):
    import components

    titles = {
        yaml.safe_load(artifact["artifactType"]["instanceSchema"])["title"]
        for component in demo.pipeline["components"].values()
        for artifact in component.get("outputDefinitions", {}).get("artifacts", {}).values()
    }
    ours = {title for title in titles if not title.startswith("tfx.")}
    assert ours == {f"components.{name}" for name in components.ARTIFACTS}
    assert {getattr(components, title.partition(".")[2]).TYPE_NAME for title in ours} == ours


def test_the_schema_in_the_spec_is_the_one_of_a_local_run(demo, tmp_path):
    from pipeline.local.run_schema import write_schema

    local = write_schema(load_config("cmmd_demo"), data_root=tmp_path, to=tmp_path)
    uri = task(demo, "ImportSchemaGen")["inputs"]["parameters"]["schema_file"]["runtimeValue"]["constant"]
    assert base64.b64decode(uri.removeprefix("data:text/plain;base64,")) == local.read_bytes()


def test_a_component_gets_what_the_deployment_gives_it():
    trainer = {
        "cpu": 8,
        "memory_gb": 30,
        "gpus": 1,
        "node_selector": {"pool": "gpu"},
        "retries": 3,
        "cache": False,
    }
    documents = compile_spec(
        "cmmd_demo",
        f"deployment.components={json.dumps({'Trainer': trainer})}",
        'deployment.secrets=[{"name": "archive", "key": "token", "variable": "ARCHIVE_TOKEN"}]',
        images=(IMAGE, "gpu=registry.example/medimg-gpu:0.1.0", "Pusher=registry.example/medimg-own:0.1.0"),
    )
    assert container(documents, "Trainer")["resources"] == {
        "cpuLimit": 8.0,
        "memoryLimit": 30.0,
        "accelerator": {"type": "nvidia.com/gpu", "count": "1"},
    }
    assert container(documents, "Trainer")["image"] == "registry.example/medimg-gpu:0.1.0"
    assert container(documents, "Pusher")["image"] == "registry.example/medimg-own:0.1.0"
    assert container(documents, "Evaluator")["image"] == IMAGE
    assert task(documents, "Trainer")["retryPolicy"]["maxRetryCount"] == 3
    assert task(documents, "Trainer")["cachingOptions"] == {}
    executors = documents.platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert executors["Trainer_executor"]["nodeSelector"] == {"labels": {"pool": "gpu"}}
    assert "nodeSelector" not in executors["Pusher_executor"]
    assert executors["Pusher_executor"]["secretAsEnv"][0]["keyToEnv"] == [
        {"secretKey": "token", "envVar": "ARCHIVE_TOKEN"}
    ]


def test_a_config_that_needs_an_extra_runs_in_the_image_that_has_it():
    documents = compile_spec(
        "cmmd_demo",
        "deployment.extra=volumes",
        images=(IMAGE, "volumes=registry.example/medimg-volumes:0.1.0"),
    )
    images = {container(documents, name)["image"] for name in documents.pipeline["components"]}
    assert images == {"registry.example/medimg-volumes:0.1.0"}
    assert (
        compile_spec(
            "cmmd_demo", "deployment.extra=volumes", images=("volumes=registry.example/medimg-volumes:0.1.0",)
        )
        == documents
    )


def test_on_vertex_ai_state_lies_in_the_mounted_bucket_and_there_is_no_platform_document():
    documents = compile_spec("cmmd_demo", target="vertex")
    serving = task(documents, "BaselineModel")["inputs"]["parameters"]["serving"]["runtimeValue"]["constant"]
    assert serving == "/gcs/bucket/artifacts/state/cmmd-demo/models"
    assert documents.platform == {}


def test_the_deployment_is_no_part_of_the_experiment(demo):
    moved = compile_spec("cmmd_demo", "deployment.default.memory_gb=16", "deployment.service_account=other")
    assert task(moved, "ReportGen")["inputs"] == task(demo, "ReportGen")["inputs"]
