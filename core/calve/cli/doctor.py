"""``calve doctor``."""

from __future__ import annotations

from dataclasses import asdict
from itertools import chain

import click

from calve.cli.options import json_option
from calve.cli.output import echo, outcome_text, print_json, styled
from calve.registry.catalog import build_registry
from calve.registry.doctor import Section, diagnose

__all__ = ["doctor"]


@click.command("doctor")
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> None:
    """Check this environment: versions, clients, drivers, plugins, the machine.

    Each line is ok, warn or missing; the last two come with a fix. The exit code is 1 if a package
    is missing that calve itself requires.
    """
    sections = []
    for section in diagnose(build_registry()):
        sections.append(section)
        if not as_json:
            _print_section(section)
    missing = [
        one.subject
        for section in sections
        if section.required
        for one in section.diagnoses
        if one.outcome == "missing"
    ]
    if as_json:
        diagnoses = chain.from_iterable(
            ({"section": section.name, **asdict(one)} for one in section.diagnoses)
            for section in sections
        )
        print_json({"works": not missing, "diagnoses": list(diagnoses)}, indent=2)
    if missing:
        ctx.exit(1)


def _print_section(section: Section) -> None:
    if not section.diagnoses:
        return
    echo(styled(section.name, bold=True))
    width = max(len(one.subject) for one in section.diagnoses)
    for one in section.diagnoses:
        echo("  ", outcome_text(one.outcome, 8), f"{one.subject.ljust(width)}  {one.detail}")
        if one.fix is not None:
            echo(f"  {'':8}{'':{width}}  fix: {one.fix}")
