"""What a row of the metadata, or of the challenge's truth, says of an image."""

import pytest

from medimg.datasets.ham10000.metadata_table import (
    CLASSES,
    PUBLISHED_ROWS,
    check_unique,
    read_challenge,
    read_metadata,
)
from medimg.errors import UsageError

COLUMNS = "lesion_id,image_id,dx,dx_type,age,sex,localization,dataset"
KNOWN = {
    "dx_type": ("histo", "follow_up", "consensus", "confocal"),
    "sex": ("male", "female"),
    "localization": (
        *("abdomen", "acral", "back", "chest", "ear", "face", "foot", "genital", "hand"),
        *("lower extremity", "neck", "scalp", "trunk", "upper extremity"),
    ),
    "dataset": ("vidir_modern", "vidir_molemax", "rosendahl", "vienna_dias"),
}
"""As the paper's table has them (Tschandl 2018); "unknown" stands for none of them."""


def read(tmp_path, **values):
    """One row with these values, and what was odd about it."""
    row = {
        "lesion_id": "HAM_1",
        "image_id": "ISIC_0000001",
        "dx": "nv",
        "dx_type": "histo",
        "age": "45.0",
        "sex": "male",
        "localization": "back",
        "dataset": "rosendahl",
    } | values
    (tmp_path / "t.csv").write_text(f"{COLUMNS}\n{','.join(row[name] for name in COLUMNS.split(','))}\n")
    anomalies: list[str] = []
    (found,) = read_metadata(tmp_path / "t.csv", anomalies=anomalies)
    return found, anomalies


@pytest.mark.parametrize(("column", "word"), [(column, word) for column in KNOWN for word in KNOWN[column]])
def test_every_word_of_the_table_is_known_in_capitals_too(tmp_path, column, word):
    for written in (word, word.upper()):
        found, anomalies = read(tmp_path, **{column: written})
        assert (found.clinical[column], anomalies) == (word, [])


@pytest.mark.parametrize("column", KNOWN)
@pytest.mark.parametrize("word", ["unknown", "Unknown", "", "nan", "NA"])
def test_a_word_for_unknown_is_no_anomaly(tmp_path, column, word):
    found, anomalies = read(tmp_path, **{column: word})
    assert (found.clinical[column], anomalies) == (None, [])


@pytest.mark.parametrize(
    ("age", "years", "band"),
    [
        ("0", 0, "<30"),
        ("29.9", 29.9, "<30"),
        ("30", 30, "30-44"),
        ("44", 44, "30-44"),
        ("45", 45, "45-59"),
        ("59", 59, "45-59"),
        ("60", 60, "60-74"),
        ("74", 74, "60-74"),
        ("75", 75, "75+"),
        ("120", 120, "75+"),
        ("", None, None),
        ("nan", None, None),
        ("Unknown", None, None),
    ],
)
def test_ages_fall_into_bands(tmp_path, age, years, band):
    found, anomalies = read(tmp_path, age=age)
    assert (found.clinical["age_years"], found.clinical["age_band"], anomalies) == (years, band, [])


@pytest.mark.parametrize("age", ["-1", "-0.1", "121", "120.5", "old", "inf"])
def test_an_age_that_nobody_has_is_unknown_and_named(tmp_path, age):
    found, anomalies = read(tmp_path, age=age)
    assert (found.clinical["age_years"], found.clinical["age_band"]) == (None, None)
    assert anomalies == [f"t.csv row 2: age '{age}', expected years from 0 to 120; taken as unknown"]


@pytest.mark.parametrize("name", CLASSES)
def test_every_diagnosis_is_known_in_capitals_too(tmp_path, name):
    assert read(tmp_path, dx=name.upper())[0].diagnosis == name


def test_the_positive_class_is_melanoma():
    assert CLASSES[-1] == "mel"


@pytest.mark.parametrize("word", ["", "nan", "NA", "-"])
def test_a_missing_diagnosis_or_lesion_is_none(tmp_path, word):
    assert read(tmp_path, dx=word)[0].diagnosis == ""
    assert read(tmp_path, lesion_id=word)[0].lesion_id == ""


@pytest.mark.parametrize("more", [0, 1])
def test_as_many_rows_as_were_published_are_read(tmp_path, more):
    rows = [f"HAM_{n},ISIC_{n:07},nv,histo,45,male,back," for n in range(PUBLISHED_ROWS + more)]
    (tmp_path / "t.csv").write_text("\n".join([COLUMNS, *rows]))
    assert PUBLISHED_ROWS == 10_015
    if more:
        with pytest.raises(UsageError, match="10016 rows, expected at most the 10015 published ones"):
            read_metadata(tmp_path / "t.csv", anomalies=[])
    else:
        assert len(read_metadata(tmp_path / "t.csv", anomalies=[])) == 10_015


@pytest.mark.parametrize(
    "image_id", ["ISIC_000001", "ISIC_00000001", "ISIX_0000001", "ISIC_000000x", "", "ISIC"]
)
def test_an_id_is_isic_and_seven_digits(tmp_path, image_id):
    with pytest.raises(UsageError, match=f"t.csv row 2: image_id '{image_id}', expected ISIC_ and seven"):
        check_unique([read(tmp_path, image_id=image_id)[0]])


@pytest.mark.parametrize("zero", ["0", "0.0"])
@pytest.mark.parametrize("one", ["1", "1.0"])
@pytest.mark.parametrize("name", CLASSES)
def test_the_marked_class_of_a_one_hot_row_is_its_diagnosis(tmp_path, name, zero, one):
    marks = [one if name == other else zero for other in CLASSES]
    (tmp_path / "t.csv").write_text(f"image,{','.join(CLASSES).upper()}\nISIC_0000003,{','.join(marks)}\n")
    (found,) = read_challenge(tmp_path / "t.csv", anomalies=[])
    assert (found.diagnosis, found.lesion_id, found.image_id) == (name, "", "ISIC_0000003")
    assert found.clinical == {
        "collection": "ISIC2018_Task3_Test",
        **dict.fromkeys(("age_years", "age_band", "dx_type", "sex", "localization", "dataset")),
    }
