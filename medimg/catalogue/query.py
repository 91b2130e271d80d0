"""SQL over a catalogue: the tables `cases`, `images` and `pairs`, read by DuckDB."""

from __future__ import annotations

from pathlib import Path

import duckdb
import pandas as pd

from medimg.catalogue.tables import CASES, IMAGES, PAIRS
from medimg.errors import UsageError


def run_query(folder: Path, sql: str) -> pd.DataFrame:
    """Runs one SELECT over the catalogue in `folder`.

    The query cannot change it, nor read or write any other file.

    Raises:
        UsageError: no catalogue there, not exactly one SELECT, or what DuckDB says about the SQL, in one
            line.
    """
    for name in (CASES, IMAGES):
        if not (folder / name).is_file():
            raise UsageError(
                f"{folder}: no catalogue here, {name} is missing; expected what `medimg catalogue` writes"
            )
    if not sql.isascii() and sql != sql.encode("utf-8", "replace").decode("utf-8"):
        raise UsageError("query: not UTF-8, expected SQL that is")
    with duckdb.connect(":memory:") as connection:
        try:
            connection.execute("SET enable_progress_bar = false")
            for view, name in (("cases", CASES), ("images", IMAGES), ("pairs", PAIRS)):
                # Tables, not views: after the next line no file can be opened any more, the catalogue's own
                # included.
                if (folder / name).is_file():  # Older catalogues have no pairs.
                    connection.execute(
                        f"CREATE TABLE {view} AS SELECT * FROM read_parquet(?)", [str(folder / name)]
                    )
            connection.execute("SET enable_external_access = false")
            connection.execute("SET python_enable_replacements = false")
            connection.execute("SET lock_configuration = true")
            statements = connection.extract_statements(sql)
            if [statement.type for statement in statements] != [duckdb.StatementType.SELECT]:
                found = ", ".join(str(statement.type).rpartition(".")[2] for statement in statements)
                raise UsageError(f"query: expected one SELECT, found {found or 'nothing'}")
            return connection.execute(statements[0]).df()
        except duckdb.Error as error:
            raise UsageError(f"query: {' '.join(str(error).split())}") from None
