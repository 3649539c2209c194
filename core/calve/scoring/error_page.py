"""Aligned utterances as a single colored HTML page without scripts."""

from __future__ import annotations

from collections.abc import Iterable

from calve.common.pages import render_page
from calve.scoring.error_rates import Score

__all__ = ["page"]

_LISTED = 20
"""Number of listed errors of each kind, the most frequent first."""


def page(title: str, score: Score) -> str:
    """Return the page: error rate, most frequent errors, then every utterance, the worst first.

    Args:
      title: Description of the run.
      score: The results to show.
    """
    wrong = [one for one in score.alignments if one.counts.errors]
    wrong.sort(key=lambda one: one.counts.errors, reverse=True)
    classes = score.classes
    substitutions = classes.substitutions.most_common(_LISTED)
    return render_page(
        "calve.scoring",
        "errors.html",
        title=title,
        figures=_figures(score),
        substituted=_counted((f"{one} → {other}", count) for (one, other), count in substitutions),
        deleted=_counted(classes.deletions.most_common(_LISTED)),
        inserted=_counted(classes.insertions.most_common(_LISTED)),
        wrong=wrong,
        right=[one for one in score.alignments if not one.counts.errors],
        separator=" " if score.unit == "word" else "",
    )


def _figures(score: Score) -> list[tuple[str, str]]:
    counts = score.counts
    name = score.rate_name
    if score.interval is not None:
        low, high = score.interval
        name = f"{name}; 95 % confidence: {low:.2f} to {high:.2f} %"
    return [
        ("undefined" if counts.wer is None else f"{counts.wer:.2f} %", name),
        (f"{counts.substitutions:,}", "substitutions"),
        (f"{counts.deletions:,}", "deletions"),
        (f"{counts.insertions:,}", "insertions"),
        (f"{counts.reference_words:,}", f"reference {score.unit}s"),
        (f"{counts.wrong_utterances:,}", f"of {counts.utterances:,} utterances have errors"),
    ]


def _counted(entries: Iterable[tuple[str, int]]) -> list[tuple[str, str]]:
    return [(text, f"{count:,}") for text, count in entries]
