"""What is on both sides of a split is reported; near duplicates stay on one side where that can be chosen."""

import io
import shutil
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import pytest
from rich.console import Console

from medimg.cases import Case
from medimg.catalogue.build import BuildOptions, build_catalogue
from medimg.catalogue.duplicates.exact import ExactDuplicates
from medimg.catalogue.duplicates.near import NearDuplicates
from medimg.catalogue.leakage import count_crossings, describe_crossings, tabulate_leakage
from medimg.catalogue.rows import NearPair
from medimg.catalogue.split import Assignment, SplitSettings
from medimg.catalogue.summary import print_summary
from medimg.catalogue.tables import Catalogue, find_clusters
from medimg.datasets import find_data_set
from medimg.datasets.tissue.phantom import LOOKS, draw_tile

CLASSES = ("colon", "liver")


def write_tiles(folder: Path, *, seeds: range) -> None:
    """One tile of each class and seed, in class folders."""
    for number, name in enumerate(CLASSES):
        (folder / name).mkdir(parents=True)
        for seed in seeds:
            write_tile(
                folder / name / f"{seed:02d}.png",
                draw_tile(LOOKS[name], rng=np.random.default_rng([number, seed])),
            )


def write_tile(path: Path, tile: np.ndarray) -> None:
    assert cv2.imwrite(str(path), np.ascontiguousarray(tile))


def build(root: Path, to: Path, **settings: object) -> Catalogue:
    return build_catalogue(
        find_data_set("tissue"),
        data_root=root,
        to=to,
        options=BuildOptions(SplitSettings(**settings), workers=1),
    )  # type: ignore[arg-type]


def pairs_across(catalogue: Catalogue) -> dict[str, dict[str, int] | None]:
    return {row["common"]: row["pairs"] for row in catalogue.summary["leakage"]}


def test_a_pair_counts_once_between_its_two_splits_and_not_within_one():
    splits = {"a": "train", "b": "test", "c": "eval", "d": "train"}
    pairs = [("a", "b"), ("b", "a"), ("b", "c"), ("a", "d"), ("a", "nobody")]
    assert count_crossings(pairs, splits=splits) == {"train-eval": 0, "train-test": 2, "eval-test": 1}


def test_every_thing_in_common_is_counted_in_pairs_of_cases_in_use_on_each_two_sides():
    places = dict(
        zip("abcdefgh", ["train", "train", "eval", "test", "test", "test", "train", "eval"], strict=True)
    )
    cases = [Case(name, "g", (), status="unlabelled" if name == "c" else "used") for name in "abcde"] + [
        Case("f", "h", ()),
        Case("g", "h", ()),
        Case("h", "h", (), status="excluded"),
    ]
    assignments = {name: Assignment(split, number) for number, (name, split) in enumerate(places.items())}
    identical = [
        ExactDuplicates(cases, ("g", "g"), (None, None), 1) for cases in (("a", "c"), ("c", "d"), ("f", "h"))
    ]
    pairs = [
        NearPair(("a", "d"), 0),
        NearPair(("b", "e"), 5, 12),
        NearPair(("c", "e"), None, 10),
        NearPair(("d", "e"), 1),
    ]
    expected = {
        "the same group": (2, 5, 2),
        "identical pixels": (1, 0, 1),
        "nearly the same image, by perceptual hash": (0, 2, 0),
        "the same spot, by keypoints": (0, 1, 1),
    }
    for search, known in (("keypoints", 4), ("hash", 3), ("off", 2)):
        rows = tabulate_leakage(
            cases, duplicates=identical, near=NearDuplicates(search, pairs), assignments=assignments
        )
        assert {row["common"]: row["pairs"] and tuple(row["pairs"].values()) for row in rows} == {
            common: counts if number < known else None
            for number, (common, counts) in enumerate(expected.items())
        }
        assert list(rows[0]["pairs"]) == ["train-eval", "train-test", "eval-test"]


def test_near_duplicates_in_two_splits_are_one_line_that_says_how_many_and_where():
    places = {"a": "train", "b": "test", "c": "train", "d": "train"}
    assignments = {name: Assignment(split, number) for number, (name, split) in enumerate(places.items())}
    near = NearDuplicates("hash", [NearPair(cases, 3) for cases in (("c", "d"), ("a", "b"), ("b", "c"))])
    assert describe_crossings(near, assignments=assignments, by="group") == [
        "leak: 2 of 3 pairs of near duplicates lie in different splits (first: a in train, b in test), as "
        "the official or an earlier split is kept; figures are too good"
    ]
    within = NearDuplicates("hash", near.pairs[:1])
    assert describe_crossings(within, assignments=assignments, by="group") == []


