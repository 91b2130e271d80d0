"""A synthetic table of shortcuts with predictions of its cases."""

import numpy as np
import pandas as pd

from medimg.evaluation.classification.shortcuts import score_cases

MALIGNANCY = {"malignancy": ("Benign", "Malignant")}
HEADS = {**MALIGNANCY, "abnormality": ("calcification", "mass", "both")}


def draw_table(patients=240, seed=4):
    """A table of shortcuts.

    D2 is malignant throughout, age says something on both sources, the scanner nothing; some ages are
    missing.
    """
    generator = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), 2)
    d2 = patient % 3 == 0
    malignant = d2 | (generator.random(patients * 2) < 0.4)
    age = np.where(
        generator.random(patients * 2) < 0.1,
        np.nan,
        45 + 8 * malignant + generator.normal(0, 8, patients * 2),
    )
    abnormality = np.array(HEADS["abnormality"])[
        np.where(age > 50, 1, generator.integers(0, 3, patients * 2))
    ]
    names = [f"{one:03d}" for one in patient]
    return pd.DataFrame(
        {
            "case_id": [f"{name}-{side}" for name, side in zip(names, "LR" * patients, strict=True)],
            "group_id": names,
            "status": np.where(np.arange(patients * 2) % 13 == 1, "excluded", "used"),
            "split": np.array(["train", "train", "eval", "test", "test"])[patient % 5],
            "level_patient": names,
            "label_malignancy": np.where(malignant, "Malignant", "Benign"),
            "label_abnormality": abnormality,
            "clinical_source": np.where(d2, "D2", "D1"),
            "clinical_age_years": age,
            "clinical_scanner": generator.choice(["A", "B", None], patients * 2),
            "image_count": pd.array(2 + d2.astype(int), dtype="Int64"),
        }
    )


def predict(table, *, strength, seed=9):
    """Predictions of the used cases of eval and test.

    The score of both heads goes with malignancy as strongly as asked for.
    """
    rows = table[(table.status == "used") & (table.split != "train")].copy()
    malignant = rows.label_malignancy == "Malignant"
    score = 1 / (
        1 + np.exp(-strength * (malignant - 0.5) - np.random.default_rng(seed).normal(0, 1, len(rows)))
    )
    rows["p_malignancy_Malignant"], rows["p_malignancy_Benign"] = score, 1 - score
    for name in HEADS["abnormality"]:
        rows[f"p_abnormality_{name}"] = 1 / 3
    scores = score_cases(table, ["source", "age_years"], heads=HEADS)
    return rows.assign(shortcut_malignancy=[scores[case_id]["malignancy"] for case_id in rows.case_id])


def value_of(figures, baseline, **key):
    """The only figure of a baseline with these fields."""
    figures = [one.figure for one in figures if one.baseline == baseline]
    for name, part in key.items():
        figures = [figure for figure in figures if getattr(figure, name) == part]
    (found,) = figures
    return found
