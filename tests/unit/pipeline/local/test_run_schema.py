"""The schema of a run refuses shortcuts that no catalogue could have, and never declares what they say of a case."""

import pytest

from medimg.datasets import find_data_set
from medimg.errors import UsageError
from pipeline.config.overrides import load_config
from pipeline.local.run_schema import make_schema


@pytest.mark.parametrize(
    ("shortcuts", "words"),
    [
        ("source,age_yers", "no clinical column 'age_yers'; did you mean 'age_years'?"),
        ("group_images", "did you mean 'group_image_count'?"),
        ("abnormality", "'abnormality' is read off the images"),
    ],
)
def test_a_shortcut_that_is_none_is_refused_before_any_work(shortcuts, words):
    config = load_config("cmmd_classification", overrides=[f"evaluation.shortcuts={shortcuts}"])
    with pytest.raises(UsageError) as caught:
        make_schema(config, data_root=None)
    assert words in str(caught.value)


def test_a_folders_own_columns_are_shortcuts_too(tmp_path):
    find_data_set("folder").write_phantom(tmp_path, cases=6, seed=0)
    columns = find_data_set("folder").list_columns(tmp_path)
    named = [f"evaluation.shortcuts={','.join(columns)},image_count"]
    schema = make_schema(load_config("folder_classification", overrides=named), data_root=tmp_path)
    assert not any(f"clinical_{column}" in schema for column in columns)


def test_what_reads_by_the_schema_never_sees_what_the_shortcuts_say():
    assert "shortcut" not in make_schema(load_config("cmmd_classification"), data_root=None)
