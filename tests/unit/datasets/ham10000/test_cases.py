import shutil
import zipfile

import cv2
import numpy as np
import pytest
from PIL import Image

from medimg.cases import Header
from medimg.catalogue.build import BuildOptions, build_catalogue
from medimg.catalogue.split import SplitSettings
from medimg.datasets.ham10000.cases import ABSENT, DATA_SET, list_cases, list_tables
from medimg.datasets.ham10000.metadata_table import CLASSES
from medimg.datasets.ham10000.phantom import (
    LOOKS,
    draw_lesion,
    encode_jpeg,
    photograph,
    share_lesions,
    write_phantom,
)
from medimg.errors import UsageError

COLUMNS = "lesion_id,image_id,dx,dx_type,age,sex,localization"
TWO_ROWS = (
    "HAM_0000001,ISIC_0000001,nv,histo,45.0,male,back",
    "HAM_0000002,ISIC_0000002,mel,histo,,unknown,unknown",
)


def metadata(root, *rows, columns=COLUMNS, name="HAM10000_metadata.csv", newline="\n"):
    root.mkdir(exist_ok=True)
    (root / name).write_bytes(newline.join((columns, *rows, "")).encode())
    return root


def header(path, pixel_hash=""):
    return Header(path, "jpeg", 1, f"sha256 of {path}", pixel_hash or path, {})


TWO_HEADERS = (header("part_1/ISIC_0000001.jpg"), header("part_2/ISIC_0000002.jpg"))


def write_image(path, *, seed=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    path.write_bytes(encode_jpeg(photograph(draw_lesion(LOOKS["nv"], rng=rng), rng=rng)))


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    root = tmp_path_factory.mktemp("phantom")
    write_phantom(root, cases=60, seed=0)
    return root


def test_an_image_is_a_case_with_its_diagnosis_lesion_and_facts(tmp_path):
    first, second = list_cases(metadata(tmp_path, *TWO_ROWS), TWO_HEADERS).cases
    assert (first.case_id, first.group_id, first.status, first.labels) == (
        "ISIC_0000001",
        "HAM_0000001",
        "used",
        {"diagnosis": "nv"},
    )
    assert first.levels == {"image": "ISIC_0000001", "lesion": "HAM_0000001"}
    assert first.images[0].path == "part_1/ISIC_0000001.jpg"
    assert first.clinical == {
        "collection": "HAM10000",
        "age_years": 45.0,
        "age_band": "45-59",
        "sex": "male",
        "localization": "back",
        "dx_type": "histo",
        "dataset": None,
    }
    assert [second.clinical[name] for name in ("age_years", "age_band", "sex", "localization")] == [None] * 4


@pytest.mark.parametrize("name", ["HAM10000_metadata.csv", "HAM10000_metadata", "HAM10000_metadata.tab"])
@pytest.mark.parametrize("separator", [",", "\t"])
@pytest.mark.parametrize("with_more", [False, True])
def test_the_metadata_are_read_under_each_name_and_in_each_form_of_dataverse(
    tmp_path, name, separator, with_more
):
    rows = [f"{index},{row},rosendahl" if with_more else row for index, row in enumerate(TWO_ROWS)]
    columns = f",{COLUMNS},dataset" if with_more else COLUMNS
    rows = [row.replace(",", separator) for row in rows]
    root = metadata(tmp_path, *rows, columns=columns.replace(",", separator), name=name, newline="\r\n")
    cases = list_cases(root, TWO_HEADERS).cases
    assert [case.labels["diagnosis"] for case in cases] == ["nv", "mel"]
    assert {case.clinical["dataset"] for case in cases} == {"rosendahl" if with_more else None}
    assert list_tables(root) == (root / name,)


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            TWO_ROWS[0],
            "row 4: image_id ISIC_0000001 stands in HAM10000_metadata.csv row 2 too: an oversampled copy",
        ),
        (
            "HAM_3,ISIC_0000001_flip,nv,histo,45,male,back",
            "row 4: image_id 'ISIC_0000001_flip', expected ISIC_ and seven digits: an augmented copy",
        ),
        ("HAM_3,ISIC_0000003,SCC,histo,45,male,back", "row 4: dx 'SCC', expected one of nv, bkl"),
    ],
)
def test_a_table_that_is_not_the_published_one_is_refused_with_the_reason(tmp_path, row, words):
    with pytest.raises(UsageError, match=words):
        list_cases(metadata(tmp_path, *TWO_ROWS, row), TWO_HEADERS)


