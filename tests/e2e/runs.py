"""What a run of the flagship in small has written, for tests that compare two of them."""

from __future__ import annotations

import json
from operator import itemgetter
from pathlib import Path

from pipeline.beam.flags import parse_beam
from pipeline.metadata.lineage import Node, latest_nodes, open_store

PIPELINE = "cmmd-demo"


def nodes_of(run: Path) -> dict[str, Node]:
    """The latest successful execution of each component."""
    return latest_nodes(open_store(run / "metadata.sqlite"), PIPELINE)


def output_of(run: Path, component: str, name: str) -> Path:
    """Where the latest successful execution of a component has written an output."""
    return Path(nodes_of(run)[component].outputs[name][0].uri)


def examples_of(run: Path) -> Path:
    """The folder of CaseExampleGen's records."""
    return output_of(run, "CaseExampleGen", "examples")


def figures_of(run: Path) -> dict[tuple[str, ...], float | None]:
    """The report's figures of the test split by (head, name, protocol, level, slice)."""
    figures = [
        figure
        for figure in json.loads((run / "report" / "metrics.json").read_text())
        if figure["split"] == "test"
    ]
    key = itemgetter("head", "name", "protocol", "level", "slice")
    return {key(figure): figure["value"] for figure in figures}


def aucs_of(run: Path) -> dict[tuple[str, ...], float]:
    """The report's AUC of each protocol on the whole test split, where it is defined."""
    return {
        key: value
        for key, value in figures_of(run).items()
        if key[1] == "auc" and key[4] == "overall" and value is not None
    }


def statistics_of(run: Path) -> dict[str, tuple[float, int]]:
    """Mean and number of different values of each feature of the train split."""
    import tensorflow_data_validation as tfdv

    features = (
        tfdv.load_stats_binary(
            str(output_of(run, "StatisticsGen", "statistics") / "Split-train" / "FeatureStats.pb")
        )
        .datasets[0]
        .features
    )
    return {
        feature.path.step[0]: (feature.num_stats.mean, feature.string_stats.unique) for feature in features
    }


def score_of_age_50(run: Path) -> list[float]:
    """An age of 50 years, scaled by what Transform has learnt of the train split."""
    import tensorflow as tf
    import tensorflow_transform as tft

    layer = tft.TFTransformOutput(
        str(output_of(run, "Transform", "transform_graph"))
    ).transform_features_layer()
    scores: list[float] = (
        layer({"clinical_age_years": tf.sparse.from_dense([[50.0]])})["clinical_age_years"]
        .numpy()
        .tolist()[0]
    )
    return scores


def evaluation_of(run: Path) -> dict[tuple[str, str], float]:
    """What the Evaluator has measured, by (slice, metric)."""
    return read_evaluation(output_of(run, "Evaluator", "evaluation"))


def evaluate_locally(run: Path, to: Path, *, examples: Path | None = None) -> dict[tuple[str, str], float]:
    """The same model's figures, measured again on the local runner, on the same examples or others.

    Where the run had a baseline too, the model stands for both.
    """
    import tensorflow_model_analysis as tfma
    from apache_beam.options.pipeline_options import PipelineOptions

    config = tfma.load_eval_result(str(output_of(run, "Evaluator", "evaluation"))).config
    exported = str(output_of(run, "Trainer", "model") / "Format-Serving")
    names = [spec.name for spec in config.model_specs] if len(config.model_specs) > 1 else [""]
    models = [tfma.default_eval_shared_model(exported, eval_config=config, model_name=name) for name in names]
    data = str((examples or examples_of(run)) / "Split-test" / "*")
    options = PipelineOptions(list(parse_beam()))
    tfma.run_model_analysis(
        models, eval_config=config, data_location=data, output_path=str(to), pipeline_options=options
    )
    return read_evaluation(to)


def read_evaluation(folder: Path) -> dict[tuple[str, str], float]:
    """Figures by (slice, metric) as Model Analysis has written them."""
    import tensorflow_model_analysis as tfma

    slices = tfma.load_eval_result(str(folder)).get_metrics_for_all_slices(output_name="")
    return {
        (str(key), name): float(value["doubleValue"])  # NaN comes as a word.
        for key, metrics in slices.items()
        for name, value in metrics.items()
        if "doubleValue" in value
    }
