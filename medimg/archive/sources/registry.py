"""The sources by name, made from addresses and credentials. To add a source is to add a line to MAKERS."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from medimg.archive import idc_index
from medimg.archive.collections import Collection, CollectionTable
from medimg.archive.source import Addresses, Arrived, Series, Source
from medimg.archive.sources.dataverse import DataverseSource
from medimg.archive.sources.dicomweb import DicomwebSource
from medimg.archive.sources.idc import BUCKETS, IdcSource, list_published
from medimg.archive.sources.nbia import NbiaSource
from medimg.archive.sources.tcia_tables import fetch_tables
from medimg.archive.transport.transfer import Transfer
from medimg.errors import UsageError, nearest

VARIABLES = {name: f"MEDIMG_{name.upper()}_URL" for name in ("idc", "nbia", "tcia", "dataverse", "dicomweb")}
"""Environment variables that replace an address."""

PRIVATE = ("dicomweb", "folder")
"""Sources that hold what their owner put there, not a collection as it was published."""

STORAGE_HOSTS = {
    "idc": tuple(f"{bucket}.s3.amazonaws.com" for bucket in BUCKETS),
    "dataverse": (".s3.amazonaws.com",),
    "tcia": ("cancerimagingarchive.net", "www.cancerimagingarchive.net"),
}
"""Where an archive may send us beside its own address."""


def read_addresses(
    environment: Mapping[str, str], *, dicomweb: str = "", folder: str = "", allowed_hosts: Sequence[str] = ()
) -> Addresses:
    """The addresses: the command line's before the environment's before the public ones."""
    given = {name: environment[variable] for name, variable in VARIABLES.items() if environment.get(variable)}
    public = Addresses()
    addresses = Addresses(
        idc=given.get("idc", public.idc),
        nbia=given.get("nbia", public.nbia),
        tcia=given.get("tcia", public.tcia),
        dataverse=given.get("dataverse", public.dataverse),
        dicomweb=given.get("dicomweb", public.dicomweb),
    )
    return replace(
        addresses, dicomweb=dicomweb or addresses.dicomweb, folder=folder, allowed_hosts=tuple(allowed_hosts)
    )


def origin_of(address: str) -> str:
    """scheme://host[:port] of an address, as it was written."""
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(
            f"address {address!r}: expected one that begins with https:// (or http:// inside a "
            "trusted network)"
        )
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}"


def list_origins(addresses: Addresses) -> tuple[str, ...]:
    """Lists the origins that may be asked: of the addresses, and of IDC's address with each bucket."""
    known = [
        addresses.nbia,
        addresses.tcia,
        addresses.dataverse,
        addresses.dicomweb,
        *(addresses.idc.format(bucket=bucket) for bucket in BUCKETS),
    ]
    return tuple(dict.fromkeys(origin_of(address) for address in known if address))


def list_hosts(addresses: Addresses) -> tuple[str, ...]:
    """Further hosts that an archive may redirect to."""
    return (*addresses.allowed_hosts, *(host for hosts in STORAGE_HOSTS.values() for host in hosts))


def choose_names(names: Sequence[str], *, collection: Collection, addresses: Addresses) -> tuple[str, ...]:
    """Chooses the names of sources to use, in order.

    As asked for, else what was named by an address, else the collection's own.

    Raises:
        UsageError: an unknown name, or a source that needs an address or a folder and has none.
    """
    chosen = tuple(names) or tuple(
        name
        for name in ("folder", "dicomweb")
        if getattr(addresses, name) and (name == "folder" or collection.name == "folder")
    )
    chosen = chosen or tuple(name for name in collection.sources if name not in NEEDS)
    for name in chosen:
        if name not in MAKERS:
            raise UsageError(f"--source {name}: no such source; {nearest(name, MAKERS)}")
        if name in NEEDS and not getattr(addresses, name):
            raise UsageError(f"--source {name}: {NEEDS[name]}")
    if not chosen:
        raise UsageError(
            f"{collection.name} is in no public archive: give a PACS with --url or a folder with --from"
        )
    return chosen


@dataclass(frozen=True)
class Connection:
    """What sources share: where the archives are, the way there, and who hears of what goes wrong.

    Attributes:
        say: called with one line.
    """

    addresses: Addresses
    transfer: Transfer
    say: Callable[[str], None]


def make_sources(names: Sequence[str], *, connection: Connection, staging: Path) -> list[Source]:
    """Makes the sources of those names."""
    return [MAKERS[name](connection, staging) for name in names]


def list_known(collection: Collection) -> list[Series] | None:
    """The collection's series as published, without a network: of the bundled list or the installed index.

    None where neither has them.
    """
    if collection.series_list or (collection.idc and idc_index.is_installed()):
        return list_published(collection)
    return None


def bring_tables(
    collection: Collection,
    wanted: Sequence[CollectionTable],
    *,
    sources: Sequence[Source],
    connection: Connection,
) -> Iterator[tuple[str, Arrived]]:
    """Hands over the wanted tables, each with the name of its source.

    The folder's if the folder is one of the sources and has them, else TCIA's.

    Raises:
        MedimgError: a table cannot be had; the message names it.
    """
    missing = list(wanted)
    for source in sources:
        if fetch_table := getattr(source, "fetch_table", None):
            for table in wanted:
                if arrived := fetch_table(table.name):
                    missing.remove(table)
                    yield source.name, arrived
    if missing and all(source.name in PRIVATE for source in sources):
        connection.say(
            f"{', '.join(table.name for table in missing)}: not in the folder or PACS; add what is "
            "needed to the data root yourself"
        )
        return
    if missing:
        rest = replace(collection, tables=tuple(missing))
        for arrived in fetch_tables(
            rest,
            transfer=connection.transfer,
            address=connection.addresses.tcia,
            on_message=connection.say,
        ):
            yield "tcia", arrived


NEEDS = {
    "dicomweb": f"needs the address of the PACS, --url https://host/dicom-web or {VARIABLES['dicomweb']}",
    "folder": "needs a folder, --from DIR",
}


def _make_folder(connection: Connection, staging: Path) -> Source:
    # With it comes pydicom, whose third of a second no other source waits for before its first byte.
    from medimg.archive.sources.folder import FolderSource

    addresses = connection.addresses
    return FolderSource(
        Path(addresses.folder),
        staging=staging,
        follow_links=addresses.follow_links,
        on_message=connection.say,
    )


MAKERS: Mapping[str, Callable[[Connection, Path], Source]] = {
    "idc": lambda connection, staging: IdcSource(connection.transfer, address=connection.addresses.idc),
    "nbia": lambda connection, staging: NbiaSource(
        connection.transfer, address=connection.addresses.nbia, staging=staging
    ),
    "dicomweb": lambda connection, staging: DicomwebSource(
        connection.transfer, address=connection.addresses.dicomweb, on_message=connection.say
    ),
    "folder": _make_folder,
    "dataverse": lambda connection, staging: DataverseSource(
        connection.transfer, address=connection.addresses.dataverse, staging=staging
    ),
}
