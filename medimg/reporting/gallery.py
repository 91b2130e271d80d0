"""Cases to look at: the most confident mistakes, and right, wrong and uncertain answers to explain; and images as parts of the report."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from medimg.evaluation.samples import predict_classes

LARGEST_SIDE = 320
SHOWN = 8


@dataclass(frozen=True)
class Answer:
    """What the model says of a labelled case.

    Attributes:
        case_id: of the predictions.
        head, label, predicted: what was asked, what is true, what the model says.
        probability: of `predicted`.
    """

    case_id: str
    head: str
    label: str
    predicted: str
    probability: float


class Mistake(Answer):
    """A case whose predicted class is not its label."""


def choose_mistakes(
    predictions: pd.DataFrame,
    *,
    head: str,
    classes: Sequence[str],
    costs_CC: np.ndarray | None = None,
    split: str = "test",
    count: int = SHOWN,
) -> list[Mistake]:
    """The wrong predictions with the highest probability of the wrong class, most confident first; labelled cases of one split only."""
    answers = list_answers(predictions, head=head, classes=classes, costs_CC=costs_CC, split=split)
    return [Mistake(**vars(answer)) for answer in answers if answer.predicted != answer.label][:count]


def choose_examples(
    predictions: pd.DataFrame, *, head: str, classes: Sequence[str], costs_CC: np.ndarray | None = None, split: str = "test", count: int
) -> list[tuple[str, Answer]]:
    """For each kind of answer up to `count` cases: the most confident "wrong" and "right" ones, then the least confident of the rest, "uncertain".

    Of two classes, without costs, the least confident are the nearest to the threshold. The same predictions give the same choice.
    """
    answers = list_answers(predictions, head=head, classes=classes, costs_CC=costs_CC, split=split)
    wrong = [answer for answer in answers if answer.predicted != answer.label][:count]
    right = [answer for answer in answers if answer.predicted == answer.label][:count]
    rest = [answer for answer in answers if answer not in wrong and answer not in right]
    kinds = {"wrong": wrong, "right": right, "uncertain": rest[::-1][:count]}
    return [(kind, answer) for kind, chosen in kinds.items() for answer in chosen]


def list_answers(predictions: pd.DataFrame, *, head: str, classes: Sequence[str], costs_CC: np.ndarray | None = None, split: str) -> list[Answer]:
    """The model's answers on the labelled cases of a split, most confident first.

    Args:
        costs_CC: what answers cost, where that decides the predicted class; see medimg.evaluation.costs.
    """
    rows = predictions[(predictions["split"] == split) & predictions[f"label_{head}"].isin(classes)]
    probabilities_NC = rows[[f"p_{head}_{name}" for name in classes]].to_numpy(dtype=np.float64)
    answers = [
        Answer(str(case_id), head, str(label), classes[predicted], float(chances_C[predicted]))
        for case_id, label, predicted, chances_C in zip(
            rows["case_id"], rows[f"label_{head}"], predict_classes(probabilities_NC, costs_CC), probabilities_NC, strict=True
        )
    ]
    return sorted(answers, key=lambda answer: (-answer.probability, answer.case_id))


def embed_images(images: Mapping[str, bytes]) -> list[tuple[str, str]]:
    """Role and data URI of each image, at most 320 pixels a side, 8 bit.

    Args:
        images: role to the bytes of an 8 or 16 bit PNG; 16 bit values use the full range.
    """
    return [(role, make_data_uri(data)) for role, data in images.items()]


def make_data_uri(data: bytes) -> str:
    """A small copy of an image as a `data:` address: grey ones as PNG, coloured ones as JPEG, a fifth of its size."""
    image: Image.Image = Image.open(io.BytesIO(data))
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.uint32) // 257).clip(0, 255).astype(np.uint8))
    elif image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    image.thumbnail((LARGEST_SIDE, LARGEST_SIDE))
    buffer = io.BytesIO()
    kind, options = ("jpeg", {"quality": 90}) if image.mode == "RGB" else ("png", {"optimize": True})
    image.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
