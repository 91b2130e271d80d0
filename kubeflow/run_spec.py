"""Executes a compiled spec without a cluster: each task in a process or container of its own, called as KFP's launcher calls it.

That is what is accepted or not: the very command lines, images and ExecutorInputs that a cluster would use.
URIs stay what they are (minio://bucket/key); their files lie where the launcher would have downloaded them
to, below a folder of ours that stands for the root of the file system. Unlike a launcher it copies nothing to
and from an object store and has no cache; unlike a cluster it ignores resources, retries and secrets.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Protocol

from rich.console import Console

from kubeflow.executor_input import list_artifacts
from kubeflow.spec import Spec, Task
from kubeflow.uris import FOLDERS, ROOT_VARIABLE, SCHEMES, is_uri, to_local
from medimg.console.terminal import make_console
from medimg.errors import MedimgError, UsageError

# Where the launcher expects the ExecutorOutput and the output parameters.
LAUNCHER_OUTPUT = "/tmp/kfp_outputs"
OUTPUT_FILE = "output_metadata.json"
CONTAINER_USER = "12345"
LAST_LINES = 3
# What Python and container engines say where an image lacks our package, or Python.
WITHOUT_US = ("No module named", "executable file not found")


class Engine(Protocol):
    """How a task's command becomes a process on this machine."""

    def output_folder(self, task: Task) -> str:
        """Where the launcher expects what is no artifact, as the task sees it."""

    def command(self, task: Task, command: Sequence[str], message: Mapping[str, Any]) -> list[str]:
        """What to start; `message` is the ExecutorInput that stands in the command."""

    def environment(self) -> dict[str, str]:
        """The environment of what is started."""


@dataclass(frozen=True)
class Home:
    """The folder of one execution: `artifacts` stands for the root of the file system, `tasks` has each task's output and log."""

    folder: Path

    @property
    def artifacts(self) -> Path:
        """What the launcher's folders (`minio`, `s3`, `gcs`) lie in."""
        return self.folder / "artifacts"

    def of(self, task: Task) -> Path:
        """The folder of one task."""
        return self.folder / "tasks" / task.name

    def log(self, task: Task) -> Path:
        """Everything that a task printed."""
        return self.folder / "tasks" / f"{task.name}.log"


@dataclass(frozen=True)
class Subprocesses:
    """Runs tasks with this Python. Mount paths of the spec must exist on this machine as they are."""

    home: Home

    def output_folder(self, task: Task) -> str:
        return str(self.home.of(task))

    def command(self, task: Task, command: Sequence[str], message: Mapping[str, Any]) -> list[str]:
        program, *arguments = command
        return [sys.executable if program == "python" else program, *arguments]

    def environment(self) -> dict[str, str]:
        return {**os.environ, ROOT_VARIABLE: str(self.home.artifacts)}


@dataclass(frozen=True)
class Containers:
    """Runs tasks in their images, as strangers: no network, a read-only root, a user that the image does not know.

    Of all artifacts a task sees its own alone: inputs that it cannot change, and an empty folder for its
    outputs.

    Attributes:
        program: docker or podman.
        volumes: folder of this machine by claim of the spec.
        more: further arguments of `run`.
    """

    home: Home
    program: str
    volumes: Mapping[str, Path] = field(default_factory=dict)
    more: tuple[str, ...] = ()

    def output_folder(self, task: Task) -> str:
        return LAUNCHER_OUTPUT

    def command(self, task: Task, command: Sequence[str], message: Mapping[str, Any]) -> list[str]:
        program, *arguments = command
        volumes = [f"{self.volumes[claim].resolve()}:{path}" for path, claim in task.mounts.items()]
        volumes += [f"{self.home.of(task)}:{LAUNCHER_OUTPUT}", *self.mount_artifacts(message)]
        return [
            *(
                self.program,
                "run",
                "--rm",
                "--network",
                "none",
                "--read-only",
                "--user",
                f"{CONTAINER_USER}:{CONTAINER_USER}",
            ),
            *("--cap-drop", "ALL", "--tmpfs", "/tmp", "--env", "HOME=/tmp", *self.more),
            *(part for volume in volumes for part in ("--volume", volume)),
            *("--entrypoint", program, task.image, *arguments),
        ]

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def mount_artifacts(self, message: Mapping[str, Any]) -> Iterator[str]:
        """The inputs, read only, and the task's own folder for outputs: a task may remove and make an output's folder, which a mount cannot be."""
        for _, artifact in list_artifacts(message, "inputs"):
            yield f"{self.find_local(artifact['uri'])}:{to_local(artifact['uri'])}:ro"
        for parent in {
            artifact["uri"].rpartition("/")[0] for _, artifact in list_artifacts(message, "outputs")
        }:
            make_open(self.find_local(parent))
            yield f"{self.find_local(parent)}:{to_local(parent)}"

    def find_local(self, uri: str) -> Path:
        """What stands for an artifact on this machine."""
        return Path(to_local(uri, root=str(self.home.artifacts)))


