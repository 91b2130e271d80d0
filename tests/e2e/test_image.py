"""The images of the Dockerfile, built here by a container engine and run as strangers would.

They have no network, a read-only root, and a user whom the image does not know.

Not part of `make test`: the build takes minutes and 10 GB. `make test-image` runs it. Where no registry can
be reached the base is made on the spot.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from medimg.datasets import find_data_set
from tests.e2e.conftest import FLAGSHIP_PATIENTS, SMALL_FLAGSHIP
from tests.e2e.test_readme import BLOCK, README

REPOSITORY = Path(__file__).resolve().parents[2]
BASE = "python:3.13-slim-trixie"
STRANGER = "12345"
HARDENED = (
    "--read-only",
    "--tmpfs",
    "/tmp",
    "--user",
    STRANGER,
    "--network",
    "none",
    "--cap-drop",
    "ALL",
    "--security-opt",
    "no-new-privileges",
)
# Where Debian and Ubuntu keep the certificates that a machine trusts beside the public ones: its proxy's.
CERTIFICATES = Path("/usr/local/share/ca-certificates")
LIST_UNCOMPILED = """
import importlib.util, pathlib
folders = ["/opt/medimg", *importlib.util.find_spec("tfx").submodule_search_locations]
modules = [module for folder in folders for module in pathlib.Path(folder).rglob("*.py")]
print(*[module for module in modules if not pathlib.Path(importlib.util.cache_from_source(module)).exists()])
"""

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(
        "MEDIMG_TEST_IMAGE" not in os.environ,
        reason="the images are built for minutes: `make test-image` does it",
    ),
]


def call(
    *command: str | Path, check: bool = True, folder: Path = REPOSITORY
) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    answer = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert not check or answer.returncode == 0, (
        f"{' '.join(answer.args[:4])} ...: {answer.stdout[-2000:]}{answer.stderr[-2000:]}"
    )
    return answer


def run_image(
    image: str, *words: str, options: tuple[str, ...] = HARDENED, entrypoint: str = "medimg"
) -> str:
    """What a container of the image prints, both streams; it must end with 0."""
    answer = call("docker", "run", "--rm", *options, "--entrypoint", entrypoint, image, *words)
    return answer.stdout + answer.stderr


def read_command(start: str) -> str:
    """The command of kubeflow/README that starts like this, on one line."""
    found = re.search(
        rf"^ *({re.escape(start)}(?:.*\\\n)*.*)$",
        (REPOSITORY / "kubeflow/README.md").read_text(),
        re.MULTILINE,
    )
    assert found
    return found[1].replace("\\\n", " ")


@pytest.fixture(scope="module")
def base() -> str:
    """The Dockerfile's own base where a registry can be reached, else one made here."""
    if not shutil.which("docker") or call("docker", "version", check=False).returncode:
        pytest.skip("no container engine answers `docker version`")
    if call("docker", "pull", "--quiet", BASE, check=False).returncode == 0:
        return BASE
    answer = call("setup/base_image.sh", "py313", check=False)
    if answer.returncode:
        pytest.skip(f"no registry answers, and {answer.stderr.splitlines()[-1].removeprefix('setup: ')}")
    return answer.stdout.strip()


def read_certificates() -> str:
    return "".join(path.read_text() for path in sorted(CERTIFICATES.glob("*.crt")))


@pytest.fixture(scope="module")
def build(base):
    """Builds a target and returns the image's name.

    The way to the packages is this machine's, and only the build gets to know it.
    """
    given = {
        "BASE_PY313": base,
        "BASE_PY310": base,
        "CA_CERTIFICATE": read_certificates(),
        "PIP_INDEX_URL": os.environ.get("PIP_INDEX_URL", ""),
    }
    arguments = [
        part for name, value in given.items() if value for part in ("--build-arg", f"{name}={value}")
    ]

    def build(target: str) -> str:
        name = f"medimg-test:{target}"
        call("docker", "build", "--network", "host", "--target", target, *arguments, "--tag", name, ".")
        return name

    return build


@pytest.fixture(scope="module")
def image(build) -> str:
    return build("run")


@pytest.fixture(scope="module")
def fetch_image(build) -> str:
    return build("fetch")


