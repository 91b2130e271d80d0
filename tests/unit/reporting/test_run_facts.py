import dataclasses
import json

import pytest

from medimg.errors import UsageError
from medimg.reporting.run_facts import RENAMED_KEYS, describe_renamed, read_facts, rename_keys, write_facts
from tests.unit.reporting.report_data import make_facts

OLD_NAMES = {present: old for old, present in RENAMED_KEYS.items()}


def write_old_facts(folder, facts):
    """facts.json as it was before the config's keys were renamed."""
    folder.mkdir(parents=True, exist_ok=True)
    write_facts(folder, facts)
    path = folder / "facts.json"
    values = json.loads(path.read_text(encoding="utf-8"))
    values["config"] = {OLD_NAMES.get(key, key): value for key, value in values["config"].items()}
    path.write_text(json.dumps(values), encoding="utf-8")


def test_dotted_keys_of_an_earlier_version_are_renamed_in_place():
    values, found = rename_keys({"name": "a", "evaluation.mapped": "3", "split.by": "case"})
    assert list(values.items()) == [("name", "a"), ("evaluation.embedded_cases", "3"), ("split.by", "case")]
    assert found == ["evaluation.mapped"]


def test_nested_keys_of_an_earlier_version_are_renamed_where_the_whole_path_is_theirs():
    values, found = rename_keys({"evaluation": {"checked": 4, "gates": []}, "model": {"checked": 5}})
    assert values == {"evaluation": {"saliency_checked_cases": 4, "gates": []}, "model": {"checked": 5}}
    assert found == ["evaluation.checked"]


@pytest.mark.parametrize("order", [1, -1])
def test_the_present_name_of_a_key_wins(order):
    both = [("evaluation.explained", 1), ("evaluation.explained_cases", 2)][::order]
    assert rename_keys(dict(both)) == ({"evaluation.explained_cases": 2}, ["evaluation.explained"])


def test_present_keys_stay_without_a_word():
    values = {"evaluation.embedded_cases": "3", "evaluation": {"seed": 0}}
    assert rename_keys(values) == (values, [])
    assert describe_renamed([]) == ""


def test_every_renamed_key_is_named_once_in_one_line():
    line = describe_renamed(["evaluation.mapped", "evaluation.checked", "evaluation.mapped"])
    assert line.count("evaluation.mapped as evaluation.embedded_cases") == 1
    assert line.count("evaluation.checked as evaluation.saliency_checked_cases") == 1
    assert "\n" not in line


def test_facts_of_an_earlier_version_are_those_of_today(tmp_path):
    facts = make_facts(config={"evaluation.explained_cases": "2", "split.by": "group"})
    write_old_facts(tmp_path, facts)
    read = read_facts(tmp_path)
    assert read.config == facts.config
    assert read.renamed == ["evaluation.explained"]
    write_facts(tmp_path, read)
    assert "renamed" not in json.loads((tmp_path / "facts.json").read_text())
    assert read_facts(tmp_path) == dataclasses.replace(read, renamed=[])


def test_a_config_that_is_no_mapping_is_no_report(tmp_path):
    write_old_facts(tmp_path, make_facts())
    path = tmp_path / "facts.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "config": ["evaluation.mapped"]}))
    with pytest.raises(UsageError, match="expected the report of a finished run"):
        read_facts(tmp_path)
