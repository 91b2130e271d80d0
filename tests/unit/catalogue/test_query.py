"""SQL over a catalogue: one SELECT over its tables runs, and anything else is refused."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from medimg.catalogue.query import run_query
from medimg.errors import UsageError


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The two tables that every catalogue has."""
    pd.DataFrame({"case_id": ["b", "a"], "n": [1, 2]}).to_parquet(tmp_path / "cases.parquet")
    pd.DataFrame({"case_id": ["a"], "path": ["x.png"]}).to_parquet(tmp_path / "images.parquet")
    return tmp_path


@pytest.mark.parametrize("name", ["cases.parquet", "images.parquet"])
def test_a_folder_without_one_of_the_tables_is_no_catalogue(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(UsageError, match=rf"no catalogue here, {name} is missing; expected what"):
        run_query(folder, "SELECT 1 AS one")


def test_one_select_sees_the_tables_and_an_older_catalogue_needs_no_pairs(folder: Path) -> None:
    found = run_query(folder, "SELECT cases.n, path FROM cases JOIN images USING (case_id)")
    assert found.to_numpy().tolist() == [[2, "x.png"]]
    with pytest.raises(UsageError, match=r"^query: .*pairs"):
        run_query(folder, "SELECT * FROM pairs")
    pd.DataFrame({"case_id": ["a"], "other_case_id": ["b"]}).to_parquet(folder / "pairs.parquet")
    assert len(run_query(folder, "SELECT * FROM pairs")) == 1


@pytest.mark.parametrize(
    ("sql", "message"),
    [
        ("SELECT nothing FROM cases", 'Referenced column "nothing" not found'),
        ("SELEC 1", "syntax error"),
        ("DROP TABLE cases", "expected one SELECT, found DROP"),
        ("SELECT 1; SELECT 2", "expected one SELECT, found SELECT, SELECT"),
        ("", "expected one SELECT, found nothing"),
        ("SELECT * FROM read_csv('labels.csv')", "disabled"),
        ("COPY cases TO 'stolen.csv'", "expected one SELECT, found COPY"),
        ("SELECT \udcff", "not UTF-8"),
        ("SELECT * FROM folder", "Table with name folder does not exist"),
        ("SET enable_external_access = true", "expected one SELECT, found SET"),
    ],
)
def test_sql_that_is_wrong_or_reaches_out_is_refused_in_one_line(
    folder: Path, sql: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        run_query(folder, sql)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["cases.parquet", "/etc/hostname"])
def test_no_file_is_read_but_the_tables(folder: Path, name: str) -> None:
    with pytest.raises(UsageError, match=r"^query: .*(disabled|does not exist)"):
        run_query(folder, f"SELECT * FROM '{folder / name}'")
