"""Runs and bundles that were made before config keys were renamed."""

import io
import json

import pytest

from cli.compare import compare_runs
from cli.results import print_lineage, rewrite_report
from cli.share import parse_target, rescore_bundle, share_run
from medimg.console.terminal import make_console
from medimg.errors import UsageError
from medimg.reporting.bundle import derive
from tests.unit.reporting.report_data import make_facts
from tests.unit.reporting.test_bundle import write_sources
from tests.unit.reporting.test_run_facts import write_old_facts

CONFIG = {"evaluation.saliency_checked_cases": "4", "evaluation.embedded_cases": "0", "split.by": "group"}
LINE = (
    "config keys of an earlier version, read by their present names: "
    "evaluation.checked as evaluation.saliency_checked_cases, evaluation.mapped as evaluation.embedded_cases"
)


@pytest.fixture(scope="module")
def old_run(tmp_path_factory):
    """A finished run and its bundle, both with keys of before."""
    run = tmp_path_factory.mktemp("old") / "run"
    report = write_sources(run / "report", resamples=20, slices=[], config=CONFIG)
    write_old_facts(report, make_facts(resamples=20, slices=[], config=CONFIG))
    derive(report)
    content = {
        "state": "finished",
        "store": "metadata.sqlite",
        "config": {"evaluation": {"mapped": 0, "checked": 4}},
    }
    (run / "run.json").write_text(json.dumps(content))
    return run


@pytest.fixture
def console():
    return make_console(file=io.StringIO())


def lines_of(console):
    return [line for line in console.file.getvalue().splitlines() if "earlier version" in line]


def test_a_report_written_again_keeps_its_figures_and_has_one_line_on_all_keys(old_run, console):
    before = (old_run / "report" / "metrics.json").read_text()
    rewrite_report(old_run, console=console)
    assert (old_run / "report" / "metrics.json").read_text() == before
    assert lines_of(console) == [LINE]
    assert "evaluation.embedded_cases" in (old_run / "report" / "report.html").read_text()


def test_two_old_runs_are_compared_with_one_line_for_both(old_run, console):
    compare_runs([old_run, old_run], console=console)
    assert lines_of(console) == [LINE]


def test_an_old_bundle_is_rescored_without_a_difference(old_run, console, tmp_path):
    share_run(old_run, parse_target(f"zip:{tmp_path / 'old.zip'}"), console=make_console(file=io.StringIO()))
    assert rescore_bundle(tmp_path / "old.zip", console=console)
    assert lines_of(console) == [LINE]


def test_lineage_says_so_before_it_asks_the_store(old_run, console):
    with pytest.raises(UsageError, match="expected the store of ML Metadata"):
        print_lineage(old_run, console=console)
    assert [line.count("evaluation.") for line in lines_of(console)] == [4]
