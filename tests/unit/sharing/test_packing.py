import hashlib
import json

import pandas as pd
import pytest

from medimg.archive.transport.unzip import open_zip
from medimg.errors import UsageError
from medimg.sharing.manifest import hash_split, list_files, read_manifest
from medimg.sharing.packing import open_bundle, pack, write_zip


def test_a_bundle_holds_the_report_and_the_hash_of_every_file(report, packed):
    files = read_manifest(packed).files
    assert {
        "predictions.parquet",
        "facts.json",
        "metrics.json",
        "report.html",
        "model_card.md",
        "tables/figures.csv",
    } <= files.keys()
    assert files == {
        name: hashlib.sha256((packed / name).read_bytes()).hexdigest() for name in list_files(packed)
    }
    assert (packed / "metrics.json").read_bytes() == (report / "metrics.json").read_bytes()


def test_images_of_patients_stay_unless_asked_for(report, packed, tmp_path):
    pack(report, to=tmp_path / "all", with_images=True)
    image = next((report / "gallery").iterdir())
    assert (tmp_path / "all" / "gallery" / image.name).read_bytes() == image.read_bytes()
    assert [read_manifest(folder).images for folder in (packed, tmp_path / "all")] == [False, True]
    assert not list(packed.glob("gallery/*"))
    # The page embeds them: it must be another one.
    assert [(folder / "report.html").read_text().count("<img") for folder in (packed, tmp_path / "all")] == [
        0,
        1,
    ]


def test_no_file_of_a_bundle_names_the_machine_it_was_made_on(packed, tmp_path_factory):
    home = str(tmp_path_factory.getbasetemp()).encode()
    assert not [
        name for name in ("manifest.json", *list_files(packed)) if home in (packed / name).read_bytes()
    ]


def test_the_same_results_give_the_same_zip_byte_for_byte(report, packed, tmp_path):
    pack(report, to=tmp_path / "again")
    for folder, name in ((packed, "one.zip"), (tmp_path / "again", "two.zip")):
        write_zip(folder, tmp_path / name)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()


def test_a_zip_opens_as_the_folder_it_was_made_of(packed, tmp_path):
    write_zip(packed, tmp_path / "bundle.zip")
    with open_zip(tmp_path / "bundle.zip") as archive:
        assert set(archive.names) == {"manifest.json", *list_files(packed)}
    with open_bundle(tmp_path / "bundle.zip") as folder:
        assert {name: (folder / name).read_bytes() for name in list_files(folder)} == {
            name: (packed / name).read_bytes() for name in list_files(packed)
        }


def test_the_hash_of_a_split_is_of_its_cases_whatever_their_order():
    table = pd.DataFrame(
        {"case_id": ["a", "b"], "group_id": ["1", "2"], "split": ["eval", "test"], "p": [0.1, 0.2]}
    )
    assert hash_split(table) == hash_split(table.iloc[::-1].assign(p=0.5))
    for column, value in (("case_id", "c"), ("group_id", "3"), ("split", "test")):
        assert hash_split(table) != hash_split(table.assign(**{column: [value, table[column][1]]}))


@pytest.mark.parametrize(
    ("change", "words"),
    [({"format": 2}, "format"), ({"files": {"a": 1}}, "files.a"), ({"hashes": None}, "hashes")],
)
def test_a_manifest_that_is_none_of_ours_is_refused_by_the_name_of_what_is_wrong(bundle, change, words):
    text = json.loads((bundle / "manifest.json").read_text())
    (bundle / "manifest.json").write_text(json.dumps({**text, **change}))
    with pytest.raises(UsageError, match=words):
        read_manifest(bundle)
