"""Makes medimg/archive/cmmd_series.csv: the series of CMMD with label and source of each patient.

With it a sample can be planned offline.

Usage: .venv/bin/python setup/make_cmmd_series.py IDC_SERIES.csv CMMD_clinicaldata_revision.xlsx >
medimg/archive/cmmd_series.csv

IDC_SERIES.csv holds these columns of the IDC index for collection_id = cmmd: PatientID, StudyInstanceUID,
SeriesInstanceUID, crdc_series_uuid, aws_bucket, instanceCount, series_size_MB, license_short_name,
source_DOI.
"""

import csv
import dataclasses
import sys
from collections import defaultdict
from pathlib import Path

from medimg.archive.source import Series
from medimg.datasets.cmmd.clinical_table import read_clinical_table

HEADER = """\
# The series of CMMD (Chinese Mammography Database, Cui et al. 2021, doi 10.7937/tcia.eqde-4b16), \
licence CC BY 4.0.
# Source: the index of the Imaging Data Commons, v24; label and origin from TCIA's \
CMMD_clinicaldata_revision.xlsx.
# label: the malignancy of the patient's labelled breasts; origin: the part of the collection, D1 or D2. \
Columns are the fields of Series.
# Made by setup/make_cmmd_series.py
"""
VERSION = "IDC v24"


def main(series: Path, clinical: Path) -> None:
    """Writes the list to the standard output."""
    labels = defaultdict(set)
    for (patient, _), row in read_clinical_table(clinical.parent).breasts.items():
        labels[patient].add(row.labels["malignancy"])
    rows = [
        Series(
            uid=row["SeriesInstanceUID"],
            patient_id=row["PatientID"],
            study_uid=row["StudyInstanceUID"],
            key=row["crdc_series_uuid"],
            bucket=row["aws_bucket"],
            instances=int(row["instanceCount"]),
            bytes=round(float(row["series_size_MB"]) * 1e6),
            modality="MG",
            label="+".join(sorted(labels[row["PatientID"]])),
            origin=row["PatientID"][:2],
            licence=row["license_short_name"],
            doi=row["source_DOI"],
            version=VERSION,
        )
        for row in csv.DictReader(series.open(encoding="utf-8", newline=""))
    ]
    sys.stdout.write(HEADER)
    writer = csv.DictWriter(
        sys.stdout, [field.name for field in dataclasses.fields(Series)], lineterminator="\n"
    )
    writer.writeheader()
    writer.writerows(dataclasses.asdict(one) for one in sorted(rows, key=lambda one: one.patient_id))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
