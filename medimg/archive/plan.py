"""Which series of a list to fetch, and what that comes to: filters, and a stratified sample of patients.

Lists of published data are sorted, often by what one wants to predict: CMMD's first 100 patients all have
calcifications and come from one of its two sources. So a part of a collection is drawn by label and source,
and everything is fetched in that order: a fetch that was interrupted leaves a sample, too.
"""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import attrgetter
from pathlib import Path
from typing import TYPE_CHECKING

from medimg.archive.source import Series, is_uid
from medimg.errors import UsageError, one_line

if TYPE_CHECKING:
    import duckdb

SERIES_COLUMNS: Mapping[str, str] = {
    "PatientID": "patient_id",
    "StudyInstanceUID": "study_uid",
    "SeriesInstanceUID": "uid",
    "Modality": "modality",
    "instances": "instances",
    "bytes": "bytes",
    "label": "label",
    "source": "origin",
    "licence": "licence",
    "doi": "doi",
}
"""Of the table `series` that a condition can use, and the fields of Series that they hold."""

NUMBERS = ("instances", "bytes")
LIST_BEGINS = "ListOfSeriesToDownload="

Stratum = tuple[str, str]
"""Label and origin of a patient."""


@dataclass(frozen=True)
class Selection:
    """What the user wants of a list.

    A series must satisfy all that is given; the sample is drawn last, from the patients that remain.

    Attributes:
        patients: size of the sample; None for all.
        seed: of the sample.
        patient_ids: PatientIDs.
        series_uids: SeriesInstanceUIDs.
        where: a condition in SQL over the table `series`, whose columns are SERIES_COLUMNS; empty for none.
        manifest: file of SeriesInstanceUIDs, see `read_manifest`.
    """

    patients: int | None = None
    seed: int = 0
    patient_ids: tuple[str, ...] = ()
    series_uids: tuple[str, ...] = ()
    where: str = ""
    manifest: Path | None = None


@dataclass(frozen=True)
class Plan:
    """What a selection comes to.

    Attributes:
        patients: number of them.
        files, bytes: as the list says; series of which it says nothing are counted in `unknown` instead.
        unknown: number of series of which the list does not say both.
        licences: all of them, in alphabetical order.
        by_stratum: patients by label and origin.
    """

    series: tuple[Series, ...]
    patients: int
    files: int
    bytes: int
    unknown: int
    licences: tuple[str, ...]
    by_stratum: Mapping[Stratum, int]


def select(series: Sequence[Series], selection: Selection, *, patient_pattern: str = "") -> list[Series]:
    """The selected series, patient by patient, in the order of the sample whether or not one is drawn.

    The order of the list does not matter.

    Args:
        patient_pattern: regular expression that finds the patient within PatientID, see
            `collections.Collection`.

    Raises:
        UsageError: an id that is not in the list, a condition that is no SQL, nothing selected, or a sample
            of data without patients.
    """
    if selection.patients is not None and selection.patients < 1:
        raise UsageError(f"--patients {selection.patients}: expected 1 or more")
    name_patient = _patient_namer(patient_pattern)
    left = list(series)
    if selection.patient_ids:
        left = _keep(
            left,
            selection.patient_ids,
            option="--patient",
            names=lambda one: {one.patient_id, name_patient(one)},
        )
    if selection.series_uids:
        left = _keep(
            left, selection.series_uids, option="--series", among=series, names=lambda one: {one.uid}
        )
    if selection.manifest:
        left = _keep(
            left,
            read_manifest(selection.manifest),
            option=str(selection.manifest),
            among=series,
            names=lambda one: {one.uid, one.key},
        )
    if selection.where:
        uids = find_uids(series, where=selection.where)
        left = [one for one in left if one.uid in uids]
    if not left:
        raise UsageError(f"nothing is selected of the {len(series)} series, expected at least one")
    return _sample(left, selection, name_patient)


