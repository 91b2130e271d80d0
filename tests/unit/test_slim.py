"""What leaves an image's packages, and what stays (setup/slim.py)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def slim(tmp_path):
    """Writes the files (path below a folder -> text), slims the folder, and returns what is left of them."""

    def slim(files: dict[str, str]) -> set[str]:
        for name, text in files.items():
            path = tmp_path / "packages" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        command = [sys.executable, str(REPOSITORY / "setup/slim.py"), str(tmp_path / "packages")]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        assert answer.returncode == 0, answer.stderr
        assert len(answer.stdout.splitlines()) == 1
        return {name for name in files if (tmp_path / "packages" / name).exists()}

    return slim


def test_tests_and_their_data_go_and_modules_beside_them_stay(slim):
    gone = ["a/tests/test_a.py", "a/tests/b_test.py", "a/tests/data/scan.nii"]
    kept = ["a/tests/__init__.py", "a/tests/_natype.py", "a/test_mode.py", "a/tests.py"]
    assert slim(dict.fromkeys([*gone, *kept], "")) == set(kept)


def test_headers_and_static_libraries_go_and_a_package_of_that_name_stays(slim):
    files = ["a/include/deep/a.h", "a/lib/a.a", "b/include/__init__.py", "b/include/b.h"]
    assert slim(dict.fromkeys(files, "")) == {"b/include/__init__.py", "b/include/b.h"}


def test_modules_are_compiled_for_good_and_a_file_that_is_no_python_stays(slim, tmp_path):
    assert slim({"a/b.py": "ANSWER = 42\n", "a/template.py": "{{ no python }}("}) == {
        "a/b.py",
        "a/template.py",
    }
    (compiled,) = (tmp_path / "packages/a/__pycache__").iterdir()
    # PEP 552: the lowest bit puts a hash of the source in the place of its time; the next, which would have
    # it compared at each import, is not set.
    assert int.from_bytes(compiled.read_bytes()[4:8], "little") == 0b01
