"""``calve average``: writes the averaged model to one file."""

from __future__ import annotations

from pathlib import Path

import click

from calve.cli.checkpoint_options import checkpoint_options
from calve.cli.options import json_option
from calve.cli.output import echo, print_json
from calve.common.printable import size_text
from calve.models.checkpoint_files import save_model
from calve.models.checkpoints import CheckpointChoice, load_state_dict

__all__ = ["average"]


@click.command("average")
@checkpoint_options
@click.option("--output", type=click.Path(path_type=Path), required=True, help="The file to write.")
@click.option("--overwrite", is_flag=True, help="Replace the output if it exists.")
@json_option
def average(checkpoint: CheckpointChoice, output: Path, overwrite: bool, as_json: bool) -> None:
    """Average the chosen checkpoints and write the model to one small file.

    The file contains the weights, the training parameters and the names and hashes of the
    checkpoints. It does not contain the optimizer and the running average. calve and icefall load
    it like any checkpoint. If --output ends in .safetensors, the file has that format.
    """
    loaded = load_state_dict(checkpoint)
    params = loaded.entries | {"provenance": loaded.provenance}
    save_model(output, loaded.state_dict, params, overwrite=overwrite)
    size = output.stat().st_size
    if as_json:
        parameters = sum(tensor.numel() for tensor in loaded.state_dict.values())
        report = {"output": str(output), "parameters": parameters, "size": size}
        print_json(report | {"provenance": loaded.provenance}, indent=2)
        return
    names = [file["name"] for file in loaded.provenance["files"]]
    origin = f"{loaded.provenance['averaging']} ({', '.join(names)})"
    if len(names) == 1:
        origin = f"the model of {names[0]}"
    echo(f"{output}: {origin}, {size_text(size)}")
