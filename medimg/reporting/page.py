"""The report: one HTML file.

It says first how good, on what, compared with what, how sure and where it is weak; then all behind it.

To add a section: a function `describe_<topic>(data)` in medimg/reporting/sections/, a template of that
name in templates/sections/, and a line in `list_sections`.
"""

from __future__ import annotations

from collections.abc import Sequence

from jinja2 import Environment
from markupsafe import Markup

from medimg.reporting.rendering import make_environment
from medimg.reporting.report_data import ReportData, Section, make_id
from medimg.reporting.sections.classification.misclassifications import describe_misclassifications
from medimg.reporting.sections.classification.performance import describe_performance
from medimg.reporting.sections.classification.shortcuts import describe_shortcuts
from medimg.reporting.sections.classification.uncertainty import describe_uncertainty
from medimg.reporting.sections.shared.data import describe_data
from medimg.reporting.sections.shared.explanations import describe_explanations
from medimg.reporting.sections.shared.folds import describe_folds
from medimg.reporting.sections.shared.headline import describe_headline
from medimg.reporting.sections.shared.literature import describe_literature
from medimg.reporting.sections.shared.representation import describe_representation
from medimg.reporting.sections.shared.run import describe_run
from medimg.reporting.sections.shared.slices import describe_slices


def list_sections(data: ReportData) -> list[Section]:
    """All sections in the order of the page."""
    heads = data.facts.heads
    sections = [describe_headline(data)]
    sections += [describe_performance(data, head) for head in heads]
    if data.facts.folds:
        sections += [describe_folds(data, head) for head in heads]
    sections += [describe_shortcuts(data), describe_literature(data)]
    sections += [describe_slices(data, head) for head in heads]
    sections += [describe_uncertainty(data, head) for head in heads]
    sections += [
        describe_explanations(data),
        describe_misclassifications(data),
        describe_representation(data),
    ]
    sections += [describe_data(data), describe_run(data)]
    return sections


def render_page(data: ReportData, sections: Sequence[Section]) -> str:
    """The HTML page: needs no network, no server and no script."""
    environment = make_environment(autoescape=True, group_noun=data.facts.group_noun)
    first, *others = [
        (make_id(section.title), section, render_section(environment, section)) for section in sections
    ]
    return environment.get_template("report.html.j2").render(
        facts=data.facts, first=first[2], sections=others
    )


def render_section(environment: Environment, section: Section) -> Markup:
    """What stands below a section's heading."""
    if section.absent:
        return Markup("<p>{}</p>").format(section.absent)
    template = environment.get_template(f"sections/{section.template}.html.j2")
    return Markup(template.render(charts=section.charts, **section.values))
