"""Fingerprints follow content: a changed line changes what depends on it and no more."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medimg.hashing import hash_tree, newest_version

REPOSITORY = Path(__file__).resolve().parents[2]
CHANGED = {
    "medimg/tasks/classification/model.py": {"trainer"},
    "medimg/tasks/classification/preprocess.py": {"transform", "trainer"},
    "medimg/datasets/cmmd/cases.py": {"catalogue"},
    "medimg/datasets/folder/cases.py": set(),
    "medimg/dicom/windowing.py": {"catalogue", "examples", "report"},  # The report makes thumbnails.
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


def test_the_newest_version_is_the_largest_number():
    assert newest_version(["9", "10", "notes"]) == "10"
    assert newest_version([]) is None
