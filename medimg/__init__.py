"""Medical imaging from archive to Examples and evidence; free of TFX, Beam and Kubeflow."""

__version__ = "0.1.0"
"""The only place where the version is named; pyproject.toml reads it."""
