"""CatalogueGen: downloaded files and clinical tables in, a Catalogue artifact out."""

from tfx.dsl.components.base.base_component import BaseComponent
from tfx.dsl.components.base.executor_spec import ExecutorClassSpec
from tfx.types.channel import Channel
from tfx.types.component_spec import ChannelParameter, ComponentSpec, ExecutionParameter

from components.artifacts import Catalogue
from components.catalogue_gen.executor import Executor


class CatalogueGenSpec(ComponentSpec):
    """Everything that decides the catalogue is a value here, so that it is in the cache key.

    `data` stands for the files' content.
    """

    PARAMETERS = {
        "data_set": ExecutionParameter(type=str),
        "data_root": ExecutionParameter(type=str),
        "labels": ExecutionParameter(type=str),
        "scan": ExecutionParameter(type=str),
        "split": ExecutionParameter(type=str),
        "previous": ExecutionParameter(type=str),
        "split_file": ExecutionParameter(type=str),
        "index": ExecutionParameter(type=str),
        "made": ExecutionParameter(type=str, optional=True),
        "data": ExecutionParameter(type=str),
        "code": ExecutionParameter(type=str),
    }
    INPUTS: dict[str, ChannelParameter] = {}
    OUTPUTS = {"catalogue": ChannelParameter(type=Catalogue)}


class CatalogueGen(BaseComponent):
    """Builds the catalogue of one data set.

    Args:
        data_set: name in medimg.datasets.
        data_root: folder of images and clinical tables.
        labels, scan, split: LabelSettings, ScanSettings and SplitSettings as JSON.
        previous: an earlier catalogue whose groups keep their split, or empty.
        split_file: a table of groups or cases and their split, or empty.
        index: Parquet file of what was already read.
        made: a catalogue that is used as it is; without it one is built.
        data: fingerprint of the files' and tables' content.
        code: fingerprint of the code that builds it.
    """

    SPEC_CLASS = CatalogueGenSpec
    EXECUTOR_SPEC = ExecutorClassSpec(Executor)

    def __init__(self, **values: str) -> None:
        super().__init__(CatalogueGenSpec(**values, catalogue=Channel(type=Catalogue)))
