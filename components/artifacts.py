"""Artifact types of our own components.

Kubeflow hands an artifact's TYPE_NAME over as its schema title, which TFX then imports as a dotted name with
one dot: hence `components.Catalogue`, which `components/__init__.py` finds here. For the same reason they
declare no properties of their own; what they carry are custom properties.
"""

from tfx.types.artifact import Artifact


class Catalogue(Artifact):
    """cases.parquet, images.parquet and summary.json of one data set."""

    TYPE_NAME = "components.Catalogue"


class Rejects(Artifact):
    """rejects.json: the cases and images that could not be written as Examples, each with its reason."""

    TYPE_NAME = "components.Rejects"
    FILE = "rejects.json"


class GateReport(Artifact):
    """gate.json: what DataGate checked and what it warned of."""

    TYPE_NAME = "components.GateReport"
    FILE = "gate.json"


class Report(Artifact):
    """report.html, metrics.json and predictions.parquet; every figure is also a custom property."""

    TYPE_NAME = "components.Report"