@dataclass
class Processes:
    """The tasks' processes that run now, so that a failure can end them."""

    running: set[subprocess.Popen[bytes]] = field(default_factory=set)
    lock: threading.Lock = field(default_factory=threading.Lock)
    stopped: bool = False

    def run(self, command: Sequence[str], *, log: Path, environment: Mapping[str, str]) -> int:
        """Runs to the end with all output in `log`; returns the exit code, negative for a signal."""
        with log.open("wb") as output:
            with self.lock:
                if self.stopped:
                    return -signal.SIGTERM
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    env=dict(environment),
                )
                self.running.add(process)
            try:
                return process.wait()
            finally:
                with self.lock:
                    self.running.discard(process)

    def stop(self) -> None:
        """Ends what runs and lets nothing more start."""
        with self.lock:
            self.stopped = True
            for process in self.running:
                process.terminate()


@dataclass(frozen=True)
class SpecOutcome:
    """What an execution came to: whether the model was blessed (None: not gated), and where it and the report lie."""

    blessed: bool | None
    pushed: str
    report: Path | None


@dataclass(frozen=True)
class Execution:
    """One execution of a spec: `folder` is the URI that its artifacts lie below, `outputs` and `values` what the finished tasks made.

    Both are by task and name: an artifact has `uri` and `metadata`, an output parameter is a text.
    """

    spec: Spec
    engine: Engine
    home: Home
    parameters: Mapping[str, Any]
    folder: str
    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    values: dict[str, dict[str, str]] = field(default_factory=dict)
    processes: Processes = field(default_factory=Processes)


def choose_engine(
    mode: str, home: Home, spec: Spec, *, program: str, volumes: Sequence[str], more: Sequence[str]
) -> Engine:
    """The engine of a mode.

    Raises UsageError for another mode or program, or a claim of the spec without a folder.
    """
    if mode == "subprocess":
        return Subprocesses(home)
    if mode != "container":
        raise UsageError(f"--mode {mode}: expected subprocess or container")
    if shutil.which(program) is None:
        raise UsageError(f"--engine {program}: not found on this machine, expected docker or podman")
    folders = {claim: Path(folder) for claim, _, folder in (text.partition("=") for text in volumes)}
    for claim in sorted({claim for task in spec.tasks.values() for claim in task.mounts.values()}):
        if not (claim in folders and folders[claim].is_dir()):
            raise UsageError(
                f"the spec mounts the claim {claim}: expected --volume {claim}=DIR with a folder of this machine"
            )
    return Containers(home, program, volumes=folders, more=tuple(more))


