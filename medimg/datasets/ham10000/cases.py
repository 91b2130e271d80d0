"""HAM10000: dermatoscopic images of pigmented skin lesions, seven diagnoses (CC BY-NC 4.0).

DOI: 10.7910/DVN/DBW86T.

On disk:  <root>/HAM10000_metadata (.csv, .tab, .tsv, .txt or none)
              one row per image; any separator, `dataset` and an index column optional
          <root>/**/ISIC_*.jpg
              any depth, keyed by image_id: the two zips of Dataverse, unpacked
          <root>/ISIC2018_Task3_Test_GroundTruth (.csv ...)
              truth of the challenge's test images, optional: with the columns of the metadata, or one column
              per class

Quirks: 10,015 images show 7,470 lesions, so splits belong to the lesion. `dx_type` is follow_up for nv alone:
how a diagnosis was made gives it away. Two lesions have images of two ages. Images of one lesion under two
lesion_ids exist (arXiv 2401.14497); identical pixels are found by the catalogue.
"""

from __future__ import annotations

import zipfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from medimg.cases import Case, DataSet, Header, ImageRef, Listing, Reject, Status, Value
from medimg.datasets.ham10000.phantom import write_phantom
from medimg.datasets.tables import Row, find_table, is_missing, read_table, shown
from medimg.errors import UsageError

HEAD = "diagnosis"
CLASSES = ("nv", "bkl", "bcc", "akiec", "vasc", "df", "mel")
TABLE_ENDINGS = (".csv", "", ".tab", ".tsv", ".txt")
TABLE_NAMES = tuple(f"HAM10000_metadata{ending}" for ending in TABLE_ENDINGS)
CHALLENGE_NAMES = tuple(f"ISIC2018_Task3_Test_GroundTruth{ending}" for ending in TABLE_ENDINGS)
COLUMNS = ("lesion_id", "image_id", "dx", "dx_type", "age", "sex", "localization")
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

ABSENT = "no image of this id in the folder"
REJECTED = "its image file could not be used, see the images' reasons"


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


def list_tables(root: Path) -> Sequence[Path]:
    """The metadata, and the challenge's truth where it is there.

    UsageError without metadata, or where images are still packed.
    """
    table = find_table(root, TABLE_NAMES)
    check_unpacked(root)
    truth = next((root / name for name in CHALLENGE_NAMES if (root / name).is_file()), None)
    return (table, truth) if truth else (table,)


def list_cases(root: Path, headers: Sequence[Header]) -> Listing:
    """One case per row, that is per image; reads the tables, never a pixel.

    A row without an image is an excluded case.

    The challenge's images have the official split "test"; without a known lesion each is a group of its own.

    Raises:
        UsageError: no metadata, an unreadable table, one with other classes, or an oversampled or augmented
            copy; images that are still packed.
    """
    anomalies: list[str] = []
    table, *challenge = list_tables(root)
    rows = read_metadata(table, anomalies=anomalies)
    for path in challenge:
        rows += read_challenge(path, anomalies=anomalies)
    check_unique(rows)
    images, rejects = match_images(headers, known={row.image_id for row in rows})
    on_disk = {path.stem for path in root.rglob("ISIC_*")}
    cases = [make_case(row, images.get(row.image_id), on_disk=row.image_id in on_disk) for row in rows]
    anomalies += [*describe_lesions(rows), *describe_unread_tables(root, read=[table, *challenge])]
    return Listing(sorted(cases, key=lambda case: case.case_id), rejects, anomalies)


def make_case(row: LesionImage, header: Header | None, *, on_disk: bool) -> Case:
    """The case of one row, with its status."""
    status: Status = "used"
    reason = ""
    if header is None:
        status, reason = "excluded", REJECTED if on_disk else ABSENT
    elif not row.lesion_id and row.collection == COLLECTION:
        status, reason = (
            "excluded",
            f"{row.place}: no lesion_id, so nothing keeps the lesion out of two splits",
        )
    elif not row.diagnosis:
        status, reason = "unlabelled", f"{row.place}: no dx"
    lesion = row.lesion_id or row.image_id
    return Case(
        case_id=row.image_id,
        group_id=lesion,
        images=(ImageRef(header.path, "image", sha256=header.sha256),) if header else (),
        levels={"image": row.image_id, "lesion": lesion},
        labels={HEAD: row.diagnosis} if row.diagnosis else {},
        clinical=row.clinical,
        official_split="test" if row.collection == CHALLENGE else None,
        status=status,
        reason=reason,
    )


def check_unpacked(root: Path) -> None:
    """Raises UsageError for a zip with images that are nowhere below root, since workers read files only."""
    archives = sorted((*root.glob("HAM10000_images*.zip"), *root.glob("ISIC2018_Task3_Test_*.zip")))
    on_disk = {path.name for path in root.rglob("ISIC_*")} if archives else set()
    for path in archives:
        names = list_packed_images(path)
        if missing := [name for name in names if name not in on_disk]:
            raise UsageError(
                f"{path.name}: packed, {len(missing)} of its {len(names)} images are nowhere in the "
                f"folder (first: {missing[0]}); "
                f"expected unpacked images: unzip -n -d {path.stem} {path.name}"
            )


