"""Explanations of a trained and exported network on real Examples.

It looks at the blob that its classes differ in, a randomised one does not.
"""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pandas as pd
import pytest

from medimg.explain.measured_checks import measure_checks
from tests.components.examples import (
    CLASSES,
    HEIGHT,
    MODEL,
    TRAINING,
    WIDTH,
    Features,
    make_arguments,
    make_case,
    serialize,
    write_split,
    write_transform_graph,
)

SIDE = 9
SHOWN = slice(10, 12)
"""Cases that stand for the gallery's misclassified ones, by their rank in confidence: no kind of example."""
EVALUATION: dict[str, object] = {
    "explained_cases": 2,
    "saliency_checked_cases": 20,
    "resamples": 500,
    "costs": [],
}
CONFIG: dict[str, object] = {
    "task": "classification",
    "model": MODEL,
    "evaluation": EVALUATION,
}


def make_outlined_case(number: int) -> tuple[Features, tuple[float, float]]:
    """A case of the Trainer's tests whose CC view alone has a blob, and the blob's centre.

    A box round it is known, on its own Example.
    """
    generator = np.random.default_rng((7, number))
    y, x = generator.uniform(14, HEIGHT - 14), generator.uniform(12, WIDTH - 12)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    blob_HW = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / 30.0)
    image_HW = generator.normal(60, 8, (HEIGHT, WIDTH)) + (150 if number % 2 else 0) * blob_HW
    png = cv2.imencode(".png", np.clip(image_HW, 0, 255).astype(np.uint8))[1].tobytes()
    case = {name: value for name, value in make_case(number).items() if name != "image_MLO"}
    return {**case, "image_CC": png}, (y, x)


