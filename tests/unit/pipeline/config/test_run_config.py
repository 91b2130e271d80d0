"""A config is complete, typed, and says clearly what is wrong with a key or a value."""

import json
import subprocess
import sys

import pytest

from medimg.errors import UsageError
from pipeline.config.overrides import (
    all_keys,
    from_plain,
    list_configs,
    list_keys,
    load_config,
    parse_value,
    read_keys,
    to_plain,
)
from pipeline.config.resolve import resolve_config


@pytest.mark.parametrize("name", list_configs())
def test_a_config_survives_the_way_through_json(name):
    config = load_config(name)
    assert from_plain(json.loads(json.dumps(to_plain(config)))) == config


@pytest.mark.parametrize("name", list_configs())
def test_a_config_is_named_like_its_file_in_kebab_case(name):
    assert load_config(name).name == name.replace("_", "-")


def test_an_override_replaces_one_value_and_leaves_the_rest():
    plain = load_config("cmmd_classification")
    changed = load_config(
        "cmmd_classification",
        overrides=["model.image_size=64,52", "training.epochs=2", "model.clinical_inputs=age_years"],
    )
    assert changed.model.image_size == (64, 52)
    assert changed.training.epochs == 2
    assert changed.model.clinical_inputs == ("age_years",)
    assert changed.evaluation == plain.evaluation
    gates = load_config(
        "cmmd_classification", overrides=["evaluation.gates.1.lower_bound=0.65"]
    ).evaluation.gates
    assert [gate.lower_bound for gate in gates] == [
        plain.evaluation.gates[0].lower_bound,
        0.65,
        plain.evaluation.gates[2].lower_bound,
    ]


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("model.image_sise=64,52", "did you mean 'model.image_size'?"),
        ("imagesize=3", "image_size"),
        ("training.epochs=many", "training.epochs"),
        ("model.image_size=64", "model.image_size"),
        ("model.fusion=sum", "model.fusion"),
        ("training", "expected key=value"),
        ("training.epochs=-1", "training.epochs"),
        ("training.seed=-1", "training.seed"),
        ("model.image_size=0,0", "model.image_size"),
        ("training.epochs.more=1", "no such config key"),
        ("evaluation.gates.7.lower_bound=0.5", "no such config key"),
        (
            'evaluation.gates=[{"metric": "auc", "head": "malignancy", "lower_bound": 0.5, '
            '"slise": "source=D1"}]',
            "did you mean 'evaluation.gates.0.slice'?",
        ),
        (
            'model.heads=[{"name": "malignancy", "clases": ["Benign", "Malignant"]}]',
            "did you mean 'model.heads.0.classes'?",
        ),
        ('training.augmentation={"rotate": 5}', "training.augmentation.rotate_degrees"),
    ],
)
def test_a_wrong_override_is_refused_in_one_line_that_names_the_key(override, words):
    with pytest.raises(UsageError) as caught:
        load_config("cmmd_classification", overrides=[override])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


TUNING = {
    "objective": "malignancy/auc",
    "score": 0.9,
    "trials": 3,
    "failed": 0,
    "oracle": "random",
    "seed": 0,
}


def write_settings(path, content):
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return f"@{path}"


def test_settings_may_come_from_a_file_and_later_ones_win(tmp_path):
    file = write_settings(tmp_path / "best.json", {"model.image_size": [64, 52], "training.epochs": 2})
    config = load_config("cmmd_classification", overrides=["training.epochs=1", file, "model.dropout=0.3"])
    assert (config.model.image_size, config.training.epochs, config.model.dropout) == ((64, 52), 2, 0.3)
    assert load_config("cmmd_classification", overrides=[file, "training.epochs=1"]).training.epochs == 1


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"training.epoch": 2}, "training.epoch: no such config key; did you mean 'training.epochs'?"),
        ({"training.epochs": "many"}, "config key training.epochs"),
        ("{", "expected a JSON file of settings"),
        ([1], "found a list, expected a JSON object"),
        (None, "No such file or directory, expected a JSON file of settings"),
    ],
)
def test_a_wrong_file_of_settings_is_refused_in_one_line_that_names_it(tmp_path, content, words):
    file = (
        write_settings(tmp_path / "best.json", content)
        if content is not None
        else f"@{tmp_path / 'absent.json'}"
    )
    with pytest.raises(UsageError) as caught:
        load_config("cmmd_classification", overrides=[file])
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_config_that_names_a_search_has_what_the_search_has_chosen(tmp_path):
    chosen = {"training.learning_rate": 0.003, "model.image_size": [64, 52]}
    file = write_settings(tmp_path / "best.json", {**chosen, "tuning": {"chosen": chosen, **TUNING}})
    config = load_config("cmmd_classification", overrides=[file])
    assert config.tuning.trials == 3
    assert from_plain(json.loads(json.dumps(to_plain(config)))) == config
    with pytest.raises(
        UsageError, match=r"training.learning_rate: found 0.1, expected 0.003, which a search has chosen"
    ):
        load_config("cmmd_classification", overrides=[file, "training.learning_rate=0.1"])
    assert (
        load_config(
            "cmmd_classification", overrides=[file, "training.learning_rate=0.1", "tuning=null"]
        ).tuning
        is None
    )


def test_an_unknown_config_names_the_nearest():
    with pytest.raises(UsageError, match="did you mean 'cmmd_classification'"):
        load_config("cmmd_clasification")


def test_only_the_columns_that_the_config_names_are_written():
    config = load_config("folder_classification")
    assert config.columns == ()
    assert load_config(
        "folder_classification", overrides=["model.clinical_inputs=age", "evaluation.slices=scanner,age"]
    ).columns == (
        "age",
        "scanner",
    )


