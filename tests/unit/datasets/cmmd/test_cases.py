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
from tests.unit.datasets.cmmd.collection import CODES, both_views, header, only_case, table

# By the last digits of a UID; TCIA's page of the collection.
SAME_PIXELS = {
    **dict.fromkeys(("3982", "7718", "2368", "8560"), "D1-0202, which is kept"),
    "3616": "D1-1292, which has the opposite label",
    "1053": "D1-0808, which has the opposite label",
}


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
    ("patient", "source"), [("D1-0001", "D1"), ("D2-0001", "D2"), ("D3-0001", None), ("D10001", None)]
)
def test_only_the_collections_two_sources_are_sources(tmp_path, patient, source):
    listing = list_cases(table(tmp_path, f"{patient},L,44,2,mass,Benign,"), both_views(patient))
    assert only_case(listing).clinical["source"] == source


def test_the_split_balances_the_source_that_gives_the_label_away():
    assert find_data_set("cmmd").stratify_by == ("source",)


def test_blanks_around_patient_side_and_view_and_a_side_in_lower_case_mean_the_same_breast(tmp_path):
    names = {"PatientID": " D1-0001 ", "ImageLaterality": " l "}
    codes = {view: [{"CodeValue": f" {CODES[view]} "}] for view in ("CC", "MLO")}
    views = [header(view=view, ViewCodeSequence=codes[view], **names) for view in codes]
    case = only_case(list_cases(table(tmp_path, "D1-0001,L,44,2,mass,Benign,"), views))
    assert (case.case_id, case.status, len(case.images)) == ("D1-0001-L", "used", 2)


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
        ({"ViewCodeSequence": [{"CodeValue": code} for code in CODES.values()]}, "unknown view '' in (0054"),
        ({"ViewCodeSequence": ["399162004"]}, "unknown view '' in (0054,0220)"),
        ({"ViewCodeSequence": []}, "unknown view '' in (0054,0220)"),
        ({"PatientID": " "}, "no patient in (0010,0020)"),
    ],
)
def test_a_file_that_cannot_be_placed_is_quarantined_with_its_tag(tmp_path, wrong, says):
    stray = header(uid="0.1", **wrong)  # Sorted first: what comes after it has its place all the same.
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
    headers = [*both_views(), header(uid="1.1.0", pixels="other"), header(uid="1.9", pixels="other")]
    headers.append(dataclasses.replace(headers[2], path="D1-0001/a copy.dcm", sha256="1" * 64))
    listings = [list_cases(root, random.Random(seed).sample(headers, len(headers))) for seed in range(5)]
    assert all(listing == listings[0] for listing in listings)
    assert {image.role: image.sop_instance_uid for image in only_case(listings[0]).images}["CC"] == "1.1.0"
    second = "a second CC of D1-0001-L with {} pixels; D1-0001/1.1.0.dcm is kept"
    assert {reject.path: reject.reason for reject in listings[0].rejects} == {
        "D1-0001/1.2.D1-0001.L.CC.dcm": second.format("other"),
        "D1-0001/1.9.dcm": second.format("the same"),
        "D1-0001/a copy.dcm": second.format("the same"),
    }
    assert {image.sha256 for image in only_case(listings[0]).images} == {"0" * 64}


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
    assert case.reason == f"erratum of the collection: same pixels as {SAME_PIXELS[uid[-4:]]}"


def test_an_image_of_the_errata_excludes_its_breast_without_a_row_too(tmp_path):
    headers = [header(view="MLO"), header(uid=sorted(ERRATA)[0])]
    case = only_case(list_cases(table(tmp_path, "D1-0002,L,44,2,mass,Benign,"), headers))
    assert (case.status, case.labels) == ("excluded", {})


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
    for name in ("D1-0001_MLO_L", "d1-0001_cc_l", "D1-0001_MLO_R", "D1-0002_MLO_L"):
        triangle = [{"x": 1, "y": 2}, {"x": 3, "y": 2}, {"x": 2, "y": 5}]
        (root / f"{name}_AnnotationFile.json").write_text(
            json.dumps([{"label": "calc ", "cgPoints": triangle}])
        )
    listing = list_cases(root, [*both_views(), header("D1-0002", view="CC")])
    found = [(item.role, item.label, item.kind) for item in listing.cases[0].annotations]
    assert found == [("CC", "mass", "box"), ("CC", "calc", "polygon"), ("MLO", "calc", "polygon")]
    assert listing.cases[1].annotations == ()
    assert listing.anomalies == [
        "D1-0002: has images and no row in CMMD_clinicaldata_revision.csv",
        "D1-0002-L: no MLO image",
        "lesions.csv: 1 of 2 outlined images are not here, 9.9 for one",
        "TOMPEI-CMMD: 2 of 4 outlined views are not here, D1-0001-R-MLO for one",
    ]
    assert len(find_data_set("cmmd").list_tables(root)) == 6