def outline(serialized: bytes, centre: tuple[float, float]) -> bytes:
    """The Example with a box round the blob, as medimg.examples.encoding writes one."""
    import tensorflow as tf

    example = tf.train.Example.FromString(serialized)
    y, x = centre
    example.features.feature["box_CC"].float_list.value.extend([y - SIDE, x - SIDE, y + SIDE, x + SIDE])
    example.features.feature["box_CC_label"].bytes_list.value.append(b"mass")
    return example.SerializeToString(deterministic=True)


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network trained on 80 such cases and exported, and 40 more in split test, malignant ones outlined."""
    import tensorflow as tf

    from components.trainer.run import run

    folder = tmp_path_factory.mktemp("explaining")
    cases = [make_outlined_case(number) for number in range(150)]
    train = [case for case, _ in cases[:80]]
    write_split(folder / "train", train)
    write_split(folder / "eval", [case for case, _ in cases[80:110]])
    write_transform_graph(folder / "transform", train, {"task": "classification", "model": MODEL})
    run(make_arguments(folder, run="trained", checkpoints=str(folder / "checkpoints"), training=TRAINING))
    with tf.io.TFRecordWriter(str(folder / "test")) as writer:
        for number in range(110, 150):
            case, centre = cases[number]
            writer.write(outline(serialize(case), centre) if number % 2 else serialize(case))
    return folder


@pytest.fixture(scope="module")
def explained(root: Path) -> Path:
    """The folder that `explain_split` writes."""
    explain(root, root / "report")
    return root / "report" / "explanations"


def explain(root: Path, to: Path, **evaluation: int) -> None:
    from components.report_gen.explaining import ScoredSplit, explain_split
    from components.report_gen.scoring import score_examples
    from medimg.reporting.sections.classification.predicted_cases import (
        list_predicted_cases,
        tabulate_predicted_cases,
    )

    model = root / "trained" / "Format-Serving"
    predictions = score_examples(model, [str(root / "test")], heads={"malignancy": CLASSES}).assign(
        split="test"
    )
    catalogue = SimpleNamespace(
        cases=pd.DataFrame(
            {
                "case_id": predictions.case_id,
                "annotations": np.where(predictions.label_malignancy == "Malignant", "[{}]", "[]"),
            }
        )
    )
    config = {**CONFIG, "evaluation": {**EVALUATION, **evaluation}}
    cases = list_predicted_cases(
        tabulate_predicted_cases(predictions, head="malignancy", classes=CLASSES, split="test")
    )
    scored = ScoredSplit("test", [str(root / "test")], predictions, cases[SHOWN])
    explain_split(to, config=config, model=model, catalogue=catalogue, scored=scored)


def test_grad_cam_of_the_trained_network_points_at_the_blob_and_beats_chance_and_randomised_weights(
    explained: Path,
) -> None:
    figures = {
        figure.name: figure for figure in measure_checks(pd.read_parquet(explained / "checks.parquet"))
    }
    intervals = {
        name: (round(figure.value, 2), round(figure.low, 2), round(figure.high, 2))
        for name, figure in figures.items()
    }
    assert figures["pointing_grad_cam_minus_randomised"].low > 0, intervals
    assert figures["pointing_grad_cam_minus_chance"].low > 0, intervals
    assert figures["energy_grad_cam_minus_randomised"].low > 0, intervals
    assert figures["pointing_integrated_gradients_minus_chance"].low > 0, intervals
    assert figures["pointing_grad_cam"].n == 20


def test_each_kind_of_answer_has_its_pictures_and_every_picture_is_there(explained: Path) -> None:
    rows = pd.DataFrame(json.loads((explained / "index.json").read_text()))
    rows = rows[rows["kind"] != "mistake"]
    assert {"right", "uncertain"} <= set(rows["kind"])
    for _, part in rows.groupby(["case_id", "role"]):
        assert sorted(part["method"]) == ["grad_cam", "integrated_gradients", "original"]
    assert rows["case_id"].nunique() <= 6
    for file in rows["file"]:
        assert cv2.imread(str(explained.parent / file)).shape == (HEIGHT, WIDTH, 3)
    assert (explained / "legend.png").is_file()


def test_a_mistake_of_the_gallery_has_a_grad_cam_for_the_class_that_was_called_and_no_other_map(
    explained: Path,
) -> None:
    rows = pd.DataFrame(json.loads((explained / "index.json").read_text()))
    mistakes = rows[rows["kind"] == "mistake"]
    assert mistakes["case_id"].nunique() == 2
    for _, part in mistakes.groupby("case_id"):
        assert sorted(part["method"]) == ["grad_cam", "original"]
    assert all((explained.parent / file).is_file() for file in mistakes["file"])


def test_a_right_answer_is_explained_for_the_class_that_the_model_names(explained: Path) -> None:
    rows = pd.DataFrame(json.loads((explained / "index.json").read_text()))
    right = rows[rows["kind"] == "right"]
    assert (right["label"] == right["class"]).all()
    assert right["probability"].between(0.5, 1).all()


def test_explanations_that_nobody_asks_for_are_not_made(root: Path, tmp_path: Path) -> None:
    explain(root, tmp_path, explained_cases=0, saliency_checked_cases=0)
    assert not list(tmp_path.iterdir())


def test_only_so_many_cases_are_checked_and_with_the_same_result_each_time(
    explained: Path, root: Path, tmp_path: Path
) -> None:
    explain(root, tmp_path, explained_cases=0, saliency_checked_cases=4)
    few, all_of_them = (
        pd.read_parquet(folder / "checks.parquet") for folder in (tmp_path / "explanations", explained)
    )
    assert few["case_id"].nunique() == 4
    order = ["case_id", "method", "subject"]
    same = all_of_them[all_of_them["case_id"].isin(few["case_id"])]
    pd.testing.assert_frame_equal(
        *(table.sort_values(order, ignore_index=True) for table in (few, same)), atol=1e-3
    )


@pytest.mark.parametrize(("count", "chosen"), [(0, 0), (1, 1), (3, 3), (4, 4), (9, 4)])
def test_only_positives_with_an_outlined_lesion_are_checked_whichever_order_they_come_in(
    count: int, chosen: int
) -> None:
    from components.report_gen.explaining import choose_outlined

    names = [f"c{number}" for number in range(8)]
    outlines = ["[]" if number % 2 else "[{}]" for number in range(8)]
    catalogue = SimpleNamespace(cases=pd.DataFrame({"case_id": names, "annotations": outlines}))
    positives = pd.Series([*names, "c9"])
    found = choose_outlined(positives, catalogue, count=count)
    assert len(found) == chosen
    assert set(found) <= {"c0", "c2", "c4", "c6"}
    assert found == sorted(found) == choose_outlined(positives[::-1], catalogue, count=count)
    assert choose_outlined(positives[:3], catalogue, count=9) == ["c0", "c2"]


def test_outlines_are_no_columns_of_the_predictions(root: Path) -> None:
    from components.report_gen.scoring import score_examples

    predictions = score_examples(
        root / "trained" / "Format-Serving", [str(root / "test")], heads={"malignancy": CLASSES}
    )
    assert not [column for column in predictions if column.startswith(("box_", "polygon_"))]