def execute_spec(
    spec: Spec,
    *,
    engine: Engine,
    home: Home,
    parameters: Mapping[str, Any],
    root: str = "",
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
    folder = make_folder(f"{(root or spec.root).rstrip('/')}/{spec.name}", home)
    execution = Execution(spec, engine, home, values, folder)
    run_tasks(execution, workers=workers, console=console or make_console())
    return collect(execution)


def make_folder(uri: str, home: Home) -> str:
    """The URI of this execution's artifacts, `<root>/<pipeline>/<number>`, with what stands for it on this machine made."""
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


def make_open(folder: Path) -> None:
    """Makes a folder that the user of a container can write to, whoever that is."""
    folder.mkdir(parents=True)
    folder.chmod(0o777)


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
                running |= {
                    pool.submit(run_task, execution.spec.tasks[name], execution): name
                    for name in order.get_ready()
                }
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    seconds, name = future.result(), running.pop(future)
                    console.print(
                        f"  {len(execution.outputs):>2}/{len(execution.spec.tasks):<4} {name:<18} {seconds:.1f} s",
                        highlight=False,
                    )
                    order.done(name)
        except BaseException:
            execution.processes.stop()
            raise


def run_task(task: Task, execution: Execution) -> float:
    """Runs one task and notes what it made; returns the seconds it took. Raises MedimgError if it fails."""
    started = time.monotonic()
    folder = execution.home.of(task)
    make_open(folder)
    message = build_input(task, execution)
    text = json.dumps(message)
    command = execution.engine.command(task, [part.replace("{{$}}", text) for part in task.command], message)
    log = execution.home.log(task)
    try:
        code = execution.processes.run(command, log=log, environment=execution.engine.environment())
    except OSError as error:
        raise MedimgError(f"{task.name}: {command[0]} cannot be started ({error.strerror})") from None
    if code:
        raise MedimgError(describe_failure(task, code, log))
    execution.outputs[task.name] = read_output(folder / OUTPUT_FILE, message)
    execution.values[task.name] = read_values(folder, task)
    return time.monotonic() - started


def build_input(task: Task, execution: Execution) -> dict[str, Any]:
    """The ExecutorInput that KFP's driver makes: parameters, input artifacts as upstream tasks left them, where outputs shall go.

    A store that does not know TFX's types hands artifacts over without one or as `system.Artifact`; here they
    take turns.
    """
    artifacts, folder = {}, execution.engine.output_folder(task)
    for number, (name, source) in enumerate(task.inputs.get("artifacts", {}).items()):
        origin = source["taskOutputArtifact"]
        made = execution.outputs[origin["producerTask"]][origin["outputArtifactKey"]]
        artifacts[name] = {
            "artifacts": [{**made, "type": {"schemaTitle": "system.Artifact"} if number % 2 else {}}]
        }
    return {
        "inputs": {
            "parameterValues": {
                name: find_value(source, execution)
                for name, source in task.inputs.get("parameters", {}).items()
            },
            "artifacts": artifacts,
        },
        "outputs": {
            "artifacts": {
                name: {
                    "artifacts": [
                        {
                            "uri": f"{execution.folder}/{task.name}/{name}",
                            "type": definition["artifactType"],
                            "metadata": {},
                        }
                    ]
                }
                for name, definition in task.definitions["output"].get("artifacts", {}).items()
            },
            "parameters": {
                name: {"outputFile": f"{folder}/{name}"}
                for name in task.definitions["output"].get("parameters", {})
            },
            "outputFile": f"{folder}/{OUTPUT_FILE}",
        },
    }


def find_value(source: Mapping[str, Any], execution: Execution) -> Any:
    """A task's parameter: a constant of the spec, one of the pipeline's parameters, or what another task found out."""
    if "componentInputParameter" in source:
        return execution.parameters[source["componentInputParameter"]]
    if origin := source.get("taskOutputParameter"):
        return execution.values[origin["producerTask"]][origin["outputParameterKey"]]
    return source["runtimeValue"]["constant"]


def read_output(file: Path, message: Mapping[str, Any]) -> dict[str, Any]:
    """The output artifacts as the launcher notes them: those that were asked for, with the metadata that the task wrote."""
    written = json.loads(file.read_text()).get("artifacts", {}) if file.exists() else {}
    outputs = {}
    for name, entry in message["outputs"]["artifacts"].items():
        (told,) = written.get(name, {}).get("artifacts", [{}])
        outputs[name] = {
            "uri": told.get("uri") or entry["artifacts"][0]["uri"],
            "metadata": told.get("metadata", {}),
        }
    return outputs


def read_values(folder: Path, task: Task) -> dict[str, str]:
    """The output parameters of a task. Raises MedimgError for one that it did not write."""
    values = {}
    for name in task.definitions["output"].get("parameters", {}):
        if not (folder / name).is_file():
            raise MedimgError(
                f"{task.name}: ended well and wrote no parameter {name}, expected the file {folder / name}"
            )
        values[name] = (folder / name).read_text()
    return values


def describe_failure(task: Task, code: int, log: Path) -> str:
    """Which task, how it ended, and its last lines; a line that our entrypoint wrote says it all."""
    ended = describe_end(code)
    lines = [line.strip() for line in log.read_text(errors="replace").splitlines() if line.strip()]
    if lines and lines[-1].startswith(f"error: {task.name}: "):
        return f"{lines[-1].removeprefix('error: ')} ({ended})"
    if lacking := [line for line in lines[-LAST_LINES:] if any(words in line for words in WITHOUT_US)]:
        return f"{task.name}: {ended}: {lacking[-1]}; {task.image} is no image of medimg-tfx"
    return f"{task.name}: {ended}; its last lines: {' | '.join(lines[-LAST_LINES:]) or 'none'} (the whole of it is in {log})"


def describe_end(code: int) -> str:
    """How a process ended.

    A container engine says 128 and the number of the signal for one that was killed.
    """
    if code < 0:
        return f"killed by {signal.Signals(-code).name}"
    killed_by = [one.name for one in signal.Signals if one == code - 128]
    return f"exit code {code}, killed by {killed_by[0]}" if killed_by else f"exit code {code}"


def collect(execution: Execution) -> SpecOutcome:
    """Blessing, pushed model and report, of those that the pipeline has."""

    def find(task: str, output: str) -> dict[str, Any]:
        found: dict[str, Any] = execution.outputs.get(task, {}).get(output, {})
        return found

    blessed = find("Evaluator", "blessing").get("metadata", {}).get("blessed")
    pushed = find("Pusher", "pushed_model").get("metadata", {})
    report = find("ReportGen", "report").get("uri")
    return SpecOutcome(
        blessed=None if blessed is None else bool(blessed),
        pushed=str(pushed.get("pushed_destination", "")) if pushed.get("pushed") else "",
        report=Path(to_local(report, root=str(execution.home.artifacts))) / "report.html" if report else None,
    )
