"""Answers: what a run knows of itself in sentences, by topic, for model card, data sheet and checklists."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from medimg.evaluation.protocols import find_protocols
from medimg.reporting.metric_names import describe_tuning
from medimg.reporting.rendering import make_environment
from medimg.reporting.report_data import Evidence
from medimg.reporting.sections.shared.data import STATUSES, describe_flow
from medimg.reporting.sections.shared.literature import list_comparable

ANSWERS: Mapping[str, str] = yaml.safe_load(
    (Path(__file__).parents[1] / "templates" / "answers.yaml").read_text(encoding="utf-8")
)
UNKNOWN = "not known to this program"
DRAWN = (
    "The images are drawn by a program: the figures say that the machinery works, and nothing about medicine."
)


def answer_topics(evidence: Evidence) -> dict[str, str]:
    """Topic to sentences, without the topics that nothing is known of."""
    environment = make_environment(autoescape=False, group_noun=evidence.facts.group_noun)
    values = list_values(evidence)
    answers = {
        topic: " ".join(environment.from_string(text).render(values).split())
        for topic, text in ANSWERS.items()
    }
    return {topic: text for topic, text in answers.items() if text}


def list_values(evidence: Evidence) -> dict[str, Any]:
    """What the templates of the answers may name."""
    facts = evidence.facts
    literature = facts.literature
    flow = describe_flow(facts.summary)

    def keys(*names: str) -> str:
        """`name value` of those config keys that the run has."""
        return ", ".join(f"{name} {facts.config[name]}" for name in names if name in facts.config)

    return {
        "facts": facts,
        "figures": evidence.figures,
        "headline": evidence.headline,
        "explanations": evidence.explanations,
        "checks": evidence.checks,
        "protocols": find_protocols(facts.protocols),
        "published": literature.figures,
        "comparable": list_comparable(evidence),
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
