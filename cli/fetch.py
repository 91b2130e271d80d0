"""`medimg fetch`: plan, room, transfer, tables, terms; and what a person reads of it."""

from __future__ import annotations

import os
import shutil
import threading
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from rich import box
from rich.console import Console
from rich.filesize import decimal
from rich.table import Table

from medimg.archive.collections import Collection
from medimg.archive.data_root import clear_parts, hold_root, is_there, work_folder
from medimg.archive.fetch import Fetcher, FetchOutcome, fetch_all, fetch_tables
from medimg.archive.licences import write_terms
from medimg.archive.plan import Selection, select, summarise
from medimg.archive.receipts import RECEIPTS_FILE, Receipts
from medimg.archive.source import Addresses, NotAvailable, Series, Source
from medimg.archive.sources.dicomweb_login import login_from
from medimg.archive.sources.registry import (
    PRIVATE,
    Connection,
    bring_tables,
    choose_names,
    list_hosts,
    list_known,
    list_origins,
    make_sources,
)
from medimg.archive.transport.errors import Interrupted
from medimg.archive.transport.flow import MOST
from medimg.archive.transport.http_messages import Access
from medimg.archive.transport.transfer import Control, Transfer
from medimg.archive.verify import verify
from medimg.console.progress import Meter, metering
from medimg.console.terminal import make_console, say
from medimg.errors import DiskFull, MedimgError, UsageError
from medimg.files import WORK_FOLDER

SHOWN_FAILURES = 10


@dataclass(frozen=True)
class FetchRequest:
    """What the command line asks for.

    Attributes:
        source_names: in order of preference; empty for the collection's own.
        workers: files at a time, at most.
    """

    collection: Collection
    selection: Selection
    to: Path
    addresses: Addresses
    source_names: Sequence[str] = ()
    workers: int = MOST


@dataclass(frozen=True)
class Session:
    """An open fetch: connections, sources, how it shows, and how to stop it."""

    connection: Connection
    sources: Sequence[Source]
    meter: Meter
    stop: threading.Event


def run_fetch(request: FetchRequest, *, dry_run: bool = False, console: Console | None = None) -> None:
    """Fetches, or with `dry_run` says what would come.

    Raises:
        UsageError: an unknown source, patient or series.
        MedimgError: something could not be had; what came is kept, and the same command goes on from there.
    """
    console = console or make_console()
    with hold_root(request.to, lambda line: say(console, line)) as receipts, open_session(request) as session:
        held = list_held(request.collection, session.sources)
        chosen = select(held, request.selection, patient_pattern=request.collection.patient_pattern)
        missing = [one for one in chosen if not is_there(one, root=request.to, receipts=receipts)]
        print_plan(chosen, missing, request=request, console=console)
        if dry_run:
            return
        size = add_known([one.bytes for one in missing])
        session.meter.expect(size, files=add_known([one.instances for one in missing]))
        outcome = bring(request, chosen, session=session, receipts=receipts)
        if not outcome.failures:
            clear_parts(request.to)
    finish(outcome, root=request.to, console=console)


def add_known(numbers: Sequence[int | None]) -> int | None:
    """Their sum; None where one is unknown."""
    return None if None in numbers else sum(number or 0 for number in numbers)


@contextmanager
def open_session(request: FetchRequest) -> Iterator[Session]:
    """Connections and sources for the length of the block, and the progress of what they bring."""
    addresses = request.addresses
    names = choose_names(request.source_names, collection=request.collection, addresses=addresses)
    # Parts are continued by the next call; what was being unpacked or copied when a process was killed is of
    # no use to anyone.
    parts = work_folder(request.to, "parts")
    shutil.rmtree(work_folder(request.to, "staging"))
    staging = work_folder(request.to, "staging")
    stop = threading.Event()
    login = login_from(os.environ, addresses.dicomweb) if addresses.dicomweb else None
    with metering("fetching") as meter:
        transfer = Transfer(
            Access(list_origins(addresses), list_hosts(addresses), (login,) if login else ()),
            parts=parts,
            control=Control(on_bytes=meter.advance, on_retry=meter.say, stop=stop),
            workers=request.workers,
        )
        connection = Connection(addresses, transfer, meter.say)
        sources = make_sources(names, connection=connection, staging=staging)
        yield Session(connection, sources, meter, stop)


def list_held(collection: Collection, sources: Sequence[Source]) -> list[Series]:
    """Lists the collection's series.

    They are those of the bundled list or the index where there is one, else of the first source that lists
    them.

    A folder or a PACS alone is asked for what it holds, of which the list then says what belongs to the
    collection.
    """
    listed = list_known(collection)
    if listed is not None and not all(source.name in PRIVATE for source in sources):
        return listed
    reasons = []
    for source in sources:
        try:
            held = source.list_series(collection)
        except MedimgError as error:
            reasons.append(f"{source.name}: {error}")
            continue
        if listed is None:
            return held
        known = {one.uid: one for one in listed}
        return [known[one.uid] for one in held if one.uid in known]
    raise NotAvailable(f"no list of {collection.name}'s series; {'; '.join(reasons)}")


