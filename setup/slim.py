"""Makes installed packages smaller and quick to start, while an image is built: python setup/slim.py FOLDER.

What no task of ours opens goes away: the test suites that packages bring along, C headers and static
libraries. Modules that are no tests themselves stay in their folders: `numpy.testing` imports one. What is
left is compiled, once and for all: a user of the image cannot write beside the sources, and each start would
compile anew.
"""

from __future__ import annotations

import compileall
import os
import py_compile
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

# Of TensorFlow alone 430 MB, for those who compile operations of their own.
HEADERS = ("include",)
TESTS = ("tests",)


def list_superfluous(root: Path) -> Iterator[Path]:
    """Yields the files and folders that go."""
    for folder, folders, files in os.walk(root):
        inside_tests = any(part in TESTS for part in Path(folder).relative_to(root).parts)
        for name in [name for name in folders if name in HEADERS and holds_headers(Path(folder, name))]:
            folders.remove(name)
            yield Path(folder, name)
        for name in files:
            is_module = (
                name.endswith(".py") and not name.startswith("test_") and not name.endswith("_test.py")
            )
            if name.endswith(".a") or (inside_tests and not is_module):
                yield Path(folder, name)


def holds_headers(folder: Path) -> bool:
    """True for a folder of C headers; a Python package may be called `include` as well."""
    return any(folder.rglob("*.h")) and not any(folder.rglob("*.py"))


def compile_modules(root: Path) -> None:
    """Compiles every module.

    A file that is no Python (templates, Python 2) is left as it is, as pip leaves it.
    """
    compileall.compile_dir(
        root, quiet=2, force=True, workers=0, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH
    )


def measure(root: Path) -> int:
    """Returns the bytes of all files."""
    return sum(path.lstat().st_size for path in root.rglob("*") if not path.is_dir())


def main(root: Path) -> None:
    """Says in one line what it has done."""
    before = measure(root)
    for path in list(list_superfluous(root)):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    slim = measure(root)
    compile_modules(root)
    compiled = measure(root)
    print(
        f"slim: {root}: {before / 1e6:.0f} MB, {slim / 1e6:.0f} without tests and headers, "
        f"{compiled / 1e6:.0f} compiled"
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
