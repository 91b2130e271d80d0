"""Bad input of the two data sets of single images, through `medimg catalogue`.

It is refused in one line that says what to do, or quarantined by name. What is odd and not bad (a palette, 16
bits, an EXIF rotation) is used as it is meant. tests/e2e/test_skin_and_tissue.py trains on such files.
"""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from cli.app import main
from medimg.console import progress
from medimg.datasets import find_data_set, write_phantom
from tests.faults.odd_images import ODD, read_rgb, write_cmyk, write_odd_images

TABLE = "HAM10000_metadata.csv"
TRUTH = "ISIC2018_Task3_Test_GroundTruth.csv"


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory):
    roots = {}
    for name, cases in (("ham10000", 49), ("tissue", 8)):
        roots[name] = tmp_path_factory.mktemp("phantoms") / name
        write_phantom(find_data_set(name), roots[name], cases=cases, seed=0)
    return roots


@pytest.fixture
def skin(phantoms, tmp_path):
    return shutil.copytree(phantoms["ham10000"], tmp_path / "data")


@pytest.fixture
def tissue(phantoms, tmp_path):
    return shutil.copytree(phantoms["tissue"], tmp_path / "data")


@pytest.fixture
def catalogue(tmp_path, monkeypatch, capsys):
    """Runs `medimg catalogue` as its entry point does.

    Returns exit code, standard output and standard error.
    """
    # The line that a log gets now and then of how far it is comes only on a busy machine.
    monkeypatch.setattr(progress, "LINE_EVERY_SECONDS", math.inf)

    def catalogue(data_set: str, data: Path) -> tuple[int, str, str]:
        monkeypatch.setattr(
            sys,
            "argv",
            ["medimg", "catalogue", data_set, "--data", str(data), "--to", str(tmp_path / "catalogue")],
        )
        with pytest.raises(SystemExit) as left:
            main()
        printed = capsys.readouterr()
        return left.value.code or 0, " ".join(printed.out.split()), printed.err

    return catalogue


def read_back(to: Path) -> tuple[dict, pd.DataFrame]:
    """The catalogue's summary, and its cases by id."""
    return json.loads((to / "summary.json").read_text()), pd.read_parquet(to / "cases.parquet").set_index(
        "case_id"
    )


def edit(path: Path, change: Callable[[list[str]], list[str]]) -> None:
    """Changes the lines of a table; the phantom's has CRLF."""
    path.write_bytes("\r\n".join([*change(path.read_text().splitlines()), ""]).encode())


def append(line: str) -> Callable[[list[str]], list[str]]:
    return lambda lines: [*lines, line]


def in_row_2(old: str, new: str) -> Callable[[list[str]], list[str]]:
    return lambda lines: [lines[0], lines[1].replace(old, new), *lines[2:]]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            in_row_2(",nv,", ",SCC,"),
            f"{TABLE} row 2: dx 'SCC', expected one of nv, bkl, bcc, akiec, vasc, df, mel",
        ),
        (
            lambda lines: [*lines, lines[1]],
            f"image_id ISIC_0024306 stands in {TABLE} row 2 too: an oversampled copy of the table?",
        ),
        (
            in_row_2("ISIC_0024306", "ISIC_0024306_rot90"),
            f"{TABLE} row 2: image_id 'ISIC_0024306_rot90', expected ISIC_ and seven digits: an augmented",
        ),
        (
            lambda lines: [lines[0].replace("lesion_id", "patient"), *lines[1:]],
            f"{TABLE}: no column lesion_id; found patient, image_id, dx",
        ),
        (lambda lines: lines[:1], f"{TABLE}: no row below the header"),
        # The challenge's truth in place of the metadata.
        (
            lambda _: ["image,MEL,NV,BCC,AKIEC,BKL,DF,VASC", "ISIC_0024306,0,1,0,0,0,0,0"],
            f"{TABLE}: no column lesion_id, image_id, dx, dx_type",
        ),
    ],
)
def test_a_table_of_another_set_of_rows_columns_or_classes_is_refused_in_one_line(
    skin, catalogue, change, words
):
    edit(skin / TABLE, change)
    code, _, error = catalogue("ham10000", skin)
    assert (code, len(error.splitlines())) == (2, 1)
    assert words in error


def test_truth_of_a_later_challenge_with_a_class_that_is_none_of_the_seven_is_refused(skin, catalogue):
    (skin / TRUTH).write_text("image,MEL,NV,BCC,AKIEC,BKL,DF,VASC,SCC,UNK\nISIC_0034524,0,0,0,0,0,0,0,1,0\n")
    code, _, error = catalogue("ham10000", skin)
    assert code == 2
    assert f"{TRUTH} row 2: classes marked: nothing; expected a single 1 among 0s" in error


def test_two_zips_are_refused_with_the_command_that_unpacks_them_and_that_command_does(skin, catalogue):
    for folder in ("HAM10000_images_part_1", "HAM10000_images_part_2"):
        shutil.make_archive(str(skin / folder), "zip", skin / folder)
        shutil.rmtree(skin / folder)
    for folder in ("HAM10000_images_part_1", "HAM10000_images_part_2"):
        code, _, error = catalogue("ham10000", skin)
        assert code == 2
        command = error.strip().rpartition(": ")[2]
        assert command == f"unzip -n -d {folder} {folder}.zip"
        # Python's own unzip stands for Info-ZIP's, which is not on every machine.
        *_, to, archive = command.split()
        subprocess.run([sys.executable, "-m", "zipfile", "-e", archive, to], cwd=skin, check=True)
    assert catalogue("ham10000", skin)[0] == 0


