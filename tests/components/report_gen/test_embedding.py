"""Embedding real Examples with a real network.

Every chosen case is embedded once, groups are whole, pixels are as the network is given them.
"""

from __future__ import annotations

import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from components.report_gen.embedding import choose_cases
from medimg.catalogue.duplicates.thumbnails import SIDE
from tests.components.examples import CLASSES, HEIGHT, WIDTH, make_case, serialize, write_split

CASES = 70
COLUMNS = ["case_id", "group_id", "cluster_id", "split", "label_malignancy"]


Embedded = tuple[list[str], dict[str, np.ndarray]]


@pytest.fixture(scope="module")
def exported() -> Any:
    """An untrained network that looks at two views."""
    from components.trainer.exported_model import Exported
    from medimg.tasks import find_task
    from medimg.tasks.classification.model import build_model
    from medimg.tasks.classification.settings import Head, ModelSettings

    settings = ModelSettings(
        heads=(Head("malignancy", CLASSES),), roles=("CC", "MLO"), image_size=(HEIGHT, WIDTH), width=4
    )
    network = build_model(settings, clinical_width=0)
    return Exported(
        task=find_task("classification"), settings=settings, network=network, saved=None, clinical_sizes={}
    )


@pytest.fixture(scope="module")
def embedded(exported: Any, tmp_path_factory: pytest.TempPathFactory) -> Embedded:
    """Names and vectors of all but the last case."""
    from components.report_gen.embedding import embed_cases

    folder = tmp_path_factory.mktemp("embedding")
    write_split(folder, [make_case(number) for number in range(CASES)])
    case_ids = [f"P{number:03d}-L" for number in range(CASES - 1)] + ["never written"]
    files = sorted(str(path) for path in folder.iterdir())
    return embed_cases(files, case_ids, exported=exported, embedder=exported.task.embed(exported.network))


def test_every_named_case_that_was_written_is_embedded_once(embedded: Embedded) -> None:
    names, vectors = embedded
    assert sorted(names) == [f"P{number:03d}-L" for number in range(CASES - 1)]
    assert {len(rows) for rows in vectors.values()} == {CASES - 1}


