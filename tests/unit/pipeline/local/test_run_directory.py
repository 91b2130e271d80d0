"""A run's directory: which folder is one, whose it is, who may work there, and what is written of its end."""

from __future__ import annotations

import dataclasses
import io
import json
import threading
from contextlib import nullcontext
from pathlib import Path

import pytest
from rich.console import Console

from medimg.errors import UsageError
from pipeline.config.overrides import load_config, to_plain
from pipeline.config.places import RunRequest
from pipeline.local.run_directory import (
    RunOutcome,
    claim_directory,
    find_store,
    locate_store,
    make_directory,
    read_finished_run,
    read_run_file,
    run_lock,
    store_lock,
    write_run_file,
)

CONFIG = load_config("cmmd_demo")
OUTCOME = RunOutcome(True, ("a gate",), 3, "artifacts/c", "artifacts/m", "models/1", "report/report.html")


@pytest.mark.parametrize(
    ("files", "is_run"),
    [
        ([], True),
        (["run.json"], True),
        (["run.json", "report/report.html"], True),
        (["run.lock"], True),  # Killed before it wrote more.
        (["notes.txt"], False),
        ([".hidden"], False),
        (["other/run.json"], False),
        (["metadata.sqlite", "run.log"], False),
    ],
)
def test_an_empty_folder_or_a_runs_own_is_taken_and_any_other_is_refused(
    tmp_path: Path, files: list[str], is_run: bool
) -> None:
    to = tmp_path / "to"
    to.mkdir()
    for file in files:
        (to / file).parent.mkdir(exist_ok=True)
        (to / file).touch()
    refusal = pytest.raises(UsageError, match=r"to is not empty and holds no run\.json; choose another --to")
    with nullcontext() if is_run else refusal:
        assert make_directory(to) == to.resolve()
    assert sorted(path.relative_to(to).as_posix() for path in to.rglob("*") if path.is_file()) == sorted(
        files
    )


def test_a_folder_that_is_not_there_is_made(tmp_path: Path) -> None:
    assert make_directory(tmp_path / "a" / ".." / "b" / "c") == tmp_path / "b" / "c"
    assert (tmp_path / "b" / "c").is_dir()


def test_a_claimed_directory_says_whose_it_is_and_stays_as_it_is(tmp_path: Path) -> None:
    facts = claim_directory(tmp_path, CONFIG)
    assert facts == {
        "config": to_plain(CONFIG),
        "state": "started",
        "store": "metadata.sqlite",
        "pipeline": "cmmd-demo",
    }
    changed = load_config("cmmd_demo", overrides=["training.epochs=3"])
    assert claim_directory(tmp_path, changed) == facts == read_run_file(tmp_path)


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("name=other", r"belongs to config cmmd-demo \(cmmd\), not to other"),
        ("data_set=folder", "not to cmmd-demo"),
    ],
)
def test_a_directory_of_another_config_or_data_set_is_refused(
    tmp_path: Path, override: str, words: str
) -> None:
    claim_directory(tmp_path, CONFIG)
    with pytest.raises(UsageError, match=words):
        claim_directory(tmp_path, load_config("cmmd_demo", overrides=[override]))


@pytest.mark.parametrize(
    ("made", "asked", "words"),
    [(3, 0, "a run with --folds 3"), (3, 4, "a run with --folds 3"), (0, 3, "a run with no --folds")],
)
def test_a_directory_keeps_its_number_of_folds(tmp_path: Path, made: int, asked: int, words: str) -> None:
    names = [f"folds/{fold}" for fold in range(5)]
    claim_directory(tmp_path, CONFIG, folds=names[:made])
    with pytest.raises(UsageError, match=f"belongs to {words}; choose another --to"):
        claim_directory(tmp_path, CONFIG, folds=names[:asked])
    assert claim_directory(tmp_path, CONFIG, folds=names[:made])["pipeline"] == "cmmd-demo"


def test_a_fold_has_the_store_of_its_cross_validation_and_a_name_of_its_own(tmp_path: Path) -> None:
    names = set()
    for fold in ("0", "1"):
        run = tmp_path / "folds" / fold
        run.mkdir(parents=True)
        facts = claim_directory(run, CONFIG, parent=tmp_path)
        assert facts["store"] == "../../metadata.sqlite"
        assert Path(locate_store(run, facts["store"])).resolve() == tmp_path / "metadata.sqlite"
        names.add(facts["pipeline"])
    assert len(names) == 2
    assert all(name.startswith("cmmd-demo-") for name in names)


def test_a_store_of_another_place_is_kept_by_its_absolute_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = tmp_path / "run"
    run.mkdir()
    facts = claim_directory(run, CONFIG, "shared.sqlite")
    assert facts["store"] == str(tmp_path / "shared.sqlite")
    assert claim_directory(run, CONFIG, str(tmp_path / "shared.sqlite")) == facts
    with pytest.raises(UsageError, match=r"keeps its metadata in .*/shared\.sqlite, not in .*/other\.sqlite"):
        claim_directory(run, CONFIG, "other.sqlite")


