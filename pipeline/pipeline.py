"""The whole way on one screen: from a data root to a pushed model and a report."""

from __future__ import annotations

import dataclasses
import json
from typing import TYPE_CHECKING

import tensorflow_data_validation as tfdv
from tfx.components import (
    Evaluator,
    ExampleValidator,
    Pusher,
    StatisticsGen,
    Trainer,
    Transform,
)
from tfx.components.schema_gen.import_schema_gen.component import ImportSchemaGen
from tfx.orchestration.pipeline import Pipeline
from tfx.proto import pusher_pb2, trainer_pb2, transform_pb2

from components.baseline_model.component import BaselineModel
from components.case_example_gen.component import CaseExampleGen, ExampleContent
from components.catalogue_gen.component import CatalogueGen
from components.data_gate.component import DataGate
from components.evaluator.eval_config import Measurement, make_eval_config
from components.report_gen.component import ReportGen
from medimg.catalogue.split import SPLITS
from medimg.evaluation.classification.costs import make_cost_matrices
from pipeline.cache_keys import Fingerprints
from pipeline.config.places import Places
from pipeline.config.run_config import TRANSFORMED, RunConfig
from pipeline.metadata.store import make_connection

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


def create_pipeline(config: RunConfig, places: Places, fingerprints: Fingerprints) -> Pipeline:
    """The DAG of one run.

    Reads no flag, no environment, no clock and no disk: everything that matters is in the three arguments.
    """
    code = fingerprints.code
    model = dataclasses.asdict(config.model)
    # Where it ran is no part of the experiment: the same settings on a laptop and on a cluster are the same
    # cache key.
    experiment = {name: value for name, value in dataclasses.asdict(config).items() if name != "deployment"}
    hashes = {name: value for name in ("data", "schema", "weights") if (value := getattr(fingerprints, name))}

    catalogue_gen = CatalogueGen(
        data_set=config.data_set,
        data_root=places.data_root,
        labels=as_json(config.labels),
        scan=as_json(config.scan),
        split=as_json(config.split),
        previous=places.previous,
        split_file=places.split_file,
        index=places.index,
        data=fingerprints.data + fingerprints.previous + fingerprints.catalogue,
        code=code.catalogue,
        **({"made": places.catalogue} if places.catalogue else {}),
    )
    catalogue = catalogue_gen.outputs["catalogue"]
    example_gen = CaseExampleGen(
        catalogue,
        data_root=places.data_root,
        content=ExampleContent(
            ingest=as_json(config.ingest),
            settings=as_json(config.examples),
            columns=config.columns,
            shortcuts=config.evaluation.shortcuts,
            heads=config.heads,
        ),
        code=code.examples,
    )
    examples = example_gen.outputs["examples"]
    schema_gen = ImportSchemaGen(schema_file=places.schema)
    schema = schema_gen.outputs["schema"]
    # Only what the schema names is read: images never enter the statistics.
    statistics_gen = StatisticsGen(
        examples,
        schema=schema,
        stats_options=tfdv.StatsOptions(experimental_filter_read_paths=True),
        exclude_splits=[f"unlabelled_{split}" for split in SPLITS] if config.examples.unlabelled else [],
    )
    validator = ExampleValidator(statistics_gen.outputs["statistics"], schema)
    gate = DataGate(
        catalogue=catalogue,
        rejects=example_gen.outputs["rejects"],
        statistics=statistics_gen.outputs["statistics"],
        anomalies=validator.outputs["anomalies"],
        settings=as_json(config.data_gate),
        head=config.model.heads[0].name,
        code=code.gate,
    )
    transform = Transform(
        examples,
        schema,
        preprocessing_fn="components.entry_points.preprocessing_fn",
        splits_config=transform_pb2.SplitsConfig(analyze=["train"], transform=list(SPLITS)),
        materialize=False,
        disable_statistics=True,
        # Another width or learning rate is not its business.
        custom_config={
            "task": config.task,
            "model": {name: model[name] for name in TRANSFORMED},
            "code": code.transform,
        },
    )
    transform.add_upstream_node(gate)
    trainer = Trainer(
        examples=examples,
        transform_graph=transform.outputs["transform_graph"],
        run_fn="components.entry_points.run_fn",
        train_args=trainer_pb2.TrainArgs(splits=["train"]),
        eval_args=trainer_pb2.EvalArgs(splits=["eval"]),
        custom_config={
            "task": config.task,
            "model": model,
            "training": dataclasses.asdict(config.training),
            "checkpoints": places.checkpoints,
            "code": code.trainer,
            "weights": fingerprints.weights,
        },
    )
    baseline = BaselineModel(serving=places.serving, baseline=fingerprints.baseline, code=code.baseline)
    evaluator = Evaluator(
        examples=examples,
        model=trainer.outputs["model"],
        baseline_model=baseline.outputs["model"],
        example_splits=["test"],
        eval_config=make_eval_config(
            Measurement(
                heads=config.heads,
                slices=config.evaluation.slices,
                shortcuts=config.evaluation.shortcuts,
                costs=make_cost_matrices(config.evaluation.costs, heads=config.heads),
                prevalence=config.training.prevalence,
            ),
            gates=config.evaluation.gates,
            code=code.evaluator,
        ),
    )
    pusher = Pusher(
        model=trainer.outputs["model"],
        model_blessing=evaluator.outputs["blessing"],
        push_destination=pusher_pb2.PushDestination(
            filesystem=pusher_pb2.PushDestination.Filesystem(base_directory=places.serving)
        ),
    )
    report_gen = ReportGen(
        model=trainer.outputs["model"],
        model_run=trainer.outputs["model_run"],
        examples=examples,
        catalogue=catalogue,
        evaluation=evaluator.outputs["evaluation"],
        blessing=evaluator.outputs["blessing"],
        gate=gate.outputs["report"],
        rejects=example_gen.outputs["rejects"],
        config=json.dumps(experiment, sort_keys=True),
        facts=json.dumps({**hashes, **dataclasses.asdict(code)}, sort_keys=True),
        code=code.report,
    )
    # ReportGen counts what the Evaluator has measured: nothing is pushed on the word of half a test split.
    pusher.add_upstream_node(report_gen)
    return Pipeline(
        pipeline_name=places.pipeline or config.name,
        pipeline_root=places.pipeline_root,
        components=[
            catalogue_gen,
            example_gen,
            schema_gen,
            statistics_gen,
            validator,
            gate,
            transform,
            trainer,
            baseline,
            evaluator,
            pusher,
            report_gen,
        ],
        enable_cache=True,
        metadata_connection_config=make_connection(places.metadata, password=places.metadata_password),
        beam_pipeline_args=list(places.beam_args),
    )


def as_json(settings: DataclassInstance) -> str:
    """A settings dataclass as JSON with sorted keys: equal settings give equal exec properties."""
    return json.dumps(dataclasses.asdict(settings), sort_keys=True)
