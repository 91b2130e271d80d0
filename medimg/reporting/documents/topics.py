"""What a run knows of itself in sentences, by topic, for model card, data sheet and checklists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import starmap
from pathlib import Path

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
    filled = {}
    for topic, text in TOPICS.items():
        if words := environment.from_string(text).render(values).split():
            filled[topic] = " ".join(words)
    return filled


def list_values(data: ReportData) -> dict[str, object]:
    """What the templates of the topics may name."""
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
        "flow_words": " ".join(starmap(describe_statuses, flow.inputs)),
        "drawn": DRAWN if facts.synthetic else "",
        "heads": describe_heads(facts.heads),
        "keys": keys,
        "tuning": describe_tuning(facts.config),
        "section": lambda section: keys(*(name for name in facts.config if name.startswith(f"{section}."))),
    }


def describe_statuses(what: str, total: int, counts: Mapping[str, int]) -> str:
    """`Of 320 cases: 300 used, 10 unlabelled, 6 excluded, 4 quarantined`, as a sentence."""
    words = [f"{counts[status]} {status}" for status in STATUSES]
    return f"Of {total} {what}: {', '.join(words)}."


def describe_heads(heads: Mapping[str, Sequence[str]]) -> str:
    """`malignancy (Benign, Malignant); subtype (Luminal A, ...)`."""
    return "; ".join(f"{head} ({', '.join(classes)})" for head, classes in heads.items())
