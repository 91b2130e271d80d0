"""Content hashes that stand for files and code in the pipeline's cache keys.

No clock, no modification times, no absolute paths.
"""

from __future__ import annotations

import hashlib
import importlib.util
import re
from collections.abc import Iterable, Sequence
from functools import cache
from pathlib import Path

from medimg.files import hash_file

PACKAGES = ("medimg", "components", "pipeline", "kubeflow")


def hash_patient(patient_id: str) -> str:
    """Returns the name that stands for a PatientID wherever the id itself must not be seen; "" for none.

    The same id gives the same name. Who knows the hospital's ids can try them all: it is a pseudonym.
    """
    text = patient_id.strip()
    return f"patient-{hashlib.sha256(f'PatientID {text}'.encode()).hexdigest()[:16]}" if text else ""


def name_uid(text: str) -> str:
    """Returns a UID as it is, and a name for any other text in its place, which may be a patient's."""
    if not text or re.fullmatch(r"[0-9.]{1,64}", text):
        return text
    return f"uid-{hashlib.sha256(f'UID {text}'.encode()).hexdigest()[:16]}"


def hash_tree(root: Path) -> str:
    """sha256 over the relative paths and contents of all files below a folder."""
    digest = hashlib.sha256()
    for path in sorted(path for path in root.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(root).as_posix()}\0{hash_file(path)}\n".encode())
    return digest.hexdigest()


def hash_code(
    modules: Iterable[str],
    *,
    alone: Iterable[str] = (),
    without: Iterable[str] = (),
    folders: Iterable[Path] = (),
) -> str:
    """Hashes (sha256) the source of the named first-party modules and of all that they import.

    Directly or not, as far as it is first-party.

    `alone` are modules that count without what they import, `without` modules that do not count though they
    are imported, `folders` hold what is read beside modules. A changed line in any that counts gives another
    hash; a changed line anywhere else does not.
    """
    graph = import_graph()
    closure = set(alone)
    for module in modules:
        closure |= {module} | set(graph.find_upstream_modules(module))  # type: ignore[attr-defined]
    digest = hashlib.sha256()
    for module in sorted(closure - set(without)):
        spec = importlib.util.find_spec(module)
        if spec and spec.origin:
            digest.update(f"{module}\0{hash_file(Path(spec.origin))}\n".encode())
    for folder in folders:
        digest.update(hash_tree(folder).encode())
    return digest.hexdigest()


@cache
def import_graph() -> object:
    """Who imports whom among our packages, read from the source."""
    import grimp

    return grimp.build_graph(*(name for name in PACKAGES if importlib.util.find_spec(name)), cache_dir=None)


def submodules(package: str) -> list[str]:
    """Returns the package and its modules, sorted."""
    modules: Iterable[str] = import_graph().modules  # type: ignore[attr-defined]
    return sorted(name for name in modules if name == package or name.startswith(package + "."))


def newest_version(names: Sequence[str]) -> str | None:
    """The largest of the numbered folder names, as the Pusher writes them; None if there is none."""
    versions = [name.strip("/") for name in names if name.strip("/").isdigit()]
    return max(versions, key=int, default=None)
