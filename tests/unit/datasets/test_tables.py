import datetime
import zipfile

import openpyxl
import pytest

from medimg.datasets import workbooks
from medimg.datasets.tables import find_table, is_missing, read_table
from medimg.errors import UsageError

REQUIRED = ("ID1", "LeftRight", "Age")
LINES = [
    ["Age", "ID1", "Left_ RIGHT", "remark"],
    ["44", "D1-0001", "R", "\u5de6\u4fa7, checked\u00a0twice\u00a0"],
    ["40", "D1-0002", "L", ""],
]


def write_workbook(path, rows, *, merged=()):
    workbook = openpyxl.Workbook()
    sheet = workbook.worksheets[0]
    for row in rows:
        sheet.append(row)
    for cells in merged:
        sheet.merge_cells(cells)
    workbook.save(path)
    return path


def change_sheet(path, old, new):
    """Changes the text of the first sheet, as only another program would write it."""
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = "xl/worksheets/sheet1.xml"
    assert old in members[name]
    members[name] = members[name].replace(old, new)
    with zipfile.ZipFile(path, "w") as archive:
        for member, content in members.items():
            archive.writestr(member, content)


def write_csv(path, separator=",", encoding="utf-8", newline="\n"):
    quoted = newline.join(separator.join(f'"{cell}"' for cell in line) for line in LINES) + newline
    path.write_bytes(quoted.encode(encoding))
    return path


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "gb18030"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_text_table_reads_the_same_in_every_encoding_and_separator(tmp_path, encoding, separator):
    table = read_table(write_csv(tmp_path / "t.csv", separator, encoding, "\r\n"), required=REQUIRED)
    assert [row.values for row in table.rows] == [
        {"Age": "44", "ID1": "D1-0001", "LeftRight": "R", "remark": "\u5de6\u4fa7, checked twice"},
        {"Age": "40", "ID1": "D1-0002", "LeftRight": "L", "remark": ""},
    ]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_known_though_it_begins_with_a_letter_that_is_not_ascii(tmp_path, encoding):
    content = "\u5de6,ID1,LeftRight,Age\nx,D1-0001,L,3\n"
    (tmp_path / "t.csv").write_bytes(content.encode(encoding))
    assert read_table(tmp_path / "t.csv", required=REQUIRED).rows[0].values["ID1"] == "D1-0001"


def test_rows_know_the_line_they_stand_on(tmp_path):
    (tmp_path / "t.csv").write_text('ID1,LeftRight,Age\na,L,"4\n4"\n\nb,R,5\n')
    assert [row.number for row in read_table(tmp_path / "t.csv", required=REQUIRED).rows] == [2, 5]


def test_a_workbook_with_title_and_merged_cells_reads_like_a_plain_one(tmp_path):
    rows = [
        ["Clinical data", None, None, None],
        ["ID1", " leftright ", "AGE", None],
        ["D1-0001", "L", 44.0, "no column"],
        [None, "R", 44.5, None],
        [None, None, None, None],
        ["D1-0002", "R", datetime.date(2020, 1, 31), None],
    ]
    path = write_workbook(tmp_path / "t.XLSX", rows, merged=("A1:C1", "A3:A4"))
    table = read_table(path, required=REQUIRED)
    assert table.columns == REQUIRED
    assert [(row.number, *row.values.values()) for row in table.rows] == [
        (3, "D1-0001", "L", "44"),
        (4, "D1-0001", "R", "44.5"),
        (6, "D1-0002", "R", "2020-01-31T00:00:00"),
    ]


def test_a_title_that_is_merged_over_the_columns_stays_in_its_first_cell(tmp_path):
    """Filled into all of them it would be a column of its own, three times."""
    path = write_workbook(
        tmp_path / "t.xlsx", [["ID1", None, "LeftRight", "Age"], ["a", None, "L", 3]], merged=("A1:B1",)
    )
    assert read_table(path, required=REQUIRED).columns == REQUIRED


def test_of_several_sheets_the_first_is_read_whichever_was_open_last(tmp_path):
    path = write_workbook(tmp_path / "t.xlsx", [list(REQUIRED), ["a", "L", 3]])
    workbook = openpyxl.load_workbook(path)
    workbook.active = workbook.create_sheet("notes")
    workbook.save(path)
    assert len(read_table(path, required=REQUIRED).rows) == 1


def test_a_formula_counts_by_the_value_that_the_workbook_last_showed(tmp_path):
    path = write_workbook(tmp_path / "t.xlsx", [list(REQUIRED), ["a", "L", 4711]])
    change_sheet(path, b"<v>4711</v>", b"<f>40+4</f><v>44</v>")
    assert read_table(path, required=REQUIRED).rows[0].values["Age"] == "44"


def test_a_workbook_is_read_up_to_the_limit_of_what_it_unpacks_to(tmp_path, monkeypatch):
    path = write_workbook(tmp_path / "t.xlsx", [list(REQUIRED), ["a", "L", 3]])
    with zipfile.ZipFile(path) as archive:
        size = sum(entry.file_size for entry in archive.infolist())
    monkeypatch.setattr(workbooks, "LARGEST_BYTES", size)
    assert read_table(path, required=REQUIRED).rows
    monkeypatch.setattr(workbooks, "LARGEST_BYTES", size - 1)
    with pytest.raises(UsageError, match=rf"t\.xlsx: unpacks to {size} bytes, .* at most {size - 1}$"):
        read_table(path, required=REQUIRED)


