import io
import itertools
import re

import numpy as np
import pytest
from PIL import Image

from medimg.reporting.charts.base import GUIDE, NEGATIVE, POSITIVE
from medimg.reporting.sections.classification.misclassifications import list_misclassifications
from medimg.reporting.sections.classification.predicted_cases import embed_images
from medimg.reporting.sections.shared.slices import judge_slices
from tests.unit.evaluation.predictions import HEADS, draw_predictions
from tests.unit.reporting.report_data import (
    SUMMARY,
    drawn_figures,
    drawn_predictions,
    make_facts,
    make_report_data,
    plain_page,
    render,
)


def make_png(dtype=np.uint8, shape=(40, 30)):
    buffer = io.BytesIO()
    Image.fromarray(np.arange(np.prod(shape), dtype=dtype).reshape(shape)).save(buffer, "PNG")
    return buffer.getvalue()


def test_the_data_of_a_fetch_are_named_with_source_version_licence_and_doi():
    row = {
        "collection": "cmmd",
        "source": "idc",
        "version": "24",
        "licence": "CC BY 4.0",
        "doi": "10.7937/tcia.eqde-4b16",
        "files": 5203,
    }
    page = render(
        summary={**SUMMARY, "provenance": [row, {**row, "source": "a <PACS>", "doi": "", "version": ""}]}
    )
    assert (
        "data: cmmd from idc, version 24, CC BY 4.0, doi 10.7937/tcia.eqde-4b16, 5,203 files with a receipt"
        in page
    )
    assert "data: cmmd from a &lt;PACS&gt;, CC BY 4.0, 5,203 files with a receipt" in page
    assert "with a receipt" not in plain_page()


def render_first(**changes):
    page = render(**changes)
    return page[: page.index("</section>")]


def test_the_first_screen_says_how_good_on_whom_and_which_gate_failed():
    first = render_first(blessed=False, gates=[("auc at least 0.99", False), ("auc at least 0.5", True)])
    assert f"{drawn_figures()[0].value:.3f}" in first
    assert re.search(r"300 breasts, \d+ positive, of 150 patients", first)
    assert "Not blessed" in first
    assert "✗ failed: auc at least 0.99" in first
    assert "✓ passed: auc at least 0.5" in first


@pytest.mark.parametrize(
    ("blessed", "words"), [(True, "✓ Blessed"), (False, "✗ Not blessed"), (None, "Not gated")]
)
def test_the_verdict_has_three_outcomes(blessed, words):
    assert words in render(blessed=blessed)


def test_the_file_asks_for_nothing_from_outside():
    page = plain_page()
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?\s*(?:https?:)?//""", page)
    assert "default-src 'none'" in page


def test_user_text_is_escaped_in_page_and_charts():
    evil = "<script>alert(1)</script>"
    heads = {"malignancy": ("Benign", "Malignant")}
    table = draw_predictions().assign(clinical_source=evil)
    page = render(
        predictions=table,
        title=evil,
        heads=heads,
        gates=[(evil, False)],
        blessed=False,
        warnings=[evil],
        config={evil: evil},
    )
    assert evil not in page
    assert page.count("<script>") == 1


def test_class_names_with_dollars_and_backslashes_are_drawn_as_they_are():
    heads = {"malignancy": ("a$b", r"c\1$d")}
    table = draw_predictions().rename(
        columns={"p_malignancy_Benign": "p_malignancy_a$b", "p_malignancy_Malignant": r"p_malignancy_c\1$d"}
    )
    table["label_malignancy"] = table.label_malignancy.map(
        dict(zip(("Benign", "Malignant"), heads["malignancy"], strict=True))
    )
    assert r"probability of c\1$d" in render(predictions=table, heads=heads, protocols=["cases"], slices=[])


def test_every_chart_has_words_for_those_who_cannot_see_it_and_no_id_occurs_twice():
    page = plain_page()
    charts = re.findall(r"<svg[^>]*>", page)
    assert len(charts) >= 6
    assert all('role="img"' in chart and "aria-label=" in chart for chart in charts)
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_the_way_of_the_data_is_told_with_counts_and_reasons():
    page = plain_page()
    for words in ("640", "600", "same pixels as D1-1292-L", "D1-0808-L", "137", "PatientAge 045Y"):
        assert words in page


def test_of_each_confused_pair_the_most_confident_mistakes_are_shown_with_their_images(tmp_path):
    predictions = drawn_predictions()
    mistakes = list_misclassifications(predictions, make_facts())
    for called, score in (
        ("Malignant", predictions.p_malignancy_Malignant),
        ("Benign", predictions.p_malignancy_Benign),
    ):
        wrong = score[(score >= 0.5) & (predictions.label_malignancy != called)]
        shown = [mistake.probability for mistake in mistakes if mistake.predicted == called]
        assert shown == pytest.approx(sorted(wrong, reverse=True)[:4])
    for role, dtype in (("CC", np.uint8), ("MLO", np.uint16)):
        (tmp_path / f"{role}.png").write_bytes(make_png(dtype))
    page = render(gallery={mistakes[0].case_id: {role: tmp_path / f"{role}.png" for role in ("CC", "MLO")}})
    assert page.count("data:image/png;base64,") == 2
    assert f'alt="{mistakes[0].case_id}, CC"' in page


