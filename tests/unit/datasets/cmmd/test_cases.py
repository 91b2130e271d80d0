import csv
import dataclasses
import json
import random
import shutil
from collections import Counter

import pytest

from medimg.cases import Header
from medimg.datasets import find_data_set
from medimg.datasets.cmmd.cases import ERRATA, list_cases
from medimg.errors import UsageError

CODES = {"CC": "399162004", "MLO": "399368009"}
COLUMNS = "ID1,LeftRight,Age,number,abnormality,classification,subtype"


def header(patient="D1-0001", side="L", view="CC", uid=None, pixels=None, **tags):
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


def both_views(patient="D1-0001", side="L"):
    return [header(patient, side, "CC"), header(patient, side, "MLO")]


def table(root, *rows):
    (root / "CMMD_clinicaldata_revision.csv").write_text("\n".join((COLUMNS, *rows)) + "\n")
    return root


def only_case(listing):
    (case,) = listing.cases
    return case


def test_a_breast_has_both_views_its_labels_and_its_clinical_columns(tmp_path):
    listing = list_cases(
        table(tmp_path, "D2-0001,L,44,2,both,Malignant,HER2-enriched"), both_views("D2-0001")[::-1]
    )
    case = only_case(listing)
    assert (case.case_id, case.group_id, case.status) == ("D2-0001-L", "D2-0001", "used")
    assert case.levels == {"breast": "D2-0001-L", "patient": "D2-0001"}
    assert [image.role for image in case.images] == ["CC", "MLO"]
    assert case.labels == {"malignancy": "Malignant", "abnormality": "both", "subtype": "HER2-enriched"}
    assert case.clinical == {
        "source": "D2",
        "laterality": "L",
        "age_years": 44.0,
        "age_band": "40-49",
        "abnormality": "both",
        "subtype": "HER2-enriched",
    }
    assert not listing.anomalies
    assert not listing.rejects


@pytest.mark.parametrize(
    ("age", "band"),
    [(17, "<40"), (39, "<40"), (40, "40-49"), (59, "50-59"), (60, "60-69"), (70, "70+"), (87, "70+")],
)
def test_ages_fall_into_bands(tmp_path, age, band):
    listing = list_cases(table(tmp_path, f"D1-0001,L,{age},2,mass,Benign,"), both_views())
    assert only_case(listing).clinical["age_band"] == band


def test_the_view_comes_from_its_code_not_from_the_name_or_number(tmp_path):
    views = [
        header(view="MLO", InstanceNumber=1, ViewPosition="CC"),
        header(view="CC", InstanceNumber=2, ViewPosition="MLO"),
    ]
    case = only_case(list_cases(table(tmp_path, "D1-0001,L,44,2,mass,Benign,"), views))
    assert {image.role: image.sop_instance_uid for image in case.images} == {
        "CC": "1.2.D1-0001.L.CC",
        "MLO": "1.2.D1-0001.L.MLO",
    }


def test_a_patient_can_have_one_benign_and_one_malignant_breast(tmp_path):
    root = table(tmp_path, "D1-0087,L,44,2,mass,Benign,", "D1-0087,R,44,2,mass,Malignant,")
    listing = list_cases(root, both_views("D1-0087", "L") + both_views("D1-0087", "R"))
    assert {case.case_id: case.labels["malignancy"] for case in listing.cases} == {
        "D1-0087-L": "Benign",
        "D1-0087-R": "Malignant",
    }
    assert {case.group_id for case in listing.cases} == {"D1-0087"}


def test_a_breast_without_a_row_is_unlabelled_not_normal(tmp_path):
    listing = list_cases(table(tmp_path, "D1-0001,L,44,2,mass,Benign,"), both_views() + both_views(side="R"))
    other = next(case for case in listing.cases if case.case_id.endswith("R"))
    assert (other.status, other.labels) == ("unlabelled", {})
    assert "no row for D1-0001 R" in other.reason
    assert other.clinical["age_years"] == 44


