"""TFX glue.

The package answers for its artifact types by name (`components.Catalogue`), without importing TFX before one
is asked for.
"""

from importlib import import_module
from typing import Any

ARTIFACTS = ("Catalogue", "GateReport", "Rejects", "Report")


def __getattr__(name: str) -> Any:
    """An artifact type; see components/artifacts.py for why it must be reachable here."""
    if name in ARTIFACTS:
        return getattr(import_module("components.artifacts"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
