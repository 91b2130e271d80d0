"""The run: versions, hashes and the config, to do it again."""

from __future__ import annotations

from medimg.reporting.report_data import ReportData, Section


def describe_run(data: ReportData) -> Section:
    """What it takes to repeat the run."""
    facts = data.facts
    measured = {
        "split": facts.split,
        "protocols": ", ".join(facts.protocols),
        "resamples": facts.resamples,
        "seed": facts.seed,
    }
    parts = {
        "Versions": facts.versions,
        "Hashes": facts.hashes,
        "Measured with": measured,
        "Config": facts.config,
    }
    return Section("The run", "run", {"parts": {title: values for title, values in parts.items() if values}})
