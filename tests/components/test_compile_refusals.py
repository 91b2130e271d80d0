"""What the target would refuse is refused while compiling: names, parameters, the deployment."""

from __future__ import annotations

import pytest

from medimg.errors import UsageError
from pipeline.config.overrides import load_config
from tests.components.compiled_specs import IMAGE, compile_spec

pytest.importorskip("kfp.pipeline_spec", reason="the package kfp-pipeline-spec is not installed")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"images": ()}, "--image: none for Fingerprints, expected one image for all components"),
        (
            {"images": (f"Trainer={IMAGE}",)},
            "--image: none for Fingerprints, expected one image for all components",
        ),
        (
            {"overrides": ["deployment.extra=volumes"]},
            "needs an image with the extra volumes, expected --image volumes=IMAGE or Fingerprints=IMAGE",
        ),
        (
            {"overrides": ['deployment.components={"Trainer": {"gpus": 1}}']},
            "--image: Trainer needs an image with the extra gpu",
        ),
        (
            {"overrides": ["deployment.extra=volume"]},
            "deployment.extra volume: no such extra; did you mean 'volumes'",
        ),
        ({"images": ("Registry/Image Name",)}, "is no name of an image"),
        (
            {"images": (IMAGE, f"Trainr={IMAGE}")},
            "--image Trainr: no such component or extra; did you mean 'Trainer'",
        ),
        (
            {"root": "/data/artifacts"},
            "expected minio://bucket/folder or s3://bucket/folder or gs://bucket/folder for kfp",
        ),
        ({"root": "minio://bucket/a", "target": "vertex"}, "expected gs://bucket/folder for vertex"),
        (
            {"parameters": ("data_rot=/data",)},
            "--parameter data_rot: no such parameter; did you mean 'data_root'",
        ),
        ({"parameters": ("data_root",)}, "expected name=value"),
        ({"overrides": ["deployment.state=/elsewhere"]}, "deployment.state /elsewhere: not on a volume"),
        (
            {"overrides": ["deployment.state=/state"], "target": "vertex", "root": "gs://b"},
            "--root gs://b: expected",
        ),
        (
            {"overrides": ["deployment.state=/mnt"], "target": "vertex"},
            "expected gs://bucket/folder, Vertex AI mounts no volumes",
        ),
        (
            {"overrides": ['deployment.components={"Trainr": {}}']},
            "deployment.components Trainr: no such component; did you mean 'Trainer'",
        ),
        (
            {
                "overrides": ['deployment.components={"Trainer": {"gpus": 1}}'],
                "target": "vertex",
                "images": (IMAGE, f"gpu={IMAGE}"),
            },
            "gpu_type of Trainer is 'nvidia.com/gpu'",
        ),
        (
            {
                "overrides": ['deployment.components={"Trainer": {"node_selector": {"a": "b"}}}'],
                "target": "vertex",
            },
            "Vertex AI has none",
        ),
        (
            {"overrides": ['deployment.volumes=[{"claim": "Big_Disk", "path": "/state"}]']},
            "deployment.volumes.0.claim: string should match",
        ),
        (
            {"overrides": ['deployment.volumes=[{"claim": "a", "path": "state"}]']},
            "deployment.volumes.0.path: string should match",
        ),
        (
            {
                "overrides": [
                    'deployment.volumes=[{"claim": "a", "path": "/state"}, {"claim": "b", "path": "/state"}]'
                ]
            },
            "two volumes at one path",
        ),
        ({"overrides": ["name=CMMD_demo"]}, "config key name: string should match"),
        (
            {"overrides": ["deployment.default.cpu=0"]},
            "deployment.default.cpu: input should be greater than 0",
        ),
        ({"name": "folder_classification"}, "only the data of folder tell its classes; give --data DIR"),
        ({"overrides": ["evaluation.slices=no_such"]}, "cmmd has no clinical column 'no_such'"),
    ],
)
def test_what_the_target_would_refuse_is_refused_while_compiling(arguments, words):
    arguments = {"name": "cmmd_demo", "overrides": [], **arguments}
    with pytest.raises(UsageError) as caught:
        compile_spec(arguments.pop("name"), *arguments.pop("overrides"), **arguments)
    assert words in str(caught.value)


def test_another_target_or_suffix_is_refused(tmp_path):
    from kubeflow.compile import write_spec
    from kubeflow.request import find_target

    with pytest.raises(UsageError, match="--target airflow: expected kfp or vertex"):
        find_target("airflow")
    with pytest.raises(UsageError, match=r"expected a name that ends in \.yaml"):
        write_spec(compile_spec("cmmd_demo"), tmp_path / "demo.json", config=load_config("cmmd_demo"))
