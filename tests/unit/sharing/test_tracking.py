import re
import sys

import pytest

from medimg.errors import MedimgError, UsageError
from medimg.evaluation.figures import Figure, read_metrics
from medimg.sharing.manifest import list_files, read_manifest
from medimg.sharing.tracking import import_mlflow, list_metrics, track

NUMBERS = (10, 5, 8, 0.9, 0.8, 0.95)


@pytest.fixture(params=["sqlite:///{}/store.db", "file://{}/store"])
def store(request, tmp_path, monkeypatch):
    """URI of an MLflow store: real ones, on this machine."""
    monkeypatch.chdir(tmp_path)
    return request.param.format(tmp_path)


def open_store(uri):
    return import_mlflow().MlflowClient(tracking_uri=uri)


def test_an_mlflow_run_holds_settings_figures_hashes_and_files(packed, store):
    tracked = track(packed, uri=store, name="first")
    client, manifest = open_store(store), read_manifest(packed)
    run = client.get_run(tracked.run_id)
    assert (run.info.status, run.info.run_name) == ("FINISHED", "first")
    assert client.get_experiment(run.info.experiment_id).name == "cmmd-demo"
    assert run.data.params == manifest.config
    assert run.data.tags["sha256.split"] == manifest.hashes["split"]
    assert run.data.tags["blessed"] == "not gated"
    for figure in read_metrics(packed / "metrics.json"):
        for key, value in list_metrics(figure):
            assert run.data.metrics[key] == pytest.approx(value)
    assert len(run.data.metrics) == tracked.metrics > 100
    there = {file.path for file in client.list_artifacts(tracked.run_id)}
    assert {name.split("/")[0] for name in ("manifest.json", *list_files(packed))} == there


def test_what_comes_back_from_mlflow_is_the_bundle(packed, store, tmp_path):
    tracked = track(packed, uri=store, name="first")
    open_store(store).download_artifacts(tracked.run_id, "", str(tmp_path))
    assert (tmp_path / "manifest.json").read_bytes() == (packed / "manifest.json").read_bytes()
    assert (tmp_path / "tables" / "figures.csv").read_bytes() == (
        packed / "tables" / "figures.csv"
    ).read_bytes()


def test_runs_of_one_config_are_in_one_experiment(packed, store):
    runs = [
        open_store(store).get_run(track(packed, uri=store, name=name).run_id) for name in ("first", "second")
    ]
    assert runs[0].info.experiment_id == runs[1].info.experiment_id
    assert runs[0].info.run_id != runs[1].info.run_id


def test_the_name_of_a_metric_says_all_that_it_takes_to_compare_it_and_mlflow_allows_it():
    names = [
        name
        for name, _ in list_metrics(
            Figure("auc", "malignancy", "age_band=<40 %", "P1", "breast", "test", *NUMBERS)
        )
    ]
    key = "malignancy.P1.breast.test.age_band:_x3c_40 _x25_/auc"
    assert names == [key, f"{key}.low", f"{key}.high", f"{key}.n", f"{key}.groups"]
    others = [
        name
        for name, _ in list_metrics(
            Figure("auc", "malignancy", "age_band=>40 %", "P1", "breast", "test", *NUMBERS)
        )
    ]
    assert not set(names) & set(others)
    assert all(re.fullmatch(r"[/\w.\- :]+", name) for name in names)


def test_an_undefined_figure_is_no_metric():
    assert not list(
        list_metrics(
            Figure("auc", "malignancy", "overall", "P1", "breast", "test", 3, 0, 3, *[float("nan")] * 3)
        )
    )


def test_without_mlflow_the_line_names_the_extra(packed, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(UsageError, match=r"medimg-tfx\[share\]"):
        track(packed, uri="sqlite:///x.db", name="first")


def test_a_server_that_does_not_answer_ends_in_one_line_without_the_password(packed, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with pytest.raises(MedimgError, match=r"MLflow: .*127\.0\.0\.1") as refused:
        track(packed, uri="http://user:secret@127.0.0.1:9", name="first")
    assert not re.search("\n|secret", str(refused.value))