def test_a_chain_of_near_duplicates_is_in_one_split_and_one_cluster(tmp_path):
    write_tiles(tmp_path / "data", seeds=range(12))
    first = cv2.imread(str(tmp_path / "data/colon/00.png"))
    chain = [f"colon/link-{step}.png" for step in range(1, 9)]
    for step, name in enumerate(chain, start=1):
        write_tile(tmp_path / "data" / name, first[step:, step:])
    catalogue = build(tmp_path / "data", tmp_path / "joined", near_duplicates="hash")
    direct = set(map(tuple, catalogue.pairs[["case_id", "other_case_id"]].to_numpy()))
    assert ("colon/00.png", chain[0]) in direct
    assert ("colon/00.png", chain[-1]) not in direct
    cases = catalogue.cases.set_index("case_id")
    assert cases.loc[["colon/00.png", *chain], "split"].nunique() == 1
    assert (
        len({find_clusters(catalogue)[cases.loc[name, "group_id"]] for name in ["colon/00.png", *chain]}) == 1
    )
    assert catalogue.summary["near_duplicates"]["clusters"] == 24
    assert set(pairs_across(catalogue)["nearly the same image, by perceptual hash"].values()) == {0}

    apart = build(tmp_path / "data", tmp_path / "apart")
    assert apart.cases.set_index("case_id").loc[["colon/00.png", *chain], "split"].nunique() > 1


def test_an_official_split_that_leaks_is_kept_and_told(tmp_path):
    write_tiles(tmp_path / "data/train", seeds=range(8))
    write_tiles(tmp_path / "data/test", seeds=range(8, 12))
    write_tile(
        tmp_path / "data/test/colon/copy.png", np.rot90(cv2.imread(str(tmp_path / "data/train/colon/03.png")))
    )
    catalogue = build(tmp_path / "data", tmp_path / "catalogue", near_duplicates="hash")
    splits = catalogue.cases.set_index("case_id")["split"]
    assert splits["test/colon/copy.png"] == "test"
    other = splits["train/colon/03.png"]
    assert other != "test"
    across = {"train-eval": 0, "train-test": 0, "eval-test": 0}
    across["train-test" if other == "train" else "eval-test"] = 1
    assert pairs_across(catalogue) == {
        "the same group": {"train-eval": 0, "train-test": 0, "eval-test": 0},
        "identical pixels": {"train-eval": 0, "train-test": 0, "eval-test": 0},
        "nearly the same image, by perceptual hash": across,
        "the same spot, by keypoints": None,
    }
    (leak,) = catalogue.summary["leaks"]
    assert leak.startswith(
        "leak: 1 of 1 pairs of near duplicates lie in different splits (first: test/colon/copy.png in "
        "test, train/colon/03.png in "
    )
    output = io.StringIO()
    print_summary(catalogue.summary, Console(file=output, width=200))
    assert leak in output.getvalue()
    assert "1 pairs of cases are near duplicates by hash, among 25 images" in output.getvalue()


@pytest.mark.parametrize("by", ["group", "case"])
def test_a_split_by_case_shows_how_many_near_duplicates_it_parts(tmp_path, by):
    write_tiles(tmp_path / "data", seeds=range(6))
    for number in range(6):
        write_tile(
            tmp_path / f"data/colon/copy-{number}.png",
            np.fliplr(cv2.imread(str(tmp_path / f"data/colon/0{number}.png"))),
        )
    catalogue = build(tmp_path / "data", tmp_path / "catalogue", near_duplicates="hash", by=by)
    parted = sum(pairs_across(catalogue)["nearly the same image, by perceptual hash"].values())
    assert (parted > 0) == (by == "case")
    assert any(
        "pairs of near duplicates lie in different splits" in line for line in catalogue.summary["leaks"]
    ) == (by == "case")


def test_real_tiles_of_one_source_stay_in_one_split_though_no_table_names_it(shared_data, tmp_path):
    sources: dict[str, str] = {}
    for name in ("lung_n", "lung_scc"):
        (tmp_path / "data" / name).mkdir(parents=True)
        table = pd.read_csv(shared_data / f"tissue/{name}_source_group.csv")
        for row in table[table["source_group"].isin(table["source_group"].unique()[:5])].itertuples():
            shutil.copy(shared_data / f"tissue/{name}/{row.file}", tmp_path / "data" / name)
            sources[f"{name}/{row.file}"] = row.source_group
    catalogue = build(tmp_path / "data", tmp_path / "catalogue", near_duplicates="keypoints")
    used = catalogue.cases[catalogue.cases["status"] == "used"]
    assert used.groupby(used["case_id"].map(sources))["split"].nunique().eq(1).all()
    clusters = used["group_id"].map(find_clusters(catalogue))
    assert clusters.groupby(clusters).size().gt(1).all()
    assert used["case_id"].map(sources).groupby(clusters).nunique().eq(1).all()