def test_a_patient_without_any_row_is_unlabelled_and_reported(tmp_path):
    listing = list_cases(table(tmp_path, "D1-0001,L,44,2,mass,Benign,"), both_views() + both_views("D1-0009"))
    assert Counter(case.status for case in listing.cases) == {"used": 1, "unlabelled": 1}
    assert any(line.startswith("D1-0009: has images and no row") for line in listing.anomalies)


def test_a_row_without_images_is_reported_with_its_number(tmp_path):
    listing = list_cases(
        table(tmp_path, "D1-0001,L,44,2,mass,Benign,", "D1-0002,R,44,2,mass,Benign,"), both_views()
    )
    assert listing.anomalies == ["CMMD_clinicaldata_revision.csv row 3: no image of D1-0002 R"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("D1-0001,L,44,2,mass,Probably,", "row 2: classification 'Probably', expected Benign, Malignant"),
        ("D1-0001,L,44,2,cyst,Benign,", "row 2: abnormality 'cyst', expected calcification, mass, both"),
        ("D1-0001,L,44,2,,Benign,", "row 2: abnormality '', expected"),
        ("D1-0001,L,44,2,mass,Malignant,Luminal C", "row 2: subtype 'Luminal C', expected Luminal A"),
        ("D1-0001,L,999,2,mass,Benign,", "row 2: Age '999', expected 0 to 120 years"),
        ("D1-0001,L,-1,2,mass,Benign,", "row 2: Age '-1'"),
        ("D1-0001,L,old,2,mass,Benign,", "row 2: Age 'old'"),
        ("D1-0001,B,44,2,mass,Benign,", "row 2: LeftRight 'B' of D1-0001, expected L or R"),
        ("D1-0001,,44,2,mass,Benign,", "row 2: LeftRight '' of D1-0001"),
    ],
)
def test_a_breast_with_a_value_out_of_place_is_excluded_never_guessed(tmp_path, row, says):
    listing = list_cases(table(tmp_path, row), both_views())
    case = only_case(listing)
    assert (case.status, case.labels) == ("excluded", {})
    assert says in case.reason
    assert [line for line in listing.anomalies if says in line] == [case.reason]


def test_contradictory_rows_exclude_the_breast_and_name_both_rows(tmp_path):
    root = table(
        tmp_path,
        "D1-0001,L,44,2,mass,Benign,",
        "D1-0002,L,44,2,mass,Benign,",
        "D1-0001,L,44,2,mass,Malignant,",
    )
    listing = list_cases(root, both_views() + both_views("D1-0002"))
    first, second = listing.cases
    assert (first.status, first.labels, second.status) == ("excluded", {}, "used")
    assert "rows 2 and 4: contradict each other about D1-0001 L" in first.reason
    assert first.reason in listing.anomalies


def test_a_repeated_row_counts_once_and_is_reported(tmp_path):
    listing = list_cases(table(tmp_path, *["D1-0001,L,44,2,mass,Benign,"] * 2), both_views())
    assert only_case(listing).status == "used"
    assert len(listing.anomalies) == 1
    assert "rows 2 and 3: repeat each other" in listing.anomalies[0]


