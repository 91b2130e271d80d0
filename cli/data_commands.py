"""Commands that bring data and say what they are: phantom, fetch, init, catalogue, query."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal

import typer

from cli.options import DataRoot, DataSetName, FollowLinks, Previous, SplitFile, expect_folder
from medimg.console.plurals import count
from medimg.errors import UsageError

app = typer.Typer()

VERIFIED_AT_ONCE = 8
"""Files, of one disk."""


@app.command()
def phantom(
    data_set: DataSetName,
    to: Annotated[
        Path, typer.Option("--to", callback=expect_folder, help="Folder to write; must be new or empty.")
    ],
    cases: Annotated[int, typer.Option("--cases", help="Number of groups: patients, lesions, donors.")] = 40,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
) -> None:
    """Writes a small drawn stand-in of a data set's layout, tables included.

    Example: medimg phantom cmmd --to data --cases 40
    """
    from medimg.datasets import find_data_set, write_phantom

    if to.exists() and any(to.iterdir()):
        raise UsageError(f"{to} is not empty; a phantom is written into a new folder")
    imitated = find_data_set(data_set)
    write_phantom(imitated, to, cases=cases, seed=seed)
    typer.echo(f"{data_set} phantom of {count(cases, imitated.group_noun)} in {to}")


@app.command()
def fetch(
    data_set: Annotated[
        str,
        typer.Argument(
            help="cmmd, cbis_ddsm, ham10000, upenn_gbm, folder, or a collection id of IDC.", metavar="DATASET"
        ),
    ],
    to: Annotated[
        Path,
        typer.Option("--to", callback=expect_folder, help="The data root; the same one continues or adds."),
    ],
    patients: Annotated[
        int | None, typer.Option("--patients", min=1, help="So many patients, sampled over label and source.")
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            "--seed", min=0, help="Of the sample; more patients with the same seed add to the same ones."
        ),
    ] = 0,
    patient: Annotated[
        list[str] | None, typer.Option("--patient", help="Id of a patient; may be repeated.")
    ] = None,
    series: Annotated[
        list[str] | None, typer.Option("--series", help="SeriesInstanceUID; may be repeated.")
    ] = None,
    manifest: Annotated[
        Path | None,
        typer.Option("--manifest", help="A .tcia or .s5cmd manifest, or a list of UIDs of series."),
    ] = None,
    where: Annotated[
        str | None,
        typer.Option(
            "--where", help="SQL condition over the list of series: \"Modality = 'MG' AND label = 'Benign'\"."
        ),
    ] = None,
    source: Annotated[
        str,
        typer.Option(
            "--source", help="idc, nbia, dicomweb, folder, dataverse; several in order of preference."
        ),
    ] = "",
    from_folder: Annotated[Path | None, typer.Option("--from", help="Folder for the source folder.")] = None,
    follow_links: FollowLinks = False,
    url: Annotated[str, typer.Option("--url", help="Address of a PACS for the source dicomweb.")] = "",
    workers: Annotated[
        int,
        typer.Option(
            "--workers",
            min=1,
            max=256,
            help="Files at a time, at most: it begins with 32, more where that brings more, fewer where a "
            "server refuses.",
        ),
    ] = 256,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would come: counts, bytes, licence, disk.")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Only compare what is there with its receipts; no network.")
    ] = False,
    allow_host: Annotated[
        list[str] | None,
        typer.Option("--allow-host", help="Another host that an archive may redirect to; may be repeated."),
    ] = None,
) -> None:
    """Downloads a collection or a part of it: verified, resumable, each file with a receipt.

    Example: medimg fetch cmmd --to data --patients 40 --seed 1

    Example: medimg fetch folder --to data --source dicomweb --url https://pacs.example.org/dicom-web
    --patient 4711
    """
    from cli.fetch import FetchRequest, run_fetch, run_verify
    from medimg.archive.collections import find_collection
    from medimg.archive.plan import Selection
    from medimg.archive.sources.registry import read_addresses

    if verify:
        run_verify(to, workers=min(workers, VERIFIED_AT_ONCE))
        return
    to.mkdir(parents=True, exist_ok=True)
    selection = Selection(
        patients=patients,
        seed=seed,
        patient_ids=tuple(patient or ()),
        series_uids=tuple(series or ()),
        where=where or "",
        manifest=manifest,
    )
    addresses = replace(
        read_addresses(
            os.environ, dicomweb=url, folder=str(from_folder or ""), allowed_hosts=allow_host or ()
        ),
        follow_links=follow_links,
    )
    names = [name.strip() for name in source.split(",") if name.strip()]
    run_fetch(
        FetchRequest(find_collection(data_set), selection, to, addresses, names, workers), dry_run=dry_run
    )


@app.command()
def init(
    data_set: DataSetName,
    directory: Annotated[Path, typer.Argument(help="Folder of images.", metavar="DIR")],
    follow_links: FollowLinks = False,
) -> None:
    """Writes a table to fill in and settings to start from into a folder of images.

    Example: medimg init folder data
    """
    from cli.init import init_folder

    init_folder(data_set, directory, follow_links=follow_links)


@app.command()
def catalogue(
    data: DataRoot,
    to: Annotated[Path, typer.Option("--to", callback=expect_folder, help="Folder of the catalogue.")],
    data_set: Annotated[
        str | None,
        typer.Argument(help="Name of a data set: cmmd, folder. A config has it.", metavar="DATASET"),
    ] = None,
    config: Annotated[
        str | None,
        typer.Option("--config", help="Name of a config: data set, split and labels are those of its runs."),
    ] = None,
    split: Annotated[
        str | None, typer.Option("--split", help="Shares of train, eval and test; default 0.7,0.15,0.15.")
    ] = None,
    folds: Annotated[int | None, typer.Option("--folds", help="Also deal the groups to k folds.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", min=0, help="Of the split; default 0.")] = None,
    near_duplicates: Annotated[
        Literal["off", "hash", "keypoints"] | None,
        typer.Option(
            "--near-duplicates",
            help="Search cases with nearly the same image, which then share a split; "
            "keypoints finds more than hash; default off.",
        ),
    ] = None,
    previous: Previous = None,
    split_file: SplitFile = None,
    follow_links: FollowLinks = False,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            help="key=value or @FILE of them: of the config, else labels., scan. and split. "
            "(labels.keep=none,NA: classes, not words for a missing value); may be repeated.",
        ),
    ] = None,
) -> None:
    """Builds the catalogue of a data set and prints counts, exclusions and anomalies.

    Example: medimg catalogue cmmd --data data --to catalogue --folds 5

    Example: medimg catalogue --config cmmd_demo --data data --to catalogue
    """
    from cli.catalogue import Asked, choose_settings
    from medimg.catalogue.build import BuildOptions, build_catalogue
    from medimg.catalogue.summary import print_summary
    from medimg.console.terminal import make_console

    ratios = parse_ratios(split) if split is not None else None
    found, settings = choose_settings(
        Asked(data_set, config, overrides or (), ratios, folds, seed, near_duplicates, follow_links)
    )
    built = build_catalogue(
        found,
        data_root=data,
        to=to,
        options=BuildOptions(
            settings.split,
            previous=previous,
            split_file=split_file,
            index_path=to / "index.parquet",
        ),
    )
    print_summary(built.summary, make_console())


@app.command()
def query(
    directory: Annotated[Path, typer.Argument(help="Folder of a catalogue.", metavar="DIR")],
    sql: Annotated[str, typer.Argument(help="SQL over the tables cases, images and pairs.")],
) -> None:
    """Runs SQL over a catalogue's tables `cases`, `images` and `pairs` (near duplicates).

    Example: medimg query catalogue "SELECT split, count(*) FROM cases GROUP BY split"
    """
    from cli.query import print_rows
    from medimg.catalogue.query import run_query
    from medimg.console.terminal import make_console

    print_rows(run_query(directory, sql), make_console())


def parse_ratios(text: str) -> tuple[float, float, float]:
    """`0.7,0.15,0.15` as three shares that add up to one."""
    try:
        train, evaluation, test = (float(part) for part in text.split(","))
    except ValueError:
        raise UsageError(f"--split {text}: expected three numbers such as 0.7,0.15,0.15") from None
    # Written so that it refuses NaN too.
    if not (min(train, evaluation, test) > 0 and abs(train + evaluation + test - 1) <= 1e-6):
        raise UsageError(
            f"--split {text}: the shares must be positive and add up to 1, "
            f"they add up to {train + evaluation + test:g}"
        )
    return train, evaluation, test
