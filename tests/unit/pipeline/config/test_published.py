"""The configs that come with the product: figures that people have measured stand on their settings.

A setting that is meant to change is changed in published.json too, which this file writes:
`python -m tests.unit.pipeline.config.test_published`.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pipeline.config.overrides import list_configs, load_config, to_plain

PUBLISHED = Path(__file__).with_name("published.json")


def test_every_config_is_known() -> None:
    assert list(json.loads(PUBLISHED.read_text())) == list_configs()


@pytest.mark.parametrize("name", list_configs())
def test_a_published_config_stays_as_it_is(name: str) -> None:
    assert json.loads(json.dumps(to_plain(load_config(name)))) == json.loads(PUBLISHED.read_text())[name]


if __name__ == "__main__":
    configs = {name: to_plain(load_config(name)) for name in list_configs()}
    PUBLISHED.write_text(json.dumps(configs, indent=1) + "\n")
