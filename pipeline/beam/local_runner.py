"""Beam's local runner without its timed flush, which loses elements without an error (decision 0013)."""

from __future__ import annotations

from typing import Any

import apache_beam as beam
from apache_beam.runners.portability.fn_api_runner import FnApiRunner, worker_handlers

from medimg.errors import MedimgError

LIMIT = "DATA_BUFFER_TIME_LIMIT_MS"


class LocalRunner(FnApiRunner):
    """Runs a pipeline on this machine; streams are flushed by size alone, by the thread that writes them."""

    def run_via_runner_api(self, pipeline_proto: Any, options: Any) -> Any:
        turn_off_timed_flush()
        return super().run_via_runner_api(pipeline_proto, options)


def turn_off_timed_flush() -> None:
    """Sets the time limit of Beam's buffers to 0 for this process.

    Beam has no setting for it on the runner's side: the server of its data plane reads this constant when a
    pipeline starts, and so do workers that are threads. Workers that are processes have 0 by default. The
    constant is never set back, since another pipeline may be starting in another thread.

    Raises:
        MedimgError: this Beam has no such constant, so that nothing is known about its streams.
    """
    if not hasattr(worker_handlers, LIMIT):
        raise MedimgError(
            f"apache-beam {beam.__version__} has no {worker_handlers.__name__}.{LIMIT}, by which its local"
            " runner is made safe; expected 2.62 to 2.77"
        )
    setattr(worker_handlers, LIMIT, 0)
