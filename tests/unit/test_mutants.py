"""What `make mutants` changes, draws and counts."""

import argparse
import datetime

import pytest

from setup.mutants.areas import AREAS, ROOT, list_files
from setup.mutants.choice import choose, list_rules
from setup.mutants.operators import make_mutants
from setup.mutants.results import NOT_RUN, NOTICED, SURVIVED, Results, judge, wilson_interval, write_scores


def change(source: str) -> set[str]:
    """Returns what a one-line source is changed to."""
    encoded = source.encode()
    return {mutant.apply(encoded).decode() for mutant in make_mutants("file.py", encoded)}


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("a < b", {"(a <= b)", "(a >= b)"}),
        ("a is None", {"(a is not None)"}),
        ("a and not b", {"(a or not b)", "(a)", "(not b)", "a and (b)"}),
        ("a - b * c", {"(a + b * c)", "a - (b / c)"}),
        ("a - 1", {"(a + 1)", "a - 2", "a - 0"}),
        ("x = True", {"x = False"}),
        ("a if b else c", {"a if True else c", "a if False else c"}),
        ("[a for a in b if c]", {"[a for a in b if True]"}),
        ("f(a, k=b, encoding=c)", {"(f(a, encoding=c))", "pass"}),
        ("x = max(a)", {"x = (min(a))"}),
        ("x = sorted(a)", {"x = list(a)"}),
        ("x = a.strip()", {"x = (a)"}),
        ("x = [a, b]", {"x = [b]", "x = [a]"}),
        ("x = {'a': b, 'c': d}", {"x = {'c': d}", "x = {'a': b}"}),
        ("x = a[0]", {"x = a[-1]", "x = a[1]"}),
        ("x = a[:b]", {"x = a"}),
        ("x.y = a", {"pass"}),
        ("for a in b: continue", {"for a in b: break"}),
    ],
)
def test_each_operator_makes_its_wrong_changes(source, expected):
    assert change(source) == expected


@pytest.mark.parametrize(
    "source",
    [
        '"""Says 1 of 2."""',
        "def f(a: list[1]) -> tuple[2]: ...",
        "raise_ = f'{a + 1}'",
        "logging.info('a')",
        "import a",
        "Kind = Literal['a', 'b']",
        "if TYPE_CHECKING:\n    import a",
        "if __name__ == '__main__':\n    f(1)",
    ],
)
def test_text_types_and_logs_are_left_alone(source):
    assert not change(source)


def test_a_change_after_letters_of_several_bytes_is_in_its_place():
    assert change("x = 'é'; y = a < b") >= {"x = 'é'; y = (a <= b)"}


def draw(seed: int = 1, sample: int = 40) -> list[str]:
    arguments = argparse.Namespace(sample=sample, seed=seed, since=None, file=[])
    return [wrong.id for wrong in choose(["examples"], arguments)]


def test_a_seed_draws_the_same_mutants_and_another_seed_others():
    assert draw() == draw()
    assert len(set(draw())) == 40
    assert set(draw(seed=2)) != set(draw())


def test_a_larger_sample_holds_the_smaller():
    assert set(draw(sample=20)) < set(draw(sample=40))


def test_every_package_that_computes_is_in_an_area():
    listed = {path for area in AREAS for path in list_files(area)}
    rooms = {path.parts[1] for path in (path.relative_to(ROOT) for path in (ROOT / "medimg").glob("*/*.py"))}
    assert rooms <= {path.split("/")[1] for path in listed if path.startswith("medimg/")}


def test_every_rule_written_by_hand_still_fits_the_source():
    assert {rule.area for rule in list_rules(AREAS)} <= set(AREAS)


def test_results_are_taken_over_until_a_test_file_changes(tmp_path, monkeypatch):
    monkeypatch.setattr("setup.mutants.results.ROOT", tmp_path)
    (tmp_path / "test_a.py").write_text("1")
    arguments = argparse.Namespace(sample=3, seed=1, since=None, file=[])
    first, second, third = choose(["examples"], arguments)
    results = Results(tmp_path / "kept", [first, second, third])
    results.keep(
        first, {"code": 1, "failed": ["test_a.py::test_it"]}, ["test_a.py::test_it", "test_b.py::test_it"]
    )
    results.keep(second, {"code": 0, "failed": []}, ["test_a.py::test_it"])
    again = Results(tmp_path / "kept", [first, second, third])
    assert again.list_waiting() == [third]
    assert again.list_survivors() == [second]
    assert again.count() == (1, 2)
    (tmp_path / "test_a.py").write_text("2")
    assert Results(tmp_path / "kept", [first, second, third]).list_waiting() == [first, second, third]


def test_a_mutant_noticed_by_a_test_written_for_it_counts_as_survived_at_first_look(tmp_path):
    (tmp_path / "test_a.py").write_text("1")
    wrong = choose(["examples"], argparse.Namespace(sample=2, seed=1, since=None, file=[]))
    results = Results(tmp_path / "kept", wrong)
    results.keep(wrong[0], {"code": 0, "failed": []}, ["test_a.py::test_it"])
    results.keep(wrong[1], {"code": 1, "failed": ["test_a.py::test_it"]}, ["test_a.py::test_it"])
    results.keep(wrong[0], {"code": 1, "failed": ["test_a.py::test_new"]}, ["test_a.py::test_new"])
    again = Results(tmp_path / "kept", wrong)
    write_scores(tmp_path / "scores.md", again, today=datetime.date(2026, 12, 1), command="--sample 2")
    rows = [row for row in (tmp_path / "scores.md").read_text().splitlines() if row.startswith("| ")]
    assert rows[1:] == [
        f"| {area} | 2 | 1 | 50.0% | 9.5% to 90.5% | 2 | 100.0% |" for area in ("examples", "all")
    ]


@pytest.mark.parametrize(("noticed", "tried", "low", "high"), [(9, 10, 0.5958, 0.9821), (0, 10, 0.0, 0.2775)])
def test_the_interval_of_a_score_is_wilsons(noticed, tried, low, high):
    # Newcombe, Statistics in Medicine 17 (1998): method 3.
    assert wilson_interval(noticed, tried) == pytest.approx((low, high), abs=1e-4)


@pytest.mark.parametrize(
    ("code", "state"),
    [
        (0, SURVIVED),
        (1, NOTICED),
        (2, NOTICED),
        (-1, NOTICED),
        (-9, NOTICED),
        (3, NOT_RUN),
        (5, NOT_RUN),
        (70, NOT_RUN),
    ],
)
def test_only_a_failure_of_a_test_notices_a_mutant(tmp_path, code, state):
    [wrong] = choose(["examples"], argparse.Namespace(sample=1, seed=1, since=None, file=[]))
    assert judge(code) == state
    results = Results(tmp_path, [wrong])
    results.keep(wrong, {"code": code, "failed": []}, [])
    assert results.count() == (int(state == NOTICED), 1)
    assert results.list_waiting() == ([wrong] if state == NOT_RUN else [])
