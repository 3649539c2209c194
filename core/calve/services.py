"""Functions of otherwise internal rooms that plugins may call.

An exporter, a runtime, a corpus, a decoding method or a command imports them from here and from
nowhere else. Each is imported when it is first used, so that importing this module costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from calve.cli.field_types import integer, number
    from calve.cli.options import (
        RecipeGroup,
        json_option,
        num_threads_option,
        recipe_options,
        runs_option,
    )
    from calve.cli.output import echo, print_json, print_table
    from calve.decoding.evaluation import SILENCE, Evaluation, evaluate
    from calve.decoding.online_decoding import StreamDecoder, StreamSearch
    from calve.decoding.online_recognizer import OnlineRecognizer
    from calve.decoding.search import make_search
    from calve.decoding.streaming_run import StreamingRun
    from calve.models.averaging import find_checkpoints
    from calve.models.building import ModelBuilder
    from calve.models.checkpoint_files import model_state, read_checkpoint, save_checkpoint
    from calve.models.checkpoints import CheckpointChoice, checkpoints_there
    from calve.models.loading import load
    from calve.registry.catalog import registry
    from calve.registry.discovery import load_driver
    from calve.scoring.error_rates import total_errors
    from calve.training.launching import own_shard

__all__ = [
    "SILENCE",
    "CheckpointChoice",
    "Evaluation",
    "ModelBuilder",
    "OnlineRecognizer",
    "RecipeGroup",
    "StreamDecoder",
    "StreamSearch",
    "StreamingRun",
    "checkpoints_there",
    "echo",
    "evaluate",
    "find_checkpoints",
    "integer",
    "json_option",
    "load",
    "load_driver",
    "make_search",
    "model_state",
    "num_threads_option",
    "number",
    "own_shard",
    "print_json",
    "print_table",
    "read_checkpoint",
    "recipe_options",
    "registry",
    "runs_option",
    "save_checkpoint",
    "total_errors",
]

_MODULES = {
    "CheckpointChoice": "calve.models.checkpoints",
    "Evaluation": "calve.decoding.evaluation",
    "ModelBuilder": "calve.models.building",
    "OnlineRecognizer": "calve.decoding.online_recognizer",
    "RecipeGroup": "calve.cli.options",
    "SILENCE": "calve.decoding.evaluation",
    "StreamDecoder": "calve.decoding.online_decoding",
    "StreamSearch": "calve.decoding.online_decoding",
    "StreamingRun": "calve.decoding.streaming_run",
    "checkpoints_there": "calve.models.checkpoints",
    "echo": "calve.cli.output",
    "evaluate": "calve.decoding.evaluation",
    "find_checkpoints": "calve.models.averaging",
    "integer": "calve.cli.field_types",
    "json_option": "calve.cli.options",
    "load": "calve.models.loading",
    "load_driver": "calve.registry.discovery",
    "make_search": "calve.decoding.search",
    "model_state": "calve.models.checkpoint_files",
    "num_threads_option": "calve.cli.options",
    "number": "calve.cli.field_types",
    "own_shard": "calve.training.launching",
    "print_json": "calve.cli.output",
    "print_table": "calve.cli.output",
    "read_checkpoint": "calve.models.checkpoint_files",
    "recipe_options": "calve.cli.options",
    "registry": "calve.registry.catalog",
    "runs_option": "calve.cli.options",
    "save_checkpoint": "calve.models.checkpoint_files",
    "total_errors": "calve.scoring.error_rates",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_MODULES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
