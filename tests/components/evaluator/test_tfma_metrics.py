"""CaseMetrics in the real TensorFlow Model Analysis.

Its figures equal scikit-learn's and the report's, per slice too, and its gates hold.
"""

import json
from typing import ClassVar

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_model_analysis as tfma
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score

from components.evaluator.eval_config import Measurement, make_eval_config
from components.report_gen.evaluator_results import passes
from medimg.errors import UsageError
from medimg.evaluation.classification.above_shortcut import measure_above_shortcut
from medimg.evaluation.classification.costs import NO_COSTS, Costs, make_cost_matrices
from medimg.evaluation.classification.metrics import metrics_of
from medimg.evaluation.figures import MeasurementSettings, measure
from medimg.evaluation.gates import Gate, require_answers
from medimg.evaluation.intervals import Bootstrap
from medimg.evaluation.protocols import find_protocols

GATES = [
    Gate(metric="auc", head="malignancy", lower_bound=0.5),
    Gate(metric="auc", head="malignancy", lower_bound=0.5, slice="source=D3"),
    Gate(metric="auc", head="malignancy", lower_bound=0.999, slice="source=D1"),
    Gate(metric="auc", head="malignancy", lower_bound=0.0, slice="source=D9"),
    Gate(metric="macro_auc", head="kind", lower_bound=0.1),
    Gate(metric="auc_above_shortcut", head="malignancy", lower_bound=0.0),
    Gate(metric="auc_above_shortcut", head="malignancy", lower_bound=0.9, slice="source=D1"),
    Gate(metric="auc_above_shortcut", head="malignancy", lower_bound=-1.0, slice="source=D3"),
]
HEADS = {"malignancy": ("Benign", "Malignant"), "kind": ("mass", "calcification", "both")}


def make_predictions(cases=120, seed=5):
    """Two breasts per patient; D3 holds one class only; every seventh case has no second label.

    Probabilities are float32 as a model's.
    """
    generator = np.random.default_rng(seed)
    patient = np.arange(cases) // 2
    malignant = generator.integers(0, 2, cases)
    source = np.array(["D1", "D2", "D3"])[patient % 3]
    malignant[source == "D3"] = 1
    score = (
        np.clip(0.5 + 0.2 * (malignant - 0.5) + generator.normal(0, 0.2, cases), 0.01, 0.99)
        .round(2)
        .astype(np.float32)
    )
    kind = generator.dirichlet((1, 1, 1), cases).astype(np.float32)
    table = pd.DataFrame(
        {
            "case_id": [f"{source[i]}-{patient[i]:04d}-{'LR'[i % 2]}" for i in range(cases)],
            "group_id": [f"{source[i]}-{patient[i]:04d}" for i in range(cases)],
            "split": "test",
            "clinical_source": source,
            "label_malignancy": np.array(HEADS["malignancy"])[malignant],
            "label_kind": [
                None if i % 7 == 0 else HEADS["kind"][generator.integers(3)] for i in range(cases)
            ],
            "p_malignancy_Benign": (1 - score).astype(float),
            "p_malignancy_Malignant": score.astype(float),
            "shortcut_malignancy": generator.random(cases).round(2).astype(np.float32).astype(float),
        }
    )
    table["level_patient"] = table["group_id"]
    for index, name in enumerate(HEADS["kind"]):
        table[f"p_kind_{name}"] = kind[:, index].astype(float)
    return table


class TableModel(tf.Module):
    """A model whose outputs are written in its Examples, with the signatures of ours."""

    spec: ClassVar = {
        "p_malignancy": tf.io.FixedLenFeature([2], tf.float32),
        "p_kind": tf.io.FixedLenFeature([3], tf.float32),
        "index_malignancy": tf.io.FixedLenFeature([1], tf.int64),
        "index_kind": tf.io.FixedLenFeature([1], tf.int64),
    }

    def __init__(self, kind="model"):
        super().__init__()
        self.kind = kind

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def serve(self, examples):
        parsed = tf.io.parse_example(examples, self.spec)
        outputs = {head: tf.identity(parsed[f"p_{head}"]) for head in HEADS}
        if self.kind == "worse":
            return {head: values[:, ::-1] for head, values in outputs.items()}
        if self.kind == "timid":
            # The order of cases stays, and none is called malignant.
            risk = outputs["malignancy"][:, 1:] / 2.01
            return {**outputs, "malignancy": tf.concat([1 - risk, risk], axis=1)}
        return outputs

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="examples")])
    def transform(self, examples):
        parsed = tf.io.parse_example(examples, self.spec)
        return {f"label_{head}": tf.identity(parsed[f"index_{head}"]) for head in HEADS}


def write_examples(path, table):
    def text(value):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value.encode()]))

    with tf.io.TFRecordWriter(str(path)) as writer:
        for row in table.to_dict("records"):
            features = {name: text(row[name]) for name in ("case_id", "clinical_source", "level_patient")}
            for head, classes in HEADS.items():
                label = row[f"label_{head}"]
                index = classes.index(label) if label else -1
                probabilities = [row[f"p_{head}_{name}"] for name in classes]
                features[f"index_{head}"] = tf.train.Feature(int64_list=tf.train.Int64List(value=[index]))
                features[f"p_{head}"] = tf.train.Feature(float_list=tf.train.FloatList(value=probabilities))
            features["shortcut_malignancy"] = tf.train.Feature(
                float_list=tf.train.FloatList(value=[row["shortcut_malignancy"]])
            )
            writer.write(tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString())