def list_packed_images(path: Path) -> list[str]:
    """File names of the images in a zip, without folders."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = [PurePosixPath(name).name for name in archive.namelist()]
    except (OSError, zipfile.BadZipFile) as error:
        raise UsageError(
            f"{path.name}: not a readable zip file ({error}), expected images or the folder that it "
            "was unpacked to"
        ) from None
    return [name for name in names if name.startswith("ISIC_") and name.lower().endswith(".jpg")]


def read_metadata(path: Path, *, anomalies: list[str]) -> list[LesionImage]:
    """The rows of the metadata; adds one line to `anomalies` for each value that is not known.

    Raises:
        UsageError: other columns or classes, or more rows than were published.
    """
    table = read_table(path, required=COLUMNS)
    if len(table.rows) > PUBLISHED_ROWS:
        raise UsageError(
            f"{path.name}: {len(table.rows)} rows, expected at most the {PUBLISHED_ROWS} published "
            "ones: an oversampled or augmented copy?"
        )
    return [read_row(row, table=path.name, collection=COLLECTION, anomalies=anomalies) for row in table.rows]


def read_challenge(path: Path, *, anomalies: list[str]) -> list[LesionImage]:
    """The rows of the challenge's truth, in the columns of the metadata or with one column per class."""
    try:
        table = read_table(path, required=COLUMNS)
    except UsageError:
        return [
            read_one_hot_row(row, table=path.name) for row in read_table(path, required=ONE_HOT_COLUMNS).rows
        ]
    return [read_row(row, table=path.name, collection=CHALLENGE, anomalies=anomalies) for row in table.rows]


def read_row(row: Row, *, table: str, collection: str, anomalies: list[str]) -> LesionImage:
    """One row in the columns of the metadata."""
    place, values = f"{table} row {row.number}", row.values
    diagnosis = "" if is_missing(values["dx"]) else values["dx"].lower()
    if diagnosis and diagnosis not in CLASSES:
        raise UsageError(f"{place}: dx {values['dx']!r}, expected one of {', '.join(CLASSES)}")
    age_years = read_age(values["age"], place=place, anomalies=anomalies)
    clinical: dict[str, Value] = {
        "collection": collection,
        "age_years": age_years,
        "age_band": None if age_years is None else band_age(age_years),
        **{name: read_word(name, values.get(name, ""), place=place, anomalies=anomalies) for name in DOMAINS},
    }
    lesion_id = "" if is_missing(values["lesion_id"]) else values["lesion_id"]
    return LesionImage(place, values["image_id"], lesion_id, diagnosis, collection, clinical)


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
    if not is_missing(word) and word != UNKNOWN:
        anomalies.append(
            f"{place}: {name} {text!r}, expected one of {', '.join(sorted(DOMAINS[name]))}; taken as unknown"
        )
    return None


def read_age(text: str, *, place: str, anomalies: list[str]) -> float | None:
    """Age in years, 0 to OLDEST_YEARS; None for nothing, and (with an anomaly) for anything else."""
    if is_missing(text) or text.lower() == UNKNOWN:
        return None
    try:
        age_years = float(text)
    except ValueError:
        age_years = -1.0
    if 0 <= age_years <= OLDEST_YEARS:
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


def match_images(headers: Iterable[Header], *, known: set[str]) -> tuple[dict[str, Header], list[Reject]]:
    """Images by id, and the files that have no place among them.

    Of several files of one id with the same pixels the first path stays; with other pixels none does, for
    nothing tells which is right.
    """
    by_id: dict[str, list[Header]] = defaultdict(list)
    for header in sorted(headers, key=lambda header: header.path):
        by_id[PurePosixPath(header.path).stem].append(header)
    images, rejects = {}, []
    for image_id, (first, *others) in by_id.items():
        if image_id not in known:
            rejects += [
                Reject(header.path, "excluded", "no row in the tables") for header in (first, *others)
            ]
        elif any(header.pixel_hash != first.pixel_hash for header in others):
            rejects += [
                Reject(
                    header.path, "quarantined", f"{1 + len(others)} files of {image_id} with different pixels"
                )
                for header in (first, *others)
            ]
        else:
            images[image_id] = first
            rejects += [
                Reject(header.path, "excluded", f"same pixels as {first.path}, which stays")
                for header in others
            ]
    return images, rejects


def describe_lesions(rows: Iterable[LesionImage]) -> list[str]:
    """One line for each lesion with two diagnoses."""
    diagnoses: dict[str, Counter[str]] = defaultdict(Counter)
    for row in rows:
        if row.lesion_id and row.diagnosis:
            diagnoses[row.lesion_id][row.diagnosis] += 1
    return [
        f"lesion {lesion}: images of {' and '.join(sorted(found))}"
        for lesion, found in sorted(diagnoses.items())
        if len(found) > 1
    ]


def describe_unread_tables(root: Path, *, read: Sequence[Path]) -> list[str]:
    """One line for each further copy of a table, under another ending."""
    copies = [root / name for name in (*TABLE_NAMES, *CHALLENGE_NAMES) if (root / name).is_file()]
    return [
        f"{path.name}: not read, for {path.stem} is there with another ending too"
        for path in copies
        if path not in read
    ]


DATA_SET = DataSet(
    name="ham10000",
    title="HAM10000: dermatoscopic images of pigmented skin lesions",
    task="classification",
    licence="CC BY-NC 4.0",
    doi="10.7910/DVN/DBW86T",
    levels=("image", "lesion"),
    roles=("image",),
    targets={HEAD: CLASSES},
    list_cases=list_cases,
    list_tables=list_tables,
    write_phantom=write_phantom,
)
