"""Database servers for tests: each on its own port, with its data in a temporary folder.

They are gone when the block ends.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.fakes.ports import find_ports

PASSWORD = "not-a-secret"  # Of a server that listens on this machine for the length of a test.


def wait_for(port: int, process: subprocess.Popen, log: Path) -> None:
    while process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            time.sleep(0.2)
        else:
            return
    pytest.fail(f"the server did not start: {log.read_text()[-500:]}")


@contextmanager
def server(command: list[str], port: int, folder: Path, user: str | None = None) -> Iterator[None]:
    with (folder / "server.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL, user=user)
        try:
            wait_for(port, process, folder / "server.log")
            yield
        finally:
            process.kill()
            process.wait()


@contextmanager
def temporary_folder(owner: str | None = None) -> Iterator[Path]:
    # Not pytest's: a server that does not run as root could not enter it.
    folder = Path(tempfile.mkdtemp(prefix="medimg-database-"))
    try:
        if owner:
            shutil.chown(folder, owner)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def mariadb() -> Iterator[str]:
    """The URI of an empty database on a MariaDB server."""
    if not (shutil.which("mariadbd") and shutil.which("mariadb-install-db")):
        pytest.skip("no MariaDB here (Debian, Ubuntu: apt-get install mariadb-server)")
    with temporary_folder() as folder:
        data, port, access = folder / "data", find_ports(1)[0], folder / "socket"
        user = ["--user=root"] if os.geteuid() == 0 else []
        install = [
            "mariadb-install-db",
            "--no-defaults",
            *user,
            f"--datadir={data}",
            "--auth-root-authentication-method=normal",
            "--skip-test-db",
        ]
        subprocess.run(install, check=True, capture_output=True)
        names = [
            f"--datadir={data}",
            f"--port={port}",
            "--bind-address=127.0.0.1",
            f"--socket={access}",
            f"--pid-file={folder / 'pid'}",
        ]
        with server(["mariadbd", "--no-defaults", *user, *names], port, folder):
            grant = (
                f"CREATE USER medimg@'127.0.0.1' IDENTIFIED BY '{PASSWORD}'; "
                "GRANT ALL ON `runs`.* TO medimg@'127.0.0.1'"
            )
            subprocess.run(
                ["mariadb", "--no-defaults", f"--socket={access}", "--user=root", "--execute", grant],
                check=True,
                capture_output=True,
            )
            yield f"mysql://medimg@127.0.0.1:{port}/runs"


@contextmanager
def postgresql() -> Iterator[str]:
    """The URI of an empty database on a PostgreSQL server."""
    programs = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not programs or os.geteuid() != 0:
        pytest.skip(
            "no PostgreSQL here, or not root to start it as its own user "
            "(Debian, Ubuntu: apt-get install postgresql)"
        )
    with temporary_folder("postgres") as folder:
        data, port = folder / "data", find_ports(1)[0]
        (folder / "password").write_text(PASSWORD)
        (folder / "password").chmod(0o644)
        install = [
            programs[-1] / "initdb",
            f"--pgdata={data}",
            "--auth=scram-sha-256",
            "--username=medimg",
            f"--pwfile={folder / 'password'}",
        ]
        subprocess.run(install, check=True, capture_output=True, user="postgres", cwd=folder)
        command = [
            str(programs[-1] / "postgres"),
            "-D",
            str(data),
            "-p",
            str(port),
            "-k",
            str(folder),
            "-c",
            "listen_addresses=127.0.0.1",
        ]
        with server(command, port, folder, user="postgres"):
            yield f"postgresql://medimg@127.0.0.1:{port}/runs"
