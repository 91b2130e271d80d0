"""What starts the tasks of a spec on this machine: processes of this Python, or containers."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from kubeflow.executor_input import list_artifacts
from kubeflow.spec import Spec, SpecTask
from kubeflow.uris import ROOT_VARIABLE, to_local
from medimg.errors import UsageError

# Where the launcher expects the ExecutorOutput and the output parameters.
LAUNCHER_OUTPUT = "/tmp/kfp_outputs"
CONTAINER_USER = "12345"


class Engine(Protocol):
    """How a task's command becomes a process on this machine."""

    @property
    def home(self) -> Home:
        """The folder of the execution."""

    def output_folder(self, task: SpecTask) -> str:
        """Where the launcher expects what is no artifact, as the task sees it."""

    def command(self, task: SpecTask, command: Sequence[str], message: Mapping[str, Any]) -> list[str]:
        """What to start; `message` is the ExecutorInput that stands in the command."""

    def environment(self) -> dict[str, str]:
        """The environment of what is started."""


@dataclass(frozen=True)
class Home:
    """The folder of one execution.

    `artifacts` stands for the root of the file system, `tasks` has each task's output and log.
    """

    folder: Path

    @property
    def artifacts(self) -> Path:
        """The folder of the launcher's folders `minio`, `s3` and `gcs`."""
        return self.folder / "artifacts"

    def of(self, task: SpecTask) -> Path:
        """The folder of one task."""
        return self.folder / "tasks" / task.name

    def log(self, task: SpecTask) -> Path:
        """Everything that a task printed."""
        return self.folder / "tasks" / f"{task.name}.log"


@dataclass(frozen=True)
class Subprocesses:
    """Runs tasks with this Python. Mount paths of the spec must exist on this machine as they are."""

    home: Home

    def output_folder(self, task: SpecTask) -> str:
        return str(self.home.of(task))

    def command(self, task: SpecTask, command: Sequence[str], message: Mapping[str, Any]) -> list[str]:
        program, *arguments = command
        return [sys.executable if program == "python" else program, *arguments]

    def environment(self) -> dict[str, str]:
        return {**os.environ, ROOT_VARIABLE: str(self.home.artifacts)}


@dataclass(frozen=True)
class Containers:
    """Runs tasks in their images: no network, a read-only root, a user that the image does not know.

    Of all artifacts a task sees its own alone: inputs that it cannot change, and an empty folder for its
    outputs.

    Attributes:
        program: docker or podman.
        volumes: folder of this machine by claim of the spec.
        arguments: further arguments of `run`.
    """

    home: Home
    program: str
    volumes: Mapping[str, Path] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()

    def output_folder(self, task: SpecTask) -> str:
        return LAUNCHER_OUTPUT

    def command(self, task: SpecTask, command: Sequence[str], message: Mapping[str, Any]) -> list[str]:
        program, *arguments = command
        volumes = [f"{self.volumes[claim].resolve()}:{path}" for path, claim in task.mounts.items()]
        volumes += [f"{self.home.of(task)}:{LAUNCHER_OUTPUT}", *self.mount_artifacts(message)]
        isolated = (
            "--rm",
            "--network",
            "none",
            "--read-only",
            "--user",
            f"{CONTAINER_USER}:{CONTAINER_USER}",
        )
        return [
            *(self.program, "run", *isolated),
            *("--cap-drop", "ALL", "--tmpfs", "/tmp", "--env", "HOME=/tmp", *self.arguments),
            *(part for volume in volumes for part in ("--volume", volume)),
            *("--entrypoint", program, task.image, *arguments),
        ]

    def environment(self) -> dict[str, str]:
        return dict(os.environ)

    def mount_artifacts(self, message: Mapping[str, Any]) -> Iterator[str]:
        """Yields the mounts of the inputs, read only, and of the task's own folder for outputs.

        It is one folder for all outputs because a task may remove and make an output's folder, which is not
        possible with a mount.
        """
        for _, artifact in list_artifacts(message, "inputs"):
            yield f"{self.find_local(artifact['uri'])}:{to_local(artifact['uri'])}:ro"
        parents = {artifact["uri"].rpartition("/")[0] for _, artifact in list_artifacts(message, "outputs")}
        for parent in parents:
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
class ContainerOptions:
    """What the command line says of containers.

    Attributes:
        program: docker or podman.
        volumes: `CLAIM=DIR`, the folder of this machine for a claim of the spec.
        arguments: further arguments of `run`.
    """

    program: str = "docker"
    volumes: tuple[str, ...] = ()
    arguments: tuple[str, ...] = ()


def choose_engine(mode: str, home: Home, spec: Spec, *, options: ContainerOptions) -> Engine:
    """Returns the engine of a mode.

    Raises:
        UsageError: another mode or program, or a claim of the spec without a folder.
    """
    if mode == "subprocess":
        return Subprocesses(home)
    if mode != "container":
        raise UsageError(f"--mode {mode}: expected subprocess or container")
    if shutil.which(options.program) is None:
        raise UsageError(f"--engine {options.program}: not found on this machine, expected docker or podman")
    folders = {}
    for text in options.volumes:
        claim, _, folder = text.partition("=")
        folders[claim] = Path(folder)
    for claim in sorted({claim for task in spec.tasks.values() for claim in task.mounts.values()}):
        if not (claim in folders and folders[claim].is_dir()):
            raise UsageError(
                f"the spec mounts the claim {claim}: "
                f"expected --volume {claim}=DIR with a folder of this machine"
            )
    return Containers(home, options.program, volumes=folders, arguments=options.arguments)


def make_open(folder: Path) -> None:
    """Makes a folder that any user of a container can write to."""
    folder.mkdir(parents=True)
    folder.chmod(0o777)
