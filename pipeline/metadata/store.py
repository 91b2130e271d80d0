"""The ML Metadata store of a run by its URI: a SQLite file, or a database server that many runs share."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from ml_metadata import MetadataStore
from ml_metadata.proto import metadata_store_pb2 as mlmd

from medimg.errors import MedimgError, UsageError

PASSWORD = "MEDIMG_METADATA_PASSWORD"
PORTS = {"mysql": 3306, "postgresql": 5432}
EXPECTED = (
    "expected the path of a SQLite file, mysql://USER@HOST[:PORT]/DATABASE "
    "or postgresql://USER@HOST[:PORT]/DATABASE"
)
ATTEMPTS = 8
# As the clients of MySQL and PostgreSQL in ML Metadata say that no connection was made.
REFUSED = ("mysql_real_connect failed", "connection pointer is NULL")


@dataclass(frozen=True)
class Database:
    """A database on a server, without the password."""

    kind: str
    user: str
    host: str
    port: int
    name: str


def parse_database(uri: str) -> Database | None:
    """The database that a URI names; None for the path of a SQLite file.

    Raises:
        UsageError: another scheme, a part that is missing, or a password in the URI, where others could read
            it.
    """
    if "://" not in uri:
        return None
    try:
        parts = urlsplit(uri)
        port = parts.port or PORTS.get(parts.scheme, 0)
    except ValueError as error:
        raise UsageError(f"--metadata {uri}: {error}; {EXPECTED}") from None
    if parts.password is not None:
        raise UsageError(
            f"--metadata {uri.replace(f':{parts.password}@', ':***@')}: "
            f"the password belongs into the environment variable {PASSWORD}"
        )
    name = parts.path.strip("/")
    if parts.scheme not in PORTS or not (parts.username and parts.hostname and name) or "/" in name:
        raise UsageError(f"--metadata {uri}: {EXPECTED}")
    return Database(parts.scheme, parts.username, parts.hostname, port, name)


def resolve_store(uri: str) -> str:
    """The URI as it holds in any working directory: of a SQLite file the absolute path.

    Raises UsageError where it cannot be read.
    """
    return uri if parse_database(uri) else str(Path(uri).resolve())


def make_connection(uri: str, *, password: str = "") -> mlmd.ConnectionConfig:
    """What ML Metadata and TFX take.

    Holds the password, and TFX writes it into its log: see `pipeline.local.component_progress`.
    """
    database = parse_database(uri)
    if database is None:
        return mlmd.ConnectionConfig(
            sqlite=mlmd.SqliteMetadataSourceConfig(filename_uri=uri, connection_mode=3)
        )
    access = {"host": database.host, "user": database.user, "password": password}
    if database.kind == "mysql":
        return mlmd.ConnectionConfig(
            mysql=mlmd.MySQLDatabaseConfig(**access, port=database.port, database=database.name)
        )
    return mlmd.ConnectionConfig(
        postgresql=mlmd.PostgreSQLDatabaseConfig(**access, port=str(database.port), dbname=database.name)
    )


def open_store(uri: str | Path) -> MetadataStore:
    """The store, opened for reading and writing.

    With a SQLite file hold the run's lock while a pipeline may write.

    Raises:
        MedimgError: a database that does not answer or does not let the user in.
    """
    database = parse_database(str(uri))
    connection = make_connection(str(uri), password=os.environ.get(PASSWORD, ""))
    if database is None:
        return MetadataStore(connection)
    where = f"{database.kind} database {database.name} at {database.host}:{database.port}"
    try:
        socket.create_connection((database.host, database.port), timeout=10).close()
    except OSError as error:
        raise MedimgError(f"--metadata: no answer from {where} ({error.strerror or error})") from None
    for attempt in range(ATTEMPTS):
        try:
            with without_stderr():
                return MetadataStore(connection)
        except Exception as error:
            # Of several that create the tables at the same moment all but one fail, and find them a moment
            # later.
            if attempt == ATTEMPTS - 1 or any(words in str(error) for words in REFUSED):
                told = (str(error).strip().splitlines() or [""])[0]
                raise MedimgError(
                    f"--metadata: {where} does not let user {database.user} in or work ({told}); "
                    f"the password is read from {PASSWORD}"
                ) from None
            time.sleep(0.25 * 2**attempt)
    raise AssertionError


@contextmanager
def without_stderr() -> Iterator[None]:
    """ML Metadata's C++ code writes there what its exception says again."""
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:  # noqa: PTH123, a descriptor is wanted
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
