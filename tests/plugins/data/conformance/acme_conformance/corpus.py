"""A corpus of noise: utterances of half a second, each of one or two of two words."""

from pathlib import Path

import numpy as np
import soundfile
from lhotse import CutSet, MonoCut, Recording, SupervisionSegment
from lhotse.features.io import NumpyFilesWriter

from calve.api import DataError
from calve.data.tokens import SymbolTable
from calve.protocols.loading import WHOLE
from calve_lhotse.batches import BatchMaker
from calve_lhotse.extractor import CalveFbank
from calve_lhotse.loader import CutBatches
from calve_lhotse.sections import section_of
from calve_lhotse.stamps import stamp_of, stamped
from calve_lhotse.utterances import utterances_of

WORDS = ("low", "high")
SYMBOLS = ("<blk>", "<sos/eos>", "<unk>", *WORDS)
RATE = 16000


def audio(options, progress):
    with stamped(options.data_dir / "audio", {"train": options.train}) as output:
        if output.is_new:
            for split, count in (("train", options.train), ("valid", 4)):
                progress.start(f"humming {split}", count)
                for number in range(count):
                    seconds = 0.4 + 0.02 * (number % 5)
                    noise = np.random.default_rng(number).normal(0, 0.1, round(seconds * RATE))
                    soundfile.write(output.folder / f"{split}-{number}.wav", noise, RATE)
                    progress.advance()
                progress.finish()
                output.report[split] = count
    return output.report


def features(options, progress):
    key = {"audio": stamp_of(options.data_dir / "audio", "audio")}
    with stamped(options.data_dir / "fbank", key) as output:
        if output.is_new:
            for split in ("train", "valid"):
                cuts = []
                progress.start(f"computing features of {split}")
                for path in sorted((options.data_dir / "audio").glob(f"{split}-*.wav")):
                    cuts.append(_cut(path, output.folder))
                    progress.advance()
                progress.finish()
                CutSet.from_cuts(cuts).to_file(output.folder / f"{split}.jsonl.gz")
                output.report[split] = len(cuts)
    return output.report


def symbols(options, progress):
    stamp_of(options.data_dir / "audio", "audio")
    with stamped(options.data_dir / "symbols", {"symbols": SYMBOLS}) as output:
        if output.is_new:
            progress.start("writing symbols")
            SymbolTable(SYMBOLS).write(output.folder / "tokens.txt")
            progress.finish()
            output.report["symbols"] = len(SYMBOLS)
    return output.report


def load_cuts(data_dir, split):
    path = Path(data_dir) / "fbank" / f"{split}.jsonl.gz"
    if not path.is_file():
        raise DataError(f"hums has no split {split!r}", where=path, fix="calve prepare hums")
    return CutSet.from_file(path).with_features_path_prefix(data_dir).to_eager()


def load_utterances(data_dir, split):
    return utterances_of(load_cuts(data_dir, split))


def load_batches(data_dir, split, options, *, training, shard=WHOLE):
    cuts = load_cuts(data_dir, split)
    return CutBatches(
        lambda epoch, first, count: section_of(cuts, first, count),
        BatchMaker(_Words()),
        options,
        shuffle=training,
        shard=shard,
    )


class _Words:
    def encode(self, texts):
        return [[SYMBOLS.index(word) for word in text.split()] for text in texts]


def _cut(path, folder):
    recording = Recording.from_file(path)
    number = int(path.stem.split("-")[1])
    with NumpyFilesWriter(folder / "features") as storage:
        stored = CalveFbank().extract_from_recording_and_store(recording, storage, channels=0)
    stored.storage_path = "fbank/features"
    text = " ".join(WORDS[: 1 + number % 2])
    spoken = SupervisionSegment(path.stem, path.stem, 0, recording.duration, text=text)
    return MonoCut(
        path.stem, 0, recording.duration, 0, [spoken], features=stored, recording=recording
    )
