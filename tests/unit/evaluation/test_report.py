import io
import re

import numpy as np
import pytest
from PIL import Image

from medimg.evaluation.figures import measure
from medimg.evaluation.gallery import choose_mistakes, embed_images
from medimg.evaluation.protocols import find_protocols
from medimg.evaluation.report import RunFacts, judge_slices, write_report
from tests.unit.evaluation.predictions import HEADS, draw_predictions

SUMMARY = {
    "input": {"images": 640, "cases": 320},
    "images": {"used": 600, "unlabelled": 20, "excluded": 12, "quarantined": 8},
    "cases": {"used": 300, "unlabelled": 10, "excluded": 6, "quarantined": 4},
    "groups": {"train": 100},
    "splits": [{"split": "train", "stratum": "", "class": "Benign", "status": "used", "cases": 137, "groups": 100}],
    "excluded": {
        "total": 1,
        "reasons": [{"reason": "same pixels as D1-1292-L", "cases": {"total": 1, "names": ["D1-0808-L"]}, "files": {"total": 0, "names": []}}],
    },
    "quarantined": {"total": 0, "reasons": []},
    "anomalies": ["D1-0033: PatientAge 045Y, the table says 54"],
    "duplicates": [],
}


def make_facts(**changes):
    known = {"title": "CMMD", "config_name": "cmmd-demo", "data_set": "cmmd", "heads": HEADS, "summary": SUMMARY}
    return RunFacts(**{**known, **changes})


def make_png(dtype=np.uint8, shape=(40, 30)):
    buffer = io.BytesIO()
    Image.fromarray(np.arange(np.prod(shape), dtype=dtype).reshape(shape)).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def predictions():
    return draw_predictions()


@pytest.fixture(scope="module")
def figures(predictions):
    return measure(predictions, heads=HEADS, protocols=find_protocols(["P1", "P4"]), slices=["source"], resamples=50)


def render(tmp_path, figures, predictions, *, gallery=None, **changes):
    return write_report(tmp_path / "report.html", figures=figures, predictions=predictions, facts=make_facts(**changes), gallery=gallery).read_text()


def test_the_data_of_a_fetch_are_named_with_source_version_licence_and_doi(tmp_path, figures, predictions):
    row = {"collection": "cmmd", "source": "idc", "version": "24", "licence": "CC BY 4.0", "doi": "10.7937/tcia.eqde-4b16", "files": 5203}
    page = render(tmp_path, figures, predictions, summary={**SUMMARY, "provenance": [row, {**row, "source": "a <PACS>", "doi": "", "version": ""}]})
    assert "data: cmmd from idc, version 24, CC BY 4.0, doi 10.7937/tcia.eqde-4b16, 5,203 files with a receipt" in page
    assert "data: cmmd from a &lt;PACS&gt;, CC BY 4.0, 5,203 files with a receipt" in page
    assert "with a receipt" not in render(tmp_path, figures, predictions)


def test_the_first_screen_says_how_good_on_whom_and_which_gate_failed(tmp_path, figures, predictions):
    page = render(tmp_path, figures, predictions, blessed=False, gates=[("auc at least 0.99", False), ("auc at least 0.5", True)])
    first = page[: page.index("</section>")]
    assert f"{figures[0].value:.3f}" in first
    assert "300 breasts of 150 groups" in first
    assert "Not blessed" in first
    assert "✗ failed: auc at least 0.99" in first
    assert "✓ passed: auc at least 0.5" in first


@pytest.mark.parametrize(("blessed", "words"), [(True, "✓ Blessed"), (False, "✗ Not blessed"), (None, "Not gated")])
def test_the_verdict_has_three_outcomes(tmp_path, figures, predictions, blessed, words):
    assert words in render(tmp_path, figures, predictions, blessed=blessed)


def test_the_file_asks_for_nothing_from_outside(tmp_path, figures, predictions):
    page = render(tmp_path, figures, predictions, gallery={})
    assert not re.findall(r"""(?:src|href|url)\s*[=(]\s*["']?\s*(?:https?:)?//""", page)
    assert "default-src 'none'" in page


def test_user_text_is_escaped_in_page_and_charts(tmp_path, predictions):
    evil = "<script>alert(1)</script>"
    heads = {"malignancy": ("Benign", "Malignant")}
    table = predictions.assign(clinical_source=evil)
    figures = measure(table, heads=heads, protocols=find_protocols(["P1"]), slices=["source"], resamples=5)
    page = render(tmp_path, figures, table, title=evil, heads=heads, gates=[(evil, False)], blessed=False, warnings=[evil])
    assert evil not in page
    assert page.count("<script>") == 1


def test_class_names_with_dollars_and_backslashes_are_drawn_as_they_are(tmp_path, predictions):
    heads = {"malignancy": ("a$b", r"c\1$d")}
    table = predictions.rename(columns={"p_malignancy_Benign": "p_malignancy_a$b", "p_malignancy_Malignant": r"p_malignancy_c\1$d"})
    table["label_malignancy"] = table.label_malignancy.map(dict(zip(("Benign", "Malignant"), heads["malignancy"], strict=True)))
    page = render(tmp_path, measure(table, heads=heads, protocols=find_protocols(["cases"]), resamples=5), table, heads=heads)
    assert r"probability of c\1$d" in page


def test_every_chart_has_words_for_those_who_cannot_see_it_and_no_id_occurs_twice(tmp_path, figures, predictions):
    page = render(tmp_path, figures, predictions)
    charts = re.findall(r"<svg[^>]*>", page)
    assert len(charts) >= 6
    assert all('role="img"' in chart and "aria-label=" in chart for chart in charts)
    ids = re.findall(r'\sid="([^"]+)"', page)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', page)) <= set(ids)


def test_the_way_of_the_data_is_told_with_counts_and_reasons(tmp_path, figures, predictions):
    page = render(tmp_path, figures, predictions)
    for words in ("640", "600", "same pixels as D1-1292-L", "D1-0808-L", "137", "PatientAge 045Y"):
        assert words in page


def test_mistakes_are_the_most_confident_ones_and_shown_with_their_images(tmp_path, figures, predictions):
    mistakes = choose_mistakes(predictions, head="malignancy", classes=HEADS["malignancy"])
    wrong = predictions[(predictions.p_malignancy_Malignant >= 0.5) != (predictions.label_malignancy == "Malignant")]
    confidence = np.maximum(wrong.p_malignancy_Malignant, 1 - wrong.p_malignancy_Malignant)
    assert [mistake.probability for mistake in mistakes] == pytest.approx(sorted(confidence, reverse=True)[: len(mistakes)])
    page = render(tmp_path, figures, predictions, gallery={mistakes[0].case_id: {"CC": make_png(), "MLO": make_png(np.uint16)}})
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
    figures = measure(table, heads=HEADS, protocols=find_protocols(["P1"]), slices=["laterality", "age_band"], resamples=100)
    judged = judge_slices(figures, make_facts())
    assert [figure.slice for figure in judged["weak"]] == ["laterality=L"]


def test_the_same_run_gives_the_same_bytes(tmp_path, figures, predictions):
    assert render(tmp_path / "a", figures, predictions) == render(tmp_path / "b", figures, predictions)


def test_a_test_split_without_cases_still_gives_a_report(tmp_path, predictions):
    empty = predictions.assign(split="train")
    figures = measure(empty, heads=HEADS, protocols=find_protocols(["P1", "P4"]), slices=["source"], resamples=5)
    page = render(tmp_path, figures, empty, summary={})
    assert "no value" in page