def test_a_sixteen_bit_image_keeps_its_range_and_a_large_one_becomes_small():
    import base64

    ramp = np.linspace(0, 65535, 700 * 20).reshape(700, 20).astype(np.uint16)
    buffer = io.BytesIO()
    Image.fromarray(ramp).save(buffer, "PNG")
    ((role, address),) = embed_images({"CC": buffer.getvalue()})
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(address.split(",")[1]))))
    assert role == "CC"
    assert max(shown.shape) == 320
    assert (shown.min() < 3, shown.max() > 252, shown.dtype) == (True, True, np.uint8)


def test_a_slice_is_weak_only_if_its_whole_interval_is_below_the_overall_value():
    table = draw_predictions(patients=300)
    flipped = (table.clinical_source == "D1") & (table.clinical_laterality == "L")
    table.loc[flipped, ["p_malignancy_Benign", "p_malignancy_Malignant"]] = table.loc[
        flipped, ["p_malignancy_Malignant", "p_malignancy_Benign"]
    ].to_numpy()
    judged = judge_slices(
        make_report_data(
            predictions=table, heads=HEADS, protocols=["P1"], slices=["laterality", "age_band"], resamples=100
        )
    )
    assert [figure.slice for figure in judged["weak"]] == ["laterality=L"]


def test_a_test_split_without_cases_still_gives_a_report():
    page = render(predictions=draw_predictions().assign(split="train"), summary={})
    assert "no value" in page
    assert "No catalogue summary was given." in page


def test_figures_of_two_protocols_stand_in_two_columns():
    data = make_report_data()
    page = plain_page()
    table = page[page.index("<table") : page.index("</table>")]
    assert [re.sub("<.*", "", head) for head in re.findall(r'<th scope="col"[^>]*>(.*?)</th>', table)] == [
        "metric",
        "P1",
        "P4",
    ]
    row = re.search(r'<th scope="row">AUC</th>(.*?)</tr>', table, re.DOTALL)[1]
    wanted = [one.value for one in data.overall("malignancy") if one.name == "auc"]
    assert [float(value) for value in re.findall(r'<td class="number">([0-9.]+)', row)] == pytest.approx(
        wanted, abs=5e-4
    )


def test_many_slices_come_with_a_word_on_chance():
    page = render(predictions=draw_predictions(patients=60), slices=["source", "laterality"])
    assert re.search(r"\d+ intervals at 95 %", page)
    assert "intervals at 95 %" not in render(slices=[])


def test_published_figures_of_an_equal_protocol_stand_beside_the_run_and_others_apart_with_the_reason():
    page = plain_page()
    beside = page[page.index("Compared with what is published</h2>") : page.index("do not compare, and why")]
    apart = page[page.index("do not compare, and why") :]
    assert "source and age" in beside
    assert "protocol P3, which the run was not measured under" in apart
    assert "63 patients are in two splits" in apart


def test_drawn_images_are_compared_with_nothing_published():
    assert "No published figure was measured like this run" in render(synthetic=True)
    assert "source and age (trivial" not in render_first(synthetic=True)


def luminance(colour):
    """Relative luminance of WCAG 2.2."""
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    lighter, darker = sorted((luminance(one), luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def test_text_has_the_contrast_of_wcag_aa_on_every_background_and_charts_that_of_graphics():
    page = plain_page()
    colours = dict(re.findall(r"--(\w+): (#[0-9a-f]{6})", page))
    backgrounds = ["#ffffff", colours["pale"]]
    for name in ("ink", "soft", "good", "bad", "accent"):
        assert min(contrast(colours[name], background) for background in backgrounds) >= 4.5, name
    notice = re.search(r"\.notice \{ background: (#\w+).*?color: (#\w+)", page)
    assert contrast(*notice.groups()) >= 4.5
    for colour in (POSITIVE, NEGATIVE, GUIDE):
        assert contrast(colour, "#ffffff") >= 3


def test_every_colour_of_the_style_is_one_that_the_contrast_was_checked_of():
    style = re.search(r"<style>(.*?)</style>", plain_page(), re.DOTALL)[1]
    rules = style.replace(re.search(r":root \{.*?\}", style)[0], "").replace(
        re.search(r"\.notice \{.*?\}", style)[0], ""
    )
    assert set(re.findall(r"#[0-9a-f]{3,6}\b", rules)) <= {"#fff", "#000"}


def test_headings_are_in_order_and_every_table_and_image_can_be_reached_without_a_mouse():
    page = plain_page()
    levels = [int(level) for level in re.findall(r"<h([1-6])", page)]
    assert levels[0] == 1
    assert all(later <= earlier + 1 for earlier, later in itertools.pairwise(levels))
    assert all(
        'tabindex="0"' in one and "aria-label" in one
        for one in re.findall(r'<div class="scroll"[^>]*>', page)
    )
    assert '<html lang="en">' in page


def test_the_page_can_be_read_without_its_script():
    without, _ = plain_page().split("<script>")
    assert "<button" not in without
    assert "AUC" in without


def test_a_note_that_all_figures_of_a_protocol_share_is_told_once():
    page = render(
        protocols=["P4"],
        slices=[],
        predictions=draw_predictions(patients=8),
        heads={"malignancy": HEADS["malignancy"]},
    )
    table = page[page.index("<table") : page.index("</table>")]
    assert "no interval:" not in table
    assert page.count("P4: no interval: 8 groups") == 1
