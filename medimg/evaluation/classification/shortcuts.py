"""Shortcuts: what is known of a case without its pixels, and a logistic regression on that alone.

A label that the source, the age or the number of images gives away is learnt from them, not from the images
(Geirhos et al. 2020, Shortcut learning in deep neural networks). What they reach is the bar that a model of
images has to clear.

The table of shortcuts has a row per case of the catalogue, whatever its status, in the catalogue's columns:
case_id, group_id, status, split, level_<name>, label_<head>, clinical_<column>, image_count, and
group_image_count if it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from medimg.catalogue.tables import Catalogue
from medimg.errors import MedimgError, UsageError, nearest
from medimg.evaluation.folds import train_rows

COUNTS = ("image_count", "group_image_count")
"""Shortcuts that are counted instead of read: images of the case, and of its group (the patient)."""
MOST_ITERATIONS = 1000


def column_of(shortcut: str) -> str:
    """The column of the table that holds a shortcut."""
    return shortcut if shortcut in COUNTS else f"clinical_{shortcut}"


def tabulate_shortcuts(
    catalogue: Catalogue, shortcuts: Iterable[str], *, heads: Iterable[str], clinical: Iterable[str] = ()
) -> pd.DataFrame:
    """Returns the table of shortcuts of all cases.

    Excluded ones are in it: what a shortcut could reach is reported before exclusions.

    Args:
        shortcuts: clinical columns and names of COUNTS.
        clinical: further clinical columns, those that protocols and slices select by.

    Raises:
        UsageError: the catalogue has no such column; the nearest is named.
    """
    cases = catalogue.cases.assign(
        group_image_count=catalogue.cases.groupby("group_id")["image_count"].transform("sum")
    )
    columns = [column_of(shortcut) for shortcut in shortcuts]
    for column in columns:
        if column not in cases:
            known = [
                str(name).removeprefix("clinical_") for name in cases if str(name).startswith("clinical_")
            ]
            name = column.removeprefix("clinical_")
            raise UsageError(
                f"evaluation.shortcuts: the catalogue has no clinical column {name!r}, "
                f"{nearest(name, [*known, *COUNTS])}"
            )
    levels = [name for name in cases if str(name).startswith("level_")]
    labels = [f"label_{head}" for head in heads]
    # Protocols select by the number of images too. What no case has, a label or a column to slice by, is a
    # column of nulls as in the predictions.
    selecting = ["image_count", *(f"clinical_{column}" for column in clinical)]
    return cases.reindex(
        columns=list(
            dict.fromkeys(["case_id", "group_id", "status", "split", *levels, *labels, *columns, *selecting])
        )
    )


def fit_shortcuts(
    rows: pd.DataFrame, shortcuts: Sequence[str], *, head: str, classes: Sequence[str]
) -> Pipeline:
    """A logistic regression of a head's label on some shortcuts, in scikit-learn's default regularisation.

    Numbers are standardised, a missing one is the median and a flag; each text is a category, so is a missing
    one. Equal rows give equal models.

    Args:
        rows: of the table of shortcuts; those without a label for the head do not count.

    Raises:
        MedimgError: the rows have labels of fewer than two classes.
    """
    labelled = rows[rows[f"label_{head}"].isin(list(classes))]
    found = sorted(labelled[f"label_{head}"].unique())
    if len(found) < 2:
        raise MedimgError(
            f"shortcuts for head {head!r}: {', '.join(found) or 'no class'} "
            f"among {len(labelled)} labelled cases, expected two classes"
        )
    features = to_features(labelled, shortcuts)
    numbers = [name for name in features if pd.api.types.is_numeric_dtype(features[name])]
    texts = [name for name in features if name not in numbers]
    to_numbers = make_pipeline(
        SimpleImputer(strategy="median", add_indicator=True, keep_empty_features=True), StandardScaler()
    )
    encode = make_column_transformer((to_numbers, numbers), (OneHotEncoder(handle_unknown="ignore"), texts))
    model = make_pipeline(encode, LogisticRegression(max_iter=MOST_ITERATIONS))
    return model.fit(features, labelled[f"label_{head}"].map(list(classes).index))


def predict_from_shortcuts(
    model: Pipeline, rows: pd.DataFrame, shortcuts: Sequence[str], *, classes: Sequence[str]
) -> np.ndarray:
    """Probabilities [N, C] of every row, labelled or not; 0 for a class that was not there to be fitted."""
    probabilities_NC = np.zeros((len(rows), len(classes)))
    if len(rows):
        probabilities_NC[:, model.classes_] = model.predict_proba(to_features(rows, shortcuts))
    return probabilities_NC


def to_features(rows: pd.DataFrame, shortcuts: Sequence[str]) -> pd.DataFrame:
    """The shortcuts as float64 with NaN, or as text with the empty string where missing."""
    features = {}
    for column in map(column_of, shortcuts):
        values = rows[column]
        is_number = pd.api.types.is_numeric_dtype(values)
        features[column] = (
            values.astype("float64")
            if is_number
            else values.astype(object).where(values.notna(), "").astype(str)
        )
    return pd.DataFrame(features, index=rows.index)


def score_cases(
    table: pd.DataFrame, shortcuts: Sequence[str], *, heads: Mapping[str, Sequence[str]]
) -> dict[str, dict[str, float]]:
    """Returns the probability of the positive class by case and head, of heads of two classes only.

    It is from all shortcuts together, fitted on the train split.
    """
    scores: dict[str, dict[str, float]] = {case_id: {} for case_id in table["case_id"]}
    for head, classes in heads.items():
        if not shortcuts or len(classes) != 2:
            continue
        model = fit_shortcuts(train_rows(table), shortcuts, head=head, classes=classes)
        positive_N = predict_from_shortcuts(model, table, shortcuts, classes=classes)[:, 1]
        for case_id, probability in zip(table["case_id"], positive_N, strict=True):
            scores[case_id][head] = float(probability)
    return scores
