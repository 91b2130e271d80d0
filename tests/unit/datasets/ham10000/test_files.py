"""Which tables and images of HAM10000 are taken, under which names, and what happens to the others."""

import random
import zipfile

import pytest

from medimg.cases import Header
from medimg.datasets.ham10000.cases import ABSENT, list_cases, list_tables
from medimg.datasets.ham10000.metadata_table import CHALLENGE_NAMES, TABLE_NAMES
from medimg.errors import UsageError

COLUMNS = "lesion_id,image_id,dx,dx_type,age,sex,localization"
TRUTH = "ISIC2018_Task3_Test_GroundTruth"


def write_rows(path, *rows):
    facts = "histo,45.0,male,back"
    path.write_text("\n".join([COLUMNS, *(f"{row},{facts}" for row in rows)]))


def header(path, pixel_hash=""):
    return Header(path, "jpeg", 1, f"sha256 of {path}", pixel_hash or path, {})


@pytest.mark.parametrize("ending", [".csv", "", ".tab", ".tsv", ".txt"])
def test_both_tables_are_found_under_each_ending(tmp_path, ending):
    write_rows(tmp_path / f"HAM10000_metadata{ending}", "HAM_1,ISIC_0000001,nv")
    write_rows(tmp_path / f"{TRUTH}{ending}", "HAM_2,ISIC_0000002,mel")
    assert [path.name for path in list_tables(tmp_path)] == [f"HAM10000_metadata{ending}", f"{TRUTH}{ending}"]
    assert [case.case_id for case in list_cases(tmp_path, []).cases] == ["ISIC_0000001", "ISIC_0000002"]


def test_copies_of_both_tables_that_are_not_read_are_named(tmp_path):
    for names in (TABLE_NAMES, CHALLENGE_NAMES):
        for name in names[:3]:
            row = "HAM_1,ISIC_0000001,nv" if names is TABLE_NAMES else ",ISIC_0000002,mel"
            write_rows(tmp_path / name, row)
    assert [line.partition(":")[0] for line in list_cases(tmp_path, []).anomalies] == [
        "HAM10000_metadata",
        "HAM10000_metadata.tab",
        TRUTH,
        f"{TRUTH}.tab",
    ]


def test_an_image_of_the_challenge_that_the_metadata_has_too_is_refused(tmp_path):
    write_rows(tmp_path / "HAM10000_metadata.csv", "HAM_1,ISIC_0000001,nv")
    write_rows(tmp_path / f"{TRUTH}.csv", ",ISIC_0000001,nv")
    with pytest.raises(UsageError, match=rf"{TRUTH}\.csv row 2: .* stands in HAM10000_metadata\.csv row 2"):
        list_cases(tmp_path, [])


@pytest.mark.parametrize(
    ("name", "row", "status", "split", "group"),
    [
        ("HAM10000_metadata", "HAM_1,ISIC_0000003,df", "used", None, "HAM_1"),
        ("HAM10000_metadata", ",ISIC_0000003,df", "excluded", None, "ISIC_0000003"),
        ("HAM10000_metadata", ",ISIC_0000003,", "excluded", None, "ISIC_0000003"),
        ("HAM10000_metadata", "HAM_1,ISIC_0000003,", "unlabelled", None, "HAM_1"),
        (TRUTH, "HAM_1,ISIC_0000003,df", "used", "test", "HAM_1"),
        (TRUTH, ",ISIC_0000003,df", "used", "test", "ISIC_0000003"),
        (TRUTH, ",ISIC_0000003,", "unlabelled", "test", "ISIC_0000003"),
    ],
)
def test_status_split_and_group_by_table_lesion_and_diagnosis(tmp_path, name, row, status, split, group):
    write_rows(tmp_path / "HAM10000_metadata.csv", "HAM_9,ISIC_0000009,nv")
    if name == TRUTH:
        write_rows(tmp_path / f"{TRUTH}.csv", row)
    else:
        write_rows(tmp_path / "HAM10000_metadata.csv", "HAM_9,ISIC_0000009,nv", row)
    images = [header("ISIC_0000003.jpg"), header("ISIC_0000009.jpg")]
    case = list_cases(tmp_path, images).cases[0]
    assert (case.status, case.official_split, case.group_id, case.levels["lesion"]) == (
        status,
        split,
        group,
        group,
    )
    assert case.images[0].sha256 == "sha256 of ISIC_0000003.jpg"


