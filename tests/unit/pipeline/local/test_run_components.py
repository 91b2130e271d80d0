"""The components of a run: how many there are, which one failed, and with what kind of error."""

from __future__ import annotations

import dataclasses
import errno
import io
import logging
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest
from rich.console import Console

from medimg.errors import DiskFull, MedimgError, UsageError
from pipeline.beam.flags import parse_beam
from pipeline.cache_keys import CodeFingerprints, Fingerprints
from pipeline.config.overrides import load_config
from pipeline.config.places import Places
from pipeline.config.run_config import RunConfig
from pipeline.local.run import OpenRun, run_components

FINGERPRINTS = Fingerprints("data", "", "schema", "", CodeFingerprints(*"abcdefgh"))
FLINK = parse_beam("flink://host:1")
NAMES = ("CatalogueGen", "Transform", "Trainer")
Fail = Callable[[], None]


class Tfx:
    """Stands in for TFX: logs what its runner does, up to the node asked for, where it fails if told to."""

    def __init__(self) -> None:
        self.fail: Fail = lambda: None
        self.reported: list[Path] = []
        self.made: list[tuple[RunConfig, object, object]] = []

    def create_pipeline(self, config: RunConfig, places: object, fingerprints: object) -> SimpleNamespace:
        self.made.append((config, places, fingerprints))
        return SimpleNamespace(components=[SimpleNamespace(id=name) for name in NAMES])

    def run(self, dag: SimpleNamespace, run_options: SimpleNamespace | None) -> None:
        log = logging.getLogger("absl")
        log.info("connection with password word-of-the-store")
        last = run_options.to_nodes[0] if run_options else NAMES[-1]
        for name in NAMES[: NAMES.index(last) + 1]:
            log.info("Component %s is running.", name)
            if name == last:
                self.fail()
            log.info("Component %s is finished.", name)


@pytest.fixture
def tfx(monkeypatch: pytest.MonkeyPatch) -> Tfx:
    stand_in = Tfx()
    modules: dict[str, dict[str, object]] = {
        "tfx.orchestration.local.local_dag_runner": {"LocalDagRunner": lambda: stand_in},
        "tfx.orchestration.pipeline": {"RunOptions": SimpleNamespace},
        "pipeline.pipeline": {"create_pipeline": stand_in.create_pipeline},
    }
    for name, values in modules.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(
        "pipeline.local.run.report_anomalies", lambda run, console: stand_in.reported.append(run.folder)
    )
    return stand_in


@pytest.fixture
def opened(tmp_path: Path) -> OpenRun:
    return OpenRun(tmp_path, load_config("cmmd_demo"), Places("", "", "", "", "", "", ""), {})


def printed() -> Console:
    return Console(file=io.StringIO(), width=300)


@pytest.mark.parametrize(
    ("last", "lines"),
    [
        (None, ["1/3 CatalogueGen", "2/3 Transform", "3/3 Trainer"]),
        ("Transform", ["1/2 CatalogueGen", "2/2 Transform"]),
        ("CatalogueGen", ["1/1 CatalogueGen"]),
    ],
)
def test_components_are_counted_up_to_the_last_one_that_is_asked_for(
    opened: OpenRun, tfx: Tfx, last: str | None, lines: list[str]
) -> None:
    console = printed()
    places = dataclasses.replace(opened.places, metadata_password="word-of-the-store")
    run = dataclasses.replace(opened, places=places)
    run_components(run, FINGERPRINTS, console=console, last=last)
    assert isinstance(console.file, io.StringIO)
    assert [" ".join(line.split()[:2]) for line in console.file.getvalue().splitlines()] == lines
    assert tfx.made == [(run.config, places, FINGERPRINTS)]
    assert tfx.reported == [opened.folder]
    assert "connection with password ***" in (run.folder / "run.log").read_text()


def caused(*errors: BaseException) -> BaseException:
    """The first error, each raised because of the next."""
    for error, cause in pairwise(errors):
        error.__cause__ = cause
    return errors[0]


@pytest.mark.parametrize(
    ("error", "kind", "words"),
    [
        (RuntimeError("no memory"), MedimgError, "RuntimeError: no memory (the whole of it is in "),
        (caused(RuntimeError("x"), ValueError("y"), UsageError("bad key")), MedimgError, "bad key"),
        (caused(RuntimeError("x"), DiskFull("half")), DiskFull, "half"),
        (caused(RuntimeError("x"), OSError(errno.ENOSPC, "?")), DiskFull, "the disk of "),
        (caused(RuntimeError("x"), OSError(errno.EACCES, "?")), MedimgError, "RuntimeError: x"),
        (RuntimeError("sqlite: database or disk is full"), DiskFull, "the disk of "),
        (caused(MedimgError("x"), OSError(errno.ENOSPC, "?")), DiskFull, "x"),
    ],
)
def test_the_error_of_a_component_is_one_line_and_says_whether_the_disk_is_full(
    opened: OpenRun, tfx: Tfx, error: BaseException, kind: type[MedimgError], words: str
) -> None:
    def fail() -> None:
        raise error

    tfx.fail = fail
    with pytest.raises(MedimgError) as caught:
        run_components(opened, FINGERPRINTS, console=printed(), last="Transform")
    assert type(caught.value) is kind
    assert str(caught.value).startswith(f"Transform: {words}")
    assert caught.value.__cause__ is error
    assert tfx.reported == [opened.folder]


def test_the_failed_job_of_an_engine_is_explained_as_such(opened: OpenRun, tfx: Tfx) -> None:
    def fail() -> None:
        raise RuntimeError("job x failed in state FAILED: NoResourceAvailableException")

    tfx.fail = fail
    run = dataclasses.replace(opened, places=dataclasses.replace(opened.places, beam_args=FLINK))
    with pytest.raises(MedimgError, match="Trainer: the engine has too few free slots"):
        run_components(run, FINGERPRINTS, console=printed())


def test_an_interrupt_is_no_failure_of_a_component(opened: OpenRun, tfx: Tfx) -> None:
    def fail() -> None:
        raise KeyboardInterrupt

    tfx.fail = fail
    with pytest.raises(KeyboardInterrupt):
        run_components(opened, FINGERPRINTS, console=printed())


def test_a_catalogue_that_was_not_made_has_no_anomalies_to_report(opened: OpenRun, tfx: Tfx) -> None:
    def fail() -> None:
        raise UsageError("labels.csv row 2: no label")

    tfx.fail = fail
    with pytest.raises(MedimgError, match=r"row 2: no label$"):
        run_components(opened, FINGERPRINTS, console=printed(), last="CatalogueGen")
    assert tfx.reported == []
