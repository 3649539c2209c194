"""Output of the decoding commands: a table of error rates, or JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from calve.cli.output import echo, print_json, print_table, score_json
from calve.common.files import atomic_file
from calve.decoding.decoded import Decoded
from calve.decoding.results import DecodingResult
from calve.scoring.error_rates import UNITS
from calve.scoring.hotwords import HotwordCounts, count_hotwords
from calve.scoring.ranking import Ranked, drawing, rank

__all__ = ["Row", "print_results"]

_LISTED = 10
"""How many utterances that failed are named."""


@dataclass(frozen=True)
class Row:
    """One result.

    Attributes:
      split: Part of the corpus.
      runtime: What ran the networks.
      mode: How they saw the audio.
      model: The checkpoint.
      method: The decoding method and its options.
      decoded: What came of it.
      resumed: Whether it is from an earlier run.
      hotwords: Texts whose recognition is reported.
      figures: More columns, by their heading.
      details: More keys of ``--json``.
    """

    split: str
    runtime: str
    mode: str
    model: str
    method: str
    decoded: Decoded
    resumed: bool = False
    hotwords: tuple[str, ...] = ()
    figures: dict[str, Any] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        result: DecodingResult,
        hotwords: tuple[str, ...] = (),
        figures: dict[str, Any] | None = None,
        details: dict[str, Any] | None = None,
    ) -> Row:
        """The row of a result."""
        return cls(
            split=result.split,
            runtime=result.runtime,
            mode=result.mode,
            model=result.model,
            method=result.method,
            decoded=result.decoded,
            resumed=result.resumed,
            hotwords=hotwords,
            figures=figures or {},
            details=details or {},
        )

    @cached_property
    def hotword_counts(self) -> dict[str, HotwordCounts]:
        """How often each hotword was said and recognized."""
        return count_hotwords(self.decoded.utterances, self.hotwords)

    @property
    def columns(self) -> dict[str, Any]:
        """`figures`, and before them those of the hotwords if there are any."""
        if not self.hotwords:
            return self.figures
        total = sum(self.hotword_counts.values(), HotwordCounts())
        return {
            "hotwords": total.said,
            "recall %": None if total.recall is None else round(total.recall, 2),
            "false alarms": total.false_alarms,
            **self.figures,
        }

    @property
    def label(self) -> str:
        """The row in words, its split aside."""
        return ", ".join((self.model, self.method, self.runtime, self.mode))


def print_results(
    rows: Sequence[Row], unit: str, res_dir: Path | None = None, *, as_json: bool
) -> bool:
    """Print the results of each split, those of a sweep ranked and drawn as well.

    It is a sweep if there are several models or methods.

    Args:
      rows: At least one.
      unit: What errors are counted in.
      res_dir: Where drawings go; None for none.
      as_json: Whether JSON is printed.

    Returns:
      Whether all utterances could be decoded.
    """
    is_sweep = len({(row.model, row.method) for row in rows}) > 1
    ranked: list[tuple[Row, Ranked]] = []
    for split in dict.fromkeys(row.split for row in rows):
        of_split = [row for row in rows if row.split == split]
        ranked.extend(_rank(of_split, unit) if is_sweep else _as_they_are(of_split, unit))
        if res_dir is not None and is_sweep:
            path = res_dir / f"sweep-{split}.svg"
            _draw(path, split, ranked[-len(of_split) :])
            echo(f"{path} shows the ranking of {split}", err=True)
    if as_json:
        print_json([_json(*pair) for pair in ranked], indent=2)
    else:
        _print_table(ranked, unit)
    resumed = sum(row.resumed for row in rows)
    if resumed:
        echo(f"{resumed} of {len(rows)} results were there already", err=True)
    return _report_failures(rows)


def _rank(rows: Sequence[Row], unit: str) -> list[tuple[Row, Ranked]]:
    by_number = {str(number): row for number, row in enumerate(rows)}
    scores = [(number, row.decoded.score(unit)) for number, row in by_number.items()]
    return [(by_number[one.label], one) for one in rank(scores)]


def _as_they_are(rows: Sequence[Row], unit: str) -> list[tuple[Row, Ranked]]:
    return [(row, Ranked(row.label, row.decoded.score(unit), None)) for row in rows]


def _draw(path: Path, split: str, ranked: Iterable[tuple[Row, Ranked]]) -> None:
    pairs = list(ranked)
    shown = [name for name in ("model", "method", "runtime", "mode") if _varies(name, pairs)]
    labelled = [
        Ranked(", ".join(getattr(row, name) for name in shown), one.score, one.best_is_better)
        for row, one in pairs
    ]
    with atomic_file(path) as temporary:
        temporary.write_text(drawing(split, labelled), encoding="utf-8")


def _varies(name: str, ranked: Iterable[tuple[Row, Ranked]]) -> bool:
    return len({getattr(row, name) for row, _ in ranked}) > 1


def _print_table(ranked: Sequence[tuple[Row, Ranked]], unit: str) -> None:
    names = [name for name in ("model", "method") if _varies(name, ranked)]
    figures = list(dict.fromkeys(heading for row, _ in ranked for heading in row.columns))
    compared = any(one.best_is_better is not None for _, one in ranked)
    failed = any(row.decoded.failures for row, _ in ranked)
    columns = ["split", *names, "runtime", "mode", f"{UNITS[unit]} %", "95 %", "sub", "ins", "del"]
    columns += [f"{unit}s", "utt", "wrong"]
    columns += ["failed"] * failed + ["best better"] * compared + figures
    table = []
    for row, one in ranked:
        counts = one.score.counts
        cells: list[object] = [row.split, *(getattr(row, name) for name in names)]
        cells += [row.runtime, row.mode, _two_digits(counts.wer), _interval(one)]
        cells += [counts.substitutions, counts.insertions, counts.deletions]
        cells += [counts.reference_words, counts.utterances, counts.wrong_utterances]
        cells += [len(row.decoded.failures)] * failed
        cells += [_percent(one.best_is_better)] * compared
        table.append([*cells, *(row.columns.get(heading) for heading in figures)])
    print_table(columns, table)


def _two_digits(rate: float | None) -> str | None:
    return None if rate is None else f"{rate:.2f}"


def _interval(ranked: Ranked) -> str | None:
    if ranked.score.interval is None:
        return None
    low, high = ranked.score.interval
    return f"{low:.2f}–{high:.2f}"


def _percent(probability: float | None) -> str | None:
    return None if probability is None else f"{100 * probability:.1f} %"


def _json(row: Row, ranked: Ranked) -> dict[str, Any]:
    return {
        "split": row.split,
        "runtime": row.runtime,
        "mode": row.mode,
        "model": row.model,
        "method": row.method,
        **score_json(ranked.score),
        "best_is_better": ranked.best_is_better,
        "failures": {one.name: one.reason for one in row.decoded.failures},
        **row.figures,
        **row.details,
        **({"hotwords": _hotwords_json(row.hotword_counts)} if row.hotwords else {}),
    }


def _hotwords_json(counts: Mapping[str, HotwordCounts]) -> dict[str, Any]:
    return {hotword: asdict(one) for hotword, one in counts.items()}


def _report_failures(rows: Iterable[Row]) -> bool:
    failures = {(row.split, one.name): one.reason for row in rows for one in row.decoded.failures}
    for (split, name), reason in sorted(failures.items())[:_LISTED]:
        echo(f"{split}: {name} was left out: {reason}", err=True)
    if len(failures) > _LISTED:
        echo(f"... and {len(failures) - _LISTED} more", err=True)
    return not failures
