from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import click


@dataclass
class Config:
    layers: int = 2


class Encoder:
    pass


def infer_config(shapes: Any) -> dict[str, Any]:
    return {}


@click.command()
def hello() -> None:
    """Say hello."""
    click.echo("hello from acme")
