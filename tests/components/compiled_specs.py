"""Compiles configs for tests."""

from __future__ import annotations

from pipeline.config.overrides import load_config

IMAGE = "registry.example/medimg:0.1.0"
ROOTS = {"kfp": "minio://mlpipeline/v2/artifacts", "vertex": "gs://bucket/artifacts"}


def compile_spec(name, *overrides, target="kfp", images=(IMAGE,), root="", **more):
    """Both documents of a config's spec."""
    from kubeflow.compile import compile_config
    from kubeflow.request import CompileRequest

    return compile_config(
        load_config(name, overrides=overrides),
        CompileRequest(tuple(images), root or ROOTS[target], target, **more),
    )
