"""A synthetic table of predictions.

Two breasts per patient, two sources, correlated within the patient, some labels missing.
"""

import numpy as np
import pandas as pd

HEADS = {"malignancy": ("Benign", "Malignant"), "abnormality": ("calcification", "mass", "both")}


def draw_predictions(*, patients=150, seed=1, effect=1.2):
    generator = np.random.default_rng(seed)
    patient = np.repeat(np.arange(patients), 2)
    malignant = generator.random(patients * 2) < np.where(patient % 3 == 0, 0.9, 0.4)
    shared = generator.normal(0, 1, patients)[patient]
    logit = effect * (malignant - 0.5) * 2 + 0.7 * shared + generator.normal(0, 0.8, patients * 2)
    score = 1 / (1 + np.exp(-logit))
    source = np.where(patient % 3 == 0, "D2", "D1")
    other = generator.dirichlet((2, 1, 1), patients * 2)
    names = [f"{s}-{p:04d}" for s, p in zip(source, patient, strict=True)]
    case_ids = [f"{name}-{side}" for name, side in zip(names, "LR" * patients, strict=True)]
    table = pd.DataFrame(
        {
            "case_id": case_ids,
            "group_id": names,
            "level_breast": case_ids,
            "level_patient": names,
            "split": "test",
            "fold": 0,
            "clinical_source": source,
            "clinical_laterality": list("LR" * patients),
            "clinical_age_band": generator.choice(["<40", "40-49", "50-59", "60+"], patients)[patient],
            "label_malignancy": np.where(malignant, "Malignant", "Benign"),
            "p_malignancy_Benign": 1 - score,
            "p_malignancy_Malignant": score,
            "label_abnormality": [
                None if i % 9 == 0 else HEADS["abnormality"][int(generator.choice(3, p=row))]
                for i, row in enumerate(other)
            ],
        }
    )
    for index, name in enumerate(HEADS["abnormality"]):
        table[f"p_abnormality_{name}"] = other[:, index]
    return table


def blur(predictions, *, noise, seed=5):
    """The same cases scored by a model that sees less."""
    generator = np.random.default_rng(seed)
    score = predictions.p_malignancy_Malignant
    logit = np.log(score / (1 - score)) + generator.normal(0, noise, len(score))
    blurred = 1 / (1 + np.exp(-logit))
    return predictions.assign(p_malignancy_Malignant=blurred, p_malignancy_Benign=1 - blurred)
