"""`medimg fetch` against `s5cmd cp` where each answer takes its time; both as they come, one loopback server.

    python benchmarks/bench_fetch_latency.py [--rounds 3] [--write]

nginx (which has to be there) serves real series of the IDC's index, with as many files as they have there, of
0.26 MB each; a proxy adds the round trip. s5cmd writes what comes and checks nothing; medimg compares size
and MD5, hashes with SHA-256, parses every file, syncs it to disk and writes a receipt. They take turns in
every round. Start-up is apart: of medimg the same command again, which finds everything there; of s5cmd
`s5cmd version`.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.bench_fetch import measure, show_load
from medimg.archive.collections import find_collection
from medimg.archive.source import Series
from medimg.archive.sources.idc import list_published
from tests.fakes.archive import REPOSITORY
from tests.fakes.ports import find_ports

COLLECTION = "acrin_contralateral_breast_mr"
SHAPES = ((3, 32), (100, 1), (600, 1))
"""Files of a series, and how many such series."""
ROUND_TRIPS_MS = (0, 5, 60, 200)
SIDE = 362
"""Pixels: 362 x 362 of 16 bits are 0.26 MB, as a slice of MR or CT."""
NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log stderr crit;
events {{ worker_connections 2048; }}
http {{
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000;
  default_type application/octet-stream;
  client_body_temp_path {folder}/b; proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
  server {{
    listen 127.0.0.1:{port} backlog=1024;
    root {folder};
    location ~ ^/[a-z0-9-]+/?$ {{
      if ($arg_prefix ~ "^(?<key>[0-9a-f-]+)") {{ rewrite ^ /lists/$key.xml last; }}
      return 200;
    }}
    location /lists/ {{ default_type application/xml; }}
  }}
}}
"""


@dataclass(frozen=True)
class Bucket:
    """Series that are served, and from which port of loopback."""

    series: Sequence[Series]
    port: int


def choose(files: int, count: int) -> list[Series]:
    """Series of the collection with so many files each."""
    found = [one for one in list_published(find_collection(COLLECTION)) if one.instances == files]
    return found[:count]


def write_bucket(series: Sequence[Series], folder: Path) -> None:
    """Writes <bucket>/<key>/<uuid>.dcm for each file, and lists/<key>.xml as S3 answers."""
    pixels = np.random.default_rng(0).integers(0, 4096, (SIDE, SIDE), np.uint16).tobytes()
    (folder / "lists").mkdir()
    for one in series:
        assert one.instances is not None
        to = folder / one.bucket / one.key
        to.mkdir(parents=True)
        items = ""
        for number in range(one.instances):
            path = to / f"00000000-0000-4000-8000-{number:012d}.dcm"
            pydicom.dcmwrite(path, make_slice(one, number, pixels), enforce_file_format=True)
            content = path.read_bytes()
            md5 = hashlib.md5(content, usedforsecurity=False).hexdigest()
            items += (
                f"<Contents><Key>{one.key}/{path.name}</Key><LastModified>2024-01-01T00:00:00.000Z"
                f"</LastModified><ETag>&quot;{md5}&quot;</ETag><Size>{len(content)}</Size></Contents>"
            )
        (folder / "lists" / f"{one.key}.xml").write_text(
            '<?xml version="1.0" encoding="UTF-8"?>\n'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>false</IsTruncated><KeyCount>{one.instances}</KeyCount>{items}</ListBucketResult>"
        )


def make_slice(series: Series, number: int, pixels: bytes) -> Dataset:
    """Makes one file of a series."""
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = MRImageStorage
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = f"{series.uid[:50]}.{number + 1}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = series.study_uid, series.uid
    dataset.PatientID, dataset.Modality = series.patient_id, "MR"
    dataset.Rows = dataset.Columns = SIDE
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit = 16, 12, 11
    dataset.PixelRepresentation, dataset.SamplesPerPixel = 0, 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.PixelData = pixels
    return dataset


@contextmanager
def running(command: Sequence[str], *, says: bool) -> Iterator[str]:
    """A process for the length of the block, and the first line that it says."""
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process.stdout.readline().strip() if says and process.stdout else ""
        finally:
            process.terminate()