def test_another_age_in_the_files_is_reported_and_the_table_counts(tmp_path):
    views = [dataclasses.replace(view, tags={**view.tags, "PatientAge": "054Y"}) for view in both_views()]
    listing = list_cases(table(tmp_path, "D1-0001,L,44,2,mass,Benign,"), views)
    assert only_case(listing).clinical["age_years"] == 44
    assert len(listing.anomalies) == 1
    assert (
        "054Y in (0010,1010) PatientAge, CMMD_clinicaldata_revision.csv row 2 says 44 years"
        in listing.anomalies[0]
    )


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"side": "X"}, "unknown side 'X' in (0020,0062)"),
        ({"side": None}, "unknown side '' in (0020,0062)"),
        ({"view": "399260004"}, "unknown view '399260004' in (0054,0220)"),
        ({"ViewCodeSequence": None}, "unknown view '' in (0054,0220)"),
        ({"ViewCodeSequence": "399162004"}, "unknown view '' in (0054,0220)"),
        ({"PatientID": " "}, "no patient in (0010,0020)"),
    ],
)
def test_a_file_that_cannot_be_placed_is_quarantined_with_its_tag(tmp_path, wrong, says):
    stray = header(uid="9.9", **wrong)
    listing = list_cases(table(tmp_path, "D1-0001,L,44,2,mass,Benign,"), [*both_views(), stray])
    (reject,) = listing.rejects
    assert (reject.path, reject.status) == (stray.path, "quarantined")
    assert says in reject.reason
    assert len(only_case(listing).images) == 2


def test_a_png_in_the_tree_is_quarantined(tmp_path):
    stray = Header("figure.png", "png", 1, "0" * 64, "p", {"Rows": 4})
    listing = list_cases(table(tmp_path, "D1-0001,L,44,2,mass,Benign,"), [*both_views(), stray])
    assert [(reject.path, reject.reason) for reject in listing.rejects] == [
        ("figure.png", "a PNG file, expected DICOM")
    ]


def test_of_two_images_of_one_view_the_same_is_kept_whatever_the_order(tmp_path):
    root = table(tmp_path, "D1-0001,L,44,2,mass,Benign,")
    headers = [*both_views(), header(uid="1.1.0", pixels="other"), header(uid="1.9", pixels="1.1.0")]
    listings = [list_cases(root, random.Random(seed).sample(headers, len(headers))) for seed in range(5)]
    assert all(listing == listings[0] for listing in listings)
    assert {image.role: image.sop_instance_uid for image in only_case(listings[0]).images}["CC"] == "1.1.0"
    assert sorted(reject.path for reject in listings[0].rejects) == [
        "D1-0001/1.2.D1-0001.L.CC.dcm",
        "D1-0001/1.9.dcm",
    ]
    assert all("D1-0001/1.1.0.dcm is kept" in reject.reason for reject in listings[0].rejects)


def test_a_breast_with_one_view_is_used_and_reported(tmp_path):
    listing = list_cases(table(tmp_path, "D1-0001,L,44,2,mass,Benign,"), [header()])
    assert only_case(listing).status == "used"
    assert listing.anomalies == ["D1-0001-L: no MLO image"]


@pytest.mark.parametrize("uid", sorted(ERRATA))
def test_a_breast_with_an_image_of_the_errata_is_excluded_and_keeps_its_labels(tmp_path, uid):
    case = only_case(
        list_cases(table(tmp_path, "D1-0001,L,44,2,mass,Benign,"), [header(uid=uid), header(view="MLO")])
    )
    assert (case.status, case.labels["malignancy"]) == ("excluded", "Benign")
    assert case.reason.startswith("erratum of the collection: same pixels as D1-")


def test_a_missing_table_is_wrong_use(tmp_path):
    (tmp_path / "CMMD_clinical.xlsx").touch()
    with pytest.raises(
        UsageError,
        match=r"CMMD_clinicaldata_revision\.xlsx or CMMD_clinicaldata_revision\.csv; found "
        r"CMMD_clinical\.xlsx",
    ):
        list_cases(tmp_path, [])


def test_a_misspelt_data_set_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match="no data set 'cmdd'; did you mean 'cmmd'"):
        find_data_set("cmdd")


