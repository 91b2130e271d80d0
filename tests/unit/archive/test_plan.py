import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from medimg.archive import plan
from medimg.archive.collections import find_collection
from medimg.archive.plan import Selection, order_patients, read_manifest, select, summarise
from medimg.archive.source import Series
from medimg.archive.sources.idc import read_series_list
from medimg.errors import UsageError

CMMD = read_series_list("cmmd_series.csv")
UIDS = [one.uid for one in CMMD]
HEADER = """downloadServerUrl=https://nbia.cancerimagingarchive.net/
includeAnnotation=true
noOfrRetry=4
ListOfSeriesToDownload=
"""


def patients_of(series):
    return [one.patient_id for one in series]


@pytest.mark.parametrize("seed", [0, 1, 12345])
def test_a_sample_of_forty_has_every_label_and_both_sources_in_proportion(seed):
    chosen = select(CMMD, Selection(patients=40, seed=seed))
    counts = Counter((one.label, one.origin) for one in chosen)
    assert counts == {
        ("Malignant", "D2"): 16,
        ("Malignant", "D1"): 12,
        ("Benign", "D1"): 10,
        ("Benign+Malignant", "D1"): 1,
        ("Benign+Malignant", "D2"): 1,
    }


def test_no_sample_of_any_size_is_off_its_shares_by_more_than_one_and_a_half_patients():
    ordered = select(CMMD, Selection(seed=1))
    shares = Counter((one.label, one.origin) for one in CMMD)
    counts = Counter()
    for size, one in enumerate(ordered, start=1):
        counts[one.label, one.origin] += 1
        assert all(
            abs(counts[stratum] - size * share / len(CMMD)) < 1.5 for stratum, share in shares.items()
        ), size


def test_a_larger_sample_contains_the_smaller_one():
    small = select(CMMD, Selection(patients=40, seed=1))
    assert select(CMMD, Selection(patients=60, seed=1))[: len(small)] == small


def test_another_seed_draws_other_patients():
    first, second = (set(patients_of(select(CMMD, Selection(patients=40, seed=seed)))) for seed in (1, 2))
    assert len(first & second) < 10


def test_the_order_of_the_list_does_not_matter():
    shuffled = random.Random(7).sample(CMMD, len(CMMD))
    assert select(shuffled, Selection(patients=40, seed=1)) == select(CMMD, Selection(patients=40, seed=1))


def test_more_patients_than_there_are_means_all():
    assert len(select(CMMD, Selection(patients=5000))) == len(CMMD)


def test_a_drawn_patient_comes_with_all_its_series():
    series = [
        Series(uid=f"1.{patient}.{number}", patient_id=f"p{patient}")
        for number in range(3)
        for patient in range(9)
    ]
    assert len(select(series, Selection(patients=4))) == 12


def test_a_patient_whose_id_names_the_image_is_still_one_patient():
    names = (
        "Mass-Training_P_00001_LEFT_CC",
        "Mass-Training_P_00001_LEFT_CC_1",
        "P_00038_LEFT_CC.dcm",
        "Calc-Test_P_00038_LEFT_CC_1",
    )
    series = [Series(uid=f"1.{number}", patient_id=name) for number, name in enumerate(names)]
    pattern = find_collection("cbis_ddsm").patient_pattern
    assert summarise(series, patient_pattern=pattern).patients == 2
    assert len(select(series, Selection(patients=1), patient_pattern=pattern)) == 2
    for names_of_it in (("P_00038",), (names[2], names[3])):
        found = select(series, Selection(patient_ids=names_of_it), patient_pattern=pattern)
        assert patients_of(found) == list(names[2:])


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(0, 9))
def test_every_stratum_has_its_first_patient_before_any_has_its_second(sizes, seed):
    strata = {
        ("", str(number)): [f"{number}-{patient}" for patient in range(size)]
        for number, size in enumerate(sizes)
    }
    ordered = order_patients(strata, seed=seed)
    assert sorted(ordered) == sorted(patient for patients in strata.values() for patient in patients)
    assert {patient.partition("-")[0] for patient in ordered[: len(sizes)]} == {
        stratum for _, stratum in strata
    }


def test_a_new_patient_of_the_archive_leaves_the_order_of_the_others_as_it_was():
    known = [f"p{number}" for number in range(50)]
    with_new = order_patients({("", ""): [*known, "new"]}, seed=3)
    assert [patient for patient in with_new if patient != "new"] == order_patients({("", ""): known}, seed=3)


def test_all_filters_hold_at_once_and_the_sample_is_drawn_last(tmp_path):
    manifest = tmp_path / "some.tcia"
    manifest.write_text(HEADER + "\n".join(UIDS[:900]))
    wanted = Selection(
        patients=3,
        seed=1,
        patient_ids=tuple(patients_of(CMMD[:600])),
        where="label = 'Malignant'",
        manifest=manifest,
    )
    chosen = select(CMMD, wanted)
    assert len(chosen) == 3
    assert {one.label for one in chosen} == {"Malignant"}
    assert {one.uid for one in chosen} <= set(UIDS[:600])