@pytest.mark.parametrize("above", [0, 1, 9])
def test_a_header_is_found_in_the_first_ten_rows(tmp_path, above):
    (tmp_path / "t.csv").write_text("title,ID1\n" * above + "ID1,LeftRight,Age\na,L,3\n")
    assert [row.number for row in read_table(tmp_path / "t.csv", required=REQUIRED).rows] == [above + 2]


def test_a_header_below_the_first_ten_rows_is_none(tmp_path):
    (tmp_path / "t.csv").write_text("title,ID1\n" * 10 + "ID1,LeftRight,Age\na,L,3\n")
    with pytest.raises(UsageError, match="no column LeftRight, Age; found title, ID1"):
        read_table(tmp_path / "t.csv", required=REQUIRED)


def test_empty_cells_at_the_end_of_a_row_or_of_the_header_do_not_count(tmp_path):
    (tmp_path / "t.csv").write_text("ID1,LeftRight,Age,,\na,L,3\nb,L,4,,\n,,\n")
    assert [row.values for row in read_table(tmp_path / "t.csv", required=REQUIRED).rows] == [
        {"ID1": "a", "LeftRight": "L", "Age": "3"},
        {"ID1": "b", "LeftRight": "L", "Age": "4"},
    ]


@pytest.mark.parametrize("word", ["", "-", "na", "NA", "n/a", "N/A", "nan", "NaN", "none", "None", "null"])
def test_the_usual_words_for_a_missing_value_are_known(word):
    assert is_missing(word)


@pytest.mark.parametrize("word", ["0", "unknown", "no", "---", "nanny"])
def test_other_words_are_values(word):
    assert not is_missing(word)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "no column ID1, LeftRight, Age; found nothing"),
        (b"ID1,Side,Age\na,L,3\n", "no column LeftRight; found ID1, Side, Age; expected ID1, LeftRight, Age"),
        (b"ID1,LeftRight,Age\n", "no row below the header"),
        (b"ID1,LeftRight,Age,age\na,L,3,4\n", "column Age stands there more than once"),
        (b"ID1,LeftRight,Age\n\xff\x81,L,3\n", "unknown encoding"),
    ],
)
def test_a_bad_table_is_refused_with_what_was_found(tmp_path, content, says):
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(UsageError, match=says) as refusal:
        read_table(tmp_path / "t.csv", required=REQUIRED)
    assert "t.csv" in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "an empty file"),
        (b"PK\x03\x04 no more of it", "a damaged zip file"),
        (b"ID1,LeftRight,Age\na,L,3\n", "plain text"),
        (b"PK\5\6" + bytes(18), "a zip file"),
    ],
)
def test_a_broken_workbook_is_refused_in_one_line(tmp_path, content, reason):
    (tmp_path / "t.xlsx").write_bytes(content)
    with pytest.raises(
        UsageError, match=rf"^t\.xlsx: not a readable Excel workbook \({reason}\), expected \.xlsx$"
    ) as refusal:
        read_table(tmp_path / "t.xlsx", required=REQUIRED)
    assert "\n" not in str(refusal.value)


def test_a_missing_table_names_the_folder_and_the_tables_that_are_there(tmp_path):
    (tmp_path / "clinical").mkdir()
    write_csv(tmp_path / "clinical" / "CMMD.csv")
    with pytest.raises(UsageError, match=r"a\.xlsx or a\.csv; found clinical/CMMD\.csv") as refusal:
        find_table(tmp_path, ("a.xlsx", "a.csv"))
    assert str(tmp_path) in str(refusal.value)


@pytest.mark.parametrize("name", ["x.xlsx", "x.XLS", "x.xlsm", "x.ods", "x.csv", "below/x.tsv"])
def test_what_looks_like_a_table_near_by_is_named(tmp_path, name):
    (tmp_path / "below" / "deeper").mkdir(parents=True)
    (tmp_path / name).touch()
    (tmp_path / "below" / "deeper" / "y.csv").touch()
    (tmp_path / "notes.txt").touch()
    with pytest.raises(UsageError, match=rf"found {name}$"):
        find_table(tmp_path, ("a.csv",))


def test_the_first_of_the_names_is_found(tmp_path):
    for name in ("a.xlsx", "a.csv"):
        (tmp_path / name).touch()
    assert find_table(tmp_path, ("a.xlsx", "a.csv")) == tmp_path / "a.xlsx"
    assert find_table(tmp_path, ("a.csv", "a.xlsx")) == tmp_path / "a.csv"


@pytest.mark.parametrize(("count", "end"), [(11, "t10.csv"), (12, "t11.csv"), (13, "t11.csv and 1 more")])
def test_twelve_names_are_shown_at_most(tmp_path, count, end):
    for number in range(count):
        (tmp_path / f"t{number:02}.csv").touch()
    with pytest.raises(UsageError, match=f"{end}$"):
        find_table(tmp_path, ("a.csv",))


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(UsageError, match="nowhere: no such folder"):
        find_table(tmp_path / "nowhere", ("a.csv",))
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="file: not a folder"):
        find_table(tmp_path / "file", ("a.csv",))


def test_of_names_that_differ_in_case_the_one_that_is_asked_for_is_read(tmp_path):
    for name in ("LABELS.csv", "labels.csv", "Labels.csv"):
        (tmp_path / name).touch()
    assert find_table(tmp_path, ["labels.csv"]).name == "labels.csv"
