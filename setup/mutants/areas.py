"""Says which files an area of the product has, and which tests are asked about it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
# What draws or writes synthetic pictures: there is no right value to differ from.
LEFT_OUT = ("drawing.py", "phantom.py", "phantoms.py", "phantom_shapes.py")
CORE = ("cases", "errors", "files", "hashing", "nearest_neighbours", "numeric_types")
AREAS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "core": (
        tuple(f"medimg/{name}.py" for name in CORE),
        tuple(f"tests/unit/test_{name}.py" for name in CORE),
    ),
    "dicom": (
        ("medimg/dicom", "medimg/images"),
        ("tests/unit/dicom", "tests/unit/images", "tests/faults/test_bad_images.py"),
    ),
    "catalogue": (
        ("medimg/catalogue",),
        ("tests/unit/catalogue", "tests/components/catalogue_gen", "tests/contract/test_data_sets.py"),
    ),
    "datasets": (("medimg/datasets",), ("tests/unit/datasets", "tests/contract/test_data_sets.py")),
    "archive": (("medimg/archive",), ("tests/unit/archive", "tests/faults/test_fetch_faults.py")),
    "examples": (("medimg/examples",), ("tests/unit/examples", "tests/components/case_example_gen")),
    "evaluation": (("medimg/evaluation", "medimg/explain"), ("tests/unit/evaluation", "tests/unit/explain")),
    "tasks": (
        ("medimg/tasks",),
        (
            *("tests/unit/tasks", "tests/unit/explain/test_methods.py"),
            *("tests/contract/test_tasks.py", "tests/components/trainer"),
        ),
    ),
    "components": (("components",), ("tests/components",)),
    "pipeline": (
        ("pipeline",),
        (
            *(
                "tests/unit/pipeline",
                "tests/components/test_compile.py",
                "tests/components/test_compile_refusals.py",
            ),
            *("tests/components/test_pipeline_keys.py", "tests/components/test_views.py"),
            "tests/components/test_view_tables.py",
            "tests/contract/test_config_numbers.py",
            "tests/contract/test_metadata_store.py",
        ),
    ),
    "reporting": (("medimg/reporting",), ("tests/unit/reporting",)),
    "kubeflow": (("kubeflow",), ("tests/unit/kubeflow", "tests/components/test_compile.py")),
    "cli": (
        ("cli", "medimg/sharing", "medimg/console"),
        ("tests/unit/cli", "tests/unit/sharing", "tests/unit/console"),
    ),
}


def list_files(area: str, wanted: Iterable[str] = ()) -> list[str]:
    """Lists the product files of an area, or those of them that are wanted."""
    found = []
    for folder in AREAS[area][0]:
        place = ROOT / folder
        for path in [place] if place.suffix else sorted(place.rglob("*.py")):
            if path.name not in LEFT_OUT:
                found.append(path.relative_to(ROOT).as_posix())
    asked = set(wanted)
    return [path for path in found if not asked or path in asked]


def list_test_files(areas: Iterable[str]) -> list[str]:
    """Lists the test files of some areas."""
    found: dict[str, None] = {}
    for area in areas:
        for name in AREAS[area][1]:
            path = ROOT / name
            for file in [path] if path.suffix else sorted(path.rglob("test_*.py")):
                if file.exists():
                    found[file.relative_to(ROOT).as_posix()] = None
    return list(found)


def find_area(path: str) -> str:
    """Returns the area of a product file, "" for one that is in none."""
    for area, (folders, _) in AREAS.items():
        if any(path == folder or path.startswith(f"{folder}/") for folder in folders):
            return area
    return ""
