import openpyxl
import pytest

from medimg.datasets.tables import find_table, read_table
from medimg.errors import UsageError

REQUIRED = ("ID1", "LeftRight", "Age")
LINES = [
    ["Age", "ID1", "Left Right", "remark"],
    ["44", "D1-0001", "R", "\u5de6\u4fa7, checked"],
    ["40", "D1-0002", "L", ""],
]


def write_csv(path, separator=",", encoding="utf-8", newline="\n"):
    quoted = newline.join(separator.join(f'"{cell}"' for cell in line) for line in LINES) + newline
    path.write_bytes(quoted.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gb18030"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_text_table_reads_the_same_in_every_encoding_and_separator(tmp_path, encoding, separator):
    table = read_table(write_csv(tmp_path / "t.csv", separator, encoding, "\r\n"), required=REQUIRED)
    assert [row.values for row in table.rows] == [
        {"Age": "44", "ID1": "D1-0001", "LeftRight": "R", "remark": "\u5de6\u4fa7, checked"},
        {"Age": "40", "ID1": "D1-0002", "LeftRight": "L", "remark": ""},
    ]


def test_rows_know_the_line_they_stand_on(tmp_path):
    (tmp_path / "t.csv").write_text('ID1,LeftRight,Age\na,L,"4\n4"\n\nb,R,5\n')
    assert [row.number for row in read_table(tmp_path / "t.csv", required=REQUIRED).rows] == [2, 5]


def test_a_workbook_with_title_and_merged_cells_reads_like_a_plain_one(tmp_path):
    workbook = openpyxl.Workbook()
    sheet = workbook.worksheets[0]
    for row in (
        ["Clinical data", None, None],
        ["ID1", " leftright ", "AGE"],
        ["D1-0001", "L", 44.0],
        [None, "R", 44],
        [None, None, None],
        ["D1-0002", "R", 50],
    ):
        sheet.append(row)
    sheet.merge_cells("A1:C1")
    sheet.merge_cells("A3:A4")
    workbook.save(tmp_path / "t.xlsx")
    rows = read_table(tmp_path / "t.xlsx", required=REQUIRED).rows
    assert [(row.number, *row.values.values()) for row in rows] == [
        (3, "D1-0001", "L", "44"),
        (4, "D1-0001", "R", "44"),
        (6, "D1-0002", "R", "50"),
    ]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no column ID1, LeftRight, Age; found nothing"),
        (b"ID1,Side,Age\na,L,3\n", "no column LeftRight; found ID1, Side, Age; expected ID1, LeftRight, Age"),
        (b"ID1,LeftRight,Age\n", "no row below the header"),
        (b"ID1,LeftRight,Age,age\na,L,3,4\n", "column Age stands there more than once"),
        (b"ID1,LeftRight,Age\n\xff\xff\xff,L,3\n", "unknown encoding"),
    ],
)
def test_a_bad_table_is_refused_with_what_was_found(tmp_path, content, says):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UsageError, match=says) as refusal:
        read_table(tmp_path / "t.csv", required=REQUIRED)
    assert "t.csv" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no more of it", b"ID1,LeftRight,Age\na,L,3\n"])
def test_a_broken_workbook_is_refused_in_one_line(tmp_path, content):
    (tmp_path / "t.xlsx").write_bytes(content)
    with pytest.raises(UsageError, match=r"^t\.xlsx: not a readable Excel workbook \(.+\)") as refusal:
        read_table(tmp_path / "t.xlsx", required=REQUIRED)
    assert "\n" not in str(refusal.value)


def test_a_missing_table_names_the_folder_and_the_tables_that_are_there(tmp_path):
    (tmp_path / "clinical").mkdir()
    write_csv(tmp_path / "clinical" / "CMMD.csv")
    with pytest.raises(UsageError, match=r"a\.xlsx or a\.csv; found clinical/CMMD\.csv") as refusal:
        find_table(tmp_path, ("a.xlsx", "a.csv"))
    assert str(tmp_path) in str(refusal.value)


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UsageError, match="nowhere: no such folder"):
        find_table(tmp_path / "nowhere", ("a.csv",))
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file: not a folder"):
        find_table(tmp_path / "file", ("a.csv",))
