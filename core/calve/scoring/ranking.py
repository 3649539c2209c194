"""Rankings of results on one split, with the significance of the differences."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from calve.scoring.error_rates import Score, probability_of_improvement

__all__ = ["Ranked", "drawing", "rank"]

_LEFT, _WIDTH, _ROW, _TOP = 330, 420, 26, 46


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
    largest = max((one.score.interval[1] for one in shown if one.score.interval), default=0.0)
    scale = _WIDTH / (largest or 1.0)
    height = _TOP + _ROW * len(shown) + 34
    name = ranked[0].score.rate_name
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_LEFT + _WIDTH + 90} {height}" '
        'font-family="system-ui, sans-serif" font-size="13">',
        f'<rect width="100%" height="100%" fill="#fff"/>'
        f'<text x="12" y="24" font-size="15" font-weight="600">{escape(title)}</text>',
    ]
    for row, one in enumerate(shown):
        low, high = (_LEFT + scale * end for end in one.score.interval or (0.0, 0.0))
        rate, y = one.score.counts.wer or 0.0, _TOP + _ROW * row + _ROW / 2
        color = "#0b7a75" if row == 0 else "#5d6773"
        parts.append(
            f'<text x="{_LEFT - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(one.label)}</text>'
            f'<line x1="{low:.1f}" y1="{y}" x2="{high:.1f}" y2="{y}" stroke="{color}" '
            'stroke-width="2"/>'
            f'<circle cx="{_LEFT + scale * rate:.1f}" cy="{y}" r="5" fill="{color}"/>'
            f'<text x="{high + 8:.1f}" y="{y + 4:.1f}" fill="{color}">{rate:.2f}</text>'
        )
    bottom = _TOP + _ROW * len(shown)
    parts.append(
        f'<line x1="{_LEFT}" y1="{_TOP}" x2="{_LEFT}" y2="{bottom}" stroke="#d5dae0"/>'
        f'<text x="{_LEFT}" y="{bottom + 22}" fill="#5d6773">0</text>'
        f'<text x="{_LEFT + _WIDTH}" y="{bottom + 22}" fill="#5d6773" text-anchor="end">'
        f"{name} %, with 95 % confidence intervals</text></svg>"
    )
    return "\n".join(parts)


def _rate(score: Score) -> float:
    return math.inf if score.counts.wer is None else score.counts.wer


def _better(best: Score, other: Score) -> float | None:
    names = [[one.name for one in score.alignments] for score in (best, other)]
    return probability_of_improvement(other, best) if names[0] == names[1] else None
