"""What shortcuts reach on CMMD: the published figures, from its real headers and clinical table."""

import csv
import shutil

import pytest

from medimg.cases import Header
from medimg.catalogue.division import SplitBasis, divide
from medimg.catalogue.duplicates.exact import settle_duplicates
from medimg.catalogue.duplicates.near import NearDuplicates
from medimg.catalogue.rows import make_cases_table, make_images_table, make_pairs_table
from medimg.catalogue.split import SplitSettings
from medimg.catalogue.tables import Catalogue, to_frame
from medimg.datasets.cmmd.cases import DATA_SET
from medimg.evaluation.classification.baselines import measure_baselines, measure_in_sample, tabulate_reach
from medimg.evaluation.classification.shortcuts import tabulate_shortcuts
from medimg.evaluation.figures import MeasurementSettings
from tests.unit.evaluation.classification.shortcut_tables import MALIGNANCY

SHORTCUTS = ("source", "age_years", "group_image_count")


def list_headers(path):
    """The real headers of CMMD without pixels, each with a pixel hash of its own."""
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            tags = {
                name: row[name] for name in ("PatientID", "ImageLaterality", "SOPInstanceUID", "PatientAge")
            }
            tags["ViewCodeSequence"] = [{"CodeValue": row["CodeValue"]}]
            yield Header(
                f"{row['SOPInstanceUID']}.dcm", "dicom", 1, row["SOPInstanceUID"], row["SOPInstanceUID"], tags
            )


@pytest.fixture(scope="module")
def cmmd(shared_data, tmp_path_factory):
    """The table of shortcuts of the whole collection, from its real headers and clinical table."""
    root = tmp_path_factory.mktemp("cmmd")
    shutil.copy(shared_data / "cmmd" / "CMMD_clinicaldata_revision.xlsx", root)
    headers = {header.path: header for header in list_headers(shared_data / "cmmd" / "headers.csv")}
    duplicates = settle_duplicates(
        DATA_SET.list_cases(root, list(headers.values())).cases, headers=headers, head="malignancy"
    )
    division = divide(
        duplicates, near=NearDuplicates(), data_set=DATA_SET, basis=SplitBasis(SplitSettings()), root=root
    )
    cases = make_cases_table(duplicates.cases, assignments=division.assignments, strata=division.strata)
    images = make_images_table(duplicates.cases, rejects=[], headers=headers, flags={})
    return tabulate_shortcuts(
        Catalogue(to_frame(cases), to_frame(images), to_frame(make_pairs_table(())), {}),
        SHORTCUTS,
        heads=MALIGNANCY,
    )


def test_the_labels_of_cmmd_are_given_away_as_published(cmmd):
    figures = measure_in_sample(
        cmmd, MeasurementSettings(MALIGNANCY, ["P1", "P2", "P3", "P4", "image"]), shortcuts=SHORTCUTS
    )
    found = {
        (one.baseline, one.figure.protocol): round(one.figure.value, 3)
        for one in figures
        if one.figure.name == "auc"
    }
    assert found["source", "P1"] == 0.775
    assert found["age_years", "P1"] == 0.681
    assert found["group_image_count", "P1"] == 0.656
    assert found["source + age_years", "P1"] == 0.847
    assert found["age_years", "P2"] == 0.668
    counts = {one.figure.protocol: (one.figure.n, one.figure.positives, one.figure.groups) for one in figures}
    assert counts == {
        "P1": (1872, 1316, 1775),
        "P2": (1107, 563, 1026),
        "P3": (1652, 771, 826),
        "P4": (1775, 1310, 1775),
    }


def test_on_held_out_breasts_of_cmmd_the_shortcuts_reach_what_they_reach_on_all(cmmd):
    test = cmmd[(cmmd.status == "used") & (cmmd.split == "test")]
    cases = test.assign(p_malignancy_Benign=0.5, p_malignancy_Malignant=0.5)
    settings = MeasurementSettings(MALIGNANCY, ["P1", "P2"])
    in_sample = measure_in_sample(cmmd, settings, shortcuts=SHORTCUTS)
    rows = tabulate_reach(in_sample, measure_baselines(cases, cmmd, settings, shortcuts=SHORTCUTS))
    reached = {(row.baseline, row.all_labelled.protocol): row for row in rows}
    for key in (("source", "P1"), ("age_years", "P1"), ("source + age_years", "P1"), ("age_years", "P2")):
        row = reached[key]
        assert row.held_out.low <= row.all_labelled.value <= row.held_out.high, key
        assert row.held_out.n == (len(test) if key[1] == "P1" else (test.clinical_source == "D1").sum())
