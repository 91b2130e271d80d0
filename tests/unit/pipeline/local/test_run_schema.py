"""The schema of a run has the columns that the run names, and never declares what shortcuts say of a case."""

from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from medimg.datasets import find_data_set
from pipeline.config.overrides import load_config
from pipeline.config.resolve import resolve_config
from pipeline.config.schema import read_schema
from pipeline.local.run_schema import make_schema


def test_a_folders_own_columns_are_shortcuts_too(tmp_path):
    find_data_set("folder").write_phantom(tmp_path, cases=6, seed=0)
    columns = find_data_set("folder").list_columns(tmp_path)
    named = [f"evaluation.shortcuts={','.join(columns)},image_count"]
    config = resolve_config(load_config("folder_classification", overrides=named), tmp_path)
    schema = make_schema(config, data_root=tmp_path)
    assert not any(f"clinical_{column}" in schema for column in columns)


def test_a_folders_own_columns_are_declared_where_they_are_slices(tmp_path):
    find_data_set("folder").write_phantom(tmp_path, cases=6, seed=0)
    column = next(iter(find_data_set("folder").list_columns(tmp_path)))
    config = load_config("folder_classification", overrides=[f"evaluation.slices={column}"])
    assert f'name: "clinical_{column}"' in make_schema(resolve_config(config, tmp_path), data_root=tmp_path)


def test_what_reads_by_the_schema_never_sees_what_the_shortcuts_say():
    assert "shortcut" not in make_schema(load_config("cmmd_classification"), data_root=None)


def test_each_feature_is_declared_once_and_none_that_no_stage_reads():
    made, curated = schema_pb2.Schema(), read_schema("cmmd").message
    text_format.Parse(make_schema(load_config("cmmd_classification"), data_root=None), made)
    read = [item.name for item in curated.feature if item.lifecycle_stage != schema_pb2.DISABLED]
    assert len(read) < len(curated.feature)
    assert [feature.name for feature in made.feature] == read