def test_the_image_shows_its_commands(image):
    assert "Usage: medimg" in call("docker", "run", "--rm", *HARDENED, image).stdout


def test_the_demo_ends_blessed_without_a_network_a_writable_root_or_a_known_user(image, tmp_path):
    tmp_path.chmod(0o777)
    lines = run_image(
        image, "demo", "--to", "/runs/demo", options=(*HARDENED, "--volume", f"{tmp_path}:/runs")
    ).splitlines()
    assert "BLESSED" in lines
    assert (tmp_path / "demo/run/report/report.html").is_file()


def test_both_images_plan_a_fetch_without_a_network(image, fetch_image):
    for one in (image, fetch_image):
        assert "CC BY 4.0" in run_image(
            one, "fetch", "cmmd", "--to", "/tmp/cmmd", "--patients", "40", "--dry-run"
        )


def test_the_image_holds_what_a_worker_of_beam_and_a_task_on_kubeflow_start(image):
    for module in ("apache_beam.runners.worker.worker_pool_main", "kubeflow.entrypoint"):
        assert "usage" in run_image(image, "-m", module, "--help", entrypoint="python").lower()


def test_an_image_is_not_root_by_default(image, fetch_image):
    for one in (image, fetch_image):
        assert (
            call("docker", "image", "inspect", "--format", "{{.Config.User}}", one).stdout.strip()
            == "1000:1000"
        )


def test_the_image_holds_no_tools_of_the_build(image):
    assert run_image(image, "-c", "command -v gcc g++ cc make pip pip3 || true", entrypoint="sh") == ""


def test_the_image_holds_no_pip_no_cache_no_tests_and_no_program_that_becomes_root(image):
    unwanted = (
        r"-perm /6000 -o -path '*/pip/__main__.py' -o -regex '.*/tests/test_[^/]*[.]py' "
        "-o -path '/root/.cache/*'"
    )
    assert (
        run_image(
            image, "-c", f"find / -xdev -type f '(' {unwanted} ')' 2>/dev/null || true", entrypoint="sh"
        )
        == ""
    )


def test_every_module_of_ours_and_of_tfx_is_compiled(image):
    assert run_image(image, "-c", LIST_UNCOMPILED, entrypoint="python") == "\n"


def test_no_layer_tells_of_the_way_that_the_build_took(image, fetch_image):
    for one in (image, fetch_image):
        told = (
            call("docker", "history", "--no-trunc", one).stdout
            + call("docker", "image", "inspect", one).stdout
        )
        assert not re.search(r"CERTIFICATE|PIP_|INDEX|_proxy", told, re.IGNORECASE)
        assert (
            run_image(
                one,
                "-c",
                "find /usr/local/share/ca-certificates /etc/pip.conf -type f 2>/dev/null || true",
                entrypoint="sh",
            )
            == ""
        )


@pytest.mark.skipif(not read_certificates(), reason="this machine has no certificate of its own")
def test_no_file_holds_the_certificate_of_the_proxy(image, fetch_image):
    line = read_certificates().splitlines()[5]
    for one in (image, fetch_image):
        assert (
            run_image(one, "-c", f"grep -rlsF '{line}' /etc /opt /root /usr /var || true", entrypoint="sh")
            == ""
        )


@pytest.mark.parametrize("target", ["run", "fetch"])
def test_an_image_is_no_larger_than_the_readme_says(build, target):
    size = int(call("docker", "image", "inspect", "--format", "{{.Size}}", build(target)).stdout)
    said = re.search(
        rf"^\| `{target}` \|.*\| ([\d.]+) GB \|$", (REPOSITORY / "README.md").read_text(), re.MULTILINE
    )
    assert said
    assert size / 1e9 <= float(said[1]) + 0.005


# On Kubeflow, rehearsed: kubeflow/README from the image to the first run


