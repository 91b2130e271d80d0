"""Every name in a config is one that the data set or the task has; another is refused before any work."""

import subprocess
import sys

import pytest

import medimg.tasks
from kubeflow.compile import compile_config
from kubeflow.request import CompileRequest
from medimg.datasets import find_data_set
from medimg.errors import UsageError
from medimg.evaluation.gates import Gate
from pipeline.config.overrides import load_config
from pipeline.config.places import RunRequest
from pipeline.config.resolve import resolve_config
from pipeline.experiments.tuning import plan_search, tune_config
from pipeline.local.run import run_config

MERGE = 'evaluation.merge=[{"name": "any", "head": "abnormality", "classes": {"any": ["mass", "both_"]}}]'
LEFT_OUT = 'model.heads=[{"name": "abnormality", "classes": ["calcification", "mass"]}]'
COSTS = 'evaluation.costs=[{"head": "malignancy", "matrix": {"Malignat": {"Benign": 2}}}]'
HEAD = 'model.heads=[{"name": "malignancy", "classes": ["Benign", "Malignant", "Unsure"]}]'


@pytest.mark.parametrize(
    ("override", "line"),
    [
        ("data_set=cmd", "no data set 'cmd'; did you mean 'cmmd'?"),
        ("task=clasification", "no task 'clasification'; did you mean 'classification'?"),
        ("model.roles=CC,MLOO", "model.roles: cmmd has no images in the role 'MLOO'; did you mean 'MLO'?"),
        (
            "model.heads.0.name=malignant",
            "head 'malignant': cmmd has no such label; did you mean 'malignancy'?",
        ),
        (HEAD, "head 'malignancy': cmmd has no class 'Unsure'; known: Benign, Malignant"),
        (LEFT_OUT, "but cmmd also has ['both']; expected all of them"),
        ("model.image_size=31,64", "expected at least 32 pixels each way"),
        ("training.dropout_samples=1", "training.dropout_samples: found 1"),
        ("evaluation.shortcuts=malignancy", "'malignancy' is read off the images"),
        ("evaluation.gates.1.slice=source=", "expected 'overall' or column=value, such as source=D1"),
        (
            "model.clinical_inputs=age_year",
            "model.clinical_inputs: cmmd has no clinical column 'age_year'; did",
        ),
        ("evaluation.slices=sorce", "evaluation.slices: cmmd has no clinical column 'sorce'; did you mean"),
        ("evaluation.gates.0.head=malignant", "gate on head 'malignant': no such head, did you mean"),
        ("evaluation.gates.0.metric=acu", "head 'malignancy' has no such metric, did you mean 'auc'?"),
        ("evaluation.gates.1.slice=sorce=D1", "'sorce' is not sliced by, did you mean 'source'?"),
        (
            "evaluation.gates.1.slice=source=E1",
            "gate on slice 'source=E1': 'source' is never 'E1'; did you mean",
        ),
        ("evaluation.gates.1.slice=source", "expected 'overall' or column=value"),
        ("evaluation.protocols=P11", "protocol 'P11': no such protocol, did you mean 'P1'?"),
        ("evaluation.protocols=lesion", "lesion counts by lesion, expected a level of cmmd: breast, patient"),
        ("evaluation.protocols=", "evaluation.protocols: found none, expected at least one"),
        ("evaluation.shortcuts=source,age_yers", "no clinical column 'age_yers'; did you mean 'age_years'?"),
        ("evaluation.shortcuts=group_images", "did you mean 'group_image_count'?"),
        ("evaluation.shortcuts=abnormality", "'abnormality' is read off the images"),
        (MERGE, "head abnormality has no class 'both_'; did you mean 'both'?"),
        (COSTS, "no class 'Malignat', did you mean 'Malignant'?"),
        (
            "model.backbone=EfficientNet",
            "model.backbone: no backbone 'EfficientNet'; did you mean 'EfficientNet",
        ),
        ("model.weights=imagenet", "small_cnn is trained from scratch"),
        ("split.ratios=0.7,0.2,0.2", "expected 3 shares from 0 to 1 that sum to 1"),
        ("split.folds=1", "1 folds: expected 0 for none, or 2 and more"),
    ],
)
def test_a_name_or_setting_that_no_run_could_use_is_refused_in_one_line(override, line):
    config = load_config("cmmd_classification", overrides=[override])
    with pytest.raises(UsageError) as caught:
        resolve_config(config, None)
    assert line in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_auc_of_more_than_two_classes_is_the_macro_average_of_its_head_alone():
    gates = (
        '[{"metric": "auc", "head": "abnormality", "lower_bound": 0.5},'
        ' {"metric": "auc", "head": "malignancy", "lower_bound": 0.6},'
        ' {"metric": "accuracy", "head": "abnormality", "lower_bound": 0.4}]'
    )
    config = load_config("cmmd_classification", overrides=[f"evaluation.gates={gates}"])
    *resolved, _ = resolve_config(config, None).evaluation.gates
    assert [gate.metric for gate in resolved] == ["macro_auc", "auc", "accuracy"]
    assert [gate.lower_bound for gate in resolved] == [0.5, 0.6, 0.4]


