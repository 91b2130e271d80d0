"""Cases to look at: misclassifications by confused pair, and right, wrong and uncertain answers to explain.

And images as parts of the report.
"""

from __future__ import annotations

import base64
import dataclasses
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from PIL import Image

from medimg.evaluation.classification.weighted_sample import predict_classes

LARGEST_SIDE = 320
PAIRS, SHOWN = 6, 4
"""Confused pairs, and cases of each: the page stays a few megabytes large."""
MISCLASSIFIED = "mistake"
"""Kind of an explained case that is there for the gallery of misclassifications alone."""


@dataclass(frozen=True)
class PredictedCase:
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


@dataclass(frozen=True)
class Confusion:
    """Cases of one class that were called another.

    Attributes:
        label, predicted: the true class, and what the model says.
        count, cases: so many of so many labelled cases of the class.
        errors: wrong answers on all classes.
        examples: the most confident ones, by the probability of the wrong class.
    """

    label: str
    predicted: str
    count: int
    cases: int
    errors: int
    examples: Sequence[PredictedCase]


def list_confusions(table: pd.DataFrame, *, shown: int = SHOWN) -> list[Confusion]:
    """Every confused pair, that with most errors first, each with its `shown` most confident errors.

    `table` is of `tabulate_predicted_cases`.
    """
    wrong = table[table["predicted"] != table["label"]]
    cases, pairs = Counter(table["label"]), Counter(zip(wrong["label"], wrong["predicted"], strict=True))
    confusions = []
    for (label, predicted), count in sorted(pairs.items(), key=lambda pair: (-pair[1], pair[0])):
        rows = wrong[(wrong["label"] == label) & (wrong["predicted"] == predicted)]
        confusions.append(
            Confusion(label, predicted, count, cases[label], len(wrong), list_predicted_cases(rows[:shown]))
        )
    return confusions


def choose_examples(table: pd.DataFrame, *, count: int) -> list[tuple[str, PredictedCase]]:
    """For each kind of answer up to `count` cases, each with its kind.

    The most confident "wrong" and "right" ones, then the least confident of the rest, "uncertain". Of two
    classes, without costs, the least confident are the nearest to the threshold. The same table gives the
    same choice.

    Args:
        table: of `tabulate_predicted_cases`.
    """
    cases = list_predicted_cases(table)
    wrong = [case for case in cases if case.predicted != case.label][:count]
    right = [case for case in cases if case.predicted == case.label][:count]
    rest = [case for case in cases if case not in wrong and case not in right]
    chosen = [("wrong", case) for case in wrong]
    chosen += [("right", case) for case in right]
    chosen += [("uncertain", case) for case in rest[::-1][:count]]
    return chosen


def tabulate_predicted_cases(
    predictions: pd.DataFrame,
    *,
    head: str,
    classes: Sequence[str],
    costs_CC: np.ndarray | None = None,
    split: str,
) -> pd.DataFrame:
    """The labelled cases of a split, most confident answer first.

    The columns of a PredictedCase stand beside their own.

    Args:
        costs_CC: what answers cost, where that decides the predicted class; see
            medimg.evaluation.classification.costs.
    """
    rows = predictions[(predictions["split"] == split) & predictions[f"label_{head}"].isin(classes)]
    probabilities_NC = rows[[f"p_{head}_{name}" for name in classes]].to_numpy(dtype=np.float64)
    predicted_N = predict_classes(probabilities_NC, costs_CC)
    cases = rows.assign(
        case_id=rows["case_id"].astype(str),
        head=head,
        label=rows[f"label_{head}"].astype(str),
        predicted=np.asarray(classes, dtype=object)[predicted_N],
        probability=probabilities_NC[np.arange(len(rows)), predicted_N],
    )
    return cases.sort_values(["probability", "case_id"], ascending=[False, True], ignore_index=True)


def list_predicted_cases(table: pd.DataFrame) -> list[PredictedCase]:
    """The rows of such a table."""
    columns = [each.name for each in dataclasses.fields(PredictedCase)]
    return [PredictedCase(*row) for row in table[columns].itertuples(index=False)]


def embed_images(images: Mapping[str, bytes], *, side: int = LARGEST_SIDE) -> list[tuple[str, str]]:
    """Role and data URI of each image, at most `side` pixels a side, 8 bit.

    Args:
        images: role to the bytes of an 8 or 16 bit PNG; 16 bit values use the full range.
    """
    return [(role, make_data_uri(data, side=side)) for role, data in images.items()]


def make_data_uri(data: bytes, *, side: int = LARGEST_SIDE) -> str:
    """A small copy of an image as a `data:` address.

    Grey images are PNG, coloured ones JPEG, which is a fifth of its size.
    """
    image: Image.Image = Image.open(io.BytesIO(data))
    if image.mode.startswith("I"):
        image = Image.fromarray((np.asarray(image).astype(np.uint32) // 257).clip(0, 255).astype(np.uint8))
    elif image.mode not in ("L", "RGB"):
        image = image.convert("RGB")
    image.thumbnail((side, side))
    buffer = io.BytesIO()
    kind, options = ("jpeg", {"quality": 90}) if image.mode == "RGB" else ("png", {"optimize": True})
    image.save(buffer, kind, **options)
    return f"data:image/{kind};base64,{base64.b64encode(buffer.getvalue()).decode()}"