def summarise(series: Sequence[Series], *, patient_pattern: str = "") -> Plan:
    """Counts what the series come to."""
    strata = _group_patients(series, _patient_namer(patient_pattern))
    files = size = unknown = 0
    licences = set()
    for one in series:
        files += one.instances or 0
        size += one.bytes or 0
        unknown += one.instances is None or one.bytes is None
        licences.add(one.licence)
    by_stratum = {stratum: len(patients) for stratum, patients in sorted(strata.items())}
    return Plan(
        series=tuple(series),
        patients=sum(by_stratum.values()),
        files=files,
        bytes=size,
        unknown=unknown,
        licences=tuple(sorted(licences - {""})),
        by_stratum=by_stratum,
    )


def order_patients(strata: Mapping[Stratum, Collection[str]], *, seed: int) -> list[str]:
    """Orders all patients so that the first n are a stratified sample of n.

    A larger sample contains every smaller one.

    The seed decides the order within each stratum, by hash, so that it depends on no other patient. The
    strata take turns as seats go to parties by Webster's method: the k-th patient (from 0) of a stratum of s
    has the priority (2k + 1) / s, smallest first; but the first of each stratum comes before every second
    one. (Rounding by largest remainder cannot be nested: with a larger n a stratum can get less.)
    """
    ranked = []
    for stratum, patients in strata.items():
        size = len(patients)
        for place, patient in enumerate(
            sorted(patients, key=lambda name: hashlib.sha256(f"{seed}/{name}".encode()).digest())
        ):
            ranked.append(((2 * place + 1) / size if place else 0, -size, stratum, place, patient))
    return [patient for *_, patient in sorted(ranked)]


def find_uids(series: Sequence[Series], *, where: str) -> set[str]:
    """SeriesInstanceUIDs for which the condition is true.

    It can read the table `series` and nothing else, no file either.

    Raises:
        UsageError: not one condition, or what DuckDB says about it, in one line.
    """
    import duckdb  # A tenth of a second, which a fetch without a condition need not spend.

    try:
        where.encode()
    except UnicodeEncodeError:
        raise UsageError("--where: not UTF-8, expected SQL that is") from None
    with duckdb.connect(":memory:") as connection:
        try:
            connection.execute("SET enable_progress_bar = false")
            _make_table(connection, series)
            connection.execute("SET enable_external_access = false")
            connection.execute("SET python_enable_replacements = false")
            connection.execute("SET lock_configuration = true")
            # The line break ends a comment. Whatever else is smuggled in past the bracket: it is one SELECT
            # over this one table.
            statements = connection.extract_statements(
                f"SELECT SeriesInstanceUID FROM series WHERE (\n{where}\n)"
            )
            if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
                raise UsageError(
                    f"--where: {len(statements)} statements, expected one condition over"
                    f" {', '.join(SERIES_COLUMNS)}"
                )
            return {uid for (uid,) in connection.execute(statements[0]).fetchall()}
        except duckdb.Error as error:
            raise UsageError(
                f"--where: {one_line(' '.join(str(error).split()))}; columns are {', '.join(SERIES_COLUMNS)}"
            ) from None


S5CMD_LINE = re.compile(
    r"cp(?: \S+)*? ['\"]?s3://[^/\s]+/(?P<key>[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})/\S* .*"
)
"""A line of IDC's manifests: `cp [options] s3://bucket/<crdc_series_uuid>/* folder`."""


