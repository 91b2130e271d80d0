"""Synthetic vectors of cases in groups: what embeddings look like to those who compare them."""

import numpy as np
import pandas as pd

from medimg.evaluation.representation.maps import MAPS, reduce_vectors

DIMENSIONS = 20
CLASSES = ("benign", "malignant")
TEST_SHARE = 0.3


def draw_vectors(
    groups: int, *, per_group: int = 1, own: float = 1.0, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Vectors [N, D] and groups [N].

    Cases of a group share a centre, and differ from it by `own` times what centres differ by.
    """
    generator = np.random.default_rng(seed)
    group_N = np.repeat(np.arange(groups), per_group)
    shared = generator.normal(size=(groups, DIMENSIONS))[group_N] if per_group > 1 else 0.0
    return shared + own * generator.normal(size=(len(group_N), DIMENSIONS)), group_N


def tabulate_vectors(
    vectors: np.ndarray,
    groups: np.ndarray,
    *,
    splits: np.ndarray,
    labels: np.ndarray,
    embedding: str = "pixels",
) -> pd.DataFrame:
    """The table of embedded cases, with the first dimensions for maps."""
    reduced = reduce_vectors(vectors)
    names = pd.Series(np.arange(len(vectors))).map("case-{:04d}".format)
    table = pd.DataFrame(
        {
            "embedding": embedding,
            "case_id": names,
            "group_id": groups.astype(str),
            "cluster_id": groups.astype(str),
            "split": splits,
        }
    )
    places = {f"{name}_{axis}": reduced[:, place] for name in MAPS for place, axis in enumerate("xy")}
    return table.assign(label_finding=np.array(CLASSES, dtype=object)[labels], vector=list(reduced), **places)


def deal_groups(groups: np.ndarray, *, seed: int = 0) -> np.ndarray:
    """A split by whole groups, some 30 % of them test."""
    names = np.unique(groups)
    tested = np.random.default_rng((9, seed)).permutation(names)[: int(TEST_SHARE * len(names))]
    return np.where(np.isin(groups, tested), "test", "train")