@pytest.fixture(scope="module")
def place(image, tmp_path_factory) -> Path:
    """A folder after the README's third step.

    It has the flagship's spec in small, compiled by the image, and folders for the two claims.
    """
    folder = tmp_path_factory.mktemp("cluster")
    for part in (folder, folder / "data", folder / "state"):
        part.mkdir(exist_ok=True)
        part.chmod(0o777)
    phantom = ("phantom", "cmmd", "--to", "/data/cmmd", "--cases", str(FLAGSHIP_PATIENTS), "--seed", "1")
    run_image(image, *phantom, options=(*HARDENED, "--volume", f"{folder}/data:/data"))
    command = read_command("docker run").replace("$(id -u):$(id -g)", STRANGER)
    for name in ("REGISTRY/medimg@sha256:DIGEST", "REGISTRY/medimg:0.1.0"):
        command = command.replace(name, image)
    call(
        "bash",
        "-c",
        " ".join([command, *(f"--set {override}" for override in SMALL_FLAGSHIP)]),
        folder=folder,
    )
    return folder


def rehearse(place: Path, *more: str, spec: str = "cmmd.yaml") -> subprocess.CompletedProcess[str]:
    """The README's rehearsal; `more` wins over what is there."""
    command = (
        read_command("medimg run-spec")
        .replace("=DATA", "=data")
        .replace("=STATE", "=state")
        .replace("cmmd.yaml", spec)
    )
    return call(sys.executable, "-m", "cli.app", *shlex.split(command)[1:], *more, check=False, folder=place)


def test_the_image_compiles_a_spec_that_names_itself(place, image):
    text = (place / "cmmd.yaml").read_text()
    assert set(re.findall(r"^ *image: (.*)$", text, re.MULTILINE)) == {image}
    assert (place / "cmmd.yaml").stat().st_uid == int(STRANGER)


def test_the_flagships_spec_runs_in_containers_to_a_pushed_and_blessed_model(place):
    answer = rehearse(place)
    assert answer.returncode == 0, answer.stderr
    (pushed,) = (place / "state/cmmd-classification/models").iterdir()
    assert (pushed / "saved_model.pb").is_file()
    artifacts = place / "rehearsal/artifacts/minio/mlpipeline/v2/artifacts"
    report = artifacts / "cmmd-classification/1/ReportGen/report/report.html"
    assert report.is_file()
    expected = [f"pushed: /state/cmmd-classification/models/{pushed.name}", f"report: {report}", "BLESSED"]
    assert answer.stdout.splitlines()[-3:] == expected


@pytest.mark.parametrize(
    "case",
    [
        (("image: {image}", "image: {base}"), (), "{base} is no image of medimg-tfx"),
        (
            ("image: {image}", "image: medimg-test:absent"),
            ("--engine-arg=--pull=never",),
            "No such image: medimg-test:absent",
        ),
        (("medimg=", "medimg=9."), (), "the spec was compiled with medimg=9."),
        (("", ""), ("--parameter", "data_root=/data/absent"), "Fingerprints: /data/absent: no such folder"),
        (
            ("", ""),
            ("--volume", "medimg-state=closed"),
            "state /state/cmmd-classification cannot be written by user 12345 (Permission denied)",
        ),
        (("", ""), ("--engine-arg=--memory=20m",), "exit code 137, killed by SIGKILL"),
    ],
)
def test_what_goes_wrong_in_a_container_is_said_in_one_line(place, image, base, case):
    edit, more, words = case
    old, new, words = (text.format(image=image, base=base) for text in (*edit, words))
    (place / "edited.yaml").write_text((place / "cmmd.yaml").read_text().replace(old, new))
    (place / "closed").mkdir(mode=0o755, exist_ok=True)
    answer = rehearse(place, *more, "--to", "edited", spec="edited.yaml")
    assert answer.returncode == 1
    (line,) = answer.stderr.splitlines()
    assert words in line


def test_the_rehearsal_of_the_readme_runs_as_written_to_a_pushed_and_blessed_model(image, tmp_path):
    find_data_set("cmmd").write_phantom(tmp_path / "data", cases=160, seed=0)
    (block,) = (one["body"] for one in BLOCK.finditer(README.read_text()) if "medimg run-spec" in one["body"])
    script = block.replace("REGISTRY/medimg:0.1.0", image)
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(REPOSITORY),
    }
    answer = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=environment,
    )
    assert answer.returncode == 0, answer.stdout + answer.stderr
    assert answer.stdout.splitlines()[-1] == "BLESSED"
    (pushed,) = (tmp_path / "state/cmmd-demo/models").iterdir()
    assert (pushed / "saved_model.pb").is_file()
