"""``calve lint``."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path

import click

from calve.bundles.metadata import bundle_exporter
from calve.cli.options import json_option, trust_option
from calve.cli.output import echo, print_json
from calve.protocols import Finding

__all__ = ["lint"]


@click.command("lint")
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option(
    "--runtime",
    metavar="NAME",
    help="Check only for this runtime, for example sherpa-ncnn.",
)
@trust_option
@json_option
@click.pass_context
def lint(ctx: click.Context, bundle: Path, runtime: str | None, as_json: bool) -> None:
    """Find what a runtime would crash on or misread in BUNDLE, without running the model.

    Exits with 1 if there is any error.
    """
    findings: list[Finding] = bundle_exporter(bundle).lint.load()(bundle, runtime)
    counts = Counter(finding.severity for finding in findings)
    if as_json:
        print_json({"errors": counts["error"], "findings": [asdict(one) for one in findings]})
    else:
        for finding in findings:
            echo(f"{finding.severity}: {finding.what} [{finding.code}]")
            echo(f"  where: {finding.where}\n  fix:   {finding.fix}")
        echo(f"errors: {counts['error']}, warnings: {counts['warning']}", err=bool(findings))
    if counts["error"]:
        ctx.exit(1)
