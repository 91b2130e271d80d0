"""The components of a run: how many there are, which one failed, and with what kind of error."""

from __future__ import annotations

import dataclasses
import errno
import io
import logging
import sys
from collections.abc import Callable
from contextlib import nullcontext
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
from tests.small_catalogue import write_small_catalogue
from tests.unit.pipeline.metadata.memory_store import Store

FINGERPRINTS = Fingerprints("data", "", "schema", "", CodeFingerprints(*"abcdefgh"))
FLINK = parse_beam("flink://host:1")
NAMES = ("CatalogueGen", "Transform", "Trainer")
Fail = Callable[[], None]


class Tfx:
    """Stands in for TFX: logs what its runner does, up to the node asked for, where it fails if told to.

    Its CatalogueGen leaves a catalogue with these anomalies.
    """

    def __init__(self, catalogue: Path) -> None:
        self.fail: Fail = lambda: None
        self.store, self.catalogue = Store(), catalogue
        self.anomalies: list[str] = []
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
            if name == "CatalogueGen":
                self.write_catalogue()
            log.info("Component %s is finished.", name)

    def write_catalogue(self) -> None:
        write_small_catalogue(self.catalogue, summary={"anomalies": self.anomalies})
        for pipeline, folder in (("other", "nowhere"), ("demo", str(self.catalogue))):
            made = {"catalogue": self.store.make("Catalogue", uri=folder)}
            self.store.run("CatalogueGen", channels=made, pipeline=pipeline)


@pytest.fixture
def tfx(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tfx:
    stand_in = Tfx(tmp_path / "catalogue")
    monkeypatch.setattr("pipeline.local.run.open_store", lambda uri: stand_in.store.store)
    modules: dict[str, dict[str, object]] = {
        "tfx.orchestration.local.local_dag_runner": {"LocalDagRunner": lambda: stand_in},
        "tfx.orchestration.pipeline": {"RunOptions": SimpleNamespace},
        "pipeline.pipeline": {"create_pipeline": stand_in.create_pipeline},
    }
    for name, values in modules.items():
        module = ModuleType(name)
        vars(module).update(values)
        monkeypatch.setitem(sys.modules, name, module)
    return stand_in


@pytest.fixture
def opened(tmp_path: Path) -> OpenRun:
    return OpenRun(
        tmp_path, load_config("cmmd_demo"), Places("", "", "", "", "", "", "", pipeline="demo"), {}
    )


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
    assert "connection with password ***" in (run.folder / "run.log").read_text()


ANOMALIES = [f"label {number} is odd" for number in range(7)]


@pytest.mark.parametrize("failing", [None, "Transform", "CatalogueGen"])
@pytest.mark.parametrize("count", [0, 5, 7])
def test_the_first_anomalies_of_the_catalogue_are_printed_also_where_a_later_component_fails(
    opened: OpenRun, tfx: Tfx, failing: str | None, count: int
) -> None:
    def fail() -> None:
        if failing:
            raise RuntimeError("no memory")

    tfx.fail, tfx.anomalies, console = fail, ANOMALIES[:count], printed()
    with pytest.raises(MedimgError, match=failing) if failing else nullcontext():
        run_components(opened, FINGERPRINTS, console=console, last=failing or "Transform")
    assert isinstance(console.file, io.StringIO)
    told = [line for line in console.file.getvalue().splitlines() if line.startswith("anomaly")]
    expected = [f"anomaly: {text}" for text in ANOMALIES[: min(count, 5)]]
    if count > 5:
        expected.append(f"anomaly: 7 in all, see `anomalies` in {tfx.catalogue}/summary.json")
    assert told == ([] if failing == "CatalogueGen" else expected)


def test_a_catalogue_that_a_run_uses_again_is_reported_too(opened: OpenRun, tfx: Tfx) -> None:
    def use_again() -> None:
        logging.getLogger("absl").info("A cached execution 7 is used.")

    tfx.fail, tfx.anomalies, console = use_again, ANOMALIES[:1], printed()
    run = dataclasses.replace(opened, places=dataclasses.replace(opened.places, pipeline=""))
    run = dataclasses.replace(run, config=dataclasses.replace(run.config, name="demo"))
    run_components(run, FINGERPRINTS, console=console, last="CatalogueGen")
    assert isinstance(console.file, io.StringIO)
    assert "anomaly: label 0 is odd" in console.file.getvalue()


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
