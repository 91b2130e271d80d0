"""Options that are checked before any work, and what a command's end looks like."""

from __future__ import annotations

import sys

import pytest
import typer
from typer.testing import CliRunner

from cli import app as entry
from cli import result_commands
from cli.data_commands import parse_ratios
from cli.fetch import FetchRequest
from cli.options import EXIT_INTERRUPTED, EXIT_NOT_BLESSED, expect_folder
from cli.run_commands import finish
from medimg.archive.plan import Selection
from medimg.errors import DiskFull, MedimgError, UsageError


@pytest.mark.parametrize(
    ("text", "ratios"),
    [
        ("0.7,0.15,0.15", (0.7, 0.15, 0.15)),
        ("0.2, 0.3 ,0.5", (0.2, 0.3, 0.5)),
        ("0.7,0.15,0.1500009", (0.7, 0.15, 0.1500009)),
    ],
)
def test_shares_are_those_of_train_eval_and_test_in_this_order(text, ratios):
    assert parse_ratios(text) == ratios


@pytest.mark.parametrize("text", ["", "0.5,0.5", "0.25,0.25,0.25,0.25", "a,b,c", "70%,15%,15%"])
def test_anything_but_three_numbers_is_wrong_use(text):
    with pytest.raises(UsageError, match=r"expected three numbers such as 0\.7,0\.15,0\.15"):
        parse_ratios(text)


@pytest.mark.parametrize(
    ("text", "total"),
    [
        ("0.7,0.3,0", "1"),
        ("0.7,0,0.3", "1"),
        ("0,0.7,0.3", "1"),
        ("1.1,-0.2,0.1", "1"),
        ("0.7,0.15,0.1500011", "1"),
        ("0.7,0.15,0.1499989", "0.999999"),
        ("70,15,15", "100"),
        ("nan,0.5,0.5", "nan"),
        ("inf,0.5,0.5", "inf"),
    ],
)
def test_shares_that_are_not_positive_or_do_not_add_up_are_wrong_use(text, total):
    with pytest.raises(UsageError, match=f"must be positive and add up to 1, they add up to {total}$"):
        parse_ratios(text)


