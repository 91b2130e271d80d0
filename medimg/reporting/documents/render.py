"""The documents beside the report: model card, data sheet and reporting checklists, as Markdown."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pydantic
import yaml

from medimg.evaluation.figures import Figure
from medimg.reporting.documents.topics import UNKNOWN, fill_topics, list_values
from medimg.reporting.metric_names import name_metric
from medimg.reporting.rendering import make_environment
from medimg.reporting.report_data import ReportData
from medimg.reporting.sections.shared.data import STATUSES

CHECKLISTS = Path(__file__).parents[1] / "checklists"
TASKS = {
    "classification": "image-classification",
    "detection": "object-detection",
    "segmentation": "image-segmentation",
}
"""Names of the Hugging Face Hub for our tasks."""


@dataclass(frozen=True)
class Item:
    """One item of a checklist.

    Attributes:
        number: the checklist's own.
        asks: what it asks for, in our words.
        topic: of medimg.reporting.documents.topics; empty where a run can know nothing of it.
    """

    number: str
    asks: str
    topic: str = ""


@dataclass(frozen=True)
class Checklist:
    """A reporting guideline."""

    title: str
    source: str
    items: tuple[Item, ...]


@cache
def read_checklists() -> tuple[Checklist, ...]:
    """TRIPOD+AI and CLAIM."""
    files = (CHECKLISTS / "tripod_ai.yaml", CHECKLISTS / "claim.yaml")
    return tuple(
        pydantic.TypeAdapter(Checklist).validate_python(yaml.safe_load(file.read_text(encoding="utf-8")))
        for file in files
    )


def render_model_card(data: ReportData) -> str:
    """model_card.md: the front matter of the Hugging Face Hub, and the sections of Mitchell et al. (2019)."""
    front = yaml.safe_dump(make_front_matter(data), sort_keys=False, allow_unicode=True, width=150)
    return render("model_card.md.j2", data, front_matter=front, citation=data.facts.literature.citation)


def render_data_sheet(data: ReportData) -> str:
    """data_sheet.md: of the data of this run, under the headings of Gebru et al. (2021)."""
    facts = data.facts
    title = facts.literature.title or facts.summary.get("title") or facts.data_set
    return render("data_sheet.md.j2", data, statuses=STATUSES, title=title)


def render_checklist(data: ReportData) -> str:
    """checklist.md: TRIPOD+AI (2024) and CLAIM (2024), each item filled from what the run knows."""
    return render("checklist.md.j2", data, checklists=read_checklists())


def render(template: str, data: ReportData, **values: object) -> str:
    """A Markdown template with the topics as `known`."""
    environment = make_environment(autoescape=False, group_noun=data.facts.group_noun)
    shared = {**list_values(data), "known": fill_topics(data), "unknown": UNKNOWN}
    return environment.get_template(template).render(**shared, **values)


def make_front_matter(data: ReportData) -> dict[str, object]:
    """Metadata as the Hub reads them.

    Its `license` is the model's, which is for the trainer to choose; that of the data stands beside.
    """
    facts = data.facts
    task = TASKS.get(str(facts.config.get("task")), "image-classification")
    figures = [
        figure for head in facts.heads for figure in data.overall(head) if not math.isnan(figure.value)
    ]
    results = {
        "task": {"type": task, "name": facts.title},
        "dataset": {
            "type": facts.data_set,
            "name": facts.summary.get("title") or facts.data_set,
            "split": facts.split,
        },
        "metrics": [describe_metric(figure) for figure in figures],
    }
    return {
        "license": "unknown",
        "library_name": "keras",
        "pipeline_tag": task,
        "tags": [
            "medical-imaging",
            "tfx",
            "keras",
            facts.data_set,
            *(["synthetic-data"] if facts.synthetic else []),
        ],
        "datasets": [facts.data_set],
        "data_license": facts.licence or "unknown",
        "metrics": list(dict.fromkeys(figure.name for figure in figures)),
        **({"model-index": [{"name": facts.config_name, "results": [results]}]} if figures else {}),
    }


def describe_metric(figure: Figure) -> dict[str, object]:
    """A figure as an entry of `model-index`; its name says under which protocol."""
    name = f"{name_metric(figure.name)}, {figure.head}, protocol {figure.protocol}, {figure.level} level"
    interval = {} if math.isnan(figure.low) else {"low": figure.low, "high": figure.high}
    args = {
        "protocol": figure.protocol,
        "level": figure.level,
        "n": figure.n,
        "groups": figure.groups,
        **interval,
    }
    return {"type": figure.name, "name": name, "value": figure.value, "args": args}


DOCUMENTS: Mapping[str, Callable[[ReportData], str]] = {
    "model_card.md": render_model_card,
    "data_sheet.md": render_data_sheet,
    "checklist.md": render_checklist,
}