def test_every_model_must_answer_more_than_one_class_unless_the_config_says_otherwise():
    required = Gate("answered_classes", "malignancy", 2.0)
    for overrides in ([], ["evaluation.gates=[]"]):
        config = load_config("cmmd_classification", overrides=overrides)
        resolved = resolve_config(config, None)
        assert resolved.evaluation.gates == (*config.evaluation.gates, required)
        assert resolve_config(resolved, None) == resolved
        assert str(required) == "malignancy: 2 or more classes are the answer to some case"
    without = load_config("cmmd_classification", overrides=['evaluation.bless_without=["answered_classes"]'])
    assert resolve_config(without, None).evaluation.gates == without.evaluation.gates


def test_classes_come_from_the_data_set_where_a_head_names_none_and_keep_its_weight():
    heads = 'model.heads=[{"name": "abnormality", "weight": 0.3}, {"name": "malignancy"}]'
    overrides = [heads, "evaluation.gates=[]"]
    resolved = resolve_config(load_config("cmmd_classification", overrides=overrides), None)
    targets = find_data_set("cmmd").targets
    assert [(head.name, head.classes, head.weight) for head in resolved.model.heads] == [
        ("abnormality", tuple(targets["abnormality"]), 0.3),
        ("malignancy", tuple(targets["malignancy"]), 1.0),
    ]


def test_classes_that_only_the_data_tell_need_the_data():
    with pytest.raises(UsageError, match="only the data of folder tell its classes; give --data DIR or set"):
        resolve_config(load_config("folder_classification"), None)


def test_a_protocol_selects_by_a_column_that_the_run_keeps():
    overrides = ["evaluation.slices=laterality", "evaluation.gates=[]", "evaluation.protocols=P2"]
    with pytest.raises(UsageError, match="P2 counts cases by 'source', which the run does not keep"):
        resolve_config(load_config("cmmd_classification", overrides=overrides), None)
    kept = [*overrides, "evaluation.slices=laterality,source"]
    assert resolve_config(load_config("cmmd_classification", overrides=kept), None).columns == (
        "laterality",
        "source",
    )


def test_a_task_that_the_data_set_has_no_targets_for_is_refused(monkeypatch):
    monkeypatch.setattr(medimg.tasks, "list_tasks", lambda: ["classification", "segmentation"])
    with pytest.raises(UsageError, match="task: found 'segmentation', expected 'classification'"):
        resolve_config(load_config("cmmd_demo", overrides=["task=segmentation"]), None)


def test_a_folders_own_columns_are_known_from_its_data_alone(tmp_path):
    find_data_set("folder").write_phantom(tmp_path, cases=6, seed=0)
    column = next(iter(find_data_set("folder").list_columns(tmp_path)))
    named = ['model.heads.0.classes=["a", "b"]', f"evaluation.slices={column}"]
    with pytest.raises(UsageError, match=f"whether there is a column '{column}'; give --data DIR"):
        resolve_config(load_config("folder_classification", overrides=named), None)
    right = load_config("folder_classification", overrides=named[1:])
    assert resolve_config(right, tmp_path).columns == (column,)
    wrong = load_config("folder_classification", overrides=[f"evaluation.slices={column}s"])
    with pytest.raises(UsageError, match=f"no clinical column '{column}s'; did you mean '{column}'"):
        resolve_config(wrong, tmp_path)


@pytest.mark.parametrize("override", ["model.roles=CC,MLOO", "task=clasification"])
def test_run_tune_and_compile_refuse_it_alike_and_leave_nothing_behind(tmp_path, override):
    data, to = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    config = load_config("cmmd_demo", overrides=[override])
    with pytest.raises(UsageError, match="did you mean"):
        run_config(config, RunRequest(data_root=data, to=to))
    with pytest.raises(UsageError, match="did you mean"):
        tune_config(plan_search("cmmd_demo", [override]), RunRequest(data_root=data, to=to))
    with pytest.raises(UsageError, match="did you mean"):
        compile_config(config, CompileRequest(("registry/medimg:1",), "minio://bucket/root"))
    assert not to.exists()


def test_a_missing_file_of_weights_is_refused_before_the_data_are_read(tmp_path):
    config = load_config("cmmd_demo", overrides=["model.backbone=ResNet50", "model.weights=nowhere.h5"])
    with pytest.raises(UsageError, match=r"model\.weights: no file nowhere\.h5"):
        run_config(config, RunRequest(data_root=tmp_path, to=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def test_checking_a_config_imports_no_tensorflow():
    code = (
        "import sys; from pipeline.config.overrides import load_config; "
        "from pipeline.config.resolve import resolve_config; resolve_config(load_config('cmmd_demo'), None); "
        "print([name for name in ('tensorflow', 'keras', 'tfx', 'apache_beam') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
