"""How long a catalogue takes: the first time, the second time, and without reading for 10^5 images.

    python benchmarks/bench_catalogue.py [--data CMMD_FOLDER] [--patients 400] [--planned-patients 25000]
    [--write]

Without --data, a CMMD phantom is written and measured. --write keeps the figures in
benchmarks/catalogue_<date>.md.
"""

from __future__ import annotations

import argparse
import datetime
import os
import platform
import resource
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from medimg.cases import Case, Header, ImageRef
from medimg.catalogue.build import BuildOptions, build_catalogue
from medimg.catalogue.division import SplitBasis, divide
from medimg.catalogue.duplicates.exact import settle_duplicates
from medimg.catalogue.duplicates.near import NearDuplicates
from medimg.catalogue.quality import flag_headers
from medimg.catalogue.rows import make_cases_table, make_images_table, make_pairs_table
from medimg.catalogue.split import SplitSettings
from medimg.catalogue.tables import Catalogue, write_catalogue
from medimg.datasets.cmmd.cases import DATA_SET

Result = TypeVar("Result")


def measure(function: Callable[[], Result]) -> tuple[float, Result]:
    """Seconds of wall time, and the result."""
    start = time.perf_counter()
    result = function()
    return time.perf_counter() - start, result


def build(data: Path, to: Path) -> Catalogue:
    """A catalogue with the index beside it."""
    return build_catalogue(
        DATA_SET,
        data_root=data,
        to=to,
        options=BuildOptions(SplitSettings(), index_path=to.parent / "index.parquet"),
    )


def make_study(patients: int) -> tuple[list[Case], dict[str, Header]]:
    """Two breasts of two views per patient, made of nothing: metadata for what comes after reading."""
    cases, headers = [], {}
    for number in range(patients):
        patient = f"P{number:06d}"
        for side in "LR":
            images = tuple(
                ImageRef(f"{patient}/{side}-{role}.dcm", role, 0, f"1.2.{number}", "0" * 64)
                for role in ("CC", "MLO")
            )
            for image in images:
                tags = {
                    "SOPInstanceUID": image.path,
                    "Modality": "MG",
                    "BitsStored": 8,
                    "Rows": 2294,
                    "Columns": 1914,
                    "PixelSpacing": [0.1, 0.1],
                }
                headers[image.path] = Header(image.path, "dicom", 4_000_000, "0" * 64, image.path, tags)
            label = {"malignancy": "Malignant" if number % 3 else "Benign"}
            cases.append(
                Case(
                    f"{patient}-{side}",
                    patient,
                    images,
                    {"breast": f"{patient}-{side}", "patient": patient},
                    label,
                    {"source": "D1"},
                )
            )
    return cases, headers


def plan(patients: int, to: Path) -> None:
    """Everything but reading files: duplicates, flags, split, tables."""
    cases, headers = make_study(patients)
    duplicates = settle_duplicates(cases, headers=headers, head="malignancy")
    division = divide(
        duplicates, near=NearDuplicates(), data_set=DATA_SET, basis=SplitBasis(SplitSettings()), root=to
    )
    flags = flag_headers(list(headers.values()))
    table = make_cases_table(duplicates.cases, assignments=division.assignments, strata=division.strata)
    images = make_images_table(duplicates.cases, rejects=(), headers=headers, flags=flags)
    write_catalogue(to, cases=table, images=images, pairs=make_pairs_table(()), summary={})


def main() -> None:
    """Measures and prints, and writes if asked to."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--data", type=Path, help="a folder with CMMD or its stand-in")
    parser.add_argument("--patients", type=int, default=400, help="of the phantom, where no --data is given")
    parser.add_argument(
        "--planned-patients", type=int, default=25_000, help="of the study without files; four images each"
    )
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        data = arguments.data or Path(folder, "data")
        if not arguments.data:
            DATA_SET.write_phantom(data, cases=arguments.patients, seed=0)
        first_seconds, catalogue = measure(lambda: build(data, Path(folder, "first")))
        second_seconds, again = measure(lambda: build(data, Path(folder, "second")))
        plan_seconds, _ = measure(lambda: plan(arguments.planned_patients, Path(folder, "planned")))
    if again.summary != catalogue.summary:
        raise SystemExit("the second catalogue differs from the first")
    images = catalogue.summary["input"]["images"]
    source = "the CMMD folder given" if arguments.data else "the CMMD phantom"
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    planned = 4 * arguments.planned_patients
    lines = [
        f"# Catalogue, {datetime.date.today():%Y-%m-%d}",
        "",
        f"{os.cpu_count()} cores, Python {platform.python_version()}, {source}, {images:,} images.",
        "",
        "| what | seconds | images per second |",
        "|---|---|---|",
        f"| first time, every file read | {first_seconds:.1f} | {images / first_seconds:,.0f} |",
        f"| second time, from the index | {second_seconds:.1f} | {images / second_seconds:,.0f} |",
        f"| {planned:,} images, all but reading | {plan_seconds:.1f} | {planned / plan_seconds:,.0f} |",
        "",
        f"Peak memory of the parent process over all three: {peak_mib:,.0f} MiB. "
        f"One run each, load average {os.getloadavg()[0]:.1f}.",
    ]
    print("\n".join(lines))
    if arguments.write:
        Path(__file__).with_name(f"catalogue_{datetime.date.today():%Y%m%d}.md").write_text(
            "\n".join(lines) + "\n"
        )


if __name__ == "__main__":
    main()
