from __future__ import annotations

import dataclasses
import io

import pytest

from cli.results import print_metrics
from medimg.console.terminal import make_console
from medimg.evaluation.figures import Figure, write_metrics
from medimg.reporting.run_facts import RunFacts, write_facts


def figure(name: str, protocol: str, value: float) -> Figure:
    return Figure(
        name,
        "malignancy",
        "overall",
        protocol,
        "breast",
        "test",
        100,
        40,
        90,
        value,
        value - 0.01,
        value + 0.01,
    )


def test_every_figure_is_printed_below_its_own_protocol(tmp_path):
    figures = [
        figure("auc", protocol, value) for protocol, value in (("P1", 0.81), ("P2", 0.72), ("image", 0.63))
    ]
    # The last metric is not there for every protocol.
    figures += [
        figure("auc_above_shortcut", protocol, value) for protocol, value in (("P1", 0.11), ("P2", 0.22))
    ]
    figures.append(dataclasses.replace(figures[0], split="train", value=0.99))
    write_metrics(tmp_path / "report" / "metrics.json", figures)
    facts = RunFacts(
        "", "", "", heads={"malignancy": ("Benign", "Malignant")}, summary={"group_noun": "lesion"}
    )
    write_facts(tmp_path / "report", facts)
    console = make_console(file=io.StringIO())
    print_metrics(tmp_path, console=console)
    printed = console.file.getvalue()
    assert "90 lesions" in printed
    assert "0.990" not in printed  # Seen in training: the report's business.
    lines = printed.splitlines()
    head, auc, above = (
        next(line for line in lines if word in line) for word in ("P1:", " auc ", "auc_above_shortcut")
    )
    for protocol, value in (
        ("P1:", "0.810 (0.800 to 0.820)"),
        ("P2:", "0.720 (0.710 to 0.730)"),
        ("image:", "0.630 (0.620 to 0.640)"),
    ):
        assert auc.index(value) == head.index(protocol)
    assert [above.index(value) for value in ("0.110", "0.220")] == [
        head.index(protocol) for protocol in ("P1:", "P2:")
    ]


@pytest.mark.parametrize("names", [("dice", "hausdorff_95"), ("dice",), ()])
def test_a_run_without_any_of_the_usual_metrics_prints_what_it_has(tmp_path, names):
    figures = [figure(name, "cases", 0.5) for name in names]
    write_metrics(tmp_path / "report" / "metrics.json", figures)
    write_facts(
        tmp_path / "report",
        RunFacts(
            "", "", "", heads={"malignancy": ("Benign", "Malignant")}, summary={"group_noun": "patient"}
        ),
    )
    console = make_console(file=io.StringIO())
    print_metrics(tmp_path, console=console)
    printed = console.file.getvalue()
    assert all(name in printed for name in names)
    assert ("no figure was measured on the test split" in printed) == (not names)
