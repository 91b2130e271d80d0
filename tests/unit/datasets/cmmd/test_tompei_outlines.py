import json

import pytest

from medimg.datasets.cmmd.tompei_outlines import list_outline_files, read_outlines
from medimg.errors import UsageError

TRIANGLE = [{"x": 10, "y": 1}, {"x": 12.5, "y": 1}, {"x": 11, "y": 4}]


def write(root, name, lesions):
    path = root / "annotations" / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(lesions))
    return path


def test_a_file_outlines_the_view_that_its_name_says_in_rows_and_columns(tmp_path):
    write(
        tmp_path,
        "D1-0001_MLO_R_AnnotationFile.json",
        [{"label": "calc ", "cgPoints": TRIANGLE}, {"label": "mass", "cgPoints": TRIANGLE}],
    )
    ((view, outlines),) = read_outlines(tmp_path).items()
    assert view == ("D1-0001", "R", "MLO")
    assert [(item.role, item.label) for item in outlines] == [("MLO", "calc"), ("MLO", "mass")]
    assert outlines[0].points == ((1.0, 10.0), (1.0, 12.5), (4.0, 11.0))


def test_a_name_in_lower_case_and_a_byte_order_mark_do_not_matter(tmp_path):
    path = write(tmp_path, "d2-0001_mlo_r_annotationfile.JSON", [])
    path.write_bytes(b"\xef\xbb\xbf" + json.dumps([{"label": "mass", "cgPoints": TRIANGLE}]).encode())
    outlines = read_outlines(tmp_path)
    assert list(outlines) == [("D2-0001", "R", "MLO")]
    assert outlines["D2-0001", "R", "MLO"][0].role == "MLO"


def test_the_copies_that_macos_leaves_behind_are_no_outlines(tmp_path):
    write(tmp_path, "__MACOSX/._D1-0001_MLO_R_AnnotationFile.json", [])
    write(tmp_path, "__MACOSX/D1-0001_MLO_R_AnnotationFile.json", [])
    write(tmp_path, "notes.json", [])
    assert list_outline_files(tmp_path) == []


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ({"shapes": []}, ""),
        ([{"label": "mass"}], "cgPoints"),
        ([{"label": "mass", "cgPoints": []}], "0 points"),
        ([{"label": "mass", "cgPoints": TRIANGLE[:2]}], "2 points"),
    ],
)
def test_a_file_that_is_no_list_of_lesions_is_named(tmp_path, content, found):
    write(tmp_path, "D2-0001_MLO_L_AnnotationFile.json", content)
    with pytest.raises(
        UsageError, match=rf"D2-0001_MLO_L_AnnotationFile.json: found .*{found}.*, expected a list of lesions"
    ):
        read_outlines(tmp_path)


def test_two_files_of_one_view_are_refused(tmp_path):
    write(tmp_path, "D1-0001_MLO_R_AnnotationFile.json", [])
    write(tmp_path, "again/D1-0001_MLO_R_AnnotationFile.json", [])
    with pytest.raises(UsageError, match="a second file of D1-0001 R MLO"):
        read_outlines(tmp_path)