def test_more_rows_than_were_published_are_refused(tmp_path):
    rows = [f"HAM_{number},ISIC_{number:07d},nv,histo,45,male,back" for number in range(10_016)]
    with pytest.raises(
        UsageError,
        match="10016 rows, expected at most the 10015 published ones: an oversampled or augmented copy",
    ):
        list_cases(metadata(tmp_path, *rows), TWO_HEADERS)


def test_a_row_without_an_image_is_excluded_and_keeps_its_label(tmp_path):
    first, second = list_cases(metadata(tmp_path, *TWO_ROWS), TWO_HEADERS[:1]).cases
    assert (first.status, second.status, second.reason, second.images) == ("used", "excluded", ABSENT, ())
    assert second.labels == {"diagnosis": "mel"}


def test_a_row_without_a_lesion_is_excluded_and_one_without_a_diagnosis_unlabelled(tmp_path):
    root = metadata(tmp_path, ",ISIC_0000001,nv,histo,45,male,back", "HAM_2,ISIC_0000002,,histo,45,male,back")
    cases = list_cases(root, TWO_HEADERS).cases
    assert [case.status for case in cases] == ["excluded", "unlabelled"]
    assert cases[0].reason.startswith("HAM10000_metadata.csv row 2: no lesion_id")


def test_two_files_of_one_id_are_one_image_if_their_pixels_are_equal_and_none_otherwise(tmp_path):
    root = metadata(tmp_path, *TWO_ROWS)
    headers = [
        header("a/ISIC_0000001.jpg", "x"),
        header("b/ISIC_0000001.png", "x"),
        header("a/ISIC_0000002.jpg", "y"),
        header("b/ISIC_0000002.jpg", "z"),
    ]
    listing = list_cases(root, headers)
    assert [case.status for case in listing.cases] == ["used", "excluded"]
    assert {(reject.path, reject.status) for reject in listing.rejects} == {
        ("b/ISIC_0000001.png", "excluded"),
        ("a/ISIC_0000002.jpg", "quarantined"),
        ("b/ISIC_0000002.jpg", "quarantined"),
    }


def test_a_value_that_the_schema_does_not_know_is_reported_and_taken_as_unknown(tmp_path):
    root = metadata(tmp_path, "HAM_1,ISIC_0000001,nv,guess,450,male,tail", TWO_ROWS[1])
    listing = list_cases(root, TWO_HEADERS)
    assert [listing.cases[0].clinical[name] for name in ("dx_type", "age_years", "localization")] == [
        None
    ] * 3
    assert [line.partition(",")[0] for line in listing.anomalies] == [
        "HAM10000_metadata.csv row 2: age '450'",
        "HAM10000_metadata.csv row 2: dx_type 'guess'",
        "HAM10000_metadata.csv row 2: localization 'tail'",
    ]


def test_a_lesion_with_two_diagnoses_is_reported(tmp_path):
    root = metadata(tmp_path, TWO_ROWS[0], TWO_ROWS[1].replace("HAM_0000002", "HAM_0000001"))
    assert list_cases(root, TWO_HEADERS).anomalies == ["lesion HAM_0000001: images of mel and nv"]


def test_copies_of_a_table_under_other_endings_are_named_and_not_read(tmp_path):
    root = metadata(tmp_path, *TWO_ROWS)
    metadata(tmp_path, TWO_ROWS[0], name="HAM10000_metadata.tab")
    listing = list_cases(root, TWO_HEADERS)
    assert len(listing.cases) == 2
    assert listing.anomalies == [
        "HAM10000_metadata.tab: not read, for HAM10000_metadata is there with another ending too"
    ]


@pytest.mark.parametrize("ending", [".csv", ".tab", ""])
@pytest.mark.parametrize(
    "truth",
    [
        "image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\nISIC_0000003,0.0,0.0,0.0,0.0,0.0,1.0,0.0\n",
        f"{COLUMNS}\n,ISIC_0000003,df,histo,45.0,male,back\n",
    ],
)
def test_the_challenges_images_are_test_cases_of_their_own_collection(tmp_path, truth, ending):
    root = metadata(tmp_path, *TWO_ROWS)
    (root / f"ISIC2018_Task3_Test_GroundTruth{ending}").write_text(truth)
    case = list_cases(root, [*TWO_HEADERS, header("test/ISIC_0000003.jpg")]).cases[-1]
    assert (case.status, case.labels, case.official_split, case.group_id) == (
        "used",
        {"diagnosis": "df"},
        "test",
        "ISIC_0000003",
    )
    assert case.clinical["collection"] == "ISIC2018_Task3_Test"
    assert list_tables(root)[1].name == f"ISIC2018_Task3_Test_GroundTruth{ending}"