@pytest.fixture(scope="module")
def real(shared_data, tmp_path_factory):
    root = tmp_path_factory.mktemp("cmmd")
    shutil.copy(shared_data / "cmmd" / "CMMD_clinicaldata_revision.xlsx", root)
    with (shared_data / "cmmd" / "headers.csv").open(newline="") as file:
        headers = [
            header(
                row["PatientID"],
                row["ImageLaterality"],
                row["CodeValue"],
                row["SOPInstanceUID"],
                PatientAge=row["PatientAge"],
                InstanceNumber=int(row["InstanceNumber"]),
                BitsStored=int(row["BitsStored"]),
            )
            for row in csv.DictReader(file)
        ]
    return list_cases(root, headers)


def test_the_real_collection_has_its_known_counts(real):
    labelled = [case for case in real.cases if case.labels]
    unlabelled = [case for case in real.cases if not case.labels]
    assert Counter(case.labels["malignancy"] for case in labelled) == {"Malignant": 1316, "Benign": 556}
    assert Counter(case.labels["abnormality"] for case in labelled) == {
        "mass": 1149,
        "both": 461,
        "calcification": 262,
    }
    assert Counter(case.labels.get("subtype") for case in labelled) == {
        "Luminal B": 376,
        "Luminal A": 152,
        "HER2-enriched": 135,
        "triple negative": 86,
        None: 1123,
    }
    assert (sum(len(case.images) for case in labelled), sum(len(case.images) for case in unlabelled)) == (
        3744,
        1458,
    )
    assert all([image.role for image in case.images] == ["CC", "MLO"] for case in real.cases)
    assert not real.rejects
    assert not real.anomalies


def test_the_real_collections_errata_are_excluded_and_d1_0202_stays(real):
    excluded = {case.case_id for case in real.cases if case.status == "excluded"}
    assert excluded == {"D2-0284-L", "D2-0284-R", "D1-0808-R", "D1-1292-R"}
    assert {image.sop_instance_uid for case in real.cases for image in case.images} >= set(ERRATA)
    assert {
        case.labels["malignancy"] for case in real.cases if case.case_id in ("D1-0808-R", "D1-1292-R")
    } == {"Benign", "Malignant"}
    assert {case.status for case in real.cases if case.group_id == "D1-0202"} == {"used"}


def test_the_real_collections_odd_patients_are_right(real):
    cases = {case.case_id: case for case in real.cases}
    assert {cases["D1-0087-L"].labels["malignancy"], cases["D1-0087-R"].labels["malignancy"]} == {
        "Benign",
        "Malignant",
    }
    by_role = {image.role: image.sop_instance_uid for image in cases["D1-1506-R"].images}
    assert by_role["MLO"].endswith("534978148965733681242535693596")
    assert by_role["CC"].endswith("264722556987086508107711341213")
    assert cases["D1-1343-L"].labels["malignancy"] == "Malignant"


def test_outlines_lie_on_the_view_that_their_file_names_and_the_rest_is_told(tmp_path):
    root = table(tmp_path, "D1-0001,L,44,2,mass,Malignant,")
    (root / "lesions.csv").write_text(
        "sop_instance_uid,label,kind,points\n1.2.D1-0001.L.CC,mass,box,1 2;3 4\n9.9,mass,box,1 2;3 4\n"
    )
    for name in ("D1-0001_MLO_L", "D1-0001_MLO_R"):
        triangle = [{"x": 1, "y": 2}, {"x": 3, "y": 2}, {"x": 2, "y": 5}]
        (root / f"{name}_AnnotationFile.json").write_text(
            json.dumps([{"label": "calc ", "cgPoints": triangle}])
        )
    listing = list_cases(root, both_views())
    found = [(item.role, item.label, item.kind) for item in only_case(listing).annotations]
    assert found == [("CC", "mass", "box"), ("MLO", "calc", "polygon")]
    assert listing.anomalies == [
        "lesions.csv: 1 of 2 outlined images are not here, 9.9 for one",
        "TOMPEI-CMMD: 1 of 2 outlined views are not here, D1-0001-R-MLO for one",
    ]
    assert len(find_data_set("cmmd").list_tables(root)) == 4
