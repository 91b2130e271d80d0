"""CMMD: Chinese Mammography Database, benign or malignant per breast (CC BY 4.0, doi 10.7937/tcia.eqde-4b16).

On disk:  <root>/CMMD_clinicaldata_revision.xlsx (or .csv)   one row per labelled breast
          <root>/**/*.dcm                                    any depth; keyed by SOPInstanceUID, not by name
          <root>/lesions.csv                                 outlines of lesions, optional; see outlines.py
          <root>/**/*_AnnotationFile.json                    those of TOMPEI-CMMD, optional; see
                                                             tompei_outlines.py

Quirks: 729 patients have a second, unlabelled breast; 30 have one benign and one malignant breast, so labels
belong to (patient, side) and splits to the patient. The view is only in ViewCodeSequence; D1-1506 is numbered
2, 3 with the MLO first. D1-1343 is 16 bit. StudyDate is made up. The label is confounded with the source: of
D2's 765 labelled breasts 753 are malignant, so every figure also needs its D1 slice.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from medimg.cases import Annotation, Case, DataSet, Header, ImageRef, Listing, Reject, Status, Value
from medimg.datasets.cmmd.clinical_table import (
    HEADS,
    TABLE_NAMES,
    Breast,
    BreastRow,
    ClinicalTable,
    read_clinical_table,
)
from medimg.datasets.cmmd.phantom import write_phantom
from medimg.datasets.cmmd.tompei_outlines import View, list_outline_files, read_outlines
from medimg.datasets.identifiers import Forms
from medimg.datasets.outlines import (
    Outlines,
    annotate,
    describe_unknown_images,
    list_lesion_tables,
    read_lesions,
)
from medimg.datasets.tables import find_table
from medimg.errors import quote_code, show_code, show_concept

VIEWS = {
    "399162004": "CC",
    "399368009": "MLO",
}  # SNOMED CT: cranio-caudal and medio-lateral oblique projection (DICOM PS3.16 CID 4014).
AGE_BANDS = ((40, "<40"), (50, "40-49"), (60, "50-59"), (70, "60-69"))
OLDEST_BAND = "70+"

# TCIA's page of the collection (doi 10.7937/tcia.eqde-4b16) lists image pairs with identical pixels. D2-0284
# repeats all four images of D1-0202, which stays. One image of D1-0808 (Benign) is one of D1-1292
# (Malignant): which label is right cannot be told, so both breasts go.
_UID_ROOT = "1.3.6.1.4.1.14519.5.2.1.1239.1759."
_SAME_AS_D1_0202 = "erratum of the collection: same pixels as D1-0202, which is kept"
_OPPOSITE_OF = "erratum of the collection: same pixels as {}, which has the opposite label"
ERRATA: Mapping[str, str] = {
    _UID_ROOT + "228270158714114514484881513982": _SAME_AS_D1_0202,
    _UID_ROOT + "184463292925992510193862407718": _SAME_AS_D1_0202,
    _UID_ROOT + "349257837843256761326949762368": _SAME_AS_D1_0202,
    _UID_ROOT + "160352706963357360723748518560": _SAME_AS_D1_0202,
    _UID_ROOT + "150245827408011484522806023616": _OPPOSITE_OF.format("D1-1292"),
    _UID_ROOT + "226697836240718683195976711053": _OPPOSITE_OF.format("D1-0808"),
}


def list_tables(root: Path) -> Sequence[Path]:
    """The clinical table and the outlines of lesions that there are; UsageError without a clinical table."""
    return (find_table(root, TABLE_NAMES), *list_lesion_tables(root), *list_outline_files(root))


def list_cases(root: Path, headers: Sequence[Header]) -> Listing:
    """One case per breast that has an image, labelled or not; reads the table, never a pixel.

    Of several images of one breast and view the one with the smallest SOPInstanceUID (then path) is kept,
    whatever the order of files; the others are quarantined. A breast with one of its two views is a case and
    an anomaly.

    Raises:
        UsageError: no clinical table, an unreadable one, or one without the columns; outlines that are none.
    """
    in_files: dict[str, str] = {}
    for header in sorted(headers, key=lambda header: header.path):
        in_files.setdefault(read_patient(header), header.path)
    table = read_clinical_table(root, in_files=in_files)
    breasts, rejects = group_by_breast(headers, patients=table.patients)
    notes: list[str] = []
    lesions, tompei = read_lesions(root, anomalies=notes), read_outlines(root)
    cases = [
        outline_case(make_case(breast, views, table=table), lesions=lesions, tompei=tompei)
        for breast, views in sorted(breasts.items())
    ]
    anomalies = [
        *table.anomalies,
        *notes,
        *describe_rows_without_images(table, breasts),
        *describe_patients_without_rows(table, breasts),
        *describe_missing_views(breasts),
        *describe_ages(table, breasts),
        *describe_unknown_images(lesions, (str(header.tags.get("SOPInstanceUID", "")) for header in headers)),
        *describe_unknown_views(tompei, breasts),
    ]
    return Listing(cases, rejects, anomalies)


def make_case(breast: Breast, views: Mapping[str, Header], *, table: ClinicalTable) -> Case:
    """The case of one breast, with its status."""
    patient, side = breast
    row = table.breasts.get(breast, BreastRow(()))
    status, reason = judge(breast, views, table=table)
    return Case(
        case_id=f"{patient}-{side}",
        group_id=patient,
        images=tuple(refer(view, role=role) for role, view in sorted(views.items())),
        levels={"breast": f"{patient}-{side}", "patient": patient},
        labels=row.labels,
        clinical=describe_breast(breast, row=row, age_years=find_age(breast, views, table=table)),
        status=status,
        reason=reason,
    )


def outline_case(case: Case, *, lesions: Outlines, tompei: Mapping[View, Sequence[Annotation]]) -> Case:
    """The case with the outlines that lie on its views."""
    side = str(case.clinical["laterality"])
    of_views = [item for image in case.images for item in tompei.get((case.group_id, side, image.role), ())]
    return replace(case, annotations=(*annotate(case.images, lesions), *of_views))


def judge(breast: Breast, views: Mapping[str, Header], *, table: ClinicalTable) -> tuple[Status, str]:
    """Status of a breast and the reason: the errata come first, then what the table says."""
    patient, side = breast
    errata = [
        ERRATA[uid] for view in views.values() if (uid := str(view.tags.get("SOPInstanceUID", ""))) in ERRATA
    ]
    if errata:
        return "excluded", errata[0]
    row = table.breasts.get(breast)
    if row is None and patient in table.problems:
        return "excluded", table.problems[patient]
    if row is None:
        return "unlabelled", f"no row for {patient} {side} in {table.name}"
    return ("excluded", row.problem) if row.problem else ("used", "")


def refer(header: Header, *, role: str) -> ImageRef:
    """The reference to a header's image."""
    return ImageRef(
        header.path, role, sop_instance_uid=str(header.tags.get("SOPInstanceUID", "")), sha256=header.sha256
    )


