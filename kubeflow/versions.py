"""The versions that compiled a spec travel in it, and an image of other versions refuses to run it."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, metadata, version

import medimg
from medimg.errors import MedimgError


def installed_versions() -> str:
    """What is installed here, as it is written into a spec: `medimg=0.1.0,tfx=1.16.0`."""
    return f"medimg={medimg.__version__},tfx={find_version('tfx')}"


def list_extras() -> list[str]:
    """The extras of our package, sorted."""
    return sorted(metadata("medimg-tfx").get_all("Provides-Extra", []))


def find_version(package: str) -> str:
    """The installed version, or `none`."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "none"


def check_versions(compiled_with: str) -> None:
    """Raises MedimgError if other versions are installed here than those that compiled the spec."""
    if (here := installed_versions()) != compiled_with:
        raise MedimgError(
            f"this image has {here}, the spec was compiled with {compiled_with}: expected the same; "
            "compile it with this image, or name the other one"
        )
