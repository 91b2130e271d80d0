"""A real PACS on loopback: Orthanc with its DICOMweb plugin, filled by dcmtk's storescu."""

from __future__ import annotations

import collections
import json
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import urllib3
from pydicom.filereader import read_file_meta_info

from tests.fakes.ports import find_ports

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
PROGRAMS = ("Orthanc", "storescu")
STOP_SECONDS = 15.0
PROPOSE = {
    "1.2.840.10008.1.2": "-xi",
    "1.2.840.10008.1.2.1": "-xe",
    "1.2.840.10008.1.2.1.99": "-xd",
    "1.2.840.10008.1.2.2": "-xb",
    "1.2.840.10008.1.2.4.50": "-xy",
    "1.2.840.10008.1.2.4.51": "-xx",
    "1.2.840.10008.1.2.4.70": "-xs",
    "1.2.840.10008.1.2.4.80": "-xt",
    "1.2.840.10008.1.2.4.81": "-xu",
    "1.2.840.10008.1.2.4.90": "-xv",
    "1.2.840.10008.1.2.4.91": "-xw",
    "1.2.840.10008.1.2.5": "-xr",
}
"""storescu's option that proposes a transfer syntax; without it storescu decodes, or refuses to send."""


class Orthanc:
    """Starts on entry and is gone, storage included, on exit. Random ports, user and password.

    Its DICOM port listens on all interfaces: only made-up or public data belong here.

    Attributes:
        root: address of the REST interface.
        url: address of DICOMweb.
        user, password: for both.
    """

    def __init__(self) -> None:
        self.user, self.password = "tester", secrets.token_urlsafe(12)
        self.root = self.url = ""
        self._dicom_port = 0
        self._stack = ExitStack()

    @staticmethod
    def missing() -> str:
        """Why there can be no Orthanc on this machine, empty if there can."""
        lacking = [name for name in PROGRAMS if not shutil.which(name)] + [str(PLUGIN)] * (
            not PLUGIN.is_file()
        )
        return (
            f"{' and '.join(lacking)} not installed (apt-get install orthanc orthanc-dicomweb dcmtk)"
            if lacking
            else ""
        )

    def __enter__(self) -> Orthanc:
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="orthanc-")))
            http_port, self._dicom_port = find_ports(2)
            self.root, self.url = f"http://127.0.0.1:{http_port}", f"http://127.0.0.1:{http_port}/dicom-web"
            configuration = folder / "orthanc.json"
            configuration.write_text(
                json.dumps(self._configure(folder, http_port=http_port)), encoding="utf-8"
            )
            log = stack.enter_context((folder / "log").open("w+"))
            process = subprocess.Popen(
                ["Orthanc", str(configuration)], stdout=log, stderr=subprocess.STDOUT, cwd=folder
            )
            stack.callback(stop, process)
            self._wait_until_ready(process, log=folder / "log")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def store(self, paths: Sequence[Path]) -> None:
        """Sends DICOM files by C-STORE, each in the transfer syntax that it has."""
        by_syntax = collections.defaultdict(list)
        for path in paths:
            by_syntax[str(read_file_meta_info(path).TransferSyntaxUID)].append(str(path))
        for syntax, names in by_syntax.items():
            command = [
                "storescu",
                "-R",
                PROPOSE[syntax],
                "-aec",
                "ORTHANC",
                "127.0.0.1",
                str(self._dicom_port),
                *names,
            ]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, f"{' '.join(command[:4])}: {done.stdout}{done.stderr}"

    def post(self, content: bytes) -> None:
        """Uploads one DICOM file by REST: faster than `store` for many."""
        self._ask("/instances", data=content)

    def file_of(self, sop_uid: str) -> bytes:
        """The bytes that Orthanc holds of an instance."""
        (found,) = json.loads(self._ask("/tools/lookup", data=sop_uid.encode()))
        return self._ask(f"/instances/{found['ID']}/file")

    def _ask(self, path: str, *, data: bytes | None = None) -> bytes:
        login = urllib3.make_headers(basic_auth=f"{self.user}:{self.password}")
        answer = urllib3.request(
            "POST" if data is not None else "GET",
            f"{self.root}{path}",
            body=data,
            headers=login,
            retries=False,
        )
        assert answer.status == 200, f"{path}: {answer.status} {answer.data[:300]!r}"
        return answer.data

    def _configure(self, folder: Path, *, http_port: int) -> dict[str, Any]:
        return {
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "index"),
            "HttpPort": http_port,
            "DicomPort": self._dicom_port,
            "DicomAet": "ORTHANC",
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {self.user: self.password},
            "Plugins": [str(PLUGIN)],
            "DicomWeb": {"Enable": True, "Root": "/dicom-web/"},
            "DicomAlwaysAllowStore": True,
            # The same instance in another transfer syntax replaces the first, instead of being ignored.
            "OverwriteInstances": True,
        }

    def _wait_until_ready(self, process: subprocess.Popen[bytes], *, log: Path) -> None:
        while process.poll() is None:
            try:
                self._ask("/system")
            except urllib3.exceptions.HTTPError:
                time.sleep(0.05)
            else:
                return
        raise AssertionError(f"Orthanc did not start:\n{log.read_text()[-2000:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    """Ends Orthanc and waits until it has let go of its files."""
    process.terminate()
    try:
        process.wait(STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
