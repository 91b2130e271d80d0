"""Which store a URI names, and a database that does not take the first connection: what is tried again."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from ml_metadata.proto import metadata_store_pb2 as mlmd

from medimg.errors import MedimgError, UsageError
from pipeline.metadata import store
from pipeline.metadata.store import ATTEMPTS, make_connection, open_store, parse_database, resolve_store

CONFLICT = "Duplicate entry '1' for key\nin CREATE TABLE"


@pytest.mark.parametrize(
    ("uri", "parts"),
    [
        ("mysql://me@host/runs", ("mysql", "me", "host", 3306, "runs")),
        ("postgresql://me@host/runs/", ("postgresql", "me", "host", 5432, "runs")),
        ("postgresql://me@host:99/runs", ("postgresql", "me", "host", 99, "runs")),
    ],
)
def test_a_uri_names_kind_user_host_port_and_database(
    uri: str, parts: tuple[str, str, str, int, str]
) -> None:
    assert parse_database(uri) == store.Database(*parts)
    assert resolve_store(uri) == uri


@pytest.mark.parametrize(
    ("uri", "words"),
    [
        (
            "mysql://mysql:mysql@host/runs",
            "--metadata mysql://mysql:***@host/runs: the password belongs into",
        ),
        ("mysql://me:@host/runs", "--metadata mysql://me:***@host/runs: the password belongs into"),
        *(
            (uri, "expected the path of a SQLite file, mysql://USER@HOST")
            for uri in (
                *("mysql://host/runs", "mysql://me@/runs", "mysql://me@host", "mysql://me@host/a/b"),
                *("mysql://me@host:port/runs", "oracle://me@host/runs"),
            )
        ),
    ],
)
def test_a_uri_that_cannot_be_meant_is_refused_and_shows_no_password(uri: str, words: str) -> None:
    with pytest.raises(UsageError, match=re.escape(words)):
        parse_database(uri)


def test_a_file_is_named_from_the_root_whatever_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert parse_database("runs/metadata.sqlite") is None
    assert resolve_store("runs/metadata.sqlite") == str(tmp_path / "runs" / "metadata.sqlite")


def test_a_connection_says_all_that_the_database_asks_for() -> None:
    mysql = make_connection("mysql://me@host:99/runs", password="word").mysql
    assert (mysql.host, mysql.port, mysql.user, mysql.password, mysql.database) == (
        *("host", 99, "me", "word", "runs"),
    )
    other = make_connection("postgresql://me@host/runs", password="word").postgresql
    assert (other.host, other.port, other.user, other.password, other.dbname) == (
        *("host", "5432", "me", "word", "runs"),
    )


def test_a_store_in_a_file_is_made_and_keeps_what_is_written(tmp_path: Path) -> None:
    path = tmp_path / "metadata.sqlite"
    open_store(path).put_artifact_type(mlmd.ArtifactType(name="Kept"))
    assert [kind.name for kind in open_store(str(path)).get_artifact_types() if kind.name == "Kept"] == [
        "Kept"
    ]


class Database:
    """Stands in for ML Metadata's client: refuses some times, then opens; notes each wait."""

    def __init__(self) -> None:
        self.refusals, self.text = 0, CONFLICT
        self.tried = 0
        self.password = ""
        self.slept: list[float] = []

    def open(self, connection: mlmd.ConnectionConfig) -> str:
        os.write(2, b"what the client says aloud")
        self.password = connection.mysql.password
        self.tried += 1
        if self.tried <= self.refusals:
            raise RuntimeError(self.text)
        return "the store"


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> Database:
    stand_in = Database()
    monkeypatch.setattr(store, "MetadataStore", stand_in.open)
    monkeypatch.setattr("time.sleep", stand_in.slept.append)
    return stand_in


@pytest.fixture
def uri() -> Iterator[str]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"mysql://me@127.0.0.1:{server.getsockname()[1]}/runs"


@pytest.mark.parametrize("refusals", [0, 1, 2, ATTEMPTS - 1])
def test_tables_that_another_run_is_making_are_waited_for_longer_each_time(
    database: Database,
    uri: str,
    refusals: int,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    database.refusals = refusals
    monkeypatch.setenv(store.PASSWORD, "word")
    assert open_store(uri) == "the store"
    assert database.password == "word"
    os.write(2, b"heard")
    assert capfd.readouterr().err == "heard"
    assert database.tried == refusals + 1
    assert database.slept == [0.25 * 2**attempt for attempt in range(refusals)]


def test_a_database_that_stays_broken_is_an_error_in_the_end(database: Database, uri: str) -> None:
    database.refusals = ATTEMPTS
    kept = list(Path("/proc/self/fd").iterdir())
    with pytest.raises(MedimgError) as caught:
        open_store(uri)
    assert len(list(Path("/proc/self/fd").iterdir())) == len(kept)
    assert "does not let user me in or work (Duplicate entry '1' for key); the password" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert (database.tried, len(database.slept)) == (ATTEMPTS, ATTEMPTS - 1)


@pytest.mark.parametrize("text", ["mysql_real_connect failed: Access denied", "connection pointer is NULL"])
def test_a_user_who_is_not_let_in_is_not_tried_again(database: Database, uri: str, text: str) -> None:
    database.refusals, database.text = ATTEMPTS, text
    with pytest.raises(MedimgError, match="does not let user me in or work"):
        open_store(uri)
    assert (database.tried, database.slept) == (1, [])


def test_a_refusal_without_words_is_still_one_line(database: Database, uri: str) -> None:
    database.refusals, database.text = ATTEMPTS, ""
    with pytest.raises(MedimgError, match=r"in or work \(\); the password is read from"):
        open_store(uri)


def test_a_database_that_does_not_answer_is_named(database: Database) -> None:
    with pytest.raises(MedimgError) as caught:
        open_store("mysql://me@127.0.0.1:1/runs")
    assert str(caught.value) == (
        "--metadata: no answer from mysql database runs at 127.0.0.1:1 (Connection refused)"
    )
    assert database.tried == 0


def test_a_host_that_nobody_knows_is_named_with_the_reason(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(address: object, timeout: float) -> None:
        raise TimeoutError("timed out")

    monkeypatch.setattr("socket.create_connection", fail)
    with pytest.raises(MedimgError, match=r"at host:3306 \(timed out\)"):
        open_store("mysql://me@host/runs")