def test_what_is_absent_or_unreadable_is_named_and_every_image_is_accounted_for(skin, tmp_path, catalogue):
    absent, cut, cmyk, other = sorted(skin.glob("HAM10000_images_part_1/*.jpg"))[2:6]
    absent.unlink()
    cut.write_bytes(cut.read_bytes()[:600])
    write_cmyk(cmyk)
    read_rgb(other).transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(skin / other.name)
    code, output, _ = catalogue("ham10000", skin)
    assert code == 0
    summary, cases = read_back(tmp_path / "catalogue")
    assert cases.loc[absent.stem, "reason"] == "no image of this id in the folder"
    for path in (cut, cmyk, other):
        assert cases.loc[path.stem, "status"] == "quarantined"
    assert f"{cmyk.relative_to(skin).as_posix()}: has colours of kind CMYK, expected grey or RGB" in output
    assert f"2 files of {other.stem} with different pixels" in output
    assert sum(summary["images"].values()) == len([*skin.rglob("*.jpg")])
    assert sum(summary["cases"].values()) == len((skin / TABLE).read_text().splitlines()) - 1


@pytest.mark.parametrize("data_set", ["ham10000", "tissue"])
def test_a_palette_16_bits_grey_and_an_exif_rotation_are_used_as_they_are_meant(
    phantoms, tmp_path, catalogue, data_set
):
    root = shutil.copytree(phantoms[data_set], tmp_path / "data")
    odd = write_odd_images(root, data_set)
    code, _, _ = catalogue(data_set, root)
    summary, _ = read_back(tmp_path / "catalogue")
    images = pd.read_parquet(tmp_path / "catalogue" / "images.parquet").set_index("path")
    assert code == 0
    assert set(odd) == set(ODD)
    assert {images.loc[path, "status"] for path in odd.values()} == {"used"}
    with Image.open(root / odd["EXIF rotation"]) as stored:
        # Turned: rows are what the file calls columns.
        assert tuple(images.loc[odd["EXIF rotation"], ["rows", "columns"]]) == stored.size
    assert images.loc[odd["16 bits"], "bits_stored"] == 16
    assert sum(summary["images"].values()) == len([*root.rglob("*.jpg"), *root.rglob("*.png")])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda root: (root / "train/liver").rename(root / "train/livr"),
            "train/livr: no class of the Human Protein Atlas' twelve; did you mean 'liver'",
        ),
        (
            lambda root: [path.unlink() for path in (root / "test/lung").iterdir()],
            "test/lung: an empty class folder, expected images of lung",
        ),
        (lambda root: shutil.rmtree(root / "test/spleen"), "test: no class folder 'spleen', which train has"),
        (
            lambda root: (root / "masks/lung").mkdir(parents=True),
            "masks: beside test and train, expected train, val and test alone",
        ),
        (
            lambda root: (root / "train/liver_source_group.csv").rename(root / "train/livr_source_group.csv"),
            "train/livr_source_group.csv: sources of no class folder; did you mean 'liver_source_group.csv'",
        ),
    ],
)
def test_a_class_folder_or_table_that_cannot_be_meant_is_refused_with_the_nearest_name(
    tissue, catalogue, change, words
):
    change(tissue)
    code, _, error = catalogue("tissue", tissue)
    assert (code, len(error.splitlines())) == (2, 1)
    assert words in error


def test_a_class_folder_that_holds_only_what_a_desktop_leaves_behind_counts_as_empty(tissue, catalogue):
    for path in (tissue / "test" / "lung").iterdir():
        path.unlink()
    for name in (".DS_Store", "Thumbs.db"):
        (tissue / "test" / "lung" / name).write_bytes(b"\0\0\0\1Bud1")
    code, _, error = catalogue("tissue", tissue)
    assert code == 2
    assert "test/lung: an empty class folder, expected images of lung" in error


def test_tiles_that_cannot_be_used_are_named_and_a_class_that_is_left_without_any_is_told(
    tissue, tmp_path, catalogue
):
    cut, *others = sorted((tissue / "test" / "spleen").iterdir())
    cut.write_bytes(cut.read_bytes()[:500])
    for path in others:
        write_cmyk(path)
    code, output, _ = catalogue("tissue", tissue)
    summary, _ = read_back(tmp_path / "catalogue")
    assert code == 0
    assert "CMYK" in output
    assert "split test: no used case with tissue spleen" in summary["anomalies"]
    assert sum(summary["images"].values()) == len([*tissue.rglob("*.jpg")])
    assert summary["images"]["quarantined"] == 1 + len(others)


@pytest.mark.parametrize("form", ["tab", "semicolon", "index column", "no dataset column", "UTF-16", "LF"])
def test_a_table_in_another_form_gives_the_same_cases(phantoms, tmp_path, catalogue, form):
    root = shutil.copytree(phantoms["ham10000"], tmp_path / "data")
    _, *_ = catalogue("ham10000", root)
    before = read_back(tmp_path / "catalogue")[1]
    frame = pd.read_csv(root / TABLE, dtype=str, keep_default_na=False)
    (root / TABLE).unlink()
    if form == "no dataset column":
        frame, before = frame.drop(columns="dataset"), before.assign(clinical_dataset=np.nan)
    separator = {"tab": "\t", "semicolon": ";"}.get(form, ",")
    name = "HAM10000_metadata.tab" if form == "tab" else "HAM10000_metadata" if form == "UTF-16" else TABLE
    frame.to_csv(
        root / name,
        sep=separator,
        index=form == "index column",
        encoding="utf-16" if form == "UTF-16" else "utf-8",
        lineterminator="\n",
    )
    assert catalogue("ham10000", root)[0] == 0
    after = read_back(tmp_path / "catalogue")[1]
    pd.testing.assert_frame_equal(
        after.drop(columns="clinical_dataset"), before.drop(columns="clinical_dataset")
    )
    assert after["clinical_dataset"].notna().any() == (form != "no dataset column")
