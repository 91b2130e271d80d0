"""Tables whose rows are not whole, and tables in other encodings than UTF-8."""

import pytest

from medimg.datasets.cmmd.cases import list_cases as list_breasts
from medimg.datasets.ham10000.cases import list_cases as list_lesions
from medimg.datasets.tissue.cases import list_cases as list_tiles
from medimg.errors import UsageError
from tests.unit.datasets.hospital import COUNT, HEADER, catalogue, rows, write_folder

HEADER_5 = "ID1,LeftRight,Age,number,abnormality,classification,subtype"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            {2: "02.png,Doe, J,a"},
            "labels.csv row 4: 4 cells, expected 3 as in the header",
        ),
        ({5: "05.png,P05"}, "labels.csv row 7: 2 cells, expected 3"),
        ({0: "00.png,P00,a,a remark, with a comma"}, "labels.csv row 2: 5 cells, expected 3"),
        ({11: '11.png,"P11,b'}, "labels.csv row 13: a quote that never closes"),
        ({4: '04.png,"P04,a'}, "labels.csv row 6: a quote that never closes"),
        ({4: '04.png,"P04,a', 5: '05.png,P05",b'}, "labels.csv row 6: a quote that closes in row 7 only"),
        ({3: '03.png,"Do"e,b'}, "labels.csv row 5: a quote that never closes, or text after it"),
        ({3: "03.png;P03;b"}, "labels.csv row 5: 1 cells, expected 3"),
    ],
)
def test_a_row_that_is_not_whole_is_refused_by_its_number(tmp_path, change, says):
    lines = [change.get(number, line) for number, line in enumerate(rows())]
    seen = catalogue(write_folder(tmp_path / "data", lines=[HEADER, *lines]))
    assert seen.code == 2
    assert says in seen.error
    assert len(seen.error.splitlines()) == 1
    assert "Doe" not in seen.error


def test_quoted_cells_may_hold_separators_quotes_and_line_breaks(tmp_path):
    remarks = ['"a, b"', '"said ""yes"""', '"two\nlines, each, with commas"', *[""] * (COUNT - 3)]
    seen = catalogue(write_folder(tmp_path / "data", lines=[f"{HEADER},remark", *rows(more=remarks)]))
    assert seen.counts() == {"used": COUNT}
    assert seen.cases["clinical_remark"][1] == 'said "yes"'


@pytest.mark.parametrize("data_set", ["cmmd", "ham10000", "tissue"])
def test_the_tables_of_other_data_sets_are_held_to_their_shape(tmp_path, data_set):
    if data_set == "cmmd":
        table, lines = (
            "CMMD_clinicaldata_revision.csv",
            [HEADER_5, "D1-0001,L,44,2,mass, both,Benign,", "D1-0002,L,44,2,mass,Benign,"],
        )
        read = list_breasts
    elif data_set == "ham10000":
        table = "HAM10000_metadata.csv"
        lines = ["lesion_id,image_id,dx,dx_type,age,sex,localization", "HAM_1,ISIC_0000001,nv,histo,44,male"]
        read = list_lesions
    else:
        for name in ("one/a.jpg", "two/b.jpg"):
            (tmp_path / name).parent.mkdir()
            (tmp_path / name).touch()
        table, lines = "one_source_group.csv", ["file,source_group", "a.jpg,S1,more"]
        read = list_tiles
    (tmp_path / table).write_text("\n".join(lines) + "\n")
    with pytest.raises(UsageError, match=rf"{table} row 2: \d cells, expected"):
        read(tmp_path, [])


@pytest.mark.parametrize(
    ("labels", "encoding", "name"),
    [
        (("gutartig", "b\u00f6sartig"), "cp1252", "cp1252"),
        (("b\u00e9nin", "mal\u00edn"), "cp1252", "cp1252"),
        (("GR\u00d6SSE", "gro\u00df"), "cp1252", "cp1252"),
        (("\u00e9t\u00e9", "na\u00efve \u20ac"), "cp1252", "cp1252"),
        (("\u00fcbergr\u00f6\u00dfe", "x"), "cp1252", "cp1252"),
        # Two letters in one word are the bytes of a common character.
        (("CA\u00d1\u00d3N", "x"), "cp1252", "cp1252"),
        # The currency sign's byte begins the row of Hiragana, the pound's that of full-width forms.
        (("\u00a4\u00e4", "x"), "cp1252", "cp1252"),
        (("\uff08\uff11\uff09", "x"), "gb18030", "GB18030"),
        (("\u826f\u6027", "\u6076\u6027"), "gb18030", "GB18030"),
        (("benign", "\u5de6\u4fa7\u4e73\u817a"), "gb18030", "GB18030"),
        (("benign (\u826f)", "\u6076"), "gb18030", "GB18030"),
        (("b\u00f6sartig", "\u826f\u6027"), "utf-16", "UTF-16"),
        (("b\u00f6sartig", "\u826f\u6027"), "utf-8", ""),
    ],
)
def test_a_table_is_read_in_its_encoding_and_the_summary_names_it(tmp_path, labels, encoding, name):
    lines = [HEADER.replace(",", ";"), *rows(labels=labels, separator=";")]
    seen = catalogue(write_folder(tmp_path / "data", lines=lines, encoding=encoding))
    assert set(seen.cases["label_label"]) == set(labels)
    told = f"labels.csv: read as {name}, for it is not UTF-8"
    assert (told in seen.anomalies) == (told in seen.out) == bool(name)


@pytest.mark.parametrize(
    ("first", "second"), [("b\u00f6sartig", "b\u00f6sartig"), ("caf\u00e9", "\u00fcber")]
)
def test_a_table_in_two_encodings_is_refused_by_row(tmp_path, first, second):
    root = write_folder(tmp_path / "data")
    content = "\n".join([HEADER, *rows(labels=("a", "b"))]).encode()
    mixed = f"x.png,P98,{first}\n".encode() + f"y.png,P99,{second}\n".encode("cp1252")
    (root / "labels.csv").write_bytes(content + b"\n" + mixed)
    seen = catalogue(root)
    assert seen.code == 2
    assert "labels.csv: row 14 is UTF-8 and row 15 is not, expected one encoding" in seen.error


def test_other_data_sets_name_the_encoding_too(tmp_path):
    (tmp_path / "CMMD_clinicaldata_revision.csv").write_bytes(
        f"{HEADER_5},Bemerkung f\u00fcr uns\nD1-0001,L,44,2,mass,Benign,,\n".encode("cp1252")
    )
    assert list_breasts(tmp_path, []).anomalies[0].endswith("read as cp1252, for it is not UTF-8")
