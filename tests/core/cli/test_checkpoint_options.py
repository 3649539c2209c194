"""Options that choose checkpoints."""

from __future__ import annotations

import click
from invoking import invoke

from calve.cli.checkpoint_options import checkpoint_options
from calve.models.checkpoints import CheckpointChoice


def test_checkpoint_options_make_a_choice():
    seen = {}

    @click.command()
    @checkpoint_options
    def run(checkpoint):
        seen["choice"] = checkpoint

    assert invoke(run, ["--checkpoint", "builtin:x"]).exit_code == 0
    assert seen["choice"] == CheckpointChoice(checkpoint="builtin:x")
    arguments = ["--exp-dir", "e", "--iter", "400", "--avg", "2", "--use-averaged-model", "0"]
    assert invoke(run, arguments).exit_code == 0
    assert (seen["choice"].iter, seen["choice"].avg) == (400, 2)
    assert seen["choice"].use_averaged_model is False
