"""The stages of ``calve prepare wav-folder``.

A stage writes a file whole or not at all, and only if its content changes. So a stage that was
interrupted or is repeated needs no further care.
"""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from calve.api import AudioError, DataError
from calve.common.files import atomic_file
from calve.data.audio import read_audio
from calve.data.tokens import SymbolTable
from calve_wav_folder.corpus import LIST_NAME, SPLITS, Row, read_rows

if TYPE_CHECKING:
    from calve.common.progress import Progress
    from calve_wav_folder.options import WavFolderOptions

CSV_NAME = "utterances.csv"
COLUMNS = ("file", "words", "split")
TOKENS = Path("lang") / "tokens.txt"
WORD_START = "▁"


def recordings(options: WavFolderOptions, progress: Progress) -> Mapping[str, object]:
    """Read the CSV file and every recording; write the list of utterances.

    Raises:
      DataError: if the CSV file or a recording cannot be read, or a line is wrong.
    """
    lines = list(_read_csv(options.root / CSV_NAME))
    progress.start("reading recordings", len(lines))
    rows = []
    for where, line in lines:
        rows.append(_row(options.root, where, line))
        progress.advance()
    progress.finish()
    _check(rows, options.root / CSV_NAME)
    _write(options.data_dir / LIST_NAME, "".join(row.to_line() for row in rows))
    counts = Counter(row.split for row in rows)
    return {split: counts[split] for split in SPLITS}


def symbols(options: WavFolderOptions, progress: Progress) -> Mapping[str, object]:
    """Write the symbol table: special symbols, the start of a word, and all characters.

    Raises:
      DataError: if stage ``recordings`` has not been run.
    """
    progress.start("collecting characters")
    rows = read_rows(options.data_dir)
    characters = sorted({character for row in rows for character in row.words} - {" ", WORD_START})
    table = SymbolTable(("<blk>", "<sos/eos>", "<unk>", WORD_START, *characters))
    progress.finish()
    _write(
        options.data_dir / TOKENS,
        "".join(f"{symbol} {number}\n" for number, symbol in enumerate(table)),
    )
    return {"symbols": len(table)}


def _read_csv(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    """Each line, and where it stands."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
            if missing:
                raise DataError(
                    f"there is no column {', '.join(missing)}",
                    where=path,
                    fix=f"write {','.join(COLUMNS)} into the first line",
                )
            for line in reader:
                yield f"{path}:{reader.line_num}", {name: line[name] or "" for name in COLUMNS}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise DataError(
            f"cannot read the list of recordings: {error}",
            where=path,
            fix=f"give --root a folder with an {CSV_NAME} in UTF-8",
        ) from error


def _row(root: Path, where: str, line: Mapping[str, str]) -> Row:
    words = " ".join(line["words"].split())
    if not words:
        raise DataError(f"{line['file']} has no words", where=where, fix="remove the line")
    if line["split"] not in SPLITS:
        raise DataError(
            f"there is no split {line['split']!r}", where=where, fix=f"write {' or '.join(SPLITS)}"
        )
    path = (root / line["file"]).absolute()
    try:
        duration = read_audio(path).duration
    except AudioError as error:
        raise DataError(error.what, where=where, fix=error.fix) from error
    return Row(line["file"], str(path), words, line["split"], duration)


def _check(rows: list[Row], path: Path) -> None:
    names = Counter(row.name for row in rows)
    repeated = [name for name in names if names[name] > 1]
    if repeated:
        raise DataError(f"{repeated[0]} is listed twice", where=path, fix="remove one of the lines")
    missing = {"train", "valid"} - {row.split for row in rows}
    if missing:
        raise DataError(
            f"no recording belongs to {' or '.join(sorted(missing))}",
            where=path,
            fix="training needs both train and valid",
        )


def _write(path: Path, text: str) -> None:
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