@pytest.mark.parametrize("marks", ["0,0,0,0,0,0,0", "1,0,0,0,0,1,0", "0,0,0,0,0.5,0,0"])
def test_a_challenge_row_that_does_not_mark_one_class_is_refused(tmp_path, marks):
    root = metadata(tmp_path, *TWO_ROWS)
    (root / "ISIC2018_Task3_Test_GroundTruth.csv").write_text(
        f"image,MEL,NV,BCC,AKIEC,BKL,DF,VASC\nISIC_0000003,{marks}\n"
    )
    with pytest.raises(UsageError, match=r"row 2: classes marked: .*expected a single 1 among 0s"):
        list_cases(root, TWO_HEADERS)


def test_images_that_are_still_packed_are_refused_until_they_are_unpacked(tmp_path):
    root = metadata(tmp_path / "data", *TWO_ROWS)
    write_image(tmp_path / "ISIC_0000001.jpg")
    with zipfile.ZipFile(root / "HAM10000_images_part_1.zip", "w") as archive:
        archive.write(tmp_path / "ISIC_0000001.jpg", "ISIC_0000001.jpg")
        archive.write(tmp_path / "ISIC_0000001.jpg", "ISIC_0000002.jpg")
    with pytest.raises(
        UsageError, match=r"HAM10000_images_part_1.zip: packed, 2 of its 2 images are nowhere in the folder"
    ):
        list_tables(root)
    shutil.unpack_archive(root / "HAM10000_images_part_1.zip", root / "images")
    assert list_tables(root)
    (root / "images" / "ISIC_0000002.jpg").unlink()
    with pytest.raises(
        UsageError,
        match=r"1 of its 2 images are nowhere in the folder \(first: ISIC_0000002.jpg\); expected unpacked "
        r"images: unzip",
    ):
        list_tables(root)


