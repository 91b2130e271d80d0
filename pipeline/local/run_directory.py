"""A run's directory: whose it is, who works there now, where its metadata are, and what came of it."""

from __future__ import annotations

import dataclasses
import json
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout
from rich.console import Console

from medimg.console.terminal import say
from medimg.errors import UsageError
from medimg.files import replace_file
from pipeline.config.overrides import to_plain
from pipeline.config.places import RunRequest
from pipeline.config.run_config import RunConfig
from pipeline.metadata.store import parse_database, resolve_store

RUN_FILE = "run.json"
LOCK_FILE = "run.lock"
STORE_FILE = "metadata.sqlite"
SEARCHED = "searched"
"""State of a directory in which a search has ended (pipeline.experiments.tuning), and no run since."""


@dataclass(frozen=True)
class RunOutcome:
    """What a run came to. Paths are relative to the run's directory.

    Attributes:
        blessed: True, False, or None where nothing was gated.
        failed_gates: one line each.
        quarantined: images that could not be used, of the catalogue and of decoding.
    """

    blessed: bool | None
    failed_gates: tuple[str, ...]
    quarantined: int
    catalogue: str
    model: str
    pushed: str
    report: str


def make_directory(to: Path) -> Path:
    """The directory of a run, made if it is not there; UsageError for one that holds something else."""
    run = to.resolve()
    if (
        run.is_dir()
        and any(run.iterdir())
        and not any((run / name).exists() for name in (RUN_FILE, LOCK_FILE))
    ):
        raise UsageError(f"{run} is not empty and holds no {RUN_FILE}; choose another --to")
    run.mkdir(parents=True, exist_ok=True)
    return run


def claim_directory(
    run: Path,
    config: RunConfig,
    metadata: str | None = None,
    *,
    parent: Path | None = None,
    folds: Sequence[str] = (),
) -> dict[str, Any]:
    """Makes the directory this config's, or checks that it is. Returns its `run.json`.

    `folds` are the directories, from this one, of a cross-validation's folds; `parent` is the
    cross-validation's, where this one is a fold's.
    """
    metadata = metadata and resolve_store(metadata)
    if not (run / RUN_FILE).exists():
        store = metadata or (os.path.relpath(parent / STORE_FILE, run) if parent else STORE_FILE)
        # In a store that runs share each needs a name of its own, which stays when its directory is moved.
        name = config.name if store == STORE_FILE else f"{config.name}-{uuid.uuid4().hex[:8]}"
        of_folds = {"folds": list(folds)} if folds else {}
        write_json(
            run / RUN_FILE,
            {"config": to_plain(config), "state": "started", "store": store, "pipeline": name, **of_folds},
        )
    known = read_run_file(run)
    if (count := len(known.get("folds", ()))) != len(folds):
        wanted = f"--folds {count}" if count else "no --folds"
        raise UsageError(f"{run} belongs to a run with {wanted}; choose another --to")
    if (known["config"]["name"], known["config"]["data_set"]) != (config.name, config.data_set):
        raise UsageError(
            f"{run} belongs to config {known['config']['name']} ({known['config']['data_set']}), "
            f"not to {config.name}; choose another --to"
        )
    if metadata and metadata != known["store"]:
        raise UsageError(
            f"{run} keeps its metadata in {known['store']}, not in {metadata}; "
            "choose another --to, or leave --metadata out"
        )
    return known


def locate_store(run: Path, store: str) -> str:
    """The URI of the store that `run.json` names: a file, from the run's directory, or a database."""
    return store if parse_database(store) else str(run / store)


@contextmanager
def run_lock(run: Path, console: Console) -> Iterator[None]:
    """One run at a time per directory and its SQLite store, which two writers at once can break.

    A second one says so and waits.
    """
    with file_lock(run / LOCK_FILE, console, what=run):
        yield


@contextmanager
def store_lock(run: Path, store: str, console: Console) -> Iterator[None]:
    """The same for a SQLite store that runs share; a database takes several writers."""
    if parse_database(store) or store == STORE_FILE:
        yield
        return
    path = Path(locate_store(run, store))
    if not path.parent.is_dir():
        raise UsageError(f"--metadata {path}: no folder {path.parent}, expected one for the SQLite file")
    with file_lock(path.with_name(f"{path.name}.lock"), console, what=path):
        yield


@contextmanager
def file_lock(path: Path, console: Console, *, what: Path) -> Iterator[None]:
    """Holds a lock file; says what it waits for, if another holds it."""
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        say(console, f"another run is using {what}; waiting for it to end")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def relative(uri: str, run: Path) -> str:
    """A path below the run's directory without that directory, so that the run can be moved."""
    return os.path.relpath(uri, run)


def write_run_file(
    run: Path,
    config: RunConfig,
    request: RunRequest,
    *,
    outcome: RunOutcome,
    facts: Mapping[str, Any],
) -> None:
    """Writes `run.json`, which names config, store, catalogue, model and report of a finished run.

    `facts` are of `claim_directory`.
    """
    write_json(
        run / RUN_FILE,
        {
            **facts,
            "config": to_plain(config),
            "state": "finished",
            "data_root": os.path.relpath(request.data_root.resolve(), run),
            "previous": os.path.relpath(request.previous.resolve(), run) if request.previous else "",
            "split_file": os.path.relpath(request.split_file.resolve(), run) if request.split_file else "",
            **dataclasses.asdict(outcome),
        },
    )


def read_run_file(run: Path) -> dict[str, Any]:
    """The run's `run.json`. Raises UsageError where there is none."""
    try:
        content: dict[str, Any] = json.loads((run / RUN_FILE).read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise UsageError(
            f"{run} is not a run: {RUN_FILE} cannot be read ({error.__class__.__name__})"
        ) from None
    return content


def read_finished_run(run: Path, *, searched: bool = False) -> dict[str, Any]:
    """The `run.json` of a finished run; with `searched` one of a finished search will do.

    Raises UsageError for what is none.
    """
    content = read_run_file(run)
    if content["state"] not in ("finished", *([SEARCHED] if searched else [])):
        raise UsageError(f"{run}: the run has not finished")
    return content


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Writes whole or not at all."""
    replace_file(path, write=lambda temporary: temporary.write_text(json.dumps(content, indent=1)))


def find_store(run: Path, facts: Mapping[str, Any], metadata: str | None) -> str:
    """Finds the store to ask about a run, as `store_lock` and `locate_store` take it.

    It is `metadata`, or the one that its `run.json` (`facts`) names.

    Raises:
        UsageError: a SQLite file that is not there. Opening it would make an empty one, which has seen no
            patient.
    """
    where = resolve_store(metadata) if metadata else facts["store"]
    if not (parse_database(where) or Path(locate_store(run, where)).is_file()):
        raise UsageError(
            f"{locate_store(run, where)}: no such file, "
            f"expected the store of ML Metadata that {run} was run with"
        )
    return where


def explain_stranger(run: Path, store: str) -> str:
    """The line for a store that has not seen a finished run."""
    return f"{locate_store(run, store)} knows nothing of {run}; expected the store that it was run with"
