"""A spec's tasks run in the order of the DAG, side by side where it allows.

The first failure ends the run and says why.

The tasks here are small Python programs, started as real processes: what they are handed is what a component
is handed.
"""

from __future__ import annotations

import dataclasses
import io
import json
import os

import pytest
import yaml
from rich.console import Console

from kubeflow.engines import ContainerOptions, Containers, Home, Subprocesses, choose_engine
from kubeflow.run_spec import Execution as SpecExecution
from kubeflow.run_spec import build_input, execute_spec
from kubeflow.spec import parse_parameters, read_spec
from medimg.errors import MedimgError, UsageError

MADE_BY_SECOND = "run/artifacts/minio/bucket/root/tiny/1/Second/made/value"
# Writes its parameter into its output, notes the ExecutorInput, and answers with metadata.
WRITE = """
import json, os, pathlib, sys
message = json.loads(sys.argv[1])
for entry in message["outputs"]["artifacts"].values():
    local = entry["artifacts"][0]["uri"].replace("minio:/", "/minio")
    path = pathlib.Path(os.environ["ARTIFACT_LOCAL_PATH"] + local)
    path.mkdir(parents=True)
    (path / "value").write_text(json.dumps(message["inputs"]))
made = {"artifacts": [{"metadata": {"blessed": 1.0}}]}
answer = {"artifacts": dict.fromkeys(message["outputs"]["artifacts"], made)}
pathlib.Path(message["outputs"]["outputFile"]).write_text(json.dumps(answer))
"""


def write_spec(path, tasks, *, mounts=(), **changes):
    """A spec in which each task has one output `made`, and takes those of the tasks that it comes after."""
    executors, components, dag = {}, {}, {}
    for name, (program, after) in tasks.items():
        executors[f"{name}_executor"] = {
            "container": {
                "image": "registry/medimg:1",
                "command": ["python", "-c", program],
                "args": ["{{$}}"],
            }
        }
        components[name] = {
            "executorLabel": f"{name}_executor",
            "outputDefinitions": {
                "artifacts": {"made": {"artifactType": {"instanceSchema": "title: tfx.Model\n"}}}
            },
        }
        dag[name] = {
            "componentRef": {"name": name},
            "dependentTasks": list(after),
            "inputs": {
                "parameters": {
                    "data_root": {"componentInputParameter": "data_root"},
                    "seed": {"runtimeValue": {"constant": 7.0}},
                },
                "artifacts": {
                    f"from_{one}": {"taskOutputArtifact": {"producerTask": one, "outputArtifactKey": "made"}}
                    for one in after
                },
            },
        }
    pipeline = {
        "schemaVersion": "2.1.0",
        "pipelineInfo": {"name": "tiny"},
        "defaultPipelineRoot": "minio://bucket/root",
        "components": components,
        "deploymentSpec": {"executors": executors},
        "root": {
            "dag": {"tasks": dag},
            "inputDefinitions": {"parameters": {"data_root": {"parameterType": "STRING"}}},
        },
        **changes,
    }
    pvc = [{"constant": claim, "mountPath": path} for claim, path in mounts]
    platform = {
        "platforms": {
            "kubernetes": {"deploymentSpec": {"executors": {name: {"pvcMount": pvc} for name in executors}}}
        }
    }
    path.write_text(yaml.safe_dump_all([pipeline, platform]))
    return read_spec(path)


def execute(spec, folder, *, workers=2, **more):
    """Runs in processes; returns the outcome and what was printed."""
    printed = io.StringIO()
    parameters = more.pop("parameters", {"data_root": "/data"})
    outcome = execute_spec(
        spec,
        engine=Subprocesses(Home(folder / "run")),
        parameters=parameters,
        workers=workers,
        console=Console(file=printed),
        **more,
    )
    return outcome, printed.getvalue()


def test_a_task_gets_parameters_and_the_artifacts_of_those_before_it(tmp_path):
    spec = write_spec(tmp_path / "spec.yaml", {"First": (WRITE, ()), "Second": (WRITE, ("First",))})
    _, printed = execute(spec, tmp_path)
    made = tmp_path / MADE_BY_SECOND
    assert json.loads(made.read_text()) == {
        "parameterValues": {"data_root": "/data", "seed": 7.0},
        "artifacts": {
            "from_First": {
                "artifacts": [
                    {"uri": "minio://bucket/root/tiny/1/First/made", "metadata": {"blessed": 1.0}, "type": {}}
                ]
            },
        },
    }
    assert [line.split()[1] for line in printed.splitlines()] == ["First", "Second"]