def describe_breast(breast: Breast, *, row: BreastRow, age_years: float | None) -> dict[str, Value]:
    """The clinical columns; abnormality and subtype are there too, for slices."""
    patient, side = breast
    return {
        "source": patient[:2] if patient[:3] in ("D1-", "D2-") else None,
        "laterality": side,
        "age_years": age_years,
        "age_band": None if age_years is None else band_age(age_years),
        "abnormality": row.labels.get("abnormality"),
        "subtype": row.labels.get("subtype"),
    }


def band_age(age_years: float) -> str:
    """The age band, "<40" to "70+"."""
    return next((name for limit, name in AGE_BANDS if age_years < limit), OLDEST_BAND)


def find_age(breast: Breast, views: Mapping[str, Header], *, table: ClinicalTable) -> float | None:
    """Age of the breast's row.

    For a breast without one, of the patient's other breast, else of PatientAge.
    """
    patient, side = breast
    other = (patient, "R" if side == "L" else "L")
    for row in (table.breasts.get(breast), table.breasts.get(other)):
        if row is not None and row.age_years is not None:
            return row.age_years
    return next((age for view in views.values() if (age := read_patient_age(view)) is not None), None)


def read_patient_age(header: Header) -> float | None:
    """(0010,1010) in years, from "044Y" alone: other units do not occur in CMMD.

    None where it is missing or says something else.
    """
    text = str(header.tags.get("PatientAge") or "").strip()
    return float(text[:-1]) if text.endswith("Y") and text[:-1].isdecimal() else None


def group_by_breast(
    headers: Iterable[Header], *, patients: Forms
) -> tuple[dict[Breast, dict[str, Header]], list[Reject]]:
    """Views by breast, and the files that have no place among them."""
    breasts: dict[Breast, dict[str, Header]] = defaultdict(dict)
    rejects = []
    for header in sorted(
        headers, key=lambda header: (str(header.tags.get("SOPInstanceUID", "")), header.path)
    ):
        problem = find_problem(header)
        if problem:
            rejects.append(Reject(header.path, "quarantined", problem))
            continue
        breast = (patients.choose(read_patient(header)), read_side(header))
        view = VIEWS[read_view_code(header)]
        first = breasts[breast].setdefault(view, header)
        if first is not header:
            same = "the same pixels" if first.pixel_hash == header.pixel_hash else "other pixels"
            rejects.append(
                Reject(
                    header.path,
                    "quarantined",
                    f"a second {view} of {'-'.join(breast)} with {same}; {first.path} is kept",
                )
            )
    return dict(breasts), rejects


