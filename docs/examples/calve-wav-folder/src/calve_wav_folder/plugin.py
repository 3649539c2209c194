"""What this package adds to calve; imported by every command, so it imports nothing heavy."""

from __future__ import annotations

from collections.abc import Iterator

from calve.api import DatasetSpec, LazyRef, StageSpec, hookimpl


@hookimpl
def calve_register_datasets() -> Iterator[DatasetSpec]:
    """The corpus ``wav-folder``."""
    yield DatasetSpec(
        name="wav-folder",
        options=LazyRef("calve_wav_folder.options:WavFolderOptions"),
        stages=(
            StageSpec(
                "recordings",
                "check the recordings and their words",
                LazyRef("calve_wav_folder.preparation:recordings"),
            ),
            StageSpec(
                "symbols",
                "write the symbol table",
                LazyRef("calve_wav_folder.preparation:symbols"),
            ),
        ),
        utterances=LazyRef("calve_wav_folder.corpus:utterances"),
        splits=("train", "valid", "test"),
        summary="a folder of WAV files and a CSV file with their words",
        loader=LazyRef("calve_wav_folder.loader:open_loader"),
    )
