"""Agreement of two ways to the same figure: the report's and the Evaluator's."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from medimg.evaluation.figures import Figure
from medimg.evaluation.protocols import Protocol

AGREEMENT = 1e-6


def find_differences(
    figures: Iterable[Figure], evaluated: Sequence[Mapping[str, Any]], *, protocols: Sequence[Protocol]
) -> Iterator[str]:
    """Yields a line for the reader where the report and the Evaluator differ on the same figure.

    They run the same code on the same cases. What is left is the last bit of a score, which depends on the
    size of a batch: where two cases are as good as tied it can swap them. Not worth a trained model, but the
    reader must know. The Evaluator counts every labelled case once, so only protocols that do the same have
    the same figure.

    Args:
        evaluated: head, metric, slice and value (None where undefined) of each of the Evaluator's figures.
    """
    native = {protocol.name for protocol in protocols if protocol.takes_every_case}
    others = {
        (row["head"], row["metric"], row["slice"]): math.nan if row["value"] is None else float(row["value"])
        for row in evaluated
    }
    for figure in figures:
        other = others.get((figure.head, figure.name, figure.slice))
        if figure.protocol not in native or other is None or (math.isnan(other) and math.isnan(figure.value)):
            continue
        if not abs(other - figure.value) <= AGREEMENT:
            yield (
                f"{figure.head} {figure.name} on {figure.slice}: "
                f"the report has {figure.value:.6f}, the Evaluator {other:.6f}"
            )