FEW = [
    Series(
        "1.1", patient_id="P1", study_uid="2.1", label="b", origin="y", modality="MG", instances=2, bytes=9
    ),
    Series(
        "1.2", patient_id="P2", study_uid="2.2", label="b", origin="x", modality="MR", instances=10, bytes=80
    ),
    Series(
        "1.3", patient_id="P2", study_uid="2.2", label="a", origin="y", modality="MR", instances=9, bytes=700
    ),
    Series(
        "1.4", patient_id="P3", study_uid="2.3", label="a", origin="x", modality="MR", instances=1, bytes=8
    ),
]


@pytest.mark.parametrize(
    ("selection", "uids"),
    [
        ({"patient_ids": ("P2", "P3")}, {"1.2", "1.3", "1.4"}),
        ({"series_uids": ("1.2", "1.4")}, {"1.2", "1.4"}),
        # A series that another option has taken away is known all the same.
        ({"patient_ids": ("P2",), "series_uids": ("1.2", "1.4")}, {"1.2"}),
        ({"where": "instances > 8"}, {"1.2", "1.3"}),
        ({"where": "bytes < 10"}, {"1.1", "1.4"}),
        ({"where": "StudyInstanceUID = '2.2'"}, {"1.2", "1.3"}),
        # A condition sees the whole list, whatever else is asked for.
        ({"patient_ids": ("P1",), "where": "instances < (SELECT max(instances) FROM series) - 7"}, {"1.1"}),
        ({"series_uids": ("1.4",), "where": "(SELECT count(*) FROM series) = 4"}, {"1.4"}),
    ],
)
def test_an_option_takes_from_what_the_others_leave_and_knows_the_whole_list(tmp_path, selection, uids):
    assert {one.uid for one in select(FEW, Selection(**selection))} == uids
    if "series_uids" in selection:
        manifest = tmp_path / "list.txt"
        manifest.write_text("\n".join(selection["series_uids"]))
        found = select(FEW, Selection(**{**selection, "series_uids": (), "manifest": manifest}))
        assert {one.uid for one in found} == uids


def test_a_patient_of_several_strata_counts_in_the_first_by_alphabet_whatever_the_order():
    assert summarise(FEW).by_stratum == summarise(FEW[::-1]).by_stratum
    assert summarise(FEW).by_stratum == {("a", "x"): 1, ("a", "y"): 1, ("b", "y"): 1}


def test_a_patients_series_are_in_the_order_of_their_uids_whatever_the_order_of_the_list():
    for series in (FEW, FEW[::-1]):
        chosen = [one.uid for one in select(series, Selection())]
        assert chosen.index("1.3") == chosen.index("1.2") + 1


def test_series_without_a_patient_are_drawn_by_study_or_alone():
    series = [Series("1.1", study_uid="2.1"), Series("1.2", study_uid="2.1"), Series("1.3"), Series("1.4")]
    assert summarise(series).patients == 3
    series.append(Series("1.5", patient_id="P1"))
    sizes = {len(select(series, Selection(patients=1, seed=seed))) for seed in range(20)}
    assert sizes == {1, 2}
    assert all(
        {"1.1", "1.2"} <= uids or uids.isdisjoint({"1.1", "1.2"})
        for seed in range(20)
        for uids in [{one.uid for one in select(series, Selection(patients=2, seed=seed))}]
    )


@pytest.mark.parametrize(("count", "end"), [(3, "X2"), (4, "X2 and 1 more"), (5, "X2 and 2 more")])
def test_three_unknown_names_are_listed(count, end):
    with pytest.raises(UsageError, match=f"--patient: X0, X1, {end} not in the list of 4 series"):
        select(FEW, Selection(patient_ids=tuple(f"X{number}" for number in range(count))))


def test_strata_take_turns_by_websters_method():
    """Of 7 and 3 patients: 0, 3/7, 5/7, 7/7, ... 13/7 against 0, 3/3, 5/3; of equals the larger."""
    strata = {("large", ""): [f"l{n}" for n in range(7)], ("small", ""): [f"s{n}" for n in range(3)]}
    ordered = order_patients(strata, seed=0)
    assert "".join(patient[0] for patient in ordered) == "lslllsllsl"


@pytest.mark.parametrize(
    ("where", "count"),
    [
        ("source = 'D2' AND instances = 2", 4),
        ("label LIKE '%+%' -- both breasts", 30),
        ("bytes > 17e6 AND instances = 2", 1),
        ("PatientID IN (SELECT PatientID FROM series WHERE label = 'Benign') OR PatientID = 'D2-0001'", 466),
        ("Modality = 'MG' AND licence = 'CC BY 4.0' AND doi = '10.7937/tcia.eqde-4b16'", 1775),
    ],
)
def test_a_condition_chooses_the_series_for_which_it_is_true(where, count):
    assert len(select(CMMD, Selection(where=where))) == count


