"""Rankings of results on one split, with the significance of the differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from calve.common.charts import chart_file, chart_text, page_color
from calve.scoring.error_rates import Score, probability_of_improvement

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Ranked", "drawing", "rank"]

_ROW = 26


@dataclass(frozen=True)
class Ranked:
    """One result of a ranking.

    Attributes:
      label: Name of the result.
      score: Its score.
      best_is_better: Probability that the best result really has fewer errors; None for the best
        result, and if the two have different utterances.
    """

    label: str
    score: Score
    best_is_better: float | None


def rank(scores: Sequence[tuple[str, Score]]) -> list[Ranked]:
    """Sort the results by error rate; those without an error rate come last."""
    ordered = sorted(scores, key=lambda pair: _rate(pair[1]))
    best = ordered[0][1]
    return [
        Ranked(label, score, None if score is best else _better(best, score))
        for label, score in ordered
    ]


def drawing(title: str, ranked: Sequence[Ranked]) -> str:
    """Draw the error rates with their confidence intervals as SVG."""
    shown = [one for one in ranked if one.score.interval is not None]
    rate_name = ranked[0].score.rate_name
    return chart_file(900, _ROW * len(shown) + 80, partial(_draw, title, rate_name, shown))


def _draw(title: str, rate_name: str, ranked: Sequence[Ranked], figure: Figure) -> None:
    axes = figure.add_subplot()
    for row, one in enumerate(ranked):
        low, high = one.score.interval or (0.0, 0.0)
        rate = one.score.counts.wer or 0.0
        color = page_color("soft" if row else "teal")
        axes.plot([low, high], [row, row], color=color)
        axes.plot([rate], [row], "o", color=color)
        end, place = (high, row), (8, 0)
        axes.annotate(
            f"{rate:.2f}", end, place, textcoords="offset points", color=color, va="center"
        )
    axes.set_title(chart_text(title), loc="left", fontweight="bold")
    axes.set_xlabel(f"{rate_name} %, with 95 % confidence intervals")
    axes.set_yticks(range(len(ranked)), [chart_text(one.label) for one in ranked])
    axes.set_ylim(len(ranked) - 0.5, -0.5)
    axes.margins(x=0.1)
    axes.set_xlim(left=0)


def _rate(score: Score) -> float:
    return math.inf if score.counts.wer is None else score.counts.wer


def _better(best: Score, other: Score) -> float | None:
    names = [[one.name for one in score.alignments] for score in (best, other)]
    return probability_of_improvement(other, best) if names[0] == names[1] else None