def bring(
    request: FetchRequest, chosen: Sequence[Series], *, session: Session, receipts: Receipts
) -> FetchOutcome:
    """Terms first, then tables, then series.

    A table that cannot be had is a failure like any other; the images come nevertheless.
    """
    collection = request.collection
    write_terms(collection, chosen, root=request.to)
    failures = []
    try:
        tables = fetch_tables(
            collection,
            root=request.to,
            receipts=receipts,
            arriving=lambda missing: bring_tables(
                collection, missing, sources=session.sources, connection=session.connection
            ),
        )
    except (DiskFull, Interrupted):
        raise
    except MedimgError as error:
        tables, failures = FetchOutcome(), [str(error)]
    fetcher = Fetcher(
        collection,
        request.to,
        receipts,
        sources=session.sources,
        say=session.meter.say,
        stop=session.stop,
        on_file=session.meter.count_file,
    )
    outcome = fetch_all(fetcher, chosen, workers=request.workers)
    return replace(
        outcome,
        files=outcome.files + tables.files,
        bytes=outcome.bytes + tables.bytes,
        failures=[*failures, *outcome.failures],
    )


def run_verify(root: Path, *, workers: int = 4, console: Console | None = None) -> None:
    """Compares all files with their receipts; no network.

    Raises:
        UsageError: nothing was fetched there.
        MedimgError: files are missing or differ; the next fetch brings them again.
    """
    console = console or make_console()
    if not (root / RECEIPTS_FILE).is_file():
        raise UsageError(f"{root}: no {RECEIPTS_FILE}, expected a folder that medimg fetch has written")
    with hold_root(root, lambda line: say(console, line)) as receipts:
        total, size = len(receipts), sum(receipt.bytes for receipt in receipts)
        with metering("verifying") as meter:
            meter.expect(size, files=total)

            def advance(size: int) -> None:
                meter.count_file()
                meter.advance(size)

            found = verify(root, receipts, workers=workers, advance=advance)
    for problem in found.edited:
        say(console, f"edited: {problem}")
    for problem in found.bad[:SHOWN_FAILURES]:
        say(console, problem)
    if found.bad:
        raise MedimgError(
            f"{len(found.bad):,} of {total:,} files in {root} are missing or differ from their receipts; "
            f"what differs is now in {WORK_FOLDER}/quarantine, and the same fetch again brings all of them"
        )
    say(
        console,
        f"all {total - len(found.edited):,} files in {root} ({decimal(size)}) are as they were fetched",
    )


def print_plan(
    chosen: Sequence[Series], missing: Sequence[Series], *, request: FetchRequest, console: Console
) -> None:
    """Prints patients, series, files and bytes by label and source, and what is missing of them.

    Licences and the room on the disk follow.
    """
    strata: dict[tuple[str, str], list[Series]] = defaultdict(list)
    for one in chosen:
        strata[one.label, one.origin].append(one)
    missing_uids = {one.uid for one in missing}
    table = Table(title=request.collection.title, title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for name in ("label", "source", "patients", "series", "files", "size", "to fetch"):
        table.add_column(name, justify="left" if name in ("label", "source") else "right", no_wrap=True)
    totals = [(("all", ""), list(chosen))] if len(strata) > 1 else []
    for (label, origin), some in [*sorted(strata.items()), *totals]:
        rest = [one for one in some if one.uid in missing_uids]
        table.add_row(
            label or "-",
            origin or "-",
            *count_columns(some, request.collection),
            decimal(sum(one.bytes or 0 for one in rest)) if rest else "nothing",
        )
    console.print(table)
    licences = sorted({one.licence for one in chosen if one.licence} or {request.collection.licence} - {""})
    dois = sorted({one.doi for one in chosen if one.doi} or {request.collection.doi} - {""})
    if licences:
        cited = ", ".join(f"https://doi.org/{doi}" for doi in dois)
        say(console, f"licence: {', '.join(licences)}; cite: {cited}")
    need, free = sum(one.bytes or 0 for one in missing), shutil.disk_usage(request.to).free
    say(console, f"disk: {decimal(need)} to come, {decimal(free)} free in {request.to}")


def count_columns(series: Sequence[Series], collection: Collection) -> tuple[str, str, str, str]:
    """Patients, series, files, bytes; with a plus sign where the list does not say all."""
    plan = summarise(series, patient_pattern=collection.patient_pattern)
    more = "+" if plan.unknown else ""
    return f"{plan.patients:,}", f"{len(series):,}", f"{plan.files:,}{more}", f"{decimal(plan.bytes)}{more}"


def finish(outcome: FetchOutcome, *, root: Path, console: Console) -> None:
    """Says what came. Raises MedimgError if something is missing."""
    for failure in outcome.failures[:SHOWN_FAILURES]:
        say(console, f"failed: {failure}")
    came = (
        f"{outcome.files:,} files, {decimal(outcome.bytes)} fetched; "
        f"{outcome.kept:,} of {outcome.series:,} series were there already"
    )
    if outcome.failures:
        raise MedimgError(
            f"{len(outcome.failures):,} of {outcome.series:,} series or tables could not be had; {came}; "
            "the same command tries again"
        )
    say(console, f"{came}. All are verified, see {root / RECEIPTS_FILE}")
