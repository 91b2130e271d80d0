"""What every data set in the list must keep: to be listed is to be tested."""

import re
from collections import Counter
from pathlib import Path

import pytest
from google.protobuf import text_format
from tensorflow_metadata.proto.v0 import schema_pb2

from medimg.cases import DataSet
from medimg.catalogue.index import Reading, scan
from medimg.datasets import DATA_SETS, find_data_set

ROOT = Path(__file__).resolve().parents[2]
PATIENTS = 12

every_data_set = pytest.mark.parametrize("data_set", DATA_SETS, ids=lambda data_set: data_set.name)


def read_schema(data_set: DataSet) -> dict[str, schema_pb2.Feature]:
    schema = text_format.Parse((ROOT / "schema" / f"{data_set.name}.pbtxt").read_text(), schema_pb2.Schema())
    features = {feature.name: feature for feature in schema.feature}
    assert len(features) == len(schema.feature)
    return features


@pytest.fixture(scope="module")
def listings(tmp_path_factory):
    made = {}
    for data_set in DATA_SETS:
        root = tmp_path_factory.mktemp(data_set.name)
        data_set.write_phantom(root, cases=PATIENTS, seed=0)
        headers = scan(root, reading=Reading(data_set.published_ids)).headers
        made[data_set.name] = (root, headers, data_set.list_cases(root, headers))
    return made


@every_data_set
def test_a_data_set_is_found_by_its_name(data_set):
    assert find_data_set(data_set.name) is data_set


def test_no_two_data_sets_share_a_name():
    assert len({data_set.name for data_set in DATA_SETS}) == len(DATA_SETS)


@every_data_set
def test_published_data_name_their_licence_and_doi(data_set):
    # A user's own folder has neither.
    assert bool(data_set.licence) == bool(data_set.doi) == (data_set.name != "folder")


@every_data_set
def test_the_schema_knows_every_feature_and_its_classes(data_set):
    features = read_schema(data_set)
    assert {f"level_{level}" for level in data_set.levels} | {"case_id", "group_id"} <= set(features)
    for head, classes in data_set.targets.items():
        assert tuple(features[f"label_{head}"].string_domain.value) == classes
    for role in data_set.roles:
        assert features[f"image_{role}"].lifecycle_stage == schema_pb2.DISABLED


@every_data_set
def test_the_schema_holds_no_identifier(data_set):
    for name, feature in read_schema(data_set).items():
        if name in ("case_id", "group_id") or name.startswith("level_"):
            assert feature.WhichOneof("domain_info") is None
            assert feature.presence.min_fraction == 1


@every_data_set
def test_a_data_sheet_and_a_config_are_there(data_set):
    assert data_set.title in (ROOT / "docs" / "data_sheets" / f"{data_set.name}.md").read_text()
    assert list((ROOT / "pipeline" / "configs").glob(f"{data_set.name}_*.py"))


# "folder" is a word of its own.
@pytest.mark.parametrize(
    "data_set",
    [data_set for data_set in DATA_SETS if data_set.name != "folder"],
    ids=lambda data_set: data_set.name,
)
def test_neither_the_components_nor_the_pipeline_know_its_name(data_set):
    named = re.compile(
        rf"""["']{data_set.name}["'_]|medimg\.datasets\.{data_set.name}\b"""
        rf"""|medimg\.datasets import .*\b{data_set.name}\b"""
    )
    files = [*(ROOT / "components").rglob("*.py"), ROOT / "pipeline" / "pipeline.py"]
    assert len(files) > 10
    assert [path.name for path in files if named.search(path.read_text())] == []


@every_data_set
def test_every_image_of_the_phantom_is_in_one_case_or_rejected(data_set, listings):
    _, headers, listing = listings[data_set.name]
    placed = [image.path for case in listing.cases for image in case.images]
    placed += [reject.path for reject in listing.rejects]
    assert Counter(placed) == Counter(header.path for header in headers)
    assert all(reject.reason for reject in listing.rejects)


@every_data_set
def test_cases_have_unique_ids_the_data_sets_levels_and_a_reason_where_not_used(data_set, listings):
    _, _, listing = listings[data_set.name]
    assert len({case.case_id for case in listing.cases}) == len(listing.cases) > 0
    for case in listing.cases:
        assert tuple(case.levels) == data_set.levels
        assert case.levels[data_set.levels[0]] == case.case_id
        assert case.levels[data_set.group_noun] == case.group_id
        assert {image.role for image in case.images} <= set(data_set.roles)
        assert bool(case.reason) == (case.status != "used")
        assert bool(case.labels) == (case.status == "used")


@every_data_set
def test_the_phantoms_values_are_those_of_the_schema_and_the_heads(data_set, listings):
    root, _, listing = listings[data_set.name]
    features = read_schema(data_set)
    heads = data_set.list_classes(root) if data_set.list_classes else data_set.targets
    for case in listing.cases:
        assert all(label in heads[head] for head, label in case.labels.items())
        assert set(data_set.stratify_by) <= set(case.clinical)
        for column, value in case.clinical.items():
            feature = features.get(f"clinical_{column}")
            if feature is None:
                assert data_set.list_classes, f"clinical_{column} is missing in the schema"
            elif isinstance(value, str):
                assert value in feature.string_domain.value
            elif value is not None:
                assert feature.float_domain.min <= value <= feature.float_domain.max


@every_data_set
def test_every_class_of_the_first_head_has_phantom_cases(data_set, listings):
    root, _, listing = listings[data_set.name]
    head, classes = next(
        iter((data_set.list_classes(root) if data_set.list_classes else data_set.targets).items())
    )
    assert {case.labels[head] for case in listing.cases if case.labels} == set(classes)


@every_data_set
def test_the_phantom_contradicts_itself_nowhere(data_set, listings):
    assert not listings[data_set.name][2].anomalies


@every_data_set
def test_the_listing_does_not_depend_on_the_order_of_files(data_set, listings):
    root, headers, listing = listings[data_set.name]
    assert data_set.list_cases(root, headers[::-1]) == listing


@every_data_set
def test_the_tables_to_fingerprint_exist(data_set, listings):
    root, _, _ = listings[data_set.name]
    assert data_set.list_tables(root)
    assert all(path.is_file() for path in data_set.list_tables(root))
