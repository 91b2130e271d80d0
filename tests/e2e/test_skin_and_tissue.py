"""The two data sets of single images through `medimg run`, odd files among them.

What was quarantined is counted, the rest used as it is meant.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from cli.app import app
from cli.options import EXIT_NOT_BLESSED
from components.report_gen.scoring import list_records
from medimg.datasets import find_data_set, write_phantom
from medimg.images.raster import read_raster
from pipeline.metadata.lineage import latest_nodes, open_store
from tests.faults.odd_images import write_challenge, write_cmyk, write_odd_images

pytestmark = [pytest.mark.e2e, pytest.mark.slow]

TINY = (
    "training.epochs=1",
    "evaluation.resamples=50",
    "evaluation.explained_cases=1",
    "examples.cases_per_shard=128",
    "model.width=4",
)
CHALLENGE_IMAGES = 14


def run(config: str, data: Path, to: Path, *more: str) -> str:
    """Runs the command in this process; returns what it printed."""
    overrides = [part for item in (*TINY, *more) for part in ("--set", item)]
    result = CliRunner().invoke(
        app, ["run", config, "--data", str(data), "--to", str(to), *overrides], catch_exceptions=False
    )
    # A network of one epoch need not pass the gates.
    assert result.exit_code in (0, EXIT_NOT_BLESSED), result.output
    return result.output


def figures_of(to: Path) -> pd.DataFrame:
    """The report's figures of the test split."""
    figures = pd.DataFrame(json.loads((to / "report" / "metrics.json").read_text()))
    return figures[figures["split"] == "test"]


def images_of(to: Path, pipeline: str) -> dict[str, bytes]:
    """The images in the Examples, by the path that they came from."""
    import tensorflow as tf

    outputs = latest_nodes(open_store(to / "metadata.sqlite"), pipeline)
    uri = outputs["CaseExampleGen"].outputs["examples"][0].uri
    features = {
        "case_id": tf.io.FixedLenFeature([], tf.string),
        "image_image": tf.io.FixedLenFeature([], tf.string),
    }
    records = [path for split in ("train", "eval", "test") for path in list_records(uri, split)]
    parsed = [tf.io.parse_single_example(record, features) for record in tf.data.TFRecordDataset(records)]
    by_case = {one["case_id"].numpy().decode(): one["image_image"].numpy() for one in parsed}
    images = pd.read_parquet(outputs["CatalogueGen"].outputs["catalogue"][0].uri + "/images.parquet").dropna(
        subset="case_id"
    )
    return {row.path: by_case[row.case_id] for row in images.itertuples() if row.case_id in by_case}


def decode(image: bytes) -> np.ndarray:
    import tensorflow as tf

    return tf.io.decode_image(image).numpy()


@pytest.fixture(scope="module")
def skin(tmp_path_factory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("skin")
    write_phantom(find_data_set("ham10000"), home / "data", cases=56, seed=0)
    write_challenge(home / "data", images=CHALLENGE_IMAGES)
    odd = write_odd_images(home / "data", "ham10000")
    cmyk = write_cmyk(sorted(home.glob("data/HAM10000_images_part_2/*.jpg"))[-1])
    small = ("model.image_size=36,48", "training.batch_size=16", "split.ratios=0.6,0.2,0.2")
    return {
        "home": home,
        "odd": odd,
        "cmyk": cmyk,
        "printed": run("ham10000_small_cnn", home / "data", home / "run", *small),
    }


@pytest.fixture(scope="module")
def tissue(tmp_path_factory) -> dict[str, Any]:
    home = tmp_path_factory.mktemp("tissue")
    write_phantom(find_data_set("tissue"), home / "data", cases=8, seed=0)
    odd = write_odd_images(home / "data", "tissue")
    cmyk = write_cmyk(sorted(home.glob("data/train/kidney/*.jpg"))[-1])
    return {
        "home": home,
        "odd": odd,
        "cmyk": cmyk,
        "printed": run("tissue_scratch", home / "data", home / "run", "model.image_size=32,32"),
    }


@pytest.mark.parametrize("name", ["skin", "tissue"])
def test_an_image_in_cmyk_is_counted_as_quarantined_and_named_in_the_report(request, name):
    made = request.getfixturevalue(name)
    path = made["cmyk"].relative_to(made["home"] / "data").as_posix()
    assert "1 image was quarantined; the report says which and why" in made["printed"]
    assert (
        f"{path}: has colours of kind CMYK" in (made["home"] / "run" / "report" / "report.html").read_text()
    )


@pytest.mark.parametrize(
    ("name", "pipeline", "size"),
    [("skin", "ham10000-small-cnn", None), ("tissue", "tissue-scratch", (96, 96))],
)
def test_odd_images_reach_the_network_as_they_are_meant(request, name, pipeline, size):
    made = request.getfixturevalue(name)
    images = images_of(made["home"] / "run", pipeline)
    for path in made["odd"].values():
        meant = read_raster(made["home"] / "data" / path)
        meant = np.atleast_3d(meant if meant.dtype == np.uint8 else (meant / 257).round().astype(np.uint8))
        found_HWC = decode(images[path])
        if size is None:
            np.testing.assert_array_equal(found_HWC, np.broadcast_to(meant, (*meant.shape[:2], 3)))
        assert found_HWC.shape == (*(size or meant.shape[:2]), 3)


def test_a_skin_image_that_is_nothing_but_odd_pixels_is_in_its_example_byte_for_byte(skin):
    data = skin["home"] / "data"
    images = images_of(skin["home"] / "run", "ham10000-small-cnn")
    plain = {path for path in images if path not in skin["odd"].values()}
    assert len(plain) > 50
    assert all(images[path] == (data / path).read_bytes() for path in plain)


def test_the_challenges_images_are_measured_apart_beside_its_published_results(skin):
    figures = figures_of(skin["home"] / "run")
    whole = figures[(figures["slice"] == "overall") & (figures["name"] == "balanced_accuracy")].set_index(
        "protocol"
    )
    assert whole.loc["isic2018", "n"] == whole.loc["isic2018", "groups"] == CHALLENGE_IMAGES
    assert whole.loc["cases", "n"] >= whole.loc["lesion", "n"] > CHALLENGE_IMAGES
    page = (skin["home"] / "run" / "report" / "report.html").read_text()
    assert "first place, mean of the ten best models" in page


def test_skin_lesions_are_sliced_by_how_and_where_they_were_diagnosed_and_by_patient(skin):
    slices = {name.partition("=")[0] for name in figures_of(skin["home"] / "run")["slice"]}
    assert {"dx_type", "collection", "dataset", "age_band", "sex", "localization"} <= slices


def test_tissue_is_measured_by_class_and_by_organ_and_the_donors_in_two_splits_are_told(tissue):
    figures = figures_of(tissue["home"] / "run")
    assert {"tissue", "organ"} <= set(figures["head"])
    assert "leak:" in (tissue["home"] / "run" / "report" / "report.html").read_text()
