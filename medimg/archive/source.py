"""What an archive holds and how a source hands it over: Series, Arrived, Source.

A source is one way to the bytes: IDC's bucket, NBIA, a PACS by DICOMweb, a folder, a research data
repository. Sources hand over complete files in a staging folder; that they are what they should be, and that
they get their final name, is `medimg.archive.fetch`'s business alone.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from medimg.archive.collections import Collection
from medimg.errors import MedimgError

_UID = re.compile(r"[0-9]+(\.[0-9]+)*")


def is_uid(text: str) -> bool:
    """Checks for a UID (DICOM PS3.5 section 9.1), which is also safe as a file name and in an address."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


class NotAvailable(MedimgError):
    """The source does not hold this series, or nothing of this collection."""


class SourceFailed(MedimgError):
    """The source cannot be used at all: unreachable, no permission, not configured."""


class InvalidFile(MedimgError):
    """A file came that is not what was promised."""


@dataclass(frozen=True)
class Series:
    """One DICOM series as an archive lists it; of data that are not DICOM, one file of the archive.

    Attributes:
        uid: SeriesInstanceUID (0020,000E); for data that are not DICOM the file's name in the archive.
        patient_id: PatientID (0010,0020); empty where there is none.
        study_uid: StudyInstanceUID (0020,000D), empty where unknown.
        key: what pins this very content at its source: crdc_series_uuid, a database id; empty where the
            source has no versions.
        bucket: where the source keeps it, if it has several places.
        instances: number of files; None where only the transfer tells.
        bytes: of all files together; None where unknown. Archives state it rounded.
        modality: (0008,0060), empty where unknown.
        label, origin: of the patient, for a stratified sample ("Malignant", "D2"); empty where the list does
            not say.
        licence, doi: of this series; empty for private data.
        version: of the archive's release that lists it.
    """

    uid: str
    patient_id: str = ""
    study_uid: str = ""
    key: str = ""
    bucket: str = ""
    instances: int | None = None
    bytes: int | None = None
    modality: str = ""
    label: str = ""
    origin: str = ""
    licence: str = ""
    doi: str = ""
    version: str = ""


@dataclass(frozen=True)
class Arrived:
    """A complete file in the staging folder, hashed while it came.

    Attributes:
        path: in the staging folder; whoever receives it moves or deletes it.
        url: where it came from, without credentials.
        bytes, md5, sha256: of the file.
        name: for files that are not DICOM, the POSIX path below the data root that it asks for; empty for
            DICOM, which is named by its UIDs.
        sop_uid: SOPInstanceUID (0008,0018) that the source promised, empty where it made no promise.
    """

    path: Path
    url: str
    bytes: int
    md5: str
    sha256: str
    name: str = ""
    sop_uid: str = ""


Job = Callable[[], Arrived]
"""Brings one file."""

AtOnce = Callable[[Iterable[Job]], Iterator[Arrived]]
"""Does jobs, several at a time, and hands over what they bring, in any order."""


def one_by_one(jobs: Iterable[Job]) -> Iterator[Arrived]:
    """Does one job after the other."""
    return (job() for job in jobs)


class Source(Protocol):
    """One way to the bytes. An instance is used by several threads at once."""

    name: str

    def list_series(self, collection: Collection) -> list[Series]:
        """All series of a collection.

        Raises:
            NotAvailable: the source does not know the collection, or cannot list it.
            SourceFailed: it cannot be used.
        """

    def fetch_series(
        self, series: Series, *, have: Mapping[str, str], at_once: AtOnce = one_by_one
    ) -> Iterator[Arrived]:
        """Hands over the files of a series, in any order.

        Args:
            have: what is there already and need not come again: url to MD5 of the file. A source that only
                has the series whole ignores it.
            at_once: brings files that can be had singly. A source that only has the series whole ignores it.

        Raises:
            NotAvailable: the source does not hold the series, or holds less of it than the list says.
            SourceFailed: it cannot be used.
            MedimgError: a file could not be had whole; the message names it.
        """


@dataclass(frozen=True)
class Addresses:
    """Where the sources are; the defaults are the public ones.

    From the environment or the command line, see `medimg.archive.sources.registry.read_addresses`.

    Attributes:
        follow_links: of the folder, also what links that lead out of it point to.
    """

    idc: str = "https://{bucket}.s3.amazonaws.com"
    nbia: str = "https://nbia.cancerimagingarchive.net/nbia-api/services/v4"
    tcia: str = "https://www.cancerimagingarchive.net/api/v1"
    dataverse: str = "https://dataverse.harvard.edu"
    dicomweb: str = ""
    folder: str = ""
    follow_links: bool = False
    allowed_hosts: tuple[str, ...] = field(default=())