def test_the_command_line_starts_without_tensorflow():
    heavy = ("tensorflow", "tfx", "apache_beam", "pandas", "numpy")
    code = f"import cli.app, sys; print([name for name in {heavy} if name in sys.modules])"
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (
            ["training.class_weights=true", "training.sampling=balanced"],
            "found class_weights=true and sampling=balanced",
        ),
        (
            ['evaluation.costs=[{"head": "diagnosis", "matrix": {"mel": {"nv": 20}}}]'],
            r"training\.logit_adjustment=post_hoc makes probabilities as if all classes were equally",
        ),
    ],
)
def test_settings_that_contradict_each_other_are_refused_before_a_run_begins(overrides, words):
    with pytest.raises(UsageError, match=words):
        resolve_config(load_config("ham10000_small_cnn", overrides=overrides), None)


def test_costs_and_the_absence_of_an_adjustment_can_be_given_on_the_command_line():
    overrides = [
        "training.logit_adjustment=none",
        'evaluation.costs=[{"head": "diagnosis", "matrix": {"mel": {"nv": 20}}}]',
    ]
    config = resolve_config(load_config("ham10000_adjusted", overrides=overrides), None)
    assert config.training.prevalence == "train"
    assert config.evaluation.costs[0].matrix == {"mel": {"nv": 20}}


OLD_KEYS = {
    "evaluation.mapped": "evaluation.embedded_cases",
    "evaluation.explained": "evaluation.explained_cases",
    "evaluation.checked": "evaluation.saliency_checked_cases",
}


@pytest.mark.parametrize(("old", "new"), OLD_KEYS.items())
def test_a_key_of_an_earlier_version_is_taken_with_a_line_that_names_the_present_one(
    tmp_path, capsys, old, new
):
    expected = load_config("cmmd_demo", overrides=[f"{new}=7"])
    assert capsys.readouterr().out == ""
    file = write_settings(tmp_path / "best.json", {old: 7})
    for override in (f"{old}=7", f" {old} = 7", file):
        assert load_config("cmmd_demo", overrides=[override]) == expected
        [line] = capsys.readouterr().out.splitlines()
        assert line.endswith(f"{old} as {new}")
    assert list_keys([f"{old}=7"]) == list_keys([file]) == [new]


def test_a_config_of_an_earlier_version_is_read_with_one_line_for_all_its_keys(capsys):
    values = to_plain(load_config("cmmd_demo"))
    for old, new in OLD_KEYS.items():
        section, name = new.split(".")
        values[section][old.split(".")[1]] = values[section].pop(name)
    assert from_plain(values) == load_config("cmmd_demo")
    [line] = capsys.readouterr().out.splitlines()
    assert all(f"{old} as {new}" in line for old, new in OLD_KEYS.items())


@pytest.mark.parametrize("key", ["evaluation.gates.\u00b2.lower_bound", "evaluation.gates.-1.lower_bound"])
def test_a_position_that_is_no_number_is_no_key(key):
    with pytest.raises(UsageError, match="no such config key"):
        load_config("cmmd_demo", overrides=[f"{key}=0.5"])


@pytest.mark.parametrize(
    ("text", "like", "value"),
    [
        ("none", "x", None),
        (" Null ", 3, None),
        ("true", False, True),
        ("True", False, True),
        ("FALSE", True, False),
        ("0", 1, 0),
        ("1e-3", 1.0, 0.001),
        ("a,b", "x", "a,b"),
        ("a,b", ["x"], ["a", "b"]),
        ("a, b,", [], ["a", "b"]),
        ("", ["x"], []),
        ("", "x", ""),
        ("1,2", [3], [1, 2]),
        ("[1, 2]", [3], [1, 2]),
        ('{"a": 1}', {}, {"a": 1}),
        ("9" * 5000, 1, "9" * 5000),
    ],
)
def test_a_value_is_read_as_json_as_a_list_or_as_text(text, like, value):
    assert parse_value(text, like=like) == value


def test_only_the_first_equals_sign_parts_key_from_value():
    config = load_config("cmmd_demo", overrides=["evaluation.gates.1.slice=source=D2"])
    assert config.evaluation.gates[1].slice == "source=D2"


def test_keys_of_items_have_their_position_and_items_without_keys_have_none():
    values = {"a": 1, "b": [{"c": 2}, {"c": 3}], "d": ["x", "y"], "e": {"f": None}}
    assert all_keys(values) == ["a", "b", "b.0.c", "b.1.c", "d", "e", "e.f"]


def test_keys_that_a_file_sets_are_listed_with_those_of_the_command_line(tmp_path):
    file = write_settings(tmp_path / "best.json", {"model.width": 8, "training.epochs": 2})
    assert list_keys([" training.seed = 1", file]) == ["training.seed", "model.width", "training.epochs"]
    assert read_keys(load_config("cmmd_demo"), ["model.image_size", "evaluation.gates.0.head"]) == {
        "model.image_size": [128, 104],
        "evaluation.gates.0.head": "malignancy",
    }


def test_a_component_gets_its_own_resources_or_those_of_all():
    trainer = '{"Trainer": {"cpu": 8, "gpus": 1}}'
    deployment = load_config(
        "cmmd_demo",
        overrides=[f"deployment.components={trainer}", "deployment.default.cpu=3", "deployment.extra=idc"],
    ).deployment
    assert (deployment.of("Trainer").cpu, deployment.of("Pusher").cpu) == (8, 3)
    assert deployment.of("Trainer").memory_gb == 8
    assert (deployment.extra_of("Trainer"), deployment.extra_of("Pusher")) == ("gpu", "idc")