def test_pixels_are_the_thumbnails_of_all_views_and_an_absent_one_is_black(embedded: Embedded) -> None:
    import cv2

    names, vectors = embedded
    views = vectors["pixels"].reshape(len(names), 2, SIDE, SIDE, 3)
    without_mlo = names.index("P007-L")
    assert (views[without_mlo, 1] == -1).all()
    png = make_case(7)["image_CC"]
    stored = cv2.imdecode(np.frombuffer(png, np.uint8), cv2.IMREAD_GRAYSCALE)
    expected = cv2.resize(stored, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    np.testing.assert_allclose((views[without_mlo, 0, ..., 0] + 1) * 127.5, expected, atol=2.5)


def test_the_model_s_vector_is_what_its_answer_is_made_of(embedded: Embedded, exported: Any) -> None:
    names, vectors = embedded
    answers = exported.network.predict_on_batch(
        exported.read([serialize(make_case(number)) for number in range(CASES - 1)])
    )["malignancy"]
    of_model = vectors["model"][[names.index(f"P{number:03d}-L") for number in range(CASES - 1)]]
    np.testing.assert_allclose(exported.network.get_layer("malignancy")(of_model), answers, atol=1e-5)
    assert len(np.unique(of_model.round(5), axis=0)) == CASES - 1


def make_catalogue(sizes: list[int], **changes: Any) -> SimpleNamespace:
    """Groups g00, g01 ... of so many cases; every third is test."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    cases = pd.DataFrame(
        {"group_id": [f"g{group:02d}" for group in groups], "status": "used", "label_malignancy": "Benign"}
    )
    cases = cases.assign(
        case_id=[f"c{number:03d}" for number in range(len(cases))],
        split=np.where(groups % 3 == 0, "test", "train"),
        **changes,
    )
    return SimpleNamespace(
        cases=cases, pairs=pd.DataFrame(columns=["case_id", "other_case_id"]), summary={"duplicates": []}
    )


def test_of_many_cases_whole_groups_are_drawn_up_to_the_count_and_the_same_ones_again() -> None:
    catalogue = make_catalogue([4] * 50)
    chosen = choose_cases(catalogue, count=90)
    assert len(chosen) == 88
    assert set(chosen["group_id"].value_counts()) == {4}
    # Which groups are drawn has nothing to do with what the names begin with: they may be of one hospital.
    assert sorted(set(chosen["group_id"])) != [f"g{number:02d}" for number in range(22)]
    shuffled = SimpleNamespace(
        **{**vars(catalogue), "cases": catalogue.cases.sample(frac=1.0, random_state=1)}
    )
    pd.testing.assert_frame_equal(choose_cases(shuffled, count=90)[COLUMNS], chosen[COLUMNS])
    assert 0.1 < (chosen["split"] == "test").mean() < 0.6


@pytest.mark.parametrize(("count", "drawn"), [(0, 0), (3, 0), (4, 4), (7, 4), (8, 8), (20, 20), (21, 20)])
def test_as_many_cases_are_drawn_as_whole_groups_fit_into_the_count(count: int, drawn: int) -> None:
    assert len(choose_cases(make_catalogue([4] * 5), count=count)) == drawn


def test_groups_that_share_images_are_drawn_as_one() -> None:
    catalogue = make_catalogue([2] * 20)
    catalogue.summary["duplicates"] = [{"cases": ["c000", "c039"]}]
    chosen = choose_cases(catalogue, count=1000)
    assert chosen.loc[chosen["group_id"] == "g19", "cluster_id"].unique().tolist() == ["g00"]


def test_cases_that_are_not_used_are_not_embedded() -> None:
    catalogue = make_catalogue([1] * 6)
    catalogue.cases.loc[0, "status"] = "excluded"
    catalogue.cases.loc[1, "split"] = None
    assert choose_cases(catalogue, count=10)["case_id"].tolist() == ["c002", "c003", "c004", "c005"]


class Network:
    """An exported model of which each vector is the case's own number."""

    def __init__(self, *, can_embed: bool = True) -> None:
        self.network = "network"
        self.embed = (lambda network: f"embedder of {network}") if can_embed else None
        self.task = self

    def embed_cases(
        self, files: list[str], case_ids: list[str], *, exported: object, embedder: str
    ) -> tuple[list[str], dict[str, np.ndarray]]:
        assert (exported, embedder) == (self, "embedder of network")
        assert files == ["train", "eval", "test"]
        written = [name for name in reversed(case_ids) if name != "c003"]
        return written, {"model": np.array([[float(name[1:]), 1.0] for name in written])}


@pytest.mark.parametrize(("count", "can_embed"), [(0, True), (9, False)])
def test_nothing_is_embedded_where_none_is_asked_for_or_the_task_cannot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, can_embed: bool
) -> None:
    assert embed(tmp_path, monkeypatch, Network(can_embed=can_embed), count=count) is None
    assert list(tmp_path.iterdir()) == []


def test_the_table_of_embedded_cases_has_each_vector_beside_its_own_case(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    began = time.monotonic()
    table = embed(tmp_path, monkeypatch, Network(), count=9)
    said = re.fullmatch(
        r"embedded 5 cases in ([\d.]+) s, mapped them in ([\d.]+) s\n", capsys.readouterr().out
    )
    assert said
    assert float(said[1]) + float(said[2]) <= time.monotonic() - began + 0.1
    assert sorted(table["case_id"]) == ["c000", "c001", "c002", "c004", "c005"]
    written = pd.read_parquet(tmp_path / "embeddings.parquet")
    pd.testing.assert_frame_equal(written, table)
    catalogue = make_catalogue([2] * 3).cases.set_index("case_id")
    for row in table.itertuples():
        assert row.group_id == catalogue.loc[row.case_id, "group_id"]


def embed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, network: Network, *, count: int
) -> pd.DataFrame | None:
    from components.report_gen import embedding

    monkeypatch.setattr(embedding, "find_task", lambda name: network)
    monkeypatch.setattr(embedding, "open_exported", lambda model, config: network)
    monkeypatch.setattr(embedding, "list_records", lambda examples, split: [split])
    monkeypatch.setattr(embedding, "embed_cases", network.embed_cases)
    config = {"task": "classification", "evaluation": {"embedded_cases": count}}
    return embedding.embed_splits(
        folder, config=config, model=Path("model"), examples="uri", catalogue=make_catalogue([2] * 3)
    )
