"""Executes a compiled spec without a cluster, each task called as KFP's launcher calls it.

A task is one process or container, with the very command line, image and ExecutorInput that a cluster would
use: what fails here fails there. URIs stay what they are (minio://bucket/key); their files are where the
launcher would have downloaded them to, below a folder of ours that stands for the root of the file system.
Unlike a launcher it copies nothing to and from an object store and has no cache; unlike a cluster it ignores
resources, retries and secrets.
"""

from __future__ import annotations

import json
import shutil
import signal
import time
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any

from rich.console import Console

from kubeflow.engines import Engine, Home, Processes, make_open
from kubeflow.spec import Spec, SpecTask
from kubeflow.uris import FOLDERS, SCHEMES, is_uri, to_local
from medimg.console.terminal import make_console
from medimg.errors import MedimgError, UsageError

OUTPUT_FILE = "output_metadata.json"
LAST_LINES = 3
# What Python and container engines say where an image lacks our package, or Python.
WITHOUT_US = ("No module named", "executable file not found")


@dataclass(frozen=True)
class SpecOutcome:
    """The result of an execution: whether the model was blessed (None: not gated), its place, the report."""

    blessed: bool | None
    pushed: str
    report: Path | None


@dataclass(frozen=True)
class Execution:
    """One execution of a spec.

    Attributes:
        folder: URI of the folder of its artifacts.
        outputs, values: what the finished tasks made, by task and name: artifacts with `uri` and `metadata`,
            and output parameters as texts.
    """

    spec: Spec
    engine: Engine
    parameters: Mapping[str, Any]
    folder: str
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    processes: Processes = field(default_factory=Processes)


def execute_spec(
    spec: Spec,
    *,
    engine: Engine,
    parameters: Mapping[str, Any],
    workers: int = 2,
    console: Console | None = None,
) -> SpecOutcome:
    """Runs all tasks in the order of the DAG, at most `workers` at once.

    Raises:
        UsageError: a parameter has no value, or the root is no URI of an object store.
        MedimgError: nothing can be written below the root, or a task failed; the message has its exit code
            and last lines.
    """
    values = {**spec.parameters, **parameters}
    if missing := [name for name, value in values.items() if value is None]:
        raise UsageError(f"parameter {missing[0]} has no default: give --parameter {missing[0]}=VALUE")
    folder = make_folder(f"{spec.root.rstrip('/')}/{spec.name}", engine.home)
    execution = Execution(spec, engine, values, folder)
    run_tasks(execution, workers=workers, console=console or make_console())
    return collect(execution)


def make_folder(uri: str, home: Home) -> str:
    """Makes the folder of this execution's artifacts on this machine.

    Returns its URI, `<root>/<pipeline>/<number>`.

    Raises:
        UsageError: `uri` is no URI of an object store.
        MedimgError: the folder cannot be written.
    """
    if not is_uri(uri):
        raise UsageError(f"root {uri}: expected a URI that starts with one of {SCHEMES}")
    local = Path(to_local(uri, root=str(home.artifacts)))
    try:
        for name in FOLDERS.values():
            (home.artifacts / name).mkdir(parents=True, exist_ok=True)
        local.mkdir(parents=True, exist_ok=True)
        number = 1 + max((int(path.name) for path in local.iterdir() if path.name.isdigit()), default=0)
        make_open(local / str(number))
        shutil.rmtree(home.folder / "tasks", ignore_errors=True)
    except OSError as error:
        raise MedimgError(f"root {uri} cannot be written ({error.filename}: {error.strerror})") from None
    return f"{uri}/{number}"


def run_tasks(execution: Execution, *, workers: int, console: Console) -> None:
    """Starts each task as soon as those before it have ended, with a line for each that has.

    The first failure ends the others.
    """
    order = TopologicalSorter({name: task.after for name, task in execution.spec.tasks.items()})
    order.prepare()
    running: dict[Future[float], str] = {}
    with ThreadPoolExecutor(workers) as pool:
        try:
            while order.is_active():
                for name in order.get_ready():
                    running[pool.submit(run_task, execution.spec.tasks[name], execution)] = name
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    seconds, name = future.result(), running.pop(future)
                    done = f"{len(execution.outputs):>2}/{len(execution.spec.tasks):<4}"
                    console.print(f"  {done} {name:<18} {seconds:.1f} s", highlight=False)
                    order.done(name)
        except BaseException:
            execution.processes.stop()
            raise


def run_task(task: SpecTask, execution: Execution) -> float:
    """Runs one task and notes what it made; returns the seconds it took. Raises MedimgError if it fails."""
    started = time.monotonic()
    home = execution.engine.home
    folder = home.of(task)
    make_open(folder)
    message = build_input(task, execution)
    text = json.dumps(message)
    command = execution.engine.command(task, [part.replace("{{$}}", text) for part in task.command], message)
    log = home.log(task)
    try:
        code = execution.processes.run(command, log=log, environment=execution.engine.environment())
    except OSError as error:
        raise MedimgError(f"{task.name}: {command[0]} cannot be started ({error.strerror})") from None
    if code:
        raise MedimgError(describe_failure(task, code, log))
    execution.outputs[task.name] = read_output(folder / OUTPUT_FILE, message)
    execution.values[task.name] = read_values(folder, task)
    return time.monotonic() - started