def test_an_output_may_be_a_folder_or_not_there_but_neither_a_file_nor_below_one(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    for path in (tmp_path, tmp_path / "new", tmp_path / "new" / "deep"):
        assert expect_folder(path) == path
        assert expect_folder(path.relative_to(tmp_path)) == path.relative_to(tmp_path)
    for name in ("file", "file/deep", "file/deep/er"):
        with pytest.raises(UsageError, match=rf"--to .*{name}: .*file is a file, expected a folder"):
            expect_folder(tmp_path / name)


@pytest.mark.parametrize(
    ("error", "code", "written"),
    [
        (UsageError("wrong\nuse"), 2, "error: wrong\\nuse\n"),
        (MedimgError("broken"), 1, "error: broken\n"),
        (DiskFull("full"), 1, "error: full\n"),
        (PermissionError(13, "Permission denied", "/x"), 1, "error: [Errno 13] Permission denied: '/x'\n"),
        (SystemExit(EXIT_INTERRUPTED), 130, "interrupted; the same command continues where it stopped\n"),
        (SystemExit(3), 3, ""),
        (SystemExit(0), 0, ""),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(monkeypatch, capsys, error, code, written):
    def run():
        raise error

    monkeypatch.setattr(entry, "app", run)
    monkeypatch.setattr(sys, "warnoptions", ["error"])
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert (ended.value.code, capsys.readouterr().err) == (code, written)


@pytest.mark.parametrize(
    ("blessed", "quarantined", "strict", "ends"),
    [
        (True, 0, False, None),
        (True, 3, False, None),
        (True, 0, True, None),
        (True, 3, True, MedimgError),
        (False, 0, False, typer.Exit),
        (False, 0, True, typer.Exit),
        (False, 3, True, MedimgError),
    ],
)
def test_a_run_ends_by_its_blessing_and_what_was_quarantined(monkeypatch, blessed, quarantined, strict, ends):
    monkeypatch.setattr("cli.results.print_outcome", lambda *result: (blessed, quarantined))
    if ends is None:
        finish(("run", None), strict=strict)
        return
    with pytest.raises(ends) as ended:
        finish(("run", None), strict=strict)
    if ends is typer.Exit:
        assert ended.value.exit_code == EXIT_NOT_BLESSED == 3
    else:
        assert str(ended.value) == "3 images were quarantined and --strict was given"


def test_every_option_of_fetch_reaches_what_it_is_for(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        "cli.fetch.run_fetch", lambda request, **options: seen.update(request=request, **options)
    )
    monkeypatch.setattr("cli.fetch.run_verify", lambda root, **options: seen.update(root=root, **options))
    to, manifest = tmp_path / "new" / "data", tmp_path / "x.tcia"
    arguments = (
        f"fetch cmmd --to {to} --patients 5 --seed 7 --patient A --patient B --series 1.2 --series 1.3 "
        f"--manifest {manifest} --where a=1 --source nbia,,idc --from {tmp_path} "
        "--url https://pacs/dicom-web --workers 3 --dry-run --follow-links "
        "--allow-host a.org --allow-host b.org"
    ).split()
    assert CliRunner().invoke(entry.app, arguments).exit_code == 0
    request = seen["request"]
    assert isinstance(request, FetchRequest)
    assert request.selection == Selection(5, 7, ("A", "B"), ("1.2", "1.3"), "a=1", manifest)
    assert (request.collection.name, request.to, list(request.source_names)) == ("cmmd", to, ["nbia", "idc"])
    assert (request.addresses.folder, request.addresses.dicomweb) == (str(tmp_path), "https://pacs/dicom-web")
    assert request.addresses.allowed_hosts == ("a.org", "b.org")
    assert request.addresses.follow_links
    assert (request.workers, seen["dry_run"], to.is_dir()) == (3, True, True)
    assert CliRunner().invoke(entry.app, ["fetch", "cmmd", "--to", str(to)]).exit_code == 0
    assert (seen["request"].selection, seen["request"].workers, seen["dry_run"]) == (Selection(), 256, False)
    assert not seen["request"].addresses.follow_links
    seen.clear()
    arguments = ["fetch", "cmmd", "--to", str(to), "--verify", "--workers", "2"]
    assert CliRunner().invoke(entry.app, arguments).exit_code == 0
    assert seen == {"root": to, "workers": 2}


@pytest.mark.parametrize(
    "options",
    ["--patients 0", "--patients -1", "--seed -1", "--workers 0", "--workers 257"],
)
def test_a_number_that_makes_no_sense_is_refused_before_any_work(tmp_path, options):
    arguments = ["fetch", "cmmd", "--to", str(tmp_path / "data"), *options.split()]
    assert CliRunner().invoke(entry.app, arguments).exit_code == 2
    assert not (tmp_path / "data").exists()


def test_a_phantom_is_written_into_a_new_or_empty_folder_only(tmp_path):
    arguments = ["phantom", "folder", "--cases", "2", "--to"]
    (tmp_path / "empty").mkdir()
    done = CliRunner().invoke(entry.app, [*arguments, str(tmp_path / "empty")])
    assert (done.exit_code, done.output.startswith("folder phantom of 2 patients in ")) == (0, True)
    again = CliRunner().invoke(entry.app, [*arguments, str(tmp_path / "empty")])
    assert isinstance(again.exception, UsageError)
    assert "is not empty; a phantom is written into a new folder" in str(again.exception)


@pytest.mark.parametrize(
    ("arguments", "called"),
    [
        (["run"], ("run", "run")),
        (["--patient", "P1", "--in", "runs"], ("patient", "P1", "runs")),
        ([], None),
        (["--patient", "P1"], None),
        (["--in", "runs"], None),
        (["run", "--patient", "P1"], None),
    ],
)
def test_lineage_is_of_a_run_or_of_a_patient_in_a_folder(monkeypatch, arguments, called):
    seen = []
    monkeypatch.setattr("cli.results.print_lineage", lambda run, **options: seen.append(("run", str(run))))

    def print_patient(patient, within, **options):
        seen.append(("patient", patient, str(within)))

    monkeypatch.setattr("cli.results.print_patient", print_patient)
    done = CliRunner().invoke(result_commands.app, ["lineage", *arguments])
    assert seen == ([called] if called else [])
    assert isinstance(done.exception, UsageError) == (called is None)


@pytest.mark.parametrize(("agrees", "code"), [(True, 0), (False, 1)])
def test_rescoring_ends_by_whether_all_agrees(monkeypatch, agrees, code):
    monkeypatch.setattr("cli.share.rescore_bundle", lambda bundle: agrees)
    assert CliRunner().invoke(result_commands.app, ["rescore", "x.zip"]).exit_code == code
