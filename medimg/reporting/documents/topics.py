"""Answers: what a run knows of itself in sentences, by topic, for model card, data sheet and checklists."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from medimg.evaluation.protocols import find_protocols
from medimg.reporting.metric_names import describe_tuning
from medimg.reporting.rendering import make_environment
from medimg.reporting.report_data import ReportData
from medimg.reporting.sections.shared.data import STATUSES, describe_flow
from medimg.reporting.sections.shared.literature import list_comparable

TOPICS: Mapping[str, str] = yaml.safe_load(
    (Path(__file__).parents[1] / "templates" / "topics.yaml").read_text(encoding="utf-8")
)
UNKNOWN = "not known to this program"
DRAWN = (
    "The images are drawn by a program: the figures say that the machinery works, and nothing about medicine."
)


def fill_topics(data: ReportData) -> dict[str, str]:
    """Topic to sentences, without the topics that nothing is known of."""
    environment = make_environment(autoescape=False, group_noun=data.facts.group_noun)
    values = list_values(data)
    answers = {
        topic: " ".join(environment.from_string(text).render(values).split())
        for topic, text in TOPICS.items()
    }
    return {topic: text for topic, text in answers.items() if text}


def list_values(data: ReportData) -> dict[str, Any]:
    """What the templates of the answers may name."""
    facts = data.facts
    literature = facts.literature
    flow = describe_flow(facts.summary)

    def keys(*names: str) -> str:
        """`name value` of those config keys that the run has."""
        return ", ".join(f"{name} {facts.config[name]}" for name in names if name in facts.config)

    return {
        "facts": facts,
        "figures": data.figures,
        "headline": data.headline,
        "explanations": data.explanations,
        "checks": data.checks,
        "protocols": find_protocols(facts.protocols),
        "published": literature.figures,
        "comparable": list_comparable(data),
        "limits": literature.limits,
        "sheet": literature.sheet,
        "flow": flow,
        "flow_words": " ".join(
            f"Of {total} {what}: {', '.join(f'{counts[one]} {one}' for one in STATUSES)}."
            for what, total, counts in flow["inputs"]
        ),
        "drawn": DRAWN if facts.synthetic else "",
        "heads": "; ".join(f"{head} ({', '.join(classes)})" for head, classes in facts.heads.items()),
        "keys": keys,
        "tuning": describe_tuning(facts.config),
        "section": lambda section: keys(*(name for name in facts.config if name.startswith(f"{section}."))),
    }