def test_artifacts_come_without_a_type_or_as_system_artifact(tmp_path):
    spec = write_spec(tmp_path / "spec.yaml", {"A": (WRITE, ()), "B": (WRITE, ()), "C": (WRITE, ("A", "B"))})
    execution = SpecExecution(spec, Subprocesses(Home(tmp_path)), {"data_root": ""}, "minio://bucket/1")
    execution.outputs.update(
        {name: {"made": {"uri": f"minio://bucket/1/{name}/made", "metadata": {}}} for name in "AB"}
    )
    types = [
        entry["artifacts"][0]["type"]
        for entry in build_input(spec.tasks["C"], execution)["inputs"]["artifacts"].values()
    ]
    assert types == [{}, {"schemaTitle": "system.Artifact"}]


def test_tasks_that_do_not_need_each_other_run_side_by_side(tmp_path):
    # Each ends only once the other has begun.
    meet = "import pathlib, time; here, there = (pathlib.Path({!r}, name) for name in {!r}); here.touch()\n"
    meet += "while not there.exists(): time.sleep(0.05)"
    first, second = (meet.format(str(tmp_path), names) for names in ("ab", "ba"))
    spec = write_spec(tmp_path / "spec.yaml", {"A": (first, ()), "B": (second, ()), "C": ("", ("A", "B"))})
    _, printed = execute(spec, tmp_path)
    assert len(printed.splitlines()) == 3


def test_a_second_execution_leaves_the_first_ones_artifacts(tmp_path):
    spec = write_spec(tmp_path / "spec.yaml", {"First": (WRITE, ())})
    execute(spec, tmp_path)
    execute(spec, tmp_path)
    assert sorted(path.name for path in (tmp_path / "run/artifacts/minio/bucket/root/tiny").iterdir()) == [
        "1",
        "2",
    ]


def test_blessing_report_and_pushed_model_are_what_the_tasks_wrote(tmp_path):
    outcome, _ = execute(write_spec(tmp_path / "spec.yaml", {"First": (WRITE, ())}), tmp_path)
    assert (outcome.blessed, outcome.pushed, outcome.report) == (None, "", None)


@pytest.mark.parametrize(
    ("text", "ended"),
    [("'5'", None), ("None", "First: ended well and wrote no parameter count, expected the file")],
)
def test_what_a_task_finds_out_is_a_parameter_of_those_after_it(tmp_path, text, ended):
    find = f"import json, pathlib, sys; text = {text}; outputs = json.loads(sys.argv[1])['outputs']"
    find += "; text and pathlib.Path(outputs['parameters']['count']['outputFile']).write_text(text)"
    path = tmp_path / "spec.yaml"
    write_spec(path, {"First": (find, ()), "Second": (WRITE, ("First",))})
    pipeline, platform = yaml.safe_load_all(path.read_text())
    pipeline["components"]["First"]["outputDefinitions"] = {
        "parameters": {"count": {"parameterType": "STRING"}}
    }
    source = {"taskOutputParameter": {"producerTask": "First", "outputParameterKey": "count"}}
    pipeline["root"]["dag"]["tasks"]["Second"]["inputs"] = {"parameters": {"count": source}}
    path.write_text(yaml.safe_dump_all([pipeline, platform]))
    if ended:
        with pytest.raises(MedimgError, match=ended):
            execute(read_spec(path), tmp_path)
        return
    execute(read_spec(path), tmp_path)
    made = tmp_path / MADE_BY_SECOND
    assert json.loads(made.read_text())["parameterValues"] == {"count": "5"}


@pytest.mark.parametrize(
    ("program", "words"),
    [
        (
            "print('one'); print('two'); raise SystemExit(7)",
            "Dies: exit code 7; its last lines: one | two (the whole of it is in ",
        ),
        ("import os; os.kill(os.getpid(), 9)", "Dies: killed by SIGKILL; its last lines: none"),
        ("raise SystemExit(137)", "Dies: exit code 137, killed by SIGKILL; its last lines: none"),
        ("import sys; sys.exit('error: Dies: a.dcm: no pixels')", "Dies: a.dcm: no pixels (exit code 1)"),
        (
            "import runpy; runpy.run_module('kubeflow_absent')",
            "No module named kubeflow_absent; registry/medimg:1 is no image of medimg-tfx",
        ),
    ],
)
def test_a_task_that_dies_is_named_with_exit_code_and_last_lines(tmp_path, program, words):
    spec = write_spec(tmp_path / "spec.yaml", {"Dies": (program, ()), "Never": (WRITE, ("Dies",))})
    with pytest.raises(MedimgError) as caught:
        execute(spec, tmp_path)
    assert words in str(caught.value)
    assert not (tmp_path / "run" / "tasks" / "Never.log").exists()