def read_manifest(path: Path) -> tuple[str, ...]:
    """Reads the series of a manifest (.tcia, .s5cmd) or of a list with one UID per line, each once.

    A manifest has lines `key=value` that end with `ListOfSeriesToDownload=`. Blank lines and lines that begin
    with # are skipped. IDC's (.s5cmd) copy a folder of a bucket each, named by the crdc_series_uuid.

    Raises:
        UsageError: unreadable, a line that is no UID (with its number), or no UID at all.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise UsageError(
            f"{path}: {error.strerror}, expected a manifest (.tcia, .s5cmd) or a list of SeriesInstanceUIDs"
        ) from None
    except UnicodeDecodeError:
        raise UsageError(
            f"{path}: no text in UTF-8, expected a manifest (.tcia, .s5cmd) or a list of SeriesInstanceUIDs"
        ) from None
    numbered = [(number, line.strip()) for number, line in enumerate(lines, start=1)]
    head = next((number for number, line in numbered if line == LIST_BEGINS), 0)
    uids: dict[str, None] = {}
    for number, line in numbered:
        if not line or line.startswith("#") or (number <= head and "=" in line):
            continue
        if copied := S5CMD_LINE.fullmatch(line):
            uids[copied["key"]] = None
            continue
        if number < head or not is_uid(line):
            wanted = f"key=value before {LIST_BEGINS}" if number < head else "one SeriesInstanceUID"
            raise UsageError(f"{path}, line {number}: {one_line(line[:80])!r}, expected {wanted}")
        uids[line] = None
    if not uids:
        raise UsageError(
            f"{path}: no SeriesInstanceUID, expected one per line{' below ' + LIST_BEGINS if head else ''}"
        )
    return tuple(uids)


def _keep(
    series: Sequence[Series],
    wanted: Collection[str],
    *,
    option: str,
    names: Callable[[Series], set[str]],
    among: Sequence[Series] = (),
) -> list[Series]:
    """Series with one of their names among the wanted.

    Raises UsageError where a wanted name occurs nowhere in the whole list.
    """
    known = {name for one in among or series for name in names(one)}
    if unknown := [name for name in dict.fromkeys(wanted) if name not in known]:
        if unknown[0] in {one.study_uid for one in among or series}:
            raise UsageError(
                f"{option}: {unknown[0]} is a StudyInstanceUID, expected a SeriesInstanceUID; all "
                f"series of a study: --where \"StudyInstanceUID = '{unknown[0]}'\""
            )
        more = f" and {len(unknown) - 3} more" if len(unknown) > 3 else ""
        raise UsageError(
            f"{option}: {', '.join(map(one_line, unknown[:3]))}{more} not in the list of "
            f"{len(among or series)} series"
        )
    wanted = set(wanted)
    return [one for one in series if not wanted.isdisjoint(names(one))]


def _sample(
    series: Sequence[Series], selection: Selection, name_patient: Callable[[Series], str]
) -> list[Series]:
    if selection.patients is not None and not any(one.patient_id for one in series):
        raise UsageError(
            f"--patients {selection.patients}: the list names no patients, expected data that do; "
            "leave the option out to have all"
        )
    ordered = order_patients(_group_patients(series, name_patient), seed=selection.seed)
    rank = {patient: place for place, patient in enumerate(ordered[: selection.patients])}
    chosen = [one for one in series if name_patient(one) in rank]
    return sorted(chosen, key=lambda one: (rank[name_patient(one)], one.uid))


def _patient_namer(pattern: str) -> Callable[[Series], str]:
    """What tells one patient from another; a series without PatientID counts by its study, or alone."""
    compiled = re.compile(pattern) if pattern else None

    def name_patient(one: Series) -> str:
        found = compiled.search(one.patient_id) if compiled else None
        return found.group() if found else one.patient_id or one.study_uid or one.uid

    return name_patient


def _group_patients(
    series: Iterable[Series], name_patient: Callable[[Series], str]
) -> dict[Stratum, set[str]]:
    """Patients by label and origin; of a patient with several, the first in alphabetical order counts."""
    found: dict[str, Stratum] = {}
    for one in series:
        patient, stratum = name_patient(one), (one.label, one.origin)
        found[patient] = min(stratum, found.get(patient, stratum))
    strata = defaultdict(set)
    for patient, stratum in found.items():
        strata[stratum].add(patient)
    return dict(strata)


def _make_table(connection: duckdb.DuckDBPyConnection, series: Sequence[Series]) -> None:
    """One statement with a list per column: 10,000 rows one by one would take seconds."""
    columns = ", ".join(
        f"unnest(?::{'BIGINT' if name in NUMBERS else 'VARCHAR'}[]) AS {name}" for name in SERIES_COLUMNS
    )
    values = [list(map(attrgetter(field), series)) for field in SERIES_COLUMNS.values()]
    connection.execute(f"CREATE TABLE series AS SELECT {columns}", values)
