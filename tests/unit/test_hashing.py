"""Fingerprints follow content: a changed line changes what depends on it and no more."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medimg.hashing import hash_code, hash_tree, newest_version, submodules

REPOSITORY = Path(__file__).resolve().parents[2]
CHANGED = {
    "medimg/tasks/classification/model.py": {"trainer"},
    "medimg/tasks/classification/preprocess.py": {"transform", "trainer"},
    "medimg/datasets/cmmd/cases.py": {"catalogue"},
    "medimg/datasets/folder/cases.py": set(),
    # The gate counts as the catalogue's summary does; the report makes thumbnails.
    "medimg/dicom/windowing.py": {"catalogue", "examples", "gate", "report"},
    "components/evaluator/tfma_metrics.py": {"evaluator"},
    "medimg/reporting/page.py": {"report"},
    "medimg/explain/methods.py": {"report"},
    "medimg/tasks/classification/explain.py": {"report"},
    "medimg/reporting/templates/report.html.j2": {"report"},
    "medimg/reporting/data_sets/cmmd.yaml": {"report"},
    "components/entry_points.py": {"transform", "trainer"},
    "cli/app.py": set(),
}
HASH_EACH = """
import dataclasses, json, pathlib, sys
from pipeline.config.overrides import load_config
from pipeline.cache_keys import code_fingerprints
config = load_config("cmmd_classification")
before = dataclasses.asdict(code_fingerprints(config))
changed = {}
for name in json.loads(sys.argv[1]):
    path = pathlib.Path(name)
    text = path.read_text()
    path.write_text(text + "\\n# One more line.\\n")
    after = dataclasses.asdict(code_fingerprints(config))
    changed[name] = sorted(key for key in before if before[key] != after[key])
    path.write_text(text)
print(json.dumps(changed))
"""


@pytest.fixture(scope="module")
def changed_hashes(tmp_path_factory):
    """Finds which components' hashes change with one more line in each file, on a copy of the sources."""
    folder = tmp_path_factory.mktemp("sources")
    for name in ("medimg", "components", "pipeline", "kubeflow", "cli", "schema"):
        shutil.copytree(REPOSITORY / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-c", HASH_EACH, json.dumps(list(CHANGED))]
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True)
    return json.loads(result.stdout)


@pytest.mark.parametrize("file", CHANGED)
def test_a_changed_line_changes_the_hashes_of_what_depends_on_it_and_no_more(changed_hashes, file):
    assert set(changed_hashes[file]) == CHANGED[file]


def test_touching_a_tree_keeps_its_hash_and_a_changed_byte_does_not(tmp_path):
    (tmp_path / "a").write_text("one")
    before = hash_tree(tmp_path)
    os.utime(tmp_path / "a", (1, 1))
    assert hash_tree(tmp_path) == before
    (tmp_path / "a").write_text("onf")
    assert hash_tree(tmp_path) != before


@pytest.mark.parametrize(
    ("tree", "is_same"),
    [
        ({"a.txt": "one", "b/c.txt": "two"}, True),
        ({"b/c.txt": "two", "a.txt": "one"}, True),
        ({"a.txt": "one", "b/d.txt": "two"}, False),
        ({"a.txt": "one", "c.txt": "two"}, False),
        ({"a.txt": "two", "b/c.txt": "one"}, False),
        ({"a.txt": "one", "b/c.txt": "twp"}, False),
        ({"a.txt": "one"}, False),
        ({"a.txt": "one", "b/c.txt": "two", "b/e/f.txt": ""}, False),
    ],
)
def test_a_trees_hash_follows_names_folders_and_contents_and_not_where_it_is(tmp_path, tree, is_same):
    for root, files in (("first", {"a.txt": "one", "b/c.txt": "two"}), ("second/further", tree)):
        for name, text in files.items():
            (tmp_path / root / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / root / name).write_text(text)
    assert (hash_tree(tmp_path / "first") == hash_tree(tmp_path / "second/further")) == is_same


def test_modules_count_with_what_they_import_alone_or_not_at_all(tmp_path):
    # medimg.hashing imports medimg.files, that medimg.errors, and that medimg.defined_terms.
    chain = hash_code(["medimg.hashing"])
    assert hash_code(["medimg.hashing", "medimg.files", "medimg.errors"]) == chain
    assert hash_code(["medimg.hashing"], without=["medimg.files"]) != chain
    alone = hash_code([], alone=["medimg.hashing"])
    assert alone not in (chain, hash_code([]))
    others = ["medimg", "medimg.files", "medimg.errors", "medimg.defined_terms"]
    without_others = hash_code(["medimg.hashing"], without=others)
    assert without_others == alone
    (tmp_path / "a.yaml").write_text("one")
    beside = hash_code(["medimg.hashing"], folders=[tmp_path])
    (tmp_path / "a.yaml").write_text("two")
    assert len({chain, beside, hash_code(["medimg.hashing"], folders=[tmp_path])}) == 3


def test_submodules_are_of_the_package_and_of_no_other_whose_name_begins_alike():
    found = submodules("medimg.cases")
    assert found == ["medimg.cases"]
    within = submodules("medimg.dicom")
    assert within[0] == "medimg.dicom"
    assert {"medimg.dicom.read", "medimg.dicom.volume"} <= set(within)
    assert within == sorted(within)
    assert submodules("medimg.dicom.pixel") == submodules("medimg.file") == []


def test_the_newest_version_is_the_largest_number():
    assert newest_version(["9", "10", "notes"]) == "10"
    assert newest_version(["10/", "9/", "notes/", "11.part"]) == "10"
    assert newest_version(["notes", ""]) is None
    assert newest_version([]) is None
