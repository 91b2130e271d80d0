"""The config as a report shows it."""

from __future__ import annotations

from components.report_gen.run_facts import flatten, without_folders


def test_a_file_of_weights_is_shown_without_its_folder():
    config = {"name": "a", "model": {"weights": "/elsewhere/b0.h5", "width": 8}}
    shown = dict(flatten(without_folders(config)))
    assert shown == {"name": "a", "model.weights": "b0.h5", "model.width": "8"}
    assert without_folders({"model": {"weights": None}}) == {"model": {"weights": None}}
