"""A page as a real browser shows it: Debian's Chromium without a window, driven from its command line."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import pytest
from bs4 import BeautifulSoup

CONSOLE = re.compile(r":CONSOLE:\d+\] (.*)")
MEASURE = """<script>
const boxes = [...document.querySelectorAll(%s)].map(one => one.getBoundingClientRect());
document.body.dataset.sizes = JSON.stringify(boxes.map(box => [box.width, box.height]));
</script>"""
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--virtual-time-budget=10000",
    "--enable-logging=stderr",
    "--dump-dom",
)


@dataclass(frozen=True)
class Shown:
    """What the browser wrote to its console, and (width, height) in pixels of the requested elements."""

    console: list[str]
    sizes: list[tuple[float, float]]


def show_page(page: Path, *, measured: str, folder: Path) -> Shown:
    """Opens a local page; the test is skipped where there is no Chromium.

    Args:
        page: an HTML file.
        measured: CSS selector of the elements to measure.
        folder: for the copy that measures itself.
    """
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("no chromium on this machine")
    copy = folder / f"measured-{page.name}"
    copy.write_text(page.read_text(encoding="utf-8") + MEASURE % json.dumps(measured), encoding="utf-8")
    with tempfile.TemporaryDirectory() as profile:
        command = [chromium, *OPTIONS, f"--user-data-dir={profile}", copy.as_uri()]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    body = BeautifulSoup(done.stdout, "html.parser").body
    assert body is not None
    return Shown(
        CONSOLE.findall(done.stderr),
        [(width, height) for width, height in json.loads(str(body["data-sizes"]))],
    )
