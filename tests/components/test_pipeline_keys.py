"""Which component's cache key each setting, place and fingerprint is in.

TFX's key of an execution holds its exec properties and what it reads: a setting that reaches none would be
changed without effect, and one that reaches too many would repeat work.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from typing import Any

import pytest

from medimg.evaluation.classification.costs import Costs
from medimg.evaluation.classification.merging import Merge
from medimg.evaluation.gates import Gate
from medimg.tasks.classification.settings import Head
from pipeline.cache_keys import CodeFingerprints, Fingerprints
from pipeline.config.overrides import load_config
from pipeline.config.places import Places
from pipeline.config.run_config import RunConfig, Tuning

CONFIG = load_config("cmmd_classification")
PLACES = Places("data", "root", "m.sqlite", "serving", "checkpoints", "index", "schema.pbtxt")
CODE = CodeFingerprints(**{field.name: field.name for field in dataclasses.fields(CodeFingerprints)})
FINGERPRINTS = Fingerprints(data="d", previous="p", schema="s", baseline="b", code=CODE, weights="w")
REACHED = {
    "name": (),
    "data_set": ("CatalogueGen",),
    "task": ("Transform", "Trainer"),
    "ingest": ("CaseExampleGen",),
    "labels": ("CatalogueGen",),
    "scan": ("CatalogueGen",),
    "split": ("CatalogueGen",),
    "examples": ("CaseExampleGen",),
    "examples.unlabelled": ("CaseExampleGen", "StatisticsGen"),
    "data_gate": ("DataGate",),
    "model": ("Trainer",),
    "model.roles": ("Transform", "Trainer"),
    "model.clinical_inputs": ("CaseExampleGen", "Transform", "Trainer"),
    "training": ("Trainer",),
    "evaluation": (),
    "evaluation.slices": ("CaseExampleGen", "Evaluator"),
    "evaluation.gates": ("Evaluator",),
    "evaluation.shortcuts": ("CaseExampleGen",),
    "evaluation.costs": ("Evaluator",),
    "tuning": (),
}
"""The components of a setting, by its longest key here; ReportGen, which shows the settings, has all."""
ANOTHER = {
    "ingest.range": (0, 4095),
    "labels.keep": ("none",),
    "evaluation.gates": (Gate(metric="auc", head="malignancy", lower_bound=0.71),),
    "evaluation.costs": (Costs("malignancy", {"Malignant": {"Benign": 5}}),),
    "evaluation.merge": (Merge("any", "abnormality", {"any": ("mass", "both")}),),
    "evaluation.slices": ("source", "laterality", "age_band"),
    "tuning": Tuning({}, "malignancy/auc", 0.9, 3, 0, "random", 0),
}


def change(value: Any) -> Any:
    """Another value of the same type; a dataclass made by hand is not checked."""
    if isinstance(value, bool) or value is None:
        return not value
    if isinstance(value, tuple):
        return (*value[1:], "another") if value else ("another",)
    if isinstance(value, dict):
        return {**value, "another": "value"}
    return value + ("x" if isinstance(value, str) else 1)


def list_changes(settings: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yields the key of each setting with the settings in which it alone is another."""
    for field in dataclasses.fields(settings):
        key, value = f"{prefix}{field.name}", getattr(settings, field.name)
        if key in ANOTHER:
            yield key, dataclasses.replace(settings, **{field.name: ANOTHER[key]})
        elif dataclasses.is_dataclass(value):
            for below, changed in list_changes(value, f"{key}."):
                yield below, dataclasses.replace(settings, **{field.name: changed})
        elif key != "model.heads":
            yield key, dataclasses.replace(settings, **{field.name: change(value)})


CHANGES = dict(list_changes(CONFIG))


def read_keys(
    config: RunConfig = CONFIG, places: Places = PLACES, fingerprints: Fingerprints = FINGERPRINTS
) -> dict[str, str]:
    """What each component's key holds of settings, by component."""
    from pipeline.pipeline import create_pipeline

    pipeline = create_pipeline(config, places, fingerprints)
    return {
        component.id: repr(sorted(component.exec_properties.items())) for component in pipeline.components
    }


@pytest.fixture(scope="module")
def before() -> dict[str, str]:
    return read_keys()


def differ(before: dict[str, str], after: dict[str, str]) -> set[str]:
    return {name for name in before if before[name] != after[name]}


@pytest.mark.parametrize("key", [key for key in CHANGES if not key.startswith("deployment")])
def test_a_setting_is_in_the_keys_of_the_components_that_it_matters_to(
    before: dict[str, str], key: str
) -> None:
    known = max((one for one in REACHED if f"{key}.".startswith(f"{one}.")), key=len)
    assert differ(before, read_keys(CHANGES[key])) == {*REACHED[known], "ReportGen"}


def test_where_it_runs_is_in_no_key(before: dict[str, str]) -> None:
    for key in CHANGES:
        if key.startswith("deployment"):
            assert read_keys(CHANGES[key]) == before, key


@pytest.mark.parametrize(
    ("head", "reached"),
    [
        # The main head's gates, costs and classes are read by all that look at labels.
        ({"name": "subtype"}, ("CaseExampleGen", "Transform", "Trainer", "Evaluator")),
        ({"classes": ("a", "b")}, ("Transform", "Trainer", "Evaluator")),
        ({"weight": 0.9}, ("Transform", "Trainer")),
    ],
)
def test_a_head_is_in_the_keys_of_all_that_read_its_label(
    before: dict[str, str], head: dict[str, Any], reached: tuple[str, ...]
) -> None:
    heads = (CONFIG.model.heads[0], dataclasses.replace(CONFIG.model.heads[1], **head))
    plain = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, heads=CONFIG.model.heads[:2]))
    changed = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, heads=heads))
    assert differ(read_keys(plain), read_keys(changed)) >= {*reached, "ReportGen"}


