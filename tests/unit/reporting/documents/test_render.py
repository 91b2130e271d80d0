import re

import pytest
import yaml

from medimg.evaluation.figures import format_figure
from medimg.reporting.documents.render import (
    read_checklists,
    render_checklist,
    render_data_sheet,
    render_model_card,
)
from medimg.reporting.documents.topics import TOPICS, UNKNOWN, fill_topics
from medimg.reporting.page import list_sections, render_page
from tests.unit.reporting.report_data import SUMMARY, make_report_data


def read_front_matter(card):
    return yaml.safe_load(card.split("---\n")[1])


def test_the_front_matter_has_each_figure_with_protocol_and_interval():
    data = make_report_data(licence="CC BY 4.0")
    front = read_front_matter(render_model_card(data))
    (results,) = front["model-index"][0]["results"]
    entries = {
        (one["type"], one["args"]["protocol"]): one
        for one in results["metrics"]
        if ", malignancy," in one["name"]
    }
    for figure in data.overall("malignancy"):
        entry = entries[figure.name, figure.protocol]
        assert entry["value"] == pytest.approx(figure.value)
        assert (entry["args"]["low"], entry["args"]["high"]) == pytest.approx((figure.low, figure.high))
    assert (front["data_license"], front["datasets"]) == ("CC BY 4.0", ["cmmd"])


def test_the_card_gives_no_licence_to_the_model():
    assert read_front_matter(render_model_card(make_report_data(licence="CC BY 4.0")))["license"] == "unknown"


@pytest.mark.parametrize("render", [render_model_card, render_data_sheet])
def test_what_is_known_of_a_published_data_set_is_not_said_of_other_images_of_its_layout(render):
    assert "confounded" in render(make_report_data())
    assert "confounded" not in render(make_report_data(summary={**SUMMARY, "is_published": False}))


def test_the_card_shows_the_protocols_in_columns_and_what_the_data_warn_of():
    data = make_report_data()
    card = render_model_card(data)
    row = re.search(r"^\| AUC \|(.*)$", card, re.MULTILINE)[1]
    assert row.split(" | ")[:2] == [
        f" {format_figure(data.overall('malignancy')[0])}",
        f"{format_figure(auc_of(data, 'P4'))} |",
    ]
    assert "confounded with the part of the collection" in card


def auc_of(data, protocol):
    return next(one for one in data.overall("malignancy") if (one.name, one.protocol) == ("auc", protocol))


@pytest.mark.parametrize("render", [render_model_card, render_data_sheet, render_checklist])
def test_documents_of_drawn_images_say_that_they_say_nothing_about_medicine(render):
    assert "nothing about medicine" in render(make_report_data(synthetic=True))
    assert "nothing about medicine" not in render(make_report_data())


@pytest.mark.parametrize("render", [render_model_card, render_data_sheet, render_checklist])
def test_a_run_that_knows_little_says_so_instead_of_guessing(render):
    paper = render(make_report_data(data_set="folder", summary={}))
    assert UNKNOWN in paper
    assert "CMMD_clinical" not in paper


def test_the_data_sheet_has_the_seven_headings_and_the_runs_own_counts():
    sheet = render_data_sheet(make_report_data())
    headings = re.findall(r"^## (.*)$", sheet, re.MULTILINE)
    assert headings == [
        "Motivation",
        "Composition",
        "Collection process",
        "Preprocessing, cleaning, labelling",
        "Uses",
        "Distribution",
        "Maintenance",
    ]
    assert "| cases | 320 | 300 | 10 | 6 | 4 |" in sheet
    assert "same pixels as D1-1292-L (1 case, 0 files)" in sheet


def test_both_checklists_are_whole_and_ask_only_for_topics_that_can_be_answered():
    tripod, claim = read_checklists()
    main = [re.match(r"\d+", item.number)[0] for item in tripod.items]
    assert list(dict.fromkeys(main)) == [str(number) for number in range(1, 28)]
    assert [item.number for item in claim.items] == [str(number) for number in range(1, 45)]
    assert {item.topic for item in (*tripod.items, *claim.items)} - {""} <= set(TOPICS)


def test_a_checklist_counts_only_what_is_filled():
    paper = render_checklist(make_report_data())
    for title, filled, total in re.findall(r"^## (.+): (\d+) of (\d+) items filled$", paper, re.MULTILINE):
        part = paper[paper.index(f"## {title}") :].split("\n## ")[0]
        rows = re.findall(r"^\| \d+\w? \|.*$", part, re.MULTILINE)
        assert len(rows) == int(total)
        assert sum(not row.endswith(f"| {UNKNOWN} |") for row in rows) == int(filled)


def test_text_with_a_bar_stays_in_its_cell():
    paper = render_checklist(make_report_data(title="a | b"))
    assert all(
        len(re.findall(r"(?<!\\)\|", row)) == 4
        for row in re.findall(r"^\| \d+\w? \|.*$", paper, re.MULTILINE)
    )


def test_what_the_config_says_of_the_training_is_told_and_what_it_does_not_is_absent():
    answers = fill_topics(make_report_data(config={"training.epochs": "3", "training.patience": "2"}))
    assert "training.epochs 3" in answers["selection"]
    assert "initialisation" not in answers


def test_page_and_documents_say_which_settings_a_search_has_chosen_and_on_which_split():
    search = {
        "tuning.chosen.model.width": "8",
        "tuning.objective": "malignancy/auc",
        "tuning.score": "0.94444",
        "tuning.trials": "20",
    }
    data = make_report_data(config={"training.epochs": "3", **search, "tuning.failed": "2"})
    words = (
        "Chosen in a search: model.width. The best of 20 trials, 2 of which failed, "
        "by malignancy/auc on the eval split, 0.944 there"
    )
    for text in (
        render_page(data, list_sections(data)),
        render_model_card(data),
        render_checklist(data),
    ):
        assert words in text
    assert "in a search" not in render_model_card(
        make_report_data(config={"training.epochs": "3", "tuning": "None"})
    )
