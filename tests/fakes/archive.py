"""The public archives of CMMD on loopback.

S3 behind a proxy that counts and fails on order, and TCIA's collection manager with the table.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from medimg.archive.collections import find_collection
from medimg.archive.plan import Selection, select
from medimg.archive.source import Series
from medimg.archive.sources.idc import list_published
from tests.fakes.cmmd import write_cmmd_series
from tests.fakes.fault_proxy import FaultProxy
from tests.fakes.s3 import S3Archive, publish_cmmd
from tests.fakes.tcia import TciaServer

REPOSITORY = Path(__file__).resolve().parents[2]
TABLE = "CMMD_clinicaldata_revision.xlsx"


@dataclass(frozen=True)
class CmmdArchive:
    """What is published, and where.

    Attributes:
        series: published ones, of the bundled list.
        tree: what they hold, <SeriesInstanceUID>/<SOPInstanceUID>.dcm.
        proxy: in front of the bucket.
    """

    series: list[Series]
    tree: Path
    proxy: FaultProxy
    s3: S3Archive
    tcia: TciaServer

    @property
    def environment(self) -> dict[str, str]:
        """Variables for a process that takes this for the public archives."""
        return {
            **os.environ,
            "MEDIMG_IDC_URL": self.proxy.url,
            "MEDIMG_TCIA_URL": self.tcia.address,
            "PYTHONPATH": str(REPOSITORY),
        }

    def medimg(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Runs the command line against this archive."""
        command = [sys.executable, "-m", "cli.app", *arguments]
        return subprocess.run(command, env=self.environment, text=True, capture_output=True, check=False)


def choose_series(patients: int, seed: int) -> list[Series]:
    """The series that `medimg fetch cmmd --patients N --seed S` asks for."""
    collection = find_collection("cmmd")
    return select(
        list_published(collection),
        Selection(patients=patients, seed=seed),
        patient_pattern=collection.patient_pattern,
    )


@contextmanager
def publish(
    series: list[Series], folder: Path, *, rows: int = 287, columns: int = 240, page: int = 3
) -> Iterator[CmmdArchive]:
    """Draws the series below `folder` and serves them; the bucket's list has `page` objects a page."""
    tree = folder / "published"
    write_cmmd_series(series, tree, rows=rows, columns=columns)
    with ExitStack() as stack:
        s3 = stack.enter_context(S3Archive(page=page))
        proxy = stack.enter_context(FaultProxy(s3.url))
        tcia = stack.enter_context(TciaServer())
        tcia.files[TABLE] = (tree / TABLE).read_bytes()
        tcia.publish("CMMD-DA-clinical", name=TABLE)
        publish_cmmd(s3, tree, series)
        yield CmmdArchive(series, tree, proxy, s3, tcia)
