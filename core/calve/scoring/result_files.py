"""Result and error files in icefall's formats."""

from __future__ import annotations

import ast
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, TypeVar

from calve.common.files import atomic_file
from calve.common.printable import one_line, printable
from calve.errors import DataError
from calve.scoring.error_page import page
from calve.scoring.error_rates import Alignment, DecodedUtterance, ErrorClasses, Score
from calve.scoring.hotwords import HotwordCounts, count_hotwords

__all__ = ["ResultFiles", "read_recogs", "write_results"]

Error = TypeVar("Error", str, tuple[str, str])

_NOTHING = "*"


@dataclass(frozen=True)
class ResultFiles:
    """Paths of the result files of one decoding run.

    Attributes:
      recogs: References and hypotheses.
      errs: Error rate, aligned utterances, and errors of each kind by frequency.
      summary: One line with the settings and the error rate.
      page: ``errs`` as a colored HTML page.
      hotwords: Counts of each hotword, if there are any.
    """

    recogs: Path
    errs: Path
    summary: Path
    page: Path
    hotwords: Path

    @classmethod
    def named(cls, folder: Path, split: str, key: str, suffix: str = "") -> ResultFiles:
        """Return paths with icefall's names: ``recogs-SPLIT-KEY-SUFFIX.txt`` and so on."""
        name = "-".join(part for part in (split, key, suffix) if part)
        return cls(
            recogs=folder / f"recogs-{name}.txt",
            errs=folder / f"errs-{name}.txt",
            summary=folder / f"wer-summary-{name}.txt",
            page=folder / f"errs-{name}.html",
            hotwords=folder / f"hotwords-{name}.txt",
        )


def write_results(
    files: ResultFiles,
    title: str,
    utterances: Sequence[DecodedUtterance],
    score: Score,
    hotwords: Sequence[str] = (),
) -> None:
    """Write all files, sorted by the names of the utterances.

    Args:
      files: Paths; the directory is created if necessary.
      title: Description of the run, for the summary and the page.
      utterances: References and hypotheses.
      score: Score of these utterances.
      hotwords: Texts to count; without any, no hotword file is written.
    """
    ordered = sorted(utterances, key=lambda utterance: utterance.name)
    by_name = Score(score.unit, tuple(sorted(score.alignments, key=lambda one: one.name)))
    _write(files.recogs, _recogs(ordered))
    _write(files.errs, _errs(by_name))
    _write(files.summary, _summary(title, score))
    _write(files.page, [page(title, by_name)])
    if hotwords:
        _write(files.hotwords, _hotwords(count_hotwords(ordered, hotwords)))


def read_recogs(path: Path) -> list[DecodedUtterance]:
    """Read the file ``recogs-*.txt`` that `write_results` wrote.

    Raises:
      DataError: if the file cannot be read or has another format.
    """
    entries: dict[str, dict[str, Any]] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            name, _, rest = line.rpartition(":\t")
            kind, _, value = rest.partition("=")
            entries.setdefault(name, {})[kind] = ast.literal_eval(value)
        return [
            DecodedUtterance(
                name,
                " ".join(entry["ref"]),
                " ".join(entry["hyp"]),
                tuple(entry.get("timestamp_hyp", ())),
            )
            for name, entry in entries.items()
        ]
    except (OSError, ValueError, SyntaxError, LookupError, TypeError) as error:
        raise DataError(f"cannot read the results: {error}", where=path) from error


def _write(path: Path, lines: Iterable[str]) -> None:
    with atomic_file(path) as temporary:
        text = printable("".join(f"{line}\n" for line in lines))
        temporary.write_text(text, encoding="utf-8")


def _recogs(utterances: Iterable[DecodedUtterance]) -> Iterator[str]:
    for one in utterances:
        name = one_line(one.name)
        yield f"{name}:\tref={one.reference.split()}"
        yield f"{name}:\thyp={one.hypothesis.split()}"
        if one.timestamps:
            times = ", ".join(f"{seconds:.3f}" for seconds in one.timestamps)
            yield f"{name}:\ttimestamp_hyp=[{times}]"


def _summary(title: str, score: Score) -> Iterator[str]:
    yield f"settings\t{score.rate_name}"
    yield f"{title}\t{_percent(score)}"


def _percent(score: Score) -> str:
    return "undefined" if score.counts.wer is None else f"{score.counts.wer:.2f}"


def _hotwords(counts: Mapping[str, HotwordCounts]) -> Iterator[str]:
    yield "hotword\tsaid\trecognized\tfalse alarms"
    total = sum(counts.values(), HotwordCounts())
    for hotword, one in [*counts.items(), ("(all)", total)]:
        yield f"{hotword}\t{one.said}\t{one.recognized}\t{one.false_alarms}"


def _errs(score: Score) -> Iterator[str]:
    counts, classes = score.counts, score.classes
    yield f"%{score.rate_name} = {_percent(score)}"
    yield (
        f"Errors: {counts.insertions} insertions, {counts.deletions} deletions, "
        f"{counts.substitutions} substitutions, over {counts.reference_words} reference "
        f"{score.unit}s ({classes.correct.total()} correct)"
    )
    yield (
        "Search below for sections starting with PER-UTT DETAILS:, SUBSTITUTIONS:, DELETIONS:, "
        "INSERTIONS:, PER-WORD STATS:"
    )
    if score.interval is not None:
        low, high = score.interval
        yield f"95% confidence interval of the error rate: {low:.2f} to {high:.2f}"
    yield "\nPER-UTT DETAILS: corr or (ref->hyp)  "
    for alignment in score.alignments:
        yield f"{one_line(alignment.name)}:\t{' '.join(_merged(alignment))}"
    yield "\nSUBSTITUTIONS: count ref -> hyp"
    for (reference, hypothesis), count in _by_frequency(classes.substitutions):
        yield f"{count}   {reference} -> {hypothesis}"
    yield "\nDELETIONS: count ref"
    for reference, count in _by_frequency(classes.deletions):
        yield f"{count}   {reference}"
    yield "\nINSERTIONS: count hyp"
    for hypothesis, count in _by_frequency(classes.insertions):
        yield f"{count}   {hypothesis}"
    yield "\nPER-WORD STATS: word  corr tot_errs count_in_ref count_in_hyp"
    yield from _word_statistics(classes)


def _merged(alignment: Alignment) -> Iterator[str]:
    """Join the words; consecutive errors become one ``(ref->hyp)``."""
    for correct, group in groupby(alignment.pairs, key=lambda pair: pair[0] == pair[1]):
        pairs = list(group)
        references = [reference for reference, _ in pairs if reference is not None]
        if correct:
            yield from references
            continue
        hypotheses = [hypothesis for _, hypothesis in pairs if hypothesis is not None]
        yield f"({' '.join(references) or _NOTHING}->{' '.join(hypotheses) or _NOTHING})"


def _by_frequency(counter: Counter[Error]) -> list[tuple[Error, int]]:
    return sorted(counter.items(), key=lambda item: (item[1], item[0]), reverse=True)


def _word_statistics(classes: ErrorClasses) -> Iterator[str]:
    missed, invented = Counter(classes.deletions), Counter(classes.insertions)
    for (reference, hypothesis), count in classes.substitutions.items():
        missed[reference] += count
        invented[hypothesis] += count
    errors = missed + invented
    for word in sorted({*classes.correct, *errors}, key=lambda w: (errors[w], w), reverse=True):
        correct = classes.correct[word]
        yield (
            f"{word}   {correct} {errors[word]} {correct + missed[word]} {correct + invented[word]}"
        )