@contextmanager
def served(series: Sequence[Series]) -> Iterator[Bucket]:
    """The series by nginx, as lies in a folder that goes afterwards."""
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        folder.chmod(0o755)
        write_bucket(series, folder)
        [port] = find_ports(1)
        (folder / "nginx.conf").write_text(NGINX.format(folder=folder, port=port))
        stack.enter_context(running(["nginx", "-c", str(folder / "nginx.conf")], says=False))
        yield Bucket(series, port)


def medimg_command(series: Sequence[Series], to: Path) -> list[str]:
    command = [sys.executable, "-m", "cli.app", "fetch", COLLECTION, "--to", str(to), "--source", "idc"]
    return [*command, *(part for one in series for part in ("--series", one.uid))]


def s5cmd_command(series: Sequence[Series], to: Path, url: str) -> list[str]:
    to.mkdir(parents=True)
    manifest = to.with_suffix(".s5cmd")
    manifest.write_text("".join(f"cp s3://{one.bucket}/{one.key}/* {to}/{one.uid}/\n" for one in series))
    program = str(Path(sys.executable).with_name("s5cmd"))
    return [program, "--no-sign-request", "--endpoint-url", url, "run", str(manifest)]


def compare(bucket: Bucket, url: str, *, rounds: int) -> Iterator[str]:
    """The cells of a row: seconds of the two without their start-up, the ratio, start-ups."""
    names = ("medimg", "s5cmd")
    seconds: dict[str, list[float]] = {name: [] for name in names}
    startups: dict[str, list[float]] = {name: [] for name in names}
    environment = {**os.environ, "MEDIMG_IDC_URL": url, "PYTHONPATH": str(REPOSITORY)}
    expected = sum(one.instances or 0 for one in bucket.series)
    for number in range(rounds):
        for name in names[:: 1 if number % 2 else -1]:
            with tempfile.TemporaryDirectory() as folder:
                to = Path(folder) / "data"
                if name == "medimg":
                    command = medimg_command(bucket.series, to)
                    idle = command
                else:
                    command = s5cmd_command(bucket.series, to, url)
                    idle = [command[0], "version"]
                seconds[name].append(measure(command, environment).seconds)
                assert len(list(to.rglob("*.dcm"))) == expected, name
                startups[name].append(measure(idle, environment).seconds)
    startup = {name: median(startups[name]) for name in names}
    net = {name: [one - startup[name] for one in seconds[name]] for name in names}
    ratios = [b / a for a, b in zip(net["medimg"], net["s5cmd"], strict=True)]
    for name in names:
        yield f"{median(net[name]):.2f} ({min(net[name]):.2f} to {max(net[name]):.2f})"
    yield f"{median(net['s5cmd']) / median(net['medimg']):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
    yield " / ".join(f"{startup[name]:.2f}" for name in names)


def run(rounds: int) -> Iterator[str]:
    """The whole report, line by line."""
    yield f"Python {platform.python_version()}, {show_load()} before; {rounds} rounds, medians (extremes)."
    yield ""
    yield "| round trip | series x files | medimg, s | s5cmd, s | times s5cmd's speed | start-up of both, s |"
    yield "|---|---|---|---|---|---|"
    for files, count in SHAPES:
        with served(choose(files, count)) as bucket:
            for round_trip in ROUND_TRIPS_MS:
                proxy = str(Path(__file__).with_name("latency_proxy.py"))
                with running([sys.executable, proxy, str(bucket.port), str(round_trip)], says=True) as port:
                    url = f"http://127.0.0.1:{port if round_trip else bucket.port}"
                    cells = " | ".join(compare(bucket, url, rounds=rounds))
                yield f"| {round_trip} ms | {len(bucket.series)} x {files} | {cells} |"
    yield ""
    yield f"{show_load().capitalize()} after."


def main() -> None:
    """Measures and prints, and writes if asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    today = datetime.date.today()
    lines = [f"# Fetch where each answer takes its time, {today}", ""]
    for line in run(options.rounds):
        print(line, flush=True)
        lines.append(line)
    if options.write:
        Path(__file__).with_name(f"fetch_latency_{today:%Y%m%d}.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