@pytest.mark.parametrize(
    "where",
    [
        "label = 'Benign'; DROP TABLE series",
        "1 = 1); CREATE TABLE other (a INT); SELECT (1",
        "PatientID IN (SELECT content FROM read_text('{secret}'))",
        "EXISTS (FROM '{secret}')",
        "1 = 1) UNION (SELECT content FROM read_text('{secret}')",
        "PatientID IN (SELECT PatientID FROM CMMD)",
        "EXISTS (SELECT * FROM read_parquet('https://127.0.0.1:1/x.parquet'))",
        "no_such_column = 1",
        "label =",
        ") OR (",
        "",
        "label = '\udcff'",
    ],
)
def test_a_condition_can_neither_read_a_file_nor_be_more_than_a_condition(tmp_path, where):
    secret = tmp_path / "secret.csv"
    secret.write_text("a secret\n")
    with pytest.raises(UsageError, match=r"^--where: ") as raised:
        plan.find_uids(CMMD[:5], where=where.format(secret=secret) if "{" in where else where)
    assert "a secret" not in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("selection", "message"),
    [
        (
            Selection(patient_ids=("D1-0001", "X1", "X2", "X3", "X4")),
            r"--patient: X1, X2, X3 and 1 more not in the list of 1775 series",
        ),
        (Selection(series_uids=("1.2.3",)), r"--series: 1\.2\.3 not in the list of 1775 series"),
        (Selection(patients=0), r"--patients 0: expected 1 or more"),
        (Selection(where="label = 'Normal'"), r"nothing is selected of the 1775 series"),
        (Selection(patient_ids=("D1-0001",), where="source = 'D2'"), r"nothing is selected"),
    ],
)
def test_what_cannot_be_selected_is_named(selection, message):
    with pytest.raises(UsageError, match=message):
        select(CMMD, selection)


def test_data_without_patients_come_whole_or_not_at_all():
    series = [Series(uid="HAM10000_images_part_1.zip"), Series(uid="HAM10000_metadata")]
    assert select(series, Selection()) != []
    with pytest.raises(UsageError, match="names no patients"):
        select(series, Selection(patients=1))


@pytest.mark.parametrize("uids", [UIDS[:3]])
@pytest.mark.parametrize(
    "text",
    [
        HEADER + "{0}\n{1}\n{2}\n",
        HEADER.replace("\n", "\r\n") + "{0}\r\n{1}\r\n{2}",
        "\ufeff" + HEADER + "{0}\n\n  {1}  \n{2}\n\n",
        "{0}\n{1}\n{2}\n",
        "# a plain list\n{0}\n{1}\n{1}\n{2}\n",
    ],
)
def test_a_manifest_is_read_however_it_was_saved(tmp_path, text, uids):
    manifest = tmp_path / "manifest.tcia"
    manifest.write_bytes(text.format(*uids).encode())
    assert list(read_manifest(manifest)) == uids


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            (HEADER + UIDS[0] + "\nnot a uid\n").encode(),
            r"line 6: 'not a uid', expected one SeriesInstanceUID",
        ),
        ((HEADER + UIDS[0] + "." + "1" * 40).encode(), r"line 5"),
        (b"../../etc/passwd\n", r"line 1"),
        (b"surprise\n" + HEADER.encode(), r"line 1: 'surprise', expected key=value"),
        (HEADER.replace("ListOf", "List").encode(), r"line 1"),
        ((HEADER + "a=b\n" + UIDS[0]).encode(), r"line 5: 'a=b', expected one SeriesInstanceUID"),
        (HEADER.encode(), r"no SeriesInstanceUID, expected one per line below ListOfSeriesToDownload="),
        (b"", r"no SeriesInstanceUID, expected one per line"),
        (b"\xff\xfe\x00\x01", r"no text in UTF-8"),
        (None, r"No such file"),
    ],
)
def test_a_manifest_that_is_none_is_refused_by_line(tmp_path, content, message):
    manifest = tmp_path / "manifest.tcia"
    if content is not None:
        manifest.write_bytes(content)
    with pytest.raises(UsageError, match=message) as raised:
        read_manifest(manifest)
    assert str(manifest) in str(raised.value)


def test_a_plan_says_what_a_selection_comes_to():
    found = summarise(CMMD)
    assert (found.patients, found.files, found.unknown, found.licences) == (1775, 5202, 0, ("CC BY 4.0",))
    assert round(found.bytes / 1e6, 1) == 22861.9
    assert found.by_stratum["Benign", "D1"] == 465


def test_a_plan_counts_what_the_list_does_not_say_apart():
    found = summarise(
        [
            Series(uid="1.1", patient_id="a", instances=2, bytes=10),
            Series(uid="1.2", patient_id="a", instances=3),
        ]
    )
    assert (found.patients, found.files, found.bytes, found.unknown, found.licences) == (1, 5, 10, 1, ())
    both = [Series("1.1", bytes=10, licence="B"), Series("1.2", licence="A"), Series("1.3", instances=1)]
    assert (summarise(both).unknown, summarise(both).licences) == (3, ("A", "B"))