def test_a_file_that_is_there_and_could_not_be_read_is_told_from_one_that_is_absent(tmp_path):
    write_rows(tmp_path / "HAM10000_metadata.csv", "HAM_1,ISIC_0000001,nv", "HAM_2,ISIC_0000002,nv")
    (tmp_path / "part" / "deep").mkdir(parents=True)
    (tmp_path / "part" / "deep" / "ISIC_0000001.jpg").touch()
    cases = list_cases(tmp_path, []).cases
    assert [(case.reason, case.unread) for case in cases] == [
        (ABSENT, ("part/deep/ISIC_0000001.jpg",)),
        (ABSENT, ()),
    ]


def test_images_without_a_lesion_are_not_one_lesion_of_two_diagnoses(tmp_path):
    write_rows(tmp_path / "HAM10000_metadata.csv", "HAM_1,ISIC_0000001,nv")
    write_rows(tmp_path / f"{TRUTH}.csv", ",ISIC_0000002,nv", ",ISIC_0000003,mel")
    assert list_cases(tmp_path, []).anomalies == []


def test_a_lesion_without_a_diagnosis_in_one_image_has_one_diagnosis(tmp_path):
    write_rows(tmp_path / "HAM10000_metadata.csv", "HAM_1,ISIC_0000001,nv", "HAM_1,ISIC_0000002,")
    assert list_cases(tmp_path, []).anomalies == []


def test_files_of_one_id_are_one_image_only_if_all_have_the_same_pixels(tmp_path):
    write_rows(tmp_path / "HAM10000_metadata.csv", "HAM_2,ISIC_0000002,nv", "HAM_1,ISIC_0000001,nv")
    headers = [
        *(header(f"{folder}/ISIC_0000001.jpg", pixels) for folder, pixels in zip("abc", "xxx", strict=True)),
        *(header(f"{folder}/ISIC_0000002.jpg", pixels) for folder, pixels in zip("abc", "yyz", strict=True)),
        *(header(f"{folder}/ISIC_0000003.jpg", "v") for folder in "ab"),
    ]
    listings = [list_cases(tmp_path, random.Random(seed).sample(headers, len(headers))) for seed in range(4)]
    assert all(listing.cases == listings[0].cases for listing in listings)
    first, second = listings[0].cases
    assert (first.case_id, first.images[0].path, second.status) == (
        "ISIC_0000001",
        "a/ISIC_0000001.jpg",
        "excluded",
    )
    for listing in listings:
        assert {(reject.path, reject.status, reject.reason) for reject in listing.rejects} == {
            *(
                (f"{f}/ISIC_0000001.jpg", "excluded", "same pixels as a/ISIC_0000001.jpg, which stays")
                for f in "bc"
            ),
            *(
                (f"{f}/ISIC_0000002.jpg", "quarantined", "3 files of ISIC_0000002 with different pixels")
                for f in "abc"
            ),
            *((f"{f}/ISIC_0000003.jpg", "excluded", "no row in the tables") for f in "ab"),
        }


@pytest.mark.parametrize("archive", ["HAM10000_images_part_2.zip", "ISIC2018_Task3_Test_Images.zip"])
@pytest.mark.parametrize("member", ["ISIC_0000001.jpg", "deep/ISIC_0000001.JPG"])
def test_images_in_any_of_the_zips_must_be_unpacked(tmp_path, archive, member):
    write_rows(tmp_path / "HAM10000_metadata.csv", "HAM_1,ISIC_0000001,nv")
    with zipfile.ZipFile(tmp_path / archive, "w") as opened:
        for name in (member, "ISIC_notes.txt", "ATTRIBUTION.jpg"):
            opened.writestr(name, b"x")
    with pytest.raises(UsageError, match=rf"{archive}: packed, 1 of its 1 images are nowhere"):
        list_cases(tmp_path, [])
    (tmp_path / "unpacked").mkdir()
    (tmp_path / "unpacked" / member.rpartition("/")[2]).touch()
    assert list_tables(tmp_path)


def test_a_zip_that_cannot_be_read_is_named(tmp_path):
    write_rows(tmp_path / "HAM10000_metadata.csv", "HAM_1,ISIC_0000001,nv")
    (tmp_path / "HAM10000_images_part_1.zip").write_bytes(b"PK\3\4 no more")
    with pytest.raises(UsageError, match=r"HAM10000_images_part_1\.zip: not a readable zip file"):
        list_tables(tmp_path)
