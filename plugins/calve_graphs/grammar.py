"""G: an n-gram language model as a transducer over words, made by kaldilm from an ARPA file."""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from os import PathLike
from pathlib import Path
from typing import Any

import kaldifst

from calve.api import DataError
from calve.common.children import Child, Outcome, run_children
from calve.common.files import scratch_folder
from calve.common.inputs import check_not_placeholder
from calve.data.text import normalized
from calve.data.tokens import SymbolTable
from calve_graphs.lexicon import BACKOFF_SYMBOL, WORDS_NOT_SPOKEN

__all__ = ["grammar_fst", "grammar_text"]

_TIME_LIMIT = 3600.0
_ARPA_COPY = "lm.arpa"


def grammar_text(arpa: str | PathLike[str], words: SymbolTable, *, max_order: int = -1) -> str:
    """Make G in OpenFst's text format, as in icefall's ``G_3_gram.fst.txt``.

    N-grams with a word that is not in ``words`` are omitted; backoff arcs have the input label
    ``#0``.

    Args:
      arpa: An ARPA file.
      words: Table of words and ids; see `calve_graphs.lexicon.word_table`.
      max_order: Longer n-grams are omitted; -1 for no limit.

    Raises:
      DataError: if the file cannot be read, is not an ARPA file, or shares no word with ``words``.
    """
    check_not_placeholder(Path(arpa), "ARPA file", DataError)
    path = Path(os.path.realpath(arpa))
    if not path.is_file():
        raise DataError("the ARPA file does not exist", where=path)
    with scratch_folder("calve-grammar-") as folder:
        SymbolTable(tuple(map(normalized, words))).write(folder / "words.txt")
        _copy_plain(path, folder / _ARPA_COPY)
        # kaldilm ends the process at the first mistake in a file.
        command = (sys.executable, "-m", "kaldilm", f"--disambig-symbol={BACKOFF_SYMBOL}")
        options = ("--read-symbol-table=words.txt", f"--max-order={max_order}", _ARPA_COPY)
        child = Child("kaldilm", (*command, *options), folder, _TIME_LIMIT, keep_stdout=True)
        (outcome,) = run_children([child])
    if outcome.failure:
        raise DataError(
            f"kaldilm cannot make a grammar of the ARPA file: {_reason(outcome)}", where=path
        )
    if not any(_is_spoken(label, words) for label in _output_labels(outcome.stdout)):
        raise DataError(
            "the ARPA file and the word table share no word",
            where=path,
            fix="write both in the same case and with the same spelling",
        )
    return outcome.stdout


def _copy_plain(arpa: Path, copy: Path) -> None:
    """Copy an ARPA file without what kaldilm takes for a part of a word.

    These are carriage returns, a byte order mark, and another normal form of Unicode.
    """
    try:
        with (
            arpa.open(encoding="utf-8-sig", newline=None) as source,
            copy.open("w", encoding="utf-8", newline="\n") as target,
        ):
            target.writelines(map(normalized, source))
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "not UTF-8 text"
        raise DataError(f"cannot read the ARPA file: {reason}", where=arpa) from error


def _output_labels(text: str) -> Iterator[int]:
    fields = (line.split() for line in _lines(text))
    return (int(arc[3]) for arc in fields if len(arc) > 3)


def _is_spoken(label: int, words: SymbolTable) -> bool:
    return label != 0 and words[label] not in WORDS_NOT_SPOKEN


def grammar_fst(text: str) -> Any:
    """Parse a text from `grammar_text` into a ``kaldifst.StdVectorFst``.

    Raises:
      DataError: if a line is malformed.
    """
    fst = kaldifst.StdVectorFst()
    for number, line in enumerate(_lines(text), start=1):
        try:
            _add_line(fst, line.split())
        except ValueError as error:
            raise DataError(
                f"{line!r} is neither an arc nor a final state", where=f"G, line {number}"
            ) from error
    return fst


def _add_line(fst: Any, fields: list[str]) -> None:
    """``source target input output [cost]`` or ``state [cost]``; the first line has the start."""
    numbers = [int(field) for field in fields[: 4 if len(fields) > 2 else 1]]
    cost = float(fields[len(numbers)]) if len(fields) > len(numbers) else 0.0
    if len(fields) - len(numbers) > 1 or len(numbers) not in (1, 4) or math.isnan(cost):
        raise ValueError(fields)
    while fst.num_states <= max(numbers[:2] if len(numbers) == 4 else numbers):
        fst.add_state()
    if fst.start < 0:
        fst.start = numbers[0]
    if len(numbers) == 1:
        fst.set_final(numbers[0], cost)
    else:
        source, target, label, output = numbers
        fst.add_arc(source, kaldifst.StdArc(label, output, cost, target))


def _lines(text: str) -> Iterator[str]:
    return filter(str.strip, text.splitlines())


def _reason(outcome: Outcome) -> str:
    """Return kaldilm's error message, which it marks with [E], or its exit status."""
    marked = [line[4:] for line in outcome.log.splitlines() if line.startswith("[E] ")]
    return marked[-1] if marked else f"it {outcome.failure}\n{outcome.tail}"
