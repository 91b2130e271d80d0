"""A catalogue of a few cases, as `medimg catalogue` writes it, without any file behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from medimg.cases import Case
from medimg.catalogue.rows import make_cases_table, make_images_table, make_pairs_table
from medimg.catalogue.split import Assignment
from medimg.catalogue.tables import Catalogue, write_catalogue


def write_small_catalogue(
    to: Path,
    cases: Sequence[Case] = (),
    assignments: Mapping[str, Assignment] | None = None,
    *,
    strata: Mapping[str, str] | None = None,
    summary: Mapping[str, object] | None = None,
) -> Catalogue:
    """Writes cases in the splits that are given by case, and what `summary.json` is to hold."""
    return write_catalogue(
        to,
        cases=make_cases_table(cases, assignments=assignments or {}, strata=strata or {}),
        images=make_images_table(cases, rejects=(), headers={}, flags={}),
        pairs=make_pairs_table(()),
        summary=dict(summary or {}),
    )