def build_input(task: SpecTask, execution: Execution) -> dict[str, Any]:
    """Makes the ExecutorInput as KFP's driver does.

    It has parameters, input artifacts as upstream tasks left them, and where outputs shall go.

    A store that does not know TFX's types hands artifacts over without one or as `system.Artifact`; here they
    take turns.
    """
    artifacts, folder = {}, execution.engine.output_folder(task)
    for number, (name, source) in enumerate(task.inputs.get("artifacts", {}).items()):
        origin = source["taskOutputArtifact"]
        artifact = execution.outputs[origin["producerTask"]][origin["outputArtifactKey"]]
        kind = {"schemaTitle": "system.Artifact"} if number % 2 else {}
        artifacts[name] = {"artifacts": [{**artifact, "type": kind}]}
    parameters = {
        name: find_value(source, execution) for name, source in task.inputs.get("parameters", {}).items()
    }
    defined, made = task.definitions["output"], {}
    for name, definition in defined.get("artifacts", {}).items():
        uri = f"{execution.folder}/{task.name}/{name}"
        made[name] = {"artifacts": [{"uri": uri, "type": definition["artifactType"], "metadata": {}}]}
    return {
        "inputs": {"parameterValues": parameters, "artifacts": artifacts},
        "outputs": {
            "artifacts": made,
            "parameters": {
                name: {"outputFile": f"{folder}/{name}"} for name in defined.get("parameters", {})
            },
            "outputFile": f"{folder}/{OUTPUT_FILE}",
        },
    }


def find_value(source: Mapping[str, Any], execution: Execution) -> Any:
    """Returns the value of a task's parameter.

    It is a constant of the spec, one of the pipeline's parameters, or the output parameter of another task.
    """
    if "componentInputParameter" in source:
        return execution.parameters[source["componentInputParameter"]]
    if origin := source.get("taskOutputParameter"):
        return execution.values[origin["producerTask"]][origin["outputParameterKey"]]
    return source["runtimeValue"]["constant"]


def read_output(file: Path, message: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the output artifacts as the launcher notes them.

    They are those that were asked for, with the metadata that the task wrote.
    """
    written = json.loads(file.read_text()).get("artifacts", {}) if file.exists() else {}
    outputs = {}
    for name, entry in message["outputs"]["artifacts"].items():
        (artifact,) = written.get(name, {}).get("artifacts", [{}])
        outputs[name] = {
            "uri": artifact.get("uri") or entry["artifacts"][0]["uri"],
            "metadata": artifact.get("metadata", {}),
        }
    return outputs


def read_values(folder: Path, task: SpecTask) -> dict[str, str]:
    """The output parameters of a task. Raises MedimgError for one that it did not write."""
    values = {}
    for name in task.definitions["output"].get("parameters", {}):
        if not (folder / name).is_file():
            raise MedimgError(
                f"{task.name}: ended well and wrote no parameter {name}, expected the file {folder / name}"
            )
        values[name] = (folder / name).read_text()
    return values


def describe_failure(task: SpecTask, code: int, log: Path) -> str:
    """Which task, how it ended, and its last lines; a line that our entrypoint wrote says it all."""
    ended = describe_end(code)
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    if lines and lines[-1].startswith(f"error: {task.name}: "):
        return f"{lines[-1].removeprefix('error: ')} ({ended})"
    last = lines[-LAST_LINES:]
    for line in reversed(last):
        if any(words in line for words in WITHOUT_US):
            return f"{task.name}: {ended}: {line}; {task.image} is no image of medimg-tfx"
    return f"{task.name}: {ended}; its last lines: {' | '.join(last) or 'none'} (the whole of it is in {log})"


def describe_end(code: int) -> str:
    """How a process ended.

    A container engine says 128 and the number of the signal for one that was killed.
    """
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    killed_by = [one.name for one in signal.Signals if one == code - 128]
    return f"exit code {code}, killed by {killed_by[0]}" if killed_by else f"exit code {code}"


def collect(execution: Execution) -> SpecOutcome:
    """Returns blessing, pushed model and report, of those that the pipeline has."""

    def find(task: str, output: str) -> dict[str, Any]:
        found: dict[str, Any] = execution.outputs.get(task, {}).get(output, {})
        return found

    blessed = find("Evaluator", "blessing").get("metadata", {}).get("blessed")
    pushed = find("Pusher", "pushed_model").get("metadata", {})
    report = find("ReportGen", "report").get("uri")
    return SpecOutcome(
        blessed=None if blessed is None else bool(blessed),
        pushed=str(pushed.get("pushed_destination", "")) if pushed.get("pushed") else "",
        report=Path(to_local(report, root=str(execution.engine.home.artifacts))) / "report.html"
        if report
        else None,
    )