def find_problem(header: Header) -> str:
    """Why a file cannot be placed, naming the tag, what it says and what was expected; empty if it can."""
    if header.kind != "dicom":
        return f"a {header.kind.upper()} file, expected DICOM"
    if not read_patient(header):
        return "no patient in (0010,0020) PatientID"
    if read_side(header) not in ("L", "R"):
        return f"unknown side {quote_code(read_side(header))} in (0020,0062) ImageLaterality, expected L or R"
    if read_view_code(header) not in VIEWS:
        view = show_concept(read_view_code(header))
        return (
            f"unknown view {view!r} in (0054,0220) ViewCodeSequence, expected "
            f"{' or '.join(map(' '.join, VIEWS.items()))}"
        )
    return ""


def read_patient(header: Header) -> str:
    """(0010,0020), stripped."""
    return str(header.tags.get("PatientID") or "").strip()


def read_side(header: Header) -> str:
    """(0020,0062), stripped; usually "L" or "R"."""
    return str(header.tags.get("ImageLaterality") or "").strip().upper()


def read_view_code(header: Header) -> str:
    """Code value of the one item of (0054,0220); empty where it is missing, not one item or no sequence."""
    items: Any = header.tags.get("ViewCodeSequence")
    if not isinstance(items, list) or len(items) != 1 or not isinstance(items[0], Mapping):
        return ""
    return str(items[0].get("CodeValue") or "").strip()


def describe_rows_without_images(table: ClinicalTable, breasts: Iterable[Breast]) -> list[str]:
    """Describes each row whose breast has no image: the rest of the collection after a partial download."""
    missing = sorted(set(table.breasts) - set(breasts), key=lambda breast: table.breasts[breast].rows)
    return [
        f"{table.name} row {table.breasts[breast].rows[0]}: no image of {' '.join(breast)}"
        for breast in missing
    ]


def describe_patients_without_rows(table: ClinicalTable, breasts: Iterable[Breast]) -> list[str]:
    """One line for each patient with images and not one row."""
    known = {patient for patient, _ in table.breasts} | set(table.problems)
    unknown = {patient for patient, _ in breasts} - known
    return [f"{patient}: has images and no row in {table.name}" for patient in sorted(unknown)]


def describe_missing_views(breasts: Mapping[Breast, Mapping[str, Header]]) -> list[str]:
    """One line for each breast that lacks a view."""
    wanted = sorted(VIEWS.values())
    return [
        f"{'-'.join(breast)}: no {view} image"
        for breast, views in sorted(breasts.items())
        for view in wanted
        if view not in views
    ]


def describe_unknown_views(
    tompei: Iterable[View], breasts: Mapping[Breast, Mapping[str, Header]]
) -> list[str]:
    """One line if outlines of TOMPEI-CMMD lie on views that are not here."""
    named = list(tompei)
    unknown = sorted(view for view in named if view[2] not in breasts.get(view[:2], {}))
    return (
        [
            f"TOMPEI-CMMD: {len(unknown)} of {len(named)} outlined views are not here, "
            f"{'-'.join(unknown[0])} for one"
        ]
        if unknown
        else []
    )


def describe_ages(table: ClinicalTable, breasts: Mapping[Breast, Mapping[str, Header]]) -> list[str]:
    """One line for each breast whose files say another age than its row."""
    lines = []
    for breast, views in sorted(breasts.items()):
        row = table.breasts.get(breast)
        for view in views.values():
            age_years = read_patient_age(view)
            if row is not None and None not in (row.age_years, age_years) and row.age_years != age_years:
                found = view.tags.get("PatientAge")
                lines.append(
                    f"{view.path}: {show_code(found)} in (0010,1010) PatientAge, {table.name} row "
                    f"{row.rows[0]} says {row.age_years:g} years"
                )
                break
    return lines


DATA_SET = DataSet(
    name="cmmd",
    title="CMMD: Chinese Mammography Database",
    task="classification",
    licence="CC BY 4.0",
    doi="10.7937/tcia.eqde-4b16",
    levels=("breast", "patient"),
    roles=("CC", "MLO"),
    targets=HEADS,
    list_cases=list_cases,
    list_tables=list_tables,
    write_phantom=write_phantom,
    stratify_by=("source",),
    published_ids=r"(?i)D[12]-\d{4}",
)