@pytest.fixture(scope="module")
def table():
    return make_predictions()


@pytest.fixture(scope="module")
def evaluate_model(tmp_path_factory, table):
    """Runs TFMA as TFX's Evaluator does and returns (metrics of all slices by head, validation result)."""
    root = tmp_path_factory.mktemp("tfma")
    for name in ("model", "worse", "timid"):
        model = TableModel(name)
        tf.saved_model.save(
            model,
            str(root / name),
            signatures={"serving_default": model.serve, "transform_features": model.transform},
        )
    write_examples(root / "examples", table)

    def run(name, *, gates=(), levels=("patient",), costs=NO_COSTS, baseline="", candidate="model"):
        config = make_eval_config(
            Measurement(heads=HEADS, slices=["source"], levels=levels, shortcuts=["source"], costs=costs),
            gates=gates,
        )
        config = tfma.utils.update_eval_config_with_defaults(
            config, has_baseline=bool(baseline), rubber_stamp=True
        )
        models = [
            tfma.default_eval_shared_model(
                str(root / (baseline if spec.is_baseline else candidate)),
                model_name=spec.name,
                eval_config=config,
            )
            for spec in config.model_specs
        ]
        shared = models if baseline else models[0]
        tfma.run_model_analysis(
            shared, eval_config=config, data_location=str(root / "examples"), output_path=str(root / name)
        )
        result = tfma.load_eval_result(str(root / name), model_name="candidate" if baseline else None)
        metrics = {head: result.get_metrics_for_all_slices(output_name=head) for head in HEADS}
        return metrics, tfma.load_validation_result(str(root / name))

    return run


@pytest.fixture(scope="module")
def gated(evaluate_model):
    return evaluate_model("gated", gates=GATES)


def value_of(metrics, name):
    return float(metrics[name]["doubleValue"])  # NaN comes as a word.


def test_each_slice_has_the_figures_of_scikit_learn(gated, table):
    metrics = gated[0]["malignancy"]
    for key, rows in [((), table), ((("clinical_source", "D1"),), table[table.clinical_source == "D1"])]:
        truth, score = rows.label_malignancy == "Malignant", rows.p_malignancy_Malignant
        assert value_of(metrics[key], "cases/auc") == pytest.approx(roc_auc_score(truth, score), abs=1e-9)
        assert value_of(metrics[key], "cases/average_precision") == pytest.approx(
            average_precision_score(truth, score), abs=1e-9
        )
        assert value_of(metrics[key], "cases/brier") == pytest.approx(
            brier_score_loss(truth, score), abs=1e-9
        )
        assert value_of(metrics[key], "cases/n") == len(rows)
        assert value_of(metrics[key], "cases/positives") == truth.sum()


def test_evaluator_and_report_agree_on_every_figure(gated, table):
    figures = measure(
        table,
        MeasurementSettings(
            HEADS, find_protocols(["cases", "P4"]), slices=["source"], bootstrap=Bootstrap(resamples=2)
        ),
    )
    compared = 0
    for figure in figures:
        if figure.n == 0:
            continue
        key = (
            ()
            if figure.slice == "overall"
            else (
                tuple(
                    ("clinical_source" if i == 0 else part) for i, part in enumerate(figure.slice.split("="))
                ),
            )
        )
        name = f"{'patient' if figure.protocol == 'P4' else 'cases'}/{figure.name}"
        assert value_of(gated[0][figure.head][key], name) == pytest.approx(
            figure.value, abs=1e-6, nan_ok=True
        ), figure
        compared += 1
    # Four slices; the two-class head per case and per patient, the other per case.
    assert compared == 4 * (2 * len(metrics_of(HEADS["malignancy"])) + len(metrics_of(HEADS["kind"])))


def test_evaluator_and_report_agree_where_costs_decide(evaluate_model, gated, table):
    named = [
        Costs("malignancy", {"Malignant": {"Benign": 5}}),
        Costs("kind", {"both": {"mass": 4, "calcification": 3}}),
    ]
    costs = make_cost_matrices(named, heads=HEADS)
    metrics, _ = evaluate_model("costs", levels=(), costs=costs)
    for figure in measure(
        table,
        MeasurementSettings(HEADS, find_protocols(["cases"]), bootstrap=Bootstrap(resamples=0)),
        costs=costs,
    ):
        assert value_of(metrics[figure.head][()], f"cases/{figure.name}") == pytest.approx(
            figure.value, abs=1e-6
        ), figure
    for head in HEADS:
        assert value_of(metrics[head][()], "cases/mean_cost") > 0
        assert value_of(metrics[head][()], "cases/accuracy") != value_of(gated[0][head][()], "cases/accuracy")