def test_the_challenges_images_make_up_the_test_split_where_the_ratios_leave_it_to_them(phantom, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(phantom, root)
    write_image(root / "test" / "ISIC_0000003.jpg")
    (root / "ISIC2018_Task3_Test_GroundTruth.csv").write_text(
        f"{COLUMNS}\nHAM_9,ISIC_0000003,nv,histo,45.0,male,back\n"
    )
    catalogue = build_catalogue(
        DATA_SET,
        data_root=root,
        to=tmp_path / "catalogue",
        options=BuildOptions(SplitSettings(ratios=(0.85, 0.15, 0.0)), workers=1),
    )
    assert list(catalogue.cases.query("split == 'test'")["case_id"]) == ["ISIC_0000003"]


def test_the_phantom_holds_a_copy_across_folders_and_a_picture_of_two_lesions(phantom, tmp_path):
    catalogue = build_catalogue(
        DATA_SET, data_root=phantom, to=tmp_path, options=BuildOptions(SplitSettings(), workers=1)
    )
    reasons = [row["reason"] for row in catalogue.summary["excluded"]["reasons"]]
    assert [reason.partition(" as ")[0] for reason in reasons] == ["identical pixels", "same pixels"]
    active = catalogue.cases.query("status == 'used'")
    assert active.groupby("group_id")["split"].nunique().max() == 1
    assert active.groupby("group_id").size().max() > 1
    assert {(split, name) for split in ("train", "eval", "test") for name in CLASSES} == set(
        active[["split", "label_diagnosis"]].itertuples(index=False, name=None)
    )


def cut_lesion(image_HWC):
    """The lesion in the middle of 32 x 32 pixels, whatever its place and size, as numbers to correlate."""
    dark_HW = image_HWC.mean(axis=2) < 110
    y, x = (int(index.mean()) for index in np.nonzero(dark_HW))
    reach = int(0.8 * np.sqrt(dark_HW.sum()))
    framed_HWC = cv2.copyMakeBorder(image_HWC, reach, reach, reach, reach, cv2.BORDER_REPLICATE)
    return cv2.resize(framed_HWC[y : y + 2 * reach, x : x + 2 * reach], (32, 32)).ravel().astype(float)


def test_the_phantoms_images_of_one_lesion_are_more_alike_than_those_of_two_and_never_the_same():
    rng = np.random.default_rng(0)
    images = [
        photograph(lesion, rng=rng)
        for lesion in (draw_lesion(LOOKS["mel"], rng=rng) for _ in range(10))
        for _ in range(2)
    ]
    correlation = np.corrcoef([cut_lesion(image_HWC) for image_HWC in images])
    of_one = np.array([correlation[2 * index, 2 * index + 1] for index in range(10)])
    of_two = np.array(
        [correlation[2 * index, 2 * other] for index in range(10) for other in range(10) if other != index]
    )
    assert np.median(of_one) > np.quantile(of_two, 0.9)
    assert of_one.max() < 0.999


def test_the_phantom_has_the_published_imbalance_from_some_hundred_lesions_on():
    counts = share_lesions(1000)
    assert sum(counts.values()) == 1000
    assert counts["nv"] / counts["df"] > 55


def test_fewer_lesions_than_classes_are_wrong_use(tmp_path):
    with pytest.raises(UsageError, match="phantom of 6 lesions, expected at least 7"):
        write_phantom(tmp_path, cases=6, seed=0)


def test_odd_images_are_quarantined_or_read_as_they_are_meant_and_the_counts_add_up(phantom, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(phantom, root)
    cmyk, turned, palette, deep, cut = sorted(root.rglob("ISIC_*.jpg"))[3:8]
    rgb = Image.open(cmyk).convert("RGB")
    rgb.convert("CMYK").save(cmyk)
    rgb.save(
        turned,
        exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\x01\x00\x12\x01\x03\x00\x01\x00\x00\x00"
        b"\x06\x00\x00\x00\x00\x00\x00\x00",
    )
    palette.unlink()
    rgb.quantize(64).save(palette.with_suffix(".png"))
    deep.unlink()
    cv2.imwrite(str(deep.with_suffix(".png")), 257 * np.asarray(rgb)[..., ::-1].astype(np.uint16))
    cut.write_bytes(cut.read_bytes()[:600])
    catalogue = build_catalogue(
        DATA_SET, data_root=root, to=tmp_path / "catalogue", options=BuildOptions(SplitSettings(), workers=1)
    )
    cases = catalogue.cases.set_index("case_id")
    for path in (cmyk, cut):
        assert cases.loc[path.stem, "status"] == "quarantined"
        assert cases.loc[path.stem, "reason"].startswith(path.relative_to(root).as_posix())
    for path in (turned, palette, deep):
        assert cases.loc[path.stem, "status"] == "used"
    shapes = catalogue.images.dropna(subset=["case_id"]).set_index("case_id")[["rows", "columns"]]
    assert tuple(shapes.loc[turned.stem]) == (160, 120)
    quarantined = [row["reason"] for row in catalogue.summary["quarantined"]["reasons"]]
    assert len(quarantined) == 2
    assert any("CMYK" in reason for reason in quarantined)
    assert sum(catalogue.summary["images"].values()) == len(list(root.rglob("ISIC_*")))


def test_the_real_table_yields_10015_images_of_7470_lesions_none_of_them_in_two_splits(shared_data, tmp_path):
    catalogue = build_catalogue(
        DATA_SET,
        data_root=shared_data / "ham10000",
        to=tmp_path,
        options=BuildOptions(SplitSettings(), workers=1),
    )
    images = len(list((shared_data / "ham10000").rglob("ISIC_*.jpg")))
    assert len(catalogue.cases) == catalogue.summary["input"]["cases"] == 10_015
    assert catalogue.cases["group_id"].nunique() == 7470
    assert catalogue.summary["cases"] == {
        "used": images,
        "unlabelled": 0,
        "excluded": 10_015 - images,
        "quarantined": 0,
    }
    assert catalogue.summary["before_exclusions"]["classes"] == {
        "akiec": 327, "bcc": 514, "bkl": 1099, "df": 115, "mel": 1113, "nv": 6705, "vasc": 142
    }  # fmt: skip
    # Of a part of the images some classes have none; whatever else is odd would be the table's.
    assert [line for line in catalogue.summary["anomalies"] if "no used case" not in line] == []


def test_with_all_its_images_no_real_lesion_would_be_in_two_splits(shared_data, tmp_path):
    shutil.copy(shared_data / "ham10000" / "HAM10000_metadata.csv", tmp_path / "HAM10000_metadata.csv")
    rows = list_cases(tmp_path, []).cases
    assert {case.reason for case in rows} == {ABSENT}
    for number, case in enumerate(rows):
        # Distinct grey pictures of 4 pixels: what is tested is the division of the real lesions.
        cv2.imwrite(
            str(tmp_path / f"{case.case_id}.png"), np.array([[0, 255, number % 256, number // 256]], np.uint8)
        )
    catalogue = build_catalogue(
        DATA_SET,
        data_root=tmp_path,
        to=tmp_path / "catalogue",
        options=BuildOptions(SplitSettings(), workers=1),
    )
    used = catalogue.cases.query("status == 'used'")
    assert used["group_id"].nunique() == 7470
    assert used.groupby("group_id")["split"].nunique().max() == 1