def test_the_gate_looks_at_the_main_head(before: dict[str, str]) -> None:
    heads = (Head("abnormality", ("calcification", "mass", "both")), CONFIG.model.heads[0])
    turned = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, heads=heads))
    assert "DataGate" in differ(before, read_keys(turned))


@pytest.mark.parametrize(
    ("place", "reached"),
    [
        ({"data_root": "elsewhere"}, {"CatalogueGen", "CaseExampleGen"}),
        ({"previous": "earlier"}, {"CatalogueGen"}),
        ({"split_file": "mine.csv"}, {"CatalogueGen"}),
        ({"catalogue": "made"}, {"CatalogueGen"}),
        ({"index": "elsewhere"}, {"CatalogueGen"}),
        ({"schema": "other.pbtxt"}, {"ImportSchemaGen"}),
        ({"serving": "elsewhere"}, {"BaselineModel", "Pusher"}),
        ({"checkpoints": "elsewhere"}, {"Trainer"}),
        ({"metadata": "other.sqlite"}, set()),
        ({"beam_args": ("--direct_num_workers=1",)}, set()),
        ({"pipeline": "other"}, set()),
    ],
)
def test_a_place_is_in_the_keys_of_the_components_that_read_or_write_there(
    before: dict[str, str], place: dict[str, Any], reached: set[str]
) -> None:
    assert differ(before, read_keys(places=dataclasses.replace(PLACES, **place))) == reached


@pytest.mark.parametrize(
    ("name", "reached"),
    [
        ("data", {"CatalogueGen", "ReportGen"}),
        ("previous", {"CatalogueGen"}),
        ("catalogue", {"CatalogueGen"}),
        # The schema's path has its hash (pipeline.local.run_schema).
        ("schema", {"ReportGen"}),
        ("baseline", {"BaselineModel"}),
        ("weights", {"Trainer", "ReportGen"}),
    ],
)
def test_other_content_is_in_the_keys_of_what_reads_it(
    before: dict[str, str], name: str, reached: set[str]
) -> None:
    changed = dataclasses.replace(FINGERPRINTS, **{name: "other"})
    assert differ(before, read_keys(fingerprints=changed)) == reached


@pytest.mark.parametrize(
    ("name", "component"),
    [
        ("catalogue", "CatalogueGen"),
        ("examples", "CaseExampleGen"),
        ("gate", "DataGate"),
        ("transform", "Transform"),
        ("trainer", "Trainer"),
        ("evaluator", "Evaluator"),
        ("report", "ReportGen"),
        ("baseline", "BaselineModel"),
    ],
)
def test_changed_code_is_in_the_key_of_its_component(
    before: dict[str, str], name: str, component: str
) -> None:
    code = dataclasses.replace(CODE, **{name: "other"})
    changed = read_keys(fingerprints=dataclasses.replace(FINGERPRINTS, code=code))
    assert differ(before, changed) == {component, "ReportGen"}


def test_each_split_has_its_part() -> None:
    from pipeline.pipeline import create_pipeline

    pipeline = create_pipeline(CONFIG, PLACES, FINGERPRINTS)
    properties = {component.id: component.exec_properties for component in pipeline.components}
    splits = json.loads(properties["Transform"]["splits_config"])
    assert splits == {"analyze": ["train"], "transform": ["train", "eval", "test"]}
    assert json.loads(properties["Trainer"]["train_args"])["splits"] == ["train"]
    assert json.loads(properties["Trainer"]["eval_args"])["splits"] == ["eval"]
    assert json.loads(properties["Evaluator"]["example_splits"]) == ["test"]
    assert json.loads(properties["StatisticsGen"]["exclude_splits"]) == [
        "unlabelled_train",
        "unlabelled_eval",
        "unlabelled_test",
    ]
    assert "images" not in properties["StatisticsGen"]


def test_the_gate_looks_at_the_first_head() -> None:
    from pipeline.pipeline import create_pipeline

    assert len({head.name for head in CONFIG.model.heads}) > 1
    for heads in (CONFIG.model.heads, CONFIG.model.heads[::-1]):
        config = dataclasses.replace(CONFIG, model=dataclasses.replace(CONFIG.model, heads=heads))
        components = {one.id: one for one in create_pipeline(config, PLACES, FINGERPRINTS).components}
        assert components["DataGate"].exec_properties["head"] == heads[0].name


def test_nothing_follows_before_what_it_depends_on() -> None:
    from pipeline.pipeline import create_pipeline

    pipeline = create_pipeline(CONFIG, PLACES, FINGERPRINTS)
    before = {one.id: {other.id for other in one.upstream_nodes} for one in pipeline.components}
    assert "DataGate" in before["Transform"]
    assert {"Evaluator", "ReportGen"} <= before["Pusher"]
    assert {"BaselineModel", "Trainer"} <= before["Evaluator"]
    assert pipeline.enable_cache
    assert pipeline.pipeline_info.pipeline_name == CONFIG.name
    named = create_pipeline(CONFIG, dataclasses.replace(PLACES, pipeline="cmmd-1234"), FINGERPRINTS)
    assert named.pipeline_info.pipeline_name == "cmmd-1234"