def test_evaluator_and_report_agree_on_how_far_the_model_is_above_its_shortcuts(gated, table):
    figures = measure_above_shortcut(
        table, MeasurementSettings(HEADS, ["cases"], slices=["source"], bootstrap=Bootstrap(resamples=2))
    )
    assert [figure.slice for figure in figures] == ["overall", "source=D1", "source=D2", "source=D3"]
    for figure in figures:
        key = (
            () if figure.slice == "overall" else (("clinical_source", figure.slice.removeprefix("source=")),)
        )
        evaluated = value_of(gated[0]["malignancy"][key], "cases/auc_above_shortcut")
        assert evaluated == pytest.approx(figure.value, abs=1e-9, nan_ok=True)
    assert "cases/auc_above_shortcut" not in gated[0]["kind"][()]


def test_cases_without_a_label_do_not_count(gated, table):
    assert value_of(gated[0]["kind"][()], "cases/n") == table.label_kind.notna().sum()
    assert "cases/positives" not in gated[0]["kind"][()]


def test_one_class_gives_nan_not_zero(gated):
    assert np.isnan(value_of(gated[0]["malignancy"][(("clinical_source", "D3"),)], "cases/auc"))


def test_gates_fail_on_low_on_undefined_and_on_absent_slices_and_only_there(gated):
    validation = gated[1]
    assert not validation.validation_ok
    failed = {
        tuple((key.column, key.bytes_value.decode()) for key in part.slice_key.single_slice_keys)
        for part in validation.metric_validations_per_slice
        if part.failures
    }
    assert failed == {(("clinical_source", "D3"),), (("clinical_source", "D1"),)}
    assert [dict(spec.feature_values) for spec in validation.missing_slices] == [{"clinical_source": "D9"}]
    assert [passes(gate, validation, heads=HEADS) for gate in GATES] == [
        True,
        False,
        False,
        False,
        True,
        True,
        False,
        False,
    ]


def test_a_model_above_its_gates_is_valid(evaluate_model):
    gates = [
        Gate(metric="auc", head="malignancy", lower_bound=0.5, change=-0.01),
        Gate(metric="auc", head="malignancy", lower_bound=0.5, slice="source=D1"),
    ]
    assert evaluate_model("valid", gates=gates)[1].validation_ok


@pytest.mark.parametrize(("candidate", "valid"), [("model", True), ("timid", False)])
def test_a_model_that_calls_every_case_benign_is_not_valid_however_well_it_ranks_them(
    evaluate_model, candidate, valid
):
    gates = require_answers(
        [Gate(metric="auc", head="malignancy", lower_bound=0.5)], head="malignancy", without=()
    )
    metrics, validation = evaluate_model(f"answers-{candidate}", gates=gates, candidate=candidate)
    assert value_of(metrics["malignancy"][()], "cases/answered_classes") == (2 if valid else 1)
    assert validation.validation_ok == valid
    assert [passes(gate, validation, heads=HEADS) for gate in gates] == [True, valid]


@pytest.mark.parametrize(
    ("candidate", "change", "valid"),
    [("model", 0.0, True), ("model", 0.01, False), ("worse", 0.0, False)],
)
def test_no_worse_than_the_baseline_lets_an_equal_model_pass_and_no_worse_one(
    evaluate_model, candidate, change, valid
):
    gates = [Gate(metric="auc", head="malignancy", lower_bound=0.0, change=change)]
    _, validation = evaluate_model(
        f"{candidate}-{change}", gates=gates, levels=(), baseline="model", candidate=candidate
    )
    assert validation.validation_ok == valid


@pytest.mark.parametrize(
    ("gate", "words"),
    [
        (Gate(metric="auk", head="malignancy", lower_bound=0.5), "did you mean 'auc'"),
        (Gate(metric="auc", head="malignancy", lower_bound=0.5, slice="sourc=D1"), "did you mean 'source'"),
        (Gate(metric="auc", head="malignancy", lower_bound=0.5, slice="D1"), "column=value"),
        (Gate(metric="auc", head="malignant", lower_bound=0.5), "did you mean 'malignancy'"),
        (Gate(metric="brier", head="malignancy", lower_bound=0.5), "smaller is better"),
        (
            Gate(metric="brier_uncertainty", head="malignancy", lower_bound=0.5),
            "does not depend on the model",
        ),
        (Gate(metric="auc", head="kind", lower_bound=0.5), "auc_"),
        (
            Gate(metric="auc_above_shortcut", head="malignancy", lower_bound=0.0),
            "no shortcut, expected evaluation.shortcuts",
        ),
    ],
)
def test_a_wrong_gate_is_refused_with_the_nearest_right_name(gate, words):
    with pytest.raises(UsageError, match=words):
        make_eval_config(Measurement(heads=HEADS, slices=["source"]), gates=[gate])


def test_changed_code_changes_the_configuration():
    first, second = (make_eval_config(Measurement(heads=HEADS), code=code) for code in ("a", "b"))
    assert first != second
    assert json.loads(first.metrics_specs[0].metrics[1].config)["code"] == "a"
