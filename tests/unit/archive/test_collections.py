import csv
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from medimg.archive import idc_index
from medimg.archive.collections import COLLECTIONS, find_collection
from medimg.archive.source import NotAvailable, Series
from medimg.archive.sources.idc import IdcSource, read_series_list
from medimg.archive.transport.http_messages import Access
from medimg.archive.transport.transfer import Transfer
from medimg.datasets.cmmd.clinical_table import read_clinical_table
from medimg.errors import UsageError

needs_index = pytest.mark.skipif(
    not idc_index.is_installed(), reason="the extra idc is not installed (setup/install.sh core idc)"
)
PUBLISHED = [collection for collection in COLLECTIONS.values() if collection.name != "folder"]


@pytest.fixture
def no_index(monkeypatch):
    """As without the extra; a None in sys.modules is what the import system itself takes for absent."""
    monkeypatch.setitem(sys.modules, "idc_index_data", None)


@pytest.fixture
def idc(tmp_path):
    return IdcSource(Transfer(Access(()), parts=tmp_path))


@pytest.mark.parametrize("collection", PUBLISHED, ids=lambda collection: collection.name)
def test_a_published_collection_has_terms_and_says_whom_to_cite(collection):
    assert collection.licence.startswith("CC BY")
    assert collection.licence_url.startswith("https://creativecommons.org/licenses/")
    assert collection.doi.startswith("10.")
    assert any(collection.doi in entry for entry in collection.citations)


@pytest.mark.parametrize(
    "entry",
    sorted({entry for collection in PUBLISHED for entry in collection.citations}),
    ids=lambda entry: entry[:30],
)
def test_a_citation_is_one_bibtex_entry(entry):
    assert re.match(r"@(misc|article)\{\w+,\n", entry)
    assert entry.count("{") == entry.count("}")
    assert entry.count("\n@") == 0
    assert {"author", "title", "year", "doi"} <= set(re.findall(r"^  (\w+) = \{", entry, re.MULTILINE))


@pytest.mark.parametrize("collection", [one for one in PUBLISHED if one.idc], ids=lambda one: one.name)
def test_what_the_commons_do_not_have_comes_from_tcia(collection):
    assert collection.sources == ("idc", "nbia")


def test_citation_keys_are_unique():
    entries = {entry for collection in PUBLISHED for entry in collection.citations}
    assert len({re.findall(r"\{(\w+),", entry)[0] for entry in entries}) == len(entries)


@needs_index
@pytest.mark.parametrize(
    "collection", [one for one in PUBLISHED if one.idc], ids=lambda collection: collection.name
)
def test_the_terms_are_those_of_the_index(collection):
    terms = idc_index.read_terms(collection.idc)
    found = (collection.tcia, collection.licence, collection.licence_url, collection.doi.lower())
    assert found == (terms.name, terms.licence, terms.licence_url, terms.doi)


@needs_index
def test_the_bundled_list_is_what_the_index_has():
    ours = {one.key: one for one in read_series_list("cmmd_series.csv")}
    theirs = {row["key"]: row for row in idc_index.read_rows("cmmd")}
    assert len(ours) == 1775
    assert ours.keys() == theirs.keys()
    own = ("label", "origin", "version")
    assert all(
        getattr(ours[key], field) == value
        for key, row in theirs.items()
        for field, value in row.items()
        if field not in own
    )


def test_the_bundled_list_has_label_and_source_of_every_patient():
    series = read_series_list("cmmd_series.csv")
    assert Counter((one.label, one.origin) for one in series) == {
        ("Malignant", "D2"): 737,
        ("Malignant", "D1"): 543,
        ("Benign", "D1"): 465,
        ("Benign+Malignant", "D1"): 18,
        ("Benign+Malignant", "D2"): 12,
    }
    assert len({one.patient_id for one in series}) == len({one.uid for one in series}) == 1775
    assert sum(one.instances for one in series) == 5202
    assert {one.version for one in series} == {"IDC v24"}


def test_the_labels_of_the_bundled_list_are_those_of_the_clinical_table(shared_data):
    breasts = read_clinical_table(shared_data / "cmmd").breasts
    labels = {patient: set() for patient, _ in breasts}
    for (patient, _), row in breasts.items():
        labels[patient].add(row.labels["malignancy"])
    assert {
        one.patient_id: set(one.label.split("+")) for one in read_series_list("cmmd_series.csv")
    } == labels


def test_the_bundled_list_can_be_made_again(shared_data):
    repository = Path(__file__).parents[3]
    inputs = [
        str(shared_data / "cmmd" / name) for name in ("idc_series.csv", "CMMD_clinicaldata_revision.xlsx")
    ]
    made = subprocess.run(
        [sys.executable, "setup/make_cmmd_series.py", *inputs],
        cwd=repository,
        env={"PYTHONPATH": str(repository)},
        capture_output=True,
        check=True,
    )
    assert made.stdout == (repository / "medimg/archive/cmmd_series.csv").read_bytes()


@pytest.mark.usefixtures("no_index")
def test_without_the_index_an_unknown_name_ends_in_the_nearest_and_how_to_have_more():
    with pytest.raises(
        UsageError,
        match=r"unknown data set 'CBIS-DDMS': did you mean 'cbis_ddsm'\?; .* setup/install.sh core idc",
    ):
        find_collection("CBIS-DDMS")


@pytest.mark.usefixtures("no_index")
def test_without_the_index_a_collection_without_a_bundled_list_cannot_be_listed(idc):
    assert len(idc.list_series(find_collection("cmmd"))) == 1775
    with pytest.raises(UsageError, match=r"setup/install.sh core idc"):
        idc.list_series(find_collection("upenn_gbm"))


@needs_index
@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("CMMD", "did you mean 'cmmd'"),
        ("nlts", "did you mean 'nlst'"),
        ("zzzz", "known: cmmd, .* and the 1.. ids of the"),
    ],
)
def test_an_unknown_name_ends_in_the_nearest(name, message):
    with pytest.raises(UsageError, match=message):
        find_collection(name)


@needs_index
def test_any_collection_of_the_index_is_known_by_its_id(idc):
    collection = find_collection("remind")
    assert (collection.tcia, collection.licence, collection.doi) == (
        "ReMIND",
        "CC BY 4.0",
        "10.7937/3rag-d070",
    )
    series = idc.list_series(collection)
    assert len({one.patient_id for one in series}) == 114
    assert all(one.key and one.bucket and one.instances and one.bytes and one.licence for one in series)
    assert series == sorted(series, key=lambda one: (one.patient_id, one.uid))


@pytest.mark.parametrize("name", ["ham10000", "folder"])
def test_what_is_not_in_the_imaging_data_commons_is_not_listed_there(idc, name):
    with pytest.raises(NotAvailable, match=f"{name} is not in the Imaging Data Commons"):
        idc.list_series(find_collection(name))


def test_the_bundled_list_says_where_it_comes_from_and_on_which_terms():
    path = Path(__file__).parents[3] / "medimg/archive/cmmd_series.csv"
    lines = path.read_text(encoding="utf-8").splitlines()
    head = "\n".join(line for line in lines if line.startswith("#"))
    assert "10.7937/tcia.eqde-4b16" in head
    assert "CC BY 4.0" in head
    assert next(csv.reader([lines[head.count("\n") + 1]])) == list(Series.__dataclass_fields__)


def test_planning_from_the_bundled_list_imports_no_pandas():
    code = (
        "import sys; from medimg.archive import plan; from medimg.archive.sources import idc; "
        "idc.read_series_list('cmmd_series.csv'); assert 'pandas' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
