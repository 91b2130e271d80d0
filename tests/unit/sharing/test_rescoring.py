import json
import shutil
import zipfile

import pandas as pd
import pytest

from medimg.archive.transport.zip_checks import BadZip
from medimg.errors import MedimgError
from medimg.evaluation.figures import read_metrics
from medimg.sharing.packing import pack, write_zip
from medimg.sharing.rescoring import compare_figures, rescore


def test_every_figure_and_table_of_an_untouched_bundle_agrees(packed, tmp_path):
    write_zip(packed, tmp_path / "bundle.zip")
    for bundle in (packed, tmp_path / "bundle.zip"):
        found = rescore(bundle)
        assert found.agrees
        assert found.figures == len(json.loads((packed / "metrics.json").read_text()))
        assert found.tables == len(list((packed / "tables").iterdir()))


def test_one_changed_probability_is_found_in_the_figures_and_in_the_manifest(bundle):
    table = pd.read_parquet(bundle / "predictions.parquet")
    wrong = table.index[(table.label_malignancy == "Benign") & (table.p_malignancy_Malignant < 0.3)][0]
    table.loc[wrong, ["p_malignancy_Benign", "p_malignancy_Malignant"]] = [0.01, 0.99]
    table.to_parquet(bundle / "predictions.parquet", index=False)
    found = rescore(bundle)
    assert not found.agrees
    assert any(line.startswith("predictions.parquet: sha256 is") for line in found.faults)
    assert any(
        line.startswith("auc of malignancy, overall, P1, breast, test: value 0.")
        for line in found.differing_figures
    )
    assert not any("of abnormality" in line for line in found.differing_figures)
    assert "tables/figures.csv" in found.differing_tables


def test_a_changed_figure_is_named_with_what_was_measured_and_the_manifest_tells_its_file(bundle):
    metrics = json.loads((bundle / "metrics.json").read_text())
    measured = metrics[0]["value"]
    metrics[0]["value"] = 0.99
    (bundle / "metrics.json").write_text(json.dumps(metrics))
    found = rescore(bundle)
    assert found.differing_figures == [
        f"auc of malignancy, overall, P1, breast, test: value 0.99, measured {measured!r}"
    ]
    assert [line.split(":")[0] for line in found.faults] == ["metrics.json"]
    assert not found.differing_tables


def test_a_figure_on_one_side_only_differs(packed):
    figures = read_metrics(packed / "metrics.json")
    assert list(compare_figures(figures[1:], figures)) == [
        "auc of malignancy, overall, P1, breast, test: measured, but not stated"
    ]
    assert list(compare_figures(figures, figures[1:])) == [
        "auc of malignancy, overall, P1, breast, test: stated, but not measured"
    ]


def test_a_changed_table_differs(bundle):
    path = bundle / "tables" / "splits.csv"
    path.write_text(path.read_text().replace("137", "138"))
    assert rescore(bundle).differing_tables == ["tables/splits.csv"]


def test_files_that_are_missing_or_too_many_are_named(bundle):
    (bundle / "data_sheet.md").unlink()
    (bundle / "extra.txt").write_text("")
    found = rescore(bundle)
    assert found.faults == ["data_sheet.md: missing, the manifest names it", "extra.txt: not in the manifest"]
    assert not found.agrees


@pytest.mark.parametrize(
    ("name", "words"),
    [("manifest.json", "manifest.json cannot be read"), ("predictions.parquet", r"predictions\.parquet")],
)
def test_a_bundle_without_what_it_takes_is_refused_in_one_line(bundle, name, words):
    (bundle / name).unlink()
    with pytest.raises(MedimgError, match=words) as refused:
        rescore(bundle)
    assert "\n" not in str(refused.value)


def test_a_link_in_a_bundle_is_refused(bundle, tmp_path):
    (tmp_path / "secret").write_text("")
    (bundle / "tables" / "more.csv").symlink_to(tmp_path / "secret")
    with pytest.raises(MedimgError, match=r"'tables/more\.csv' is a link"):
        rescore(bundle)


@pytest.mark.parametrize(
    "name", ["../outside.txt", "/outside.txt", "tables/../../outside.txt", "tables\\outside.txt"]
)
def test_a_zip_that_would_write_elsewhere_is_refused(packed, tmp_path, name):
    write_zip(packed, tmp_path / "bundle.zip")
    with zipfile.ZipFile(tmp_path / "bundle.zip", "a") as archive:
        archive.writestr(name, "x")
    with pytest.raises(BadZip, match="outside"):
        rescore(tmp_path / "bundle.zip")


def test_half_a_zip_is_refused(packed, tmp_path):
    write_zip(packed, tmp_path / "bundle.zip")
    whole = (tmp_path / "bundle.zip").read_bytes()
    (tmp_path / "bundle.zip").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(BadZip, match="truncated"):
        rescore(tmp_path / "bundle.zip")


def test_a_bundle_with_images_agrees_too(report, tmp_path):
    pack(report, to=tmp_path / "bundle", with_images=True)
    assert rescore(tmp_path / "bundle").agrees
    shutil.rmtree(tmp_path / "bundle" / "gallery")
    assert [line.split(":")[1] for line in rescore(tmp_path / "bundle").faults] == [
        " missing, the manifest names it"
    ]
