"""``calve verify``."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from calve.cli.options import json_option, num_threads_option, trust_option
from calve.cli.output import echo, outcome_text, print_json
from calve.exporting.verification import FAILED
from calve.exporting.verification import verify as run_checks

__all__ = ["verify"]


@click.command("verify")
@click.argument("bundle", type=click.Path(path_type=Path))
@num_threads_option
@trust_option
@json_option
@click.pass_context
def verify(ctx: click.Context, bundle: Path, num_threads: int, as_json: bool) -> None:
    """Check that BUNDLE still answers as it did when it was exported.

    File hashes, lint, the golden input and output kept in the bundle, and the same recording
    through the real clients that are installed. Neither torch nor the checkpoint is needed.
    """
    checks = []
    for check in run_checks(bundle, num_threads=num_threads):
        checks.append(check)
        if not as_json:
            echo(outcome_text(check.outcome, 8), f"{check.name}: {check.detail}")
    failed = any(check.outcome == FAILED for check in checks)
    if as_json:
        print_json({"passed": not failed, "checks": [asdict(check) for check in checks]}, indent=2)
    if failed:
        ctx.exit(1)
