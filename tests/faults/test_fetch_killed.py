"""`medimg fetch` killed at random moments loses nothing, fetches little twice, and spoils no final name."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from medimg.archive.receipts import Receipts
from tests.fakes.archive import choose_series, publish

SEED, WORKERS = 7, 4


def tree(root: Path) -> dict[str, str]:
    return {
        path.relative_to(root).as_posix(): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*.dcm"))
    }


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kills", "patients"),
    [(20, 12), pytest.param(200, 30, marks=[pytest.mark.long, pytest.mark.timeout(3600)])],
)
def test_many_kills_then_one_clean_call_give_the_tree_of_an_unbroken_run(tmp_path, kills, patients):
    arguments = [
        "fetch",
        "cmmd",
        "--patients",
        str(patients),
        "--seed",
        "1",
        "--source",
        "idc",
        "--workers",
        str(WORKERS),
    ]
    folder = tmp_path / "killed"
    with publish(choose_series(patients, 1), tmp_path, rows=574, columns=480) as archive:
        command = [
            sys.executable,
            "-m",
            "tests.faults.killer",
            str(kills),
            str(SEED),
            str(folder),
            *arguments,
        ]
        killed = subprocess.run(command, env=archive.environment, text=True, capture_output=True, check=False)
        assert killed.returncode == 0, killed.stderr
        told = json.loads(killed.stdout.splitlines()[-1])
        roots = [folder / str(number) for number in range(len(told["codes"]) + 1)]
        # The others ended by themselves.
        clean = archive.medimg(*arguments, "--to", str(roots[-1]))
        assert clean.returncode == 0, clean.stderr
        sent = archive.proxy.bytes_sent

    assert told["killed"] == kills
    assert set(told["codes"]) == {0}
    published = tree(archive.tree)
    for root in roots:
        assert tree(root) == published, root
        assert {receipt.path: receipt.sha256 for receipt in Receipts(root) if receipt.sop_uid} == published
        assert not list((root / ".medimg" / "parts").iterdir())
    sizes = [path.stat().st_size for path in archive.tree.rglob("*.dcm")]
    assert sent <= sum(sizes) * len(roots) + kills * WORKERS * max(sizes)
