"""Questions to a store of ML Metadata: what is the latest, what made an artifact, what was made from it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.experiments.trials import Objective, Trial, note_trial
from pipeline.metadata.lineage import (
    latest_nodes,
    list_counts,
    live_artifacts,
    locate_artifact,
    name_origin,
    newest_execution,
    outputs_of,
    properties_of,
    walk_down,
    walk_up,
)
from tests.unit.pipeline.metadata.memory_store import Artifact, Execution, Store


@pytest.fixture
def store() -> Store:
    return Store()


def test_the_latest_of_each_component_is_the_newest_that_ended_well(store: Store) -> None:
    store.run("Trainer", pipeline="before")
    old, new, failed, cached = (store.make(name=name) for name in ("old", "new", "failed", "cached"))
    store.run("Trainer", made=(old,))
    store.run("Trainer", made=(new,))
    store.run("Trainer", made=(failed,), state=Execution.FAILED)
    store.run("Trainer", made=(failed,), state=Execution.RUNNING)
    store.run("Evaluator", made=(cached,), state=Execution.CACHED)
    store.run("Pusher", state=Execution.FAILED)
    store.run("Trainer", made=(failed,), pipeline="demo-2")
    nodes = latest_nodes(store.store, "demo")
    found = {name: (one.state, [made.id for made in one.outputs["made"]]) for name, one in nodes.items()}
    assert found == {"Trainer": ("complete", [new]), "Evaluator": ("cached", [cached])}
    assert {name: one.name for name, one in nodes.items()} == {"Trainer": "Trainer", "Evaluator": "Evaluator"}


def test_the_newest_execution_is_so_however_it_ended(store: Store) -> None:
    assert newest_execution(store.store, "demo", "Trainer") is None
    store.run("Trainer")
    last = store.run("Trainer", state=Execution.FAILED)
    store.run("Trainer", pipeline="other")
    store.run("Evaluator")
    assert newest_execution(store.store, "demo", "Trainer").id == last


def test_outputs_are_by_channel_and_inputs_are_none(store: Store) -> None:
    read, *made = (store.make() for _ in range(3))
    execution = store.run("Trainer", read=(read,), made=tuple(made))
    assert {
        name: [one.id for one in items] for name, items in outputs_of(store.store, execution).items()
    } == {"made": made}
    assert outputs_of(store.store, store.run("Pusher")) == {}


def test_live_artifacts_are_of_a_type_and_a_pipeline_and_of_what_ended_well(store: Store) -> None:
    model, other, report = store.make(), store.make(), store.make("Report")
    dead = store.make(state=Artifact.ABANDONED)
    store.run("Trainer", made=(model, dead, report))
    store.run("Trainer", made=(other,), pipeline="other")
    assert [one.id for one in live_artifacts(store.store, "Model", pipeline="demo")] == [model]
    assert live_artifacts(store.store, "Model", pipeline="nowhere") == []


@pytest.fixture
def history(store: Store) -> dict[str, int]:
    """A catalogue, its examples, a graph, a model of both, and a second model that a cached run re-emits."""
    made = {name: store.make(name=name) for name in ("catalogue", "examples", "graph", "model", "other")}
    made["CatalogueGen"] = store.run("CatalogueGen", made=(made["catalogue"],))
    made["ExampleGen"] = store.run("ExampleGen", read=(made["catalogue"],), made=(made["examples"],))
    made["Transform"] = store.run("Transform", read=(made["examples"],), made=(made["graph"],))
    made["Trainer"] = store.run("Trainer", read=(made["examples"], made["graph"]), made=(made["model"],))
    store.run("Trainer", read=(made["other"],), made=(made["model"],), state=Execution.CACHED)
    made["Unrelated"] = store.run("Unrelated", read=(made["graph"],), made=(made["other"],))
    return made


def test_the_way_up_has_each_maker_once_the_nearest_first_and_no_cached_one(
    store: Store, history: dict[str, int]
) -> None:
    walked = list(walk_up(store.store, history["model"]))
    executions = [execution.id for execution, _ in walked]
    assert executions[0] == history["Trainer"]
    assert sorted(executions) == sorted(
        history[name] for name in ("CatalogueGen", "ExampleGen", "Transform", "Trainer")
    )
    assert executions[-1] == history["CatalogueGen"]
    assert [one.id for one in walked[0][1]] == [history["model"]]


def test_the_way_down_has_all_that_was_made_from_the_given_ones_and_these(
    store: Store, history: dict[str, int]
) -> None:
    made = {name: history[name] for name in ("catalogue", "examples", "graph", "model", "other")}
    assert walk_down(store.store, [made["catalogue"]]) == set(made.values())
    assert walk_down(store.store, [made["graph"]]) == {made["graph"], made["model"], made["other"]}
    assert walk_down(store.store, [made["model"]]) == {made["model"]}
    assert walk_down(store.store, []) == set()


def test_what_was_made_beside_an_artifact_was_not_made_from_it(store: Store) -> None:
    source, model, beside, report = (store.make() for _ in range(4))
    maker = store.run("Trainer", read=(source,), made=(model, beside))
    end = store.run("Report", read=(model,), made=(report,))
    assert walk_down(store.store, [model]) == {model, report}
    assert [execution.id for execution, _ in walk_up(store.store, report)] == [end, maker]


def test_an_execution_that_was_cached_hides_no_later_maker(store: Store) -> None:
    first, second, last = store.make(), store.make(), store.make()
    makers = [store.run("One", made=(first,))]
    store.run("One", made=(first,), state=Execution.CACHED)
    makers.append(store.run("Two", made=(second,)))
    end = store.run("Three", read=(first, second), made=(last,))
    assert [execution.id for execution, _ in walk_up(store.store, last)] == [end, *makers]


def test_what_an_execution_declares_counts_as_what_it_reads_and_makes(store: Store) -> None:
    first, last = store.make(), store.make()
    maker = store.run("One", made=(first,), declared=True)
    end = store.run("Two", read=(first,), made=(last,), declared=True)
    assert [execution.id for execution, _ in walk_up(store.store, last)] == [end, maker]
    assert walk_down(store.store, [first]) == {first, last}
    assert [one.id for one in outputs_of(store.store, end)["made"]] == [last]


def test_properties_are_numbers_and_texts() -> None:
    artifact = Artifact()
    artifact.custom_properties["a"].int_value = 0
    artifact.custom_properties["b"].double_value = 0.5
    artifact.custom_properties["c"].string_value = "text"
    artifact.properties["d"].string_value = "declared"
    artifact.custom_properties["e"].bool_value = True
    assert properties_of(artifact) == {"a": 0, "b": 0.5, "c": "text", "d": "declared"}


def test_counts_and_hashes_are_shown_and_no_path_of_the_machine() -> None:
    shown = {
        "images_used": 3,
        "cases_train": 2,
        "content_hash": "ab",
        "data_set": "cmmd",
        "blessed": 1,
        "pushed": 1,
        "pushed_version": "7",
        "split_names": "[]",
        "tuning.score": 0.5,
    }
    hidden = {"pushed_destination": "/home/me/models", "name": "x", "tfx_version": "1", "state": "published"}
    assert list_counts({**hidden, **shown}) == ", ".join(f"{name} {shown[name]}" for name in sorted(shown))


def test_the_origin_of_a_catalogue_is_what_its_receipts_say() -> None:
    values = {"images_with_receipt": 3, "source": "idc", "collection": "cmmd\nx", "split": "train"}
    line = name_origin(values)
    assert r"collection cmmd\nx" in line
    assert "\n" not in line
    assert "source idc" in line
    assert "split" not in line
    assert name_origin({"source": "idc"}) == ""


def test_an_artifact_is_found_below_a_run_that_was_moved(tmp_path: Path) -> None:
    artifact = Artifact(uri="/elsewhere/run/artifacts/Trainer/model/7")
    assert locate_artifact(tmp_path, artifact) == tmp_path / "artifacts" / "Trainer" / "model" / "7"


@pytest.mark.parametrize(
    ("trial", "noted", "state"),
    [
        (Trial("k", {"a": 1}, {"m/auc": 0.75}), {"tuning.score": 0.75}, Execution.COMPLETE),
        (Trial("k", {"a": 1}, {"m/auc": 0.0}), {"tuning.score": 0.0}, Execution.COMPLETE),
        (
            Trial("k", {"a": 1}, {"m/auc": None}),
            {"tuning.failed": "m/auc is undefined on the eval split"},
            Execution.COMPLETE,
        ),
        (Trial("k", {"a": 1}, failed="no memory"), {"tuning.failed": "no memory"}, Execution.FAILED),
    ],
)
def test_a_trial_is_noted_on_its_training_and_its_models(
    store: Store, trial: Trial, noted: dict[str, object], state: int
) -> None:
    number = store.make()
    (model,) = store.store.get_artifacts_by_id([number])
    (execution,) = store.store.get_executions_by_id([store.run("Trainer", made=(number,))])
    note_trial(store.store, trial, Objective("m", "auc"), execution=execution, models=[model])
    (execution,) = store.store.get_executions_by_id([execution.id])
    (model,) = store.store.get_artifacts_by_id([number])
    expected = {"tuning.settings": json.dumps({"a": 1}), "tuning.objective": "m/auc", **noted}
    assert properties_of(execution) == properties_of(model) == expected
    assert execution.last_known_state == state