class Said(io.StringIO):
    """What is printed, and an event as soon as anything is."""

    def __init__(self) -> None:
        super().__init__()
        self.event = threading.Event()

    def write(self, text: str) -> int:
        count = super().write(text)
        self.event.set()
        return count


def test_a_second_run_says_that_it_waits_and_goes_on_when_the_first_has_ended(tmp_path: Path) -> None:
    said, held = Said(), threading.Event()

    def work() -> None:
        with run_lock(tmp_path, Console(file=said, width=200)):
            held.set()

    with run_lock(tmp_path, Console(file=io.StringIO())):
        second = threading.Thread(target=work)
        second.start()
        assert said.event.wait(60)
        assert not held.is_set()
    second.join(60)
    assert held.is_set()
    assert f"another run is using {tmp_path}; waiting for it to end" in said.getvalue()


def test_a_run_that_is_alone_says_nothing(tmp_path: Path) -> None:
    said = Said()
    for _ in range(2):
        with run_lock(tmp_path, Console(file=said)):
            pass
    assert said.getvalue() == ""


@pytest.mark.parametrize(
    ("store", "locks"),
    [
        ("metadata.sqlite", []),
        ("mysql://me@host/runs", []),
        ("../shared.sqlite", ["shared.sqlite.lock"]),
    ],
)
def test_a_sqlite_file_that_runs_share_is_locked_beside_it(
    tmp_path: Path, store: str, locks: list[str]
) -> None:
    run = tmp_path / "run"
    run.mkdir()
    with store_lock(run, store, Console(file=io.StringIO())):
        assert [path.name for path in tmp_path.rglob("*.lock")] == locks


def test_a_shared_store_in_no_folder_is_refused(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match=r"--metadata .*/no/shared\.sqlite: no folder .*/no, expected one"),
        store_lock(tmp_path, str(tmp_path / "no" / "shared.sqlite"), Console(file=io.StringIO())),
    ):
        pass


@pytest.mark.parametrize("previous", [False, True])
def test_a_finished_run_names_its_parts_from_its_own_place(tmp_path: Path, previous: bool) -> None:
    run = tmp_path / "runs" / "one"
    run.mkdir(parents=True)
    facts = claim_directory(run, CONFIG)
    changed = load_config("cmmd_demo", overrides=["training.epochs=3"])
    earlier = tmp_path / "runs" / "zero" / "catalogue" if previous else None
    request = RunRequest(data_root=tmp_path / "data", to=run, previous=earlier)
    write_run_file(run, changed, request, outcome=OUTCOME, facts={**facts, "log": "run.log"})
    assert read_finished_run(run) == {
        "config": to_plain(changed),
        "state": "finished",
        "store": "metadata.sqlite",
        "pipeline": "cmmd-demo",
        "log": "run.log",
        "data_root": "../../data",
        "previous": "../zero/catalogue" if previous else "",
        "split_file": "",
        **dataclasses.asdict(OUTCOME),
        "failed_gates": ["a gate"],
    }


@pytest.mark.parametrize(
    ("state", "searched", "taken"),
    [
        ("finished", False, True),
        ("finished", True, True),
        ("searched", False, False),
        ("searched", True, True),
        ("started", False, False),
        ("started", True, False),
    ],
)
def test_a_run_has_finished_or_where_that_will_do_its_search_has(
    tmp_path: Path, state: str, searched: bool, taken: bool
) -> None:
    (tmp_path / "run.json").write_text(json.dumps({"state": state}))
    with nullcontext() if taken else pytest.raises(UsageError, match="the run has not finished"):
        assert read_finished_run(tmp_path, searched=searched) == {"state": state}


@pytest.mark.parametrize(("content", "name"), [(None, "FileNotFoundError"), ("{", "JSONDecodeError")])
def test_what_is_not_a_run_is_named(tmp_path: Path, content: str | None, name: str) -> None:
    if content:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(UsageError, match=rf"is not a run: run\.json cannot be read \({name}\)"):
        read_run_file(tmp_path)


def test_the_store_to_ask_is_the_runs_own_or_the_one_that_is_given(tmp_path: Path) -> None:
    run, other = tmp_path / "run", tmp_path / "other.sqlite"
    run.mkdir()
    facts = claim_directory(run, CONFIG)
    with pytest.raises(UsageError, match=r"run/metadata\.sqlite: no such file, expected the store"):
        find_store(run, facts, None)
    (run / "metadata.sqlite").touch()
    assert find_store(run, facts, None) == "metadata.sqlite"
    with pytest.raises(UsageError, match=r"other\.sqlite: no such file, expected the store"):
        find_store(run, facts, str(other))
    other.touch()
    assert find_store(run, facts, str(other)) == str(other)
    assert find_store(run, facts, "mysql://me@host/runs") == "mysql://me@host/runs"
