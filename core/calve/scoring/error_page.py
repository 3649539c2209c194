"""Aligned utterances as a single colored HTML page without scripts."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from calve.scoring.alignment import Pair
from calve.scoring.error_rates import Alignment, Score

__all__ = ["page"]

_LISTED = 20
"""Number of listed errors of each kind, the most frequent first."""

_STYLE = """
:root { --ink: #1b1f24; --soft: #5d6773; --line: #d5dae0; --paper: #fff; --card: #f5f7f9;
  --sub: #8a5300; --sub-paper: #fff0d6; --ins: #1a5fb4; --ins-paper: #e1edfb;
  --del: #b3261e; --del-paper: #fde5e3; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ec; --soft: #9aa5b1; --line: #353c44;
  --paper: #14171a; --card: #1d2226; --sub: #f3bd6a; --sub-paper: #3d2e12; --ins: #8fbcf5;
  --ins-paper: #182c45; --del: #f3938c; --del-paper: #431c19; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 68rem; padding: 2rem 1.25rem 4rem; background: var(--paper);
  color: var(--ink); font: 16px/1.6 system-ui, sans-serif; }
h1 { font-size: 1.5rem; margin: 0 0 .5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .5rem; } .soft, small { color: var(--soft); }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(9rem, 1fr)); gap: .75rem; }
.card { background: var(--card); border-radius: .5rem; padding: .6rem .9rem; }
.card b { display: block; font-size: 1.3rem; font-variant-numeric: tabular-nums; }
.lists { display: grid; grid-template-columns: repeat(auto-fit, minmax(14rem, 1fr)); gap: 1.5rem; }
.lists ol { list-style: none; margin: 0; padding: 0; font-size: .95rem; }
.lists li { border-bottom: 1px solid var(--line); display: flex; justify-content: space-between; }
.utterance { border-top: 1px solid var(--line); padding: .5rem 0; overflow-wrap: anywhere; }
.utterance small { display: block; line-height: 1.3; }
.sub, .ins, .del { border-radius: .25rem; padding: .05rem .3rem; }
.sub { color: var(--sub); background: var(--sub-paper); }
.ins { color: var(--ins); background: var(--ins-paper); text-decoration: underline; }
.del, .sub s { color: var(--del); } .del { background: var(--del-paper); }
summary { cursor: pointer; }
"""


def page(title: str, score: Score) -> str:
    """Return the page: error rate, most frequent errors, then every utterance, the worst first.

    Args:
      title: Description of the run.
      score: The results to show.
    """
    wrong = [one for one in score.alignments if one.counts.errors]
    right = [one for one in score.alignments if not one.counts.errors]
    wrong.sort(key=lambda one: one.counts.errors, reverse=True)
    separator = " " if score.unit == "word" else ""
    parts = [
        '<!doctype html><html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>",
        f"<h1>{escape(title)}</h1>",
        *_cards(score),
        *_most_frequent(score),
        f"<h2>Utterances with errors ({len(wrong)})</h2>",
        '<p class="soft">A <span class="sub"><s>reference</s> recognized</span> word was '
        'substituted, <span class="del"><s>this</s></span> one deleted, and '
        '<span class="ins">this</span> one inserted.</p>',
        *(_utterance(one, separator) for one in wrong),
        f"<details><summary><h2 style='display:inline'>Utterances without errors ({len(right)})"
        "</h2></summary>",
        *(_utterance(one, separator) for one in right),
        "</details></body></html>",
    ]
    return "\n".join(parts)


def _cards(score: Score) -> Iterator[str]:
    counts = score.counts
    rate = "undefined" if counts.wer is None else f"{counts.wer:.2f} %"
    name = score.rate_name
    confidence = name
    if score.interval is not None:
        low, high = score.interval
        confidence = f"{name}; 95 % confidence: {low:.2f} to {high:.2f} %"
    cards = [
        (rate, confidence),
        (f"{counts.substitutions:,}", "substitutions"),
        (f"{counts.deletions:,}", "deletions"),
        (f"{counts.insertions:,}", "insertions"),
        (f"{counts.reference_words:,}", f"reference {score.unit}s"),
        (f"{counts.wrong_utterances:,}", f"of {counts.utterances:,} utterances have errors"),
    ]
    yield '<div class="cards">'
    for value, meaning in cards:
        yield f'<div class="card"><b>{escape(value)}</b><small>{escape(meaning)}</small></div>'
    yield "</div>"


def _most_frequent(score: Score) -> Iterator[str]:
    classes = score.classes
    yield '<h2>Most frequent errors</h2><div class="lists">'
    substitutions = classes.substitutions.most_common(_LISTED)
    yield _list("Substituted", ((f"{r} → {h}", count) for (r, h), count in substitutions))
    yield _list("Deleted", classes.deletions.most_common(_LISTED))
    yield _list("Inserted", classes.insertions.most_common(_LISTED))
    yield "</div>"


def _list(title: str, entries: Iterable[tuple[str, int]]) -> str:
    items = [
        f"<li><span>{escape(text)}</span><span>{count:,}</span></li>" for text, count in entries
    ]
    return f"<div><b>{title}</b><ol>{''.join(items) or '<li>none</li>'}</ol></div>"


def _utterance(alignment: Alignment, separator: str) -> str:
    counts = alignment.counts
    words = separator.join(map(_marked, alignment.pairs))
    return (
        f'<div class="utterance"><small>{escape(alignment.name)} · {counts.errors} of '
        f"{counts.reference_words}</small>{words}</div>"
    )


def _marked(pair: Pair) -> str:
    reference, hypothesis = (None if symbol is None else escape(symbol) for symbol in pair)
    if reference == hypothesis:
        return str(reference)
    if reference is None:
        return f'<span class="ins">{hypothesis}</span>'
    if hypothesis is None:
        return f'<span class="del"><s>{reference}</s></span>'
    return f'<span class="sub"><s>{reference}</s> {hypothesis}</span>'
