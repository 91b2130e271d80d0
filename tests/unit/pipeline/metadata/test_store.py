"""A database that does not take the first connection: which refusals are tried again, and how often."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from medimg.errors import MedimgError
from pipeline.metadata import store
from pipeline.metadata.store import ATTEMPTS, open_store

CONFLICT = "Duplicate entry '1' for key\nin CREATE TABLE"


class Database:
    """Stands in for ML Metadata's client: refuses some times, then opens; notes each wait."""

    def __init__(self) -> None:
        self.refusals, self.text = 0, CONFLICT
        self.tried = 0
        self.slept: list[float] = []

    def open(self, connection: object) -> str:
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
    database: Database, uri: str, refusals: int
) -> None:
    database.refusals = refusals
    assert open_store(uri) == "the store"
    assert database.tried == refusals + 1
    assert database.slept == [0.25 * 2**attempt for attempt in range(refusals)]


def test_a_database_that_stays_broken_is_an_error_in_the_end(database: Database, uri: str) -> None:
    database.refusals = ATTEMPTS
    with pytest.raises(MedimgError) as caught:
        open_store(uri)
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
