"""The clinical columns that a curated schema declares."""

from __future__ import annotations

from pathlib import Path

import pytest

from medimg.datasets import find_data_set
from pipeline.config.schema import CLINICAL, read_columns, read_schema


@pytest.mark.parametrize("name", ["cmmd", "folder", "ham10000", "tissue"])
def test_columns_are_the_clinical_features_alone_with_the_values_they_may_have(name: str) -> None:
    features = read_schema(name).message.feature
    clinical = [feature for feature in features if feature.name.startswith(CLINICAL)]
    assert len(clinical) < len(features)
    assert read_columns(find_data_set(name), None).values == {
        feature.name.removeprefix("clinical_"): tuple(feature.string_domain.value) for feature in clinical
    }


def test_only_the_data_tell_the_columns_of_a_users_own_table(tmp_path: Path) -> None:
    rows = [f"{name}.png,{name},x,{number},{name}-9,left\n" for number, name in enumerate("abcd")]
    (tmp_path / "labels.csv").write_text("".join(["file,patient_id,label,age,accession,side\n", *rows]))
    known = read_columns(find_data_set("folder"), tmp_path)
    assert (known.complete, known.values["age"]) == (True, ())
    assert known.ids == {"accession"}
    assert not read_columns(find_data_set("folder"), None).complete
    assert read_columns(find_data_set("cmmd"), None).complete
