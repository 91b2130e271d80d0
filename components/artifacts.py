"""Artifact types of our own components."""

from tfx.types.artifact import Artifact, Property, PropertyType


class Catalogue(Artifact):
    """cases.parquet, images.parquet and summary.json of one data set."""

    TYPE_NAME = "MedimgCatalogue"
    PROPERTIES = {"data_set": Property(type=PropertyType.STRING)}


class Rejects(Artifact):
    """rejects.json: the cases and images that could not be written as Examples, each with its reason."""

    TYPE_NAME = "MedimgRejects"
    FILE = "rejects.json"


class GateReport(Artifact):
    """gate.json: what DataGate checked and what it warned of."""

    TYPE_NAME = "MedimgGateReport"
    FILE = "gate.json"


class Report(Artifact):
    """report.html, metrics.json and predictions.parquet; every figure is also a custom property."""

    TYPE_NAME = "MedimgReport"
