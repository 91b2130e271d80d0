"""The most confident mistakes, with their images."""

from __future__ import annotations

import dataclasses

import pandas as pd

from medimg.reporting.evidence import Evidence, Section
from medimg.reporting.facts import RunFacts
from medimg.reporting.gallery import Mistake, choose_mistakes, embed_images


def describe_mistakes(evidence: Evidence) -> Section:
    """The first head's most confident mistakes as a gallery."""
    mistakes = mistakes_of(evidence.predictions, evidence.facts)
    if not mistakes:
        return Section("Most confident mistakes", "mistakes", absent="No labelled case of the split was called wrongly.")
    images = [embed_images({role: path.read_bytes() for role, path in evidence.gallery.get(one.case_id, {}).items()}) for one in mistakes]
    return Section(
        "Most confident mistakes",
        "mistakes",
        {"mistakes": list(zip(mistakes, images, strict=True))},
        tables={"mistakes": pd.DataFrame([dataclasses.asdict(mistake) for mistake in mistakes])},
    )


def mistakes_of(predictions: pd.DataFrame, facts: RunFacts) -> list[Mistake]:
    """The first head's most confident mistakes on the measured split."""
    head = facts.headline
    return choose_mistakes(predictions, head=head, classes=facts.heads[head], costs_CC=facts.cost_matrices.get(head), split=facts.split)
