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
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath

from medimg.cases import Case, DataSet, Header, ImageRef, Listing, Reject, Status
from medimg.datasets.ham10000.metadata_table import (
    CHALLENGE,
    CHALLENGE_NAMES,
    CLASSES,
    COLLECTION,
    HEAD,
    TABLE_NAMES,
    LesionImage,
    check_unique,
    read_challenge,
    read_metadata,
)
from medimg.datasets.ham10000.phantom import write_phantom
from medimg.datasets.tables import find_table
from medimg.errors import UsageError
from medimg.files import walk_once

ABSENT = "no image of this id in the folder"


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
    on_disk = {path.stem: path.relative_to(root).as_posix() for path in sorted(find_pictures(root))}
    cases = [make_case(row, images.get(row.image_id), on_disk=on_disk.get(row.image_id)) for row in rows]
    anomalies += [*describe_lesions(rows), *describe_unread_tables(root, read=[table, *challenge])]
    return Listing(sorted(cases, key=lambda case: case.case_id), rejects, anomalies)


def make_case(row: LesionImage, header: Header | None, *, on_disk: str | None) -> Case:
    """The case of one row, with its status.

    Args:
        on_disk: path of the image's file, whether it can be used or not.
    """
    status: Status = "used"
    reason = ""
    if header is None:
        status, reason = "excluded", ABSENT
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
        unread=() if header or not on_disk else (on_disk,),
    )


def check_unpacked(root: Path) -> None:
    """Raises UsageError for a zip with images that are nowhere below root, since workers read files only."""
    archives = sorted((*root.glob("HAM10000_images*.zip"), *root.glob("ISIC2018_Task3_Test_*.zip")))
    on_disk = {path.name for path in find_pictures(root)} if archives else set()
    for path in archives:
        names = list_packed_images(path)
        if missing := [name for name in names if name not in on_disk]:
            raise UsageError(
                f"{path.name}: packed, {len(missing)} of its {len(names)} images are nowhere in the "
                f"folder (first: {missing[0]}); "
                f"expected unpacked images: unzip -n -d {path.stem} {path.name}"
            )


def find_pictures(root: Path) -> Iterator[Path]:
    """Yields what is called like an image of the archive, also behind links that the scan may not follow."""
    for folder, names in walk_once(root, follow_links=True):
        yield from (Path(folder, name) for name in names if name.startswith("ISIC_"))


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
