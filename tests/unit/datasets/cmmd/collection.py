"""Headers and clinical tables of CMMD, as a test wants them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from medimg.cases import Case, Header, Listing

CODES = {"CC": "399162004", "MLO": "399368009"}


COLUMNS = "ID1,LeftRight,Age,number,abnormality,classification,subtype"


def header(
    patient: str = "D1-0001",
    side: str | None = "L",
    view: str = "CC",
    uid: str | None = None,
    pixels: str | None = None,
    **tags: Any,
) -> Header:
    uid = uid or f"1.2.{patient}.{side}.{view}"
    all_tags = {
        "PatientID": patient,
        "ImageLaterality": side,
        "ViewCodeSequence": [{"CodeValue": CODES.get(view, view), "CodingSchemeDesignator": "SCT"}],
        "PatientAge": "044Y",
        "SOPInstanceUID": uid,
        **tags,
    }
    return Header(
        f"{patient}/{uid}.dcm",
        "dicom",
        1,
        "0" * 64,
        pixels or uid,
        {key: value for key, value in all_tags.items() if value is not None},
    )


def both_views(patient: str = "D1-0001", side: str = "L", **tags: Any) -> list[Header]:
    return [header(patient, side, "CC", **tags), header(patient, side, "MLO", **tags)]


def table(root: Path, *rows: str) -> Path:
    (root / "CMMD_clinicaldata_revision.csv").write_text("\n".join((COLUMNS, *rows)) + "\n")
    return root


def only_case(listing: Listing) -> Case:
    (case,) = listing.cases
    return case