def test_a_failure_ends_the_tasks_that_still_run(tmp_path):
    begun, noted = tmp_path / "begun", tmp_path / "noted"
    long = f"import os, pathlib, time; pathlib.Path({str(noted)!r}).write_text(str(os.getpid()))\n"
    long += f"os.rename({str(noted)!r}, {str(begun)!r}); time.sleep(1_000_000)"
    dies = f"import os, time\nwhile not os.path.exists({str(begun)!r}): time.sleep(0.05)\nraise SystemExit(1)"
    spec = write_spec(tmp_path / "spec.yaml", {"Dies": (dies, ()), "Long": (long, ())})
    with pytest.raises(MedimgError, match="Dies: exit code 1"):
        execute(spec, tmp_path)
    with pytest.raises(ProcessLookupError):
        os.kill(int(begun.read_text()), 0)


def test_a_root_that_no_one_can_write_is_named(tmp_path):
    spec = write_spec(tmp_path / "spec.yaml", {"First": (WRITE, ())})
    (tmp_path / "run" / "artifacts").mkdir(parents=True)
    (tmp_path / "run" / "artifacts" / "minio").write_text("a file where the bucket should be")
    with pytest.raises(
        MedimgError, match=r"root minio://bucket/root/tiny cannot be written \(.*: File exists\)"
    ):
        execute(spec, tmp_path)


def test_what_is_missing_or_wrong_is_said_before_anything_runs(tmp_path):
    spec = write_spec(tmp_path / "spec.yaml", {"First": (WRITE, ())})
    with pytest.raises(UsageError, match="parameter data_root has no default"):
        execute(spec, tmp_path, parameters={})
    elsewhere = dataclasses.replace(spec, root="/local/folder")
    with pytest.raises(UsageError, match="expected a URI that starts with one of gs://, minio://, s3://"):
        execute(elsewhere, tmp_path)


@pytest.mark.parametrize("content", ["", "a: [", "schemaVersion: 2.0.0", "{pipelineSpec: {}}", "- 1"])
def test_a_file_that_is_no_spec_is_refused(tmp_path, content):
    (tmp_path / "spec.yaml").write_text(content)
    with pytest.raises(UsageError, match=r"spec.yaml: .*expected a"):
        read_spec(tmp_path / "spec.yaml")


def test_an_unknown_parameter_is_refused_with_the_nearest():
    with pytest.raises(UsageError, match="--parameter data_rot: no such parameter; did you mean 'data_root'"):
        parse_parameters(["data_rot=/data"], known=["data_root"])
    with pytest.raises(UsageError, match="expected name=value"):
        parse_parameters(["data_root"], known=["data_root"])


def test_a_container_is_a_stranger_without_network_that_sees_only_its_mounts(tmp_path):
    spec = write_spec(tmp_path / "spec.yaml", {"First": (WRITE, ())}, mounts=[("medimg-data", "/data")])
    home = Home(tmp_path / "run")
    message = {
        "inputs": {"artifacts": {"from": {"artifacts": [{"uri": "minio://bucket/1/Before/made"}]}}},
        "outputs": {"artifacts": {"made": {"artifacts": [{"uri": "s3://bucket/1/First/made"}]}}},
    }
    engine = Containers(
        home, "docker", volumes={"medimg-data": tmp_path / "raw"}, arguments=("--memory", "8g")
    )
    command = engine.command(spec.tasks["First"], ["python", "-m", "kubeflow.entrypoint", "{}"], message)
    assert command[:9] == [
        "docker",
        "run",
        "--rm",
        "--network",
        "none",
        "--read-only",
        "--user",
        "12345:12345",
        "--cap-drop",
    ]
    assert command[-6:] == ["--entrypoint", "python", "registry/medimg:1", "-m", "kubeflow.entrypoint", "{}"]
    volumes = [command[place + 1] for place, part in enumerate(command) if part == "--volume"]
    assert volumes == [
        f"{tmp_path}/raw:/data",
        f"{tmp_path}/run/tasks/First:/tmp/kfp_outputs",
        f"{tmp_path}/run/artifacts/minio/bucket/1/Before/made:/minio/bucket/1/Before/made:ro",
        f"{tmp_path}/run/artifacts/s3/bucket/1/First:/s3/bucket/1/First",
    ]
    # Whoever the container runs as: it can write there.
    assert (tmp_path / "run/artifacts/s3/bucket/1/First").stat().st_mode & 0o777 == 0o777
    assert command[command.index("--memory") + 1] == "8g"
    assert engine.output_folder(spec.tasks["First"]) == "/tmp/kfp_outputs"


@pytest.mark.parametrize(
    ("mode", "program", "words"),
    [
        ("cluster", "docker", "--mode cluster: expected subprocess or container"),
        ("container", "no-such-engine", "--engine no-such-engine: not found"),
        ("container", "true", r"expected --volume medimg-data=DIR"),
    ],
)
def test_a_mode_that_cannot_be_is_refused(tmp_path, mode, program, words):
    spec = write_spec(tmp_path / "spec.yaml", {"First": (WRITE, ())}, mounts=[("medimg-data", "/data")])
    with pytest.raises(UsageError, match=words):
        choose_engine(mode, Home(tmp_path), spec, options=ContainerOptions(program))
