"""The report: one HTML file that says first how good, on what, compared with what, how sure and where it is weak; then all behind it.

To add a section: a function `describe_<topic>(evidence)` in medimg/reporting/sections/, a template of that
name in templates/sections/, and a line in `list_sections`.
"""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment
from markupsafe import Markup

from medimg.reporting.rendering import make_environment
from medimg.reporting.report_data import Evidence, Section, make_id
from medimg.reporting.sections.classification.misclassifications import describe_mistakes
from medimg.reporting.sections.classification.performance import describe_performance
from medimg.reporting.sections.classification.shortcuts import describe_shortcuts
from medimg.reporting.sections.classification.uncertainty import describe_uncertainty
from medimg.reporting.sections.shared.data import describe_data
from medimg.reporting.sections.shared.explanations import describe_explanations
from medimg.reporting.sections.shared.folds import describe_folds
from medimg.reporting.sections.shared.headline import describe_headline
from medimg.reporting.sections.shared.literature import describe_literature
from medimg.reporting.sections.shared.representation import describe_looks
from medimg.reporting.sections.shared.run import describe_run
from medimg.reporting.sections.shared.slices import describe_slices


def list_sections(evidence: Evidence) -> list[Section]:
    """All sections in the order of the page."""
    heads = evidence.facts.heads
    return [
        describe_headline(evidence),
        *(describe_performance(evidence, head) for head in heads),
        *(describe_folds(evidence, head) for head in heads if evidence.facts.folds),
        describe_shortcuts(evidence),
        describe_literature(evidence),
        *(describe_slices(evidence, head) for head in heads),
        *(describe_uncertainty(evidence, head) for head in heads),
        describe_explanations(evidence),
        describe_mistakes(evidence),
        describe_looks(evidence),
        describe_data(evidence),
        describe_run(evidence),
    ]


def render_page(evidence: Evidence, sections: Sequence[Section]) -> str:
    """The HTML page: needs no network, no server and no script."""
    environment = make_environment(autoescape=True, group_noun=evidence.facts.group_noun)
    first, *others = [
        (make_id(section.title), section, render_section(environment, section)) for section in sections
    ]
    return environment.get_template("report.html.j2").render(
        facts=evidence.facts, first=first[2], sections=others
    )


def render_section(environment: Environment, section: Section) -> Markup:
    """What stands below a section's heading."""
    if section.absent:
        return Markup("<p>{}</p>").format(section.absent)
    template = environment.get_template(f"sections/{section.template}.html.j2")
    return Markup(template.render(charts=section.charts, **section.values))
