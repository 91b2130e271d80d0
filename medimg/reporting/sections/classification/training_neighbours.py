"""The training cases that a case lies nearest to in an embedding."""

from __future__ import annotations

import numpy as np
import pandas as pd

from medimg.catalogue.split import TRAIN
from medimg.evaluation.representation.figures import MODEL
from medimg.nearest_neighbours import find_neighbours
from medimg.reporting.run_facts import RunFacts

NEAREST = 3
NEIGHBOUR_COLUMNS = ["case_id", "rank", "neighbour", "label", "distance"]


def find_training_neighbours(
    embedded: pd.DataFrame | None, facts: RunFacts, *, count: int = NEAREST
) -> pd.DataFrame:
    """For each embedded case of the measured split its `count` nearest labelled training cases.

    By cosine distance in the model's embedding.

    Args:
        embedded: the table of medimg.evaluation.representation.figures; None where no case was embedded.

    Returns:
        a row per case and neighbour: case_id, rank (0 for the nearest), neighbour (its id), label (its class
            of the first head), distance.
    """
    if embedded is None:
        return pd.DataFrame(columns=NEIGHBOUR_COLUMNS)
    label = f"label_{facts.headline}"
    rows = embedded[embedded["embedding"] == MODEL]
    references, queries = (
        rows[(rows["split"] == TRAIN) & rows[label].notna()],
        rows[rows["split"] == facts.split],
    )
    if references.empty or queries.empty:
        return pd.DataFrame(columns=NEIGHBOUR_COLUMNS)
    count = min(count, len(references))
    indices_Qk, distances_Qk = find_neighbours(
        np.stack(list(queries["vector"])), np.stack(list(references["vector"])), count
    )
    found = references.iloc[indices_Qk.ravel()]
    return pd.DataFrame(
        {
            "case_id": np.repeat(queries["case_id"].astype(str).to_numpy(), count),
            "rank": np.tile(np.arange(count), len(queries)),
            "neighbour": found["case_id"].astype(str).to_numpy(),
            "label": found[label].to_numpy(),
            "distance": distances_Qk.ravel(),
        }
    )
