"""HAM10000's metadata, and the truth of the challenge's test images, as rows of one kind."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from medimg.cases import Value
from medimg.datasets.cells import parse_number
from medimg.datasets.identifiers import read_forms
from medimg.datasets.tables import Row, Table, describe_missing, read_table, shown
from medimg.errors import UsageError

HEAD = "diagnosis"
CLASSES = ("nv", "bkl", "bcc", "akiec", "vasc", "df", "mel")
TABLE_ENDINGS = (".csv", "", ".tab", ".tsv", ".txt")
TABLE_NAMES = tuple(f"HAM10000_metadata{ending}" for ending in TABLE_ENDINGS)
CHALLENGE_NAMES = tuple(f"ISIC2018_Task3_Test_GroundTruth{ending}" for ending in TABLE_ENDINGS)
METADATA_COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
ONE_HOT_COLUMNS = ("image", *CLASSES)
PUBLISHED_ROWS = 10_015
COLLECTION, CHALLENGE = "HAM10000", "ISIC2018_Task3_Test"

DOMAINS: Mapping[str, frozenset[str]] = {
    "dx_type": frozenset({"histo", "follow_up", "consensus", "confocal"}),
    "sex": frozenset({"male", "female"}),
    "localization": frozenset(
        (
            "abdomen",
            "acral",
            "back",
            "chest",
            "ear",
            "face",
            "foot",
            "genital",
            "hand",
            "lower extremity",
            "neck",
            "scalp",
            "trunk",
            "upper extremity",
        )
    ),
    "dataset": frozenset({"vidir_modern", "vidir_molemax", "rosendahl", "vienna_dias"}),
}
UNKNOWN = "unknown"
OLDEST_YEARS = 120
AGE_BANDS = ((30, "<30"), (45, "30-44"), (60, "45-59"), (75, "60-74"))
OLDEST_BAND = "75+"


@dataclass(frozen=True)
class LesionImage:
    """What a table says of one image.

    Attributes:
        place: "HAM10000_metadata.csv row 2", for errors.
        lesion_id: empty where the table does not know.
        diagnosis: empty: unlabelled.
        collection: COLLECTION or CHALLENGE.
    """

    place: str
    image_id: str
    lesion_id: str
    diagnosis: str
    collection: str
    clinical: Mapping[str, Value]


def read_metadata(path: Path, *, anomalies: list[str]) -> list[LesionImage]:
    """The rows of the metadata; adds one line to `anomalies` for each value that is not known.

    Raises:
        UsageError: other columns or classes, or more rows than were published.
    """
    table = read_table(path, required=METADATA_COLUMNS)
    if len(table.rows) > PUBLISHED_ROWS:
        raise UsageError(
            f"{path.name}: {len(table.rows)} rows, expected at most the {PUBLISHED_ROWS} published "
            "ones: an oversampled or augmented copy?"
        )
    return read_rows(table, collection=COLLECTION, anomalies=anomalies)


def read_challenge(path: Path, *, anomalies: list[str]) -> list[LesionImage]:
    """The rows of the challenge's truth, in the columns of the metadata or with one column per class."""
    table = read_table(path, required=METADATA_COLUMNS, alternatives=(ONE_HOT_COLUMNS,))
    if set(table.columns).issuperset(METADATA_COLUMNS):
        return read_rows(table, collection=CHALLENGE, anomalies=anomalies)
    anomalies += table.notes
    return [read_one_hot_row(row, table=path.name) for row in table.rows]


def read_rows(table: Table, *, collection: str, anomalies: list[str]) -> list[LesionImage]:
    """The rows of a table in the columns of the metadata."""
    what = f"{table.name} column lesion_id"
    lesions = read_forms(((row.number, row.values["lesion_id"]) for row in table.rows), what=what)
    anomalies += [*table.notes, *describe_missing(table, "dx"), *lesions.describe(what)]
    rows = [read_row(row, table=table.name, collection=collection, anomalies=anomalies) for row in table.rows]
    return [replace(row, lesion_id=lesions.choose(row.lesion_id)) for row in rows]


def read_row(row: Row, *, table: str, collection: str, anomalies: list[str]) -> LesionImage:
    """One row in the columns of the metadata."""
    place, values = f"{table} row {row.number}", row.values
    diagnosis = values["dx"].lower()
    if diagnosis and diagnosis not in CLASSES:
        raise UsageError(f"{place}: dx {values['dx']!r}, expected one of {', '.join(CLASSES)}")
    age_years = read_age(values["age"], place=place, anomalies=anomalies)
    clinical: dict[str, Value] = {
        "collection": collection,
        "age_years": age_years,
        "age_band": None if age_years is None else band_age(age_years),
        **{name: read_word(name, values.get(name, ""), place=place, anomalies=anomalies) for name in DOMAINS},
    }
    return LesionImage(place, values["image_id"], values["lesion_id"], diagnosis, collection, clinical)


def read_one_hot_row(row: Row, *, table: str) -> LesionImage:
    """One row with one column per class, of which one is 1 and the others are 0."""
    place = f"{table} row {row.number}"
    marked = [name for name in CLASSES if row.values[name] not in ("0", "0.0")]
    if len(marked) != 1 or row.values[marked[0]] not in ("1", "1.0"):
        raise UsageError(f"{place}: classes marked: {shown(marked)}; expected a single 1 among 0s")
    clinical = {"collection": CHALLENGE, "age_years": None, "age_band": None, **dict.fromkeys(DOMAINS)}
    return LesionImage(place, row.values["image"], "", marked[0], CHALLENGE, clinical)


def read_word(name: str, text: str, *, place: str, anomalies: list[str]) -> str | None:
    """The word of a column if it is one that the schema knows.

    None for "unknown", nothing, and (with an anomaly) any other.
    """
    word = text.lower()
    if word in DOMAINS[name]:
        return word
    if word and word != UNKNOWN:
        anomalies.append(
            f"{place}: {name} {text!r}, expected one of {', '.join(sorted(DOMAINS[name]))}; taken as unknown"
        )
    return None


def read_age(text: str, *, place: str, anomalies: list[str]) -> float | None:
    """Age in years, 0 to OLDEST_YEARS; None for nothing, and (with an anomaly) for anything else."""
    if not text or text.lower() == UNKNOWN:
        return None
    age_years = parse_number(text)
    if age_years is not None and 0 <= age_years <= OLDEST_YEARS:
        return age_years
    anomalies.append(f"{place}: age {text!r}, expected years from 0 to {OLDEST_YEARS}; taken as unknown")
    return None


def band_age(age_years: float) -> str:
    """The age band, "<30" to "75+"."""
    return next((name for limit, name in AGE_BANDS if age_years < limit), OLDEST_BAND)


def check_unique(rows: Sequence[LesionImage]) -> None:
    """Raises UsageError where an id is not ISIC's or occurs twice.

    That is so in copies of the table that were oversampled or augmented.
    """
    first: dict[str, LesionImage] = {}
    for row in rows:
        prefix, _, digits = row.image_id.partition("_")
        if prefix != "ISIC" or len(digits) != 7 or not digits.isdecimal():
            raise UsageError(
                f"{row.place}: image_id {row.image_id!r}, expected ISIC_ and seven digits: an "
                "augmented copy of the table?"
            )
        if row.image_id in first:
            raise UsageError(
                f"{row.place}: image_id {row.image_id} stands in {first[row.image_id].place} too: an "
                "oversampled copy of the table?"
            )
        first[row.image_id] = row
