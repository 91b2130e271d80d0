"""`medimg fetch` killed 200 times at random moments loses nothing and fetches little twice.

It leaves nothing wrong under a final name.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from medimg.archive.receipts import Receipts
from tests.fakes.archive import choose_series, publish

KILLS, SEED, WORKERS, PATIENTS = 200, 7, 4, 30

pytestmark = pytest.mark.slow


def tree(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*.dcm"))
    }


def test_two_hundred_kills_then_one_clean_call_give_the_tree_of_an_unbroken_run(tmp_path):
    arguments = [
        "fetch",
        "cmmd",
        "--patients",
        str(PATIENTS),
        "--seed",
        "1",
        "--source",
        "idc",
        "--workers",
        str(WORKERS),
    ]
    folder = tmp_path / "killed"
    with publish(choose_series(PATIENTS, 1), tmp_path, rows=574, columns=480) as archive:
        command = [
            sys.executable,
            "-m",
            "tests.faults.killer",
            str(KILLS),
            str(SEED),
            str(folder),
            *arguments,
        ]
        killed = subprocess.run(
            command, env=archive.environment, text=True, capture_output=True, timeout=800, check=False
        )
        assert killed.returncode == 0, killed.stderr
        told = json.loads(killed.stdout.splitlines()[-1])
        roots = sorted(folder.iterdir())
        for root in roots:
            clean = archive.medimg(*arguments, "--to", str(root))
            assert clean.returncode == 0, clean.stderr
        sent = archive.proxy.bytes_sent

    assert told["killed"] == KILLS
    assert set(told["codes"]) <= {0}
    published = tree(archive.tree)
    for root in roots:
        assert tree(root) == published, root
        assert {receipt.path: receipt.sha256 for receipt in Receipts(root) if receipt.sop_uid} == published
        assert not list((root / ".medimg" / "parts").iterdir())
    by_series = {
        folder: sum(path.stat().st_size for path in folder.glob("*.dcm")) for folder in archive.tree.iterdir()
    }
    in_flight = WORKERS * max(by_series.values())
    assert sent <= sum(by_series.values()) * len(roots) + KILLS * in_flight
