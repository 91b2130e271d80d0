"""Checks for PyPI's package `kubeflow` (the SDK of Kubeflow), whose top-level name is that of ours."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import typer

from medimg.errors import UsageError

ADVICE = "expected an environment without it: pip uninstall kubeflow, or install one of the two elsewhere"


def check_kubeflow() -> None:
    """Warns in one line if PyPI's kubeflow is installed too, and raises UsageError if it hides ours.

    From two wheels both fill one folder of site-packages and both can be imported, in either order of
    installation; but the SDK replaces the `kubernetes` that TFX asks for. Where ours is reached by a later
    entry of sys.path (a path file, a mounted folder), the SDK's is found first and ours not at all.
    """
    try:
        found = f"PyPI's package kubeflow {version('kubeflow')}"
    except PackageNotFoundError:
        return
    if find_spec("kubeflow.compile") is None:
        raise UsageError(f"{found} hides medimg's own package of that name; {ADVICE}")
    typer.echo(
        f"warning: {found} shares its name with a package of medimg and wants another kubernetes than TFX; "
        f"{ADVICE}",
        err=True,
    )
