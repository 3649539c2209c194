"""``calve decode``."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest
from distributed import LocalCluster

from calve.bundles.bundle import Bundle
from calve.cli.application import run
from calve.common.files import file_sha256
from calve.data.tokens import SymbolTable
from calve.models import checkpoints
from calve.models.checkpoint_files import read_checkpoint

RECIPE = "lstm_transducer_stateless2"
_WRITTEN = (("recogs", "txt"), ("errs", "txt"), ("errs", "html"), ("wer-summary", "txt"))


def decode(*arguments: object, recipe: str = RECIPE) -> int:
    return run(["decode", recipe, *map(str, arguments)])


def test_one_command_prints_all_ways_to_decode(
    golden_checkpoint: Path,
    golden_tokens: Path,
    golden_bundle: Bundle,
    data_dir: Path,
    capfd: pytest.CaptureFixture[str],
):
    corpus = ("--corpus", "fsdd", "--data-dir", data_dir, "--split", "test", "--split", "heldout")
    model = ("--checkpoint", golden_checkpoint, "--tokens", golden_tokens)
    assert decode(*model, *corpus, "--bundle", golden_bundle.path, "--json") == 0
    rows = json.loads(capfd.readouterr().out)
    ways = [(row["runtime"], row["mode"]) for row in rows if row["split"] == "test"]
    assert ways == [
        ("torch", "whole utterances"),
        ("torch", "streaming, 40 ms"),
        ("ncnn", "streaming, 40 ms"),
        ("sherpa-ncnn", "streaming"),
    ]
    assert len(rows) == 8
    for row in rows:
        errors = row["substitutions"] + row["insertions"] + row["deletions"]
        assert row["wer"] == pytest.approx(100 * errors / row["reference_words"])
        assert row["utterances"] >= 2
        low, high = row["wer_interval"]
        assert low <= row["wer"] <= high
    torch_row, ncnn_row = rows[1], rows[2]
    assert {k: v for k, v in torch_row.items() if k != "runtime"} == {
        k: v for k, v in ncnn_row.items() if k != "runtime"
    }


def test_a_checkpoint_is_read_and_hashed_once(
    golden_tokens: Path,
    golden_checkpoint: Path,
    golden_bundle: Bundle,
    data_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    read, hashed = [], []

    def reading(path: Path) -> object:
        read.append(Path(path))
        return read_checkpoint(path)

    def hashing(path: Path) -> str:
        hashed.append(path)
        return file_sha256(path)

    monkeypatch.setattr(checkpoints, "read_checkpoint", reading)
    monkeypatch.setattr(checkpoints, "checkpoint_sha256", hashing)
    corpus = ("--corpus", "fsdd", "--data-dir", data_dir, "--split", "test", "--split", "heldout")
    model = ("--checkpoint", golden_checkpoint, "--tokens", golden_tokens)
    # Whole utterances, and streams of the same checkpoint beside the bundle.
    assert decode(*model, *corpus, "--bundle", golden_bundle.path) == 0
    assert read == hashed == [golden_checkpoint]
    simulated = ("--simulate-streaming", 1, "--decode-chunk-size", 8)
    assert decode(*model, *corpus, *simulated) == 0
    assert read == hashed == [golden_checkpoint] * 2


def test_the_table_is_readable(
    golden_checkpoint: Path,
    golden_tokens: Path,
    data_dir: Path,
    capfd: pytest.CaptureFixture[str],
):
    model = ("--checkpoint", golden_checkpoint, "--tokens", golden_tokens)
    corpus = ("--corpus", "fsdd", "--data-dir", data_dir)
    assert decode(*model, *corpus, "--simulate-streaming", "--decode-chunk-size", 8) == 0
    header, _, row = capfd.readouterr().out.splitlines()
    assert " ".join(header.split()) == "split runtime mode WER % 95 % sub ins del words utt wrong"
    assert "simulated streaming, 320 ms" in row


def test_what_hotwords_change_is_reported_and_kept(
    data_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    hotwords = tmp_path / "hotwords.txt"
    hotwords.write_text("▁seven :20\n▁five ▁five\n", encoding="utf-8")
    model = ("--checkpoint", "builtin:digits-lstm", "--corpus", "fsdd", "--data-dir", data_dir)
    search = ("--decoding-method", "greedy_search,modified_beam_search")
    kept = ("--hotwords-file", hotwords, "--res-dir", tmp_path)
    assert decode(*model, *search, *kept, "--json") == 0
    rows = {row["method"]: row for row in json.loads(capfd.readouterr().out)}
    biased = "modified_beam_search_hotwords_file_hotwords"
    assert set(rows) == {"greedy_search", "modified_beam_search", biased}
    counts = {key: row["hotwords"]["seven"] for key, row in rows.items()}
    assert counts[biased]["said"] == counts["greedy_search"]["said"] > 0
    assert counts[biased]["false_alarms"] > counts["modified_beam_search"]["false_alarms"]
    (file,) = (tmp_path / "modified_beam_search").glob(f"hotwords-test-{biased}-*.txt")
    heading, seven, _, total = (line.split("\t") for line in file.read_text().splitlines())
    assert heading == ["hotword", "said", "recognized", "false alarms"]
    assert seven == ["seven", *map(str, counts[biased].values())]
    assert total[0] == "(all)"
    # Results that were there already are counted as well.
    assert decode(*model, *search, *kept) == 0
    shown = capfd.readouterr()
    assert "3 of 3 results were there already" in shown.err
    header = " ".join(shown.out.splitlines()[0].split())
    assert header.endswith("best better hotwords recall % false alarms")


@pytest.mark.usefixtures("bundled_plugins")
@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--corpus", "fsdd", "--split", "exam"), "exam"),
        (("--corpus", "fssd"), "fsdd"),
        (("--corpus", "fsdd", "--bundle", "/nowhere"), "/nowhere"),
        (("--corpus", "fsdd", "--decoding-method", "gready_search"), "greedy_search"),
        (("--corpus", "fsdd", "--decoding-method", "fast_beam_search_LG"), "needs --LG"),
        (("--corpus", "fsdd", "--max-states", "8"), "not an option of greedy_search"),
        (("--corpus", "fsdd"), "has not been prepared"),
        (("--corpus", "fsdd", "--avg", "3"), "--checkpoint selects one file"),
    ],
)
def test_a_wrong_option_is_refused(
    golden_checkpoint: Path,
    golden_tokens: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    complaint: str,
    capsys: pytest.CaptureFixture[str],
):
    model = ("--checkpoint", golden_checkpoint, "--tokens", golden_tokens)
    assert decode(*model, "--data-dir", tmp_path, *arguments) != 0
    assert complaint in capsys.readouterr().err


def test_corpus_folder_and_symbols_are_found_where_prepare_puts_them(
    golden_checkpoint: Path,
    golden_tokens: Path,
    data_dir: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
):
    shutil.copytree(data_dir, tmp_path / "data" / "fsdd")
    lang = tmp_path / "data" / "fsdd" / "lang"
    lang.mkdir(exist_ok=True)
    shutil.copyfile(golden_tokens, lang / "tokens.txt")
    monkeypatch.chdir(tmp_path)
    assert decode("--checkpoint", golden_checkpoint, "--corpus", "fsdd") == 0
    assert "whole utterances" in capfd.readouterr().out


@pytest.fixture
def few_tokens(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A symbol table that fits the checkpoints to average."""
    path = tmp_path_factory.mktemp("lang") / "tokens.txt"
    SymbolTable(("<blk>", "<sos/eos>", "<unk>", *(f"▁word{i}" for i in range(8)))).write(path)
    return path


def sweep(goldens: Path, tokens: Path, data_dir: Path, res_dir: Path, *arguments: object) -> int:
    return decode(
        *("--exp-dir", goldens / "averaging", "--tokens", tokens, "--res-dir", res_dir),
        *("--corpus", "fsdd", "--data-dir", data_dir, "--split", "test"),
        *arguments,
    )


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(
    goldens: Path,
    few_tokens: Path,
    data_dir: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
):
    (tmp_path / "file").touch()
    assert sweep(goldens, few_tokens, data_dir, tmp_path / "file" / "res", "--epoch", 3) == 1
    complaint = capsys.readouterr().err
    assert "cannot write into the folder" in complaint
    assert "epoch-3" not in complaint


def test_a_sweep_is_ranked_and_drawn_and_resumes_where_it_stopped(
    goldens: Path,
    few_tokens: Path,
    data_dir: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
):
    arguments = (goldens, few_tokens, data_dir, tmp_path)
    one = ("--epoch", "3", "--decoding-method", "greedy_search")
    all_of_them = ("--epoch", "3,4", "--avg", "1,2", "--decoding-method")
    assert sweep(*arguments, *one) == 0
    capfd.readouterr()
    methods = "greedy_search,modified_beam_search"
    assert sweep(*arguments, *all_of_them, methods, "--beam", 2, "--json") == 0
    shown = capfd.readouterr()
    rows = json.loads(shown.out)
    assert "1 of 8 results were there already" in shown.err
    assert {(row["model"], row["method"]) for row in rows} == {
        (f"epoch-{epoch}-avg-{avg}", method)
        for epoch in (3, 4)
        for avg in (1, 2)
        for method in ("greedy_search", "modified_beam_search_beam_2")
    }
    rates = [row["wer"] for row in rows]
    assert rates == sorted(rates)
    assert rows[0]["best_is_better"] is None
    assert all(0 <= row["best_is_better"] <= 1 for row in rows[1:])
    drawn = (tmp_path / "sweep-test.svg").read_text(encoding="utf-8")
    assert "epoch-4-avg-2, modified_beam_search_beam_2" in drawn
    written = {path.name for path in (tmp_path / "greedy_search").glob("*epoch-3-avg-1.*")}
    assert written >= {
        f"{kind}-test-greedy_search-epoch-3-avg-1.{suffix}" for kind, suffix in _WRITTEN
    }

    assert sweep(*arguments, *all_of_them, methods, "--beam", 2, "--json", "--jobs", 2) == 0
    again = capfd.readouterr()
    assert json.loads(again.out) == rows
    assert "8 of 8 results were there already" in again.err


def test_a_result_that_no_longer_fits_is_made_again(
    goldens: Path,
    few_tokens: Path,
    data_dir: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
):
    arguments = (goldens, few_tokens, data_dir, tmp_path, "--epoch", "4")
    assert sweep(*arguments) == 0
    assert sweep(*arguments) == 0
    assert "1 of 1 results were there already" in capfd.readouterr().err
    (record,) = (tmp_path / "greedy_search").glob("record-*.json")
    record.write_text(record.read_text().replace("epoch-4.pt", "old.pt"))
    assert sweep(*arguments) == 0
    assert "were there already" not in capfd.readouterr().err
    assert sweep(*arguments, "--redo") == 0
    assert "were there already" not in capfd.readouterr().err


def test_a_result_is_known_by_the_content_of_files_not_by_their_times(
    goldens: Path,
    few_tokens: Path,
    data_dir: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
):
    tokens = tmp_path / "tokens.txt"
    shutil.copy(few_tokens, tokens)
    os.utime(tokens, (1, 1))
    arguments = (goldens, tokens, data_dir, tmp_path / "res", "--epoch", "4")
    assert sweep(*arguments) == 0
    capfd.readouterr()
    os.utime(tokens, (2, 2))
    assert sweep(*arguments) == 0
    assert "1 of 1 results were there already" in capfd.readouterr().err
    text = tokens.read_text(encoding="utf-8")
    tokens.write_text(text.replace("word1", "wordX"), encoding="utf-8")
    os.utime(tokens, (2, 2))
    assert sweep(*arguments) == 0
    assert "were there already" not in capfd.readouterr().err


def test_a_cluster_does_what_this_process_does(
    goldens: Path,
    few_tokens: Path,
    data_dir: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
):
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster:
        scheduler = cluster.scheduler_address
        arguments = ("--epoch", "3,4", "--json")
        folders = (tmp_path / "here", tmp_path / "there")
        assert sweep(goldens, few_tokens, data_dir, folders[0], *arguments) == 0
        here = json.loads(capfd.readouterr().out)
        dask = ("--dask", scheduler)
        assert sweep(goldens, few_tokens, data_dir, folders[1], *arguments, *dask) == 0
        assert json.loads(capfd.readouterr().out) == here


def test_only_simulated_streaming_is_held_to_what_the_model_was_trained_for(
    data_dir: Path, capfd: pytest.CaptureFixture[str]
):
    conformer = "pruned_transducer_stateless5"
    corpus = ("--corpus", "fsdd", "--data-dir", data_dir)
    arguments = ("--checkpoint", "builtin:digits-conformer", *corpus, "--left-context", 400)
    assert decode(*arguments, "--strict", recipe=conformer) == 0
    assert "outside" not in capfd.readouterr().err
    simulated = (*arguments, "--simulate-streaming", 1)
    assert decode(*simulated, "--json", recipe=conformer) == 0
    warned = capfd.readouterr()
    assert "Warning: a left context of 400 frames is outside" in warned.err
    assert json.loads(warned.out)
    assert decode(*simulated, "--strict", recipe=conformer) == 2
    refused = capfd.readouterr()
    assert "a left context of 400 frames is outside" in refused.err
    assert refused.out == ""


def test_a_bundle_is_held_to_what_its_model_was_trained_for(
    data_dir: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
):
    conformer = "pruned_transducer_stateless5"
    checkpoint = ("--checkpoint", "builtin:digits-conformer")
    bundle = tmp_path / "bundle"
    export = ["export", conformer, *checkpoint, "--format", "state-dict", "--left-context", "400"]
    assert run([*export, "--output", str(bundle)]) == 0
    corpus = ("--corpus", "fsdd", "--data-dir", data_dir)
    assert decode(*checkpoint, *corpus, "--bundle", bundle, "--strict", recipe=conformer) == 2
    assert "a left context of 400 frames is outside" in capfd.readouterr().err


def test_a_bundle_for_whole_utterances_is_decoded_in_them(
    offline_checkpoint: Path,
    offline_bundle: Bundle,
    golden_tokens: Path,
    data_dir: Path,
    capfd: pytest.CaptureFixture[str],
):
    conformer = "pruned_transducer_stateless5"
    corpus = ("--corpus", "fsdd", "--data-dir", data_dir, "--split", "test", "--split", "heldout")
    model = ("--checkpoint", offline_checkpoint, "--tokens", golden_tokens)
    bundle = ("--bundle", offline_bundle.path, "--strict")
    assert decode(*model, *corpus, *bundle, "--json", recipe=conformer) == 0
    rows = json.loads(capfd.readouterr().out)
    ways = [(row["split"], row["runtime"], row["mode"]) for row in rows]
    assert ways == [
        (split, runtime, "whole utterances")
        for split in ("test", "heldout")
        for runtime in ("torch", "torchscript")
    ]
    for in_torch, in_bundle in (rows[:2], rows[2:]):
        assert {**in_torch, "runtime": "torchscript"} == in_bundle


def test_an_exported_pretrained_pt_is_decoded_as_epoch_999(
    offline_checkpoint: Path,
    golden_tokens: Path,
    data_dir: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
):
    """As icefall's users do it: a link, and no averaging."""
    conformer = "pruned_transducer_stateless5"
    trained = ("--checkpoint", offline_checkpoint, "--tokens", golden_tokens)
    arguments = ["export", conformer, *trained, "--format", "state-dict"]
    output = tmp_path / "exp"
    assert run([*map(str, arguments), "--output", str(output)]) == 0
    (output / "epoch-999.pt").symlink_to("pretrained.pt")
    capfd.readouterr()
    corpus = ("--corpus", "fsdd", "--data-dir", data_dir, "--res-dir", tmp_path / "res", "--json")
    epoch = ("--exp-dir", output, "--epoch", 999, "--avg", 1, "--use-averaged-model", 0)
    found = []
    for model in (trained, (*epoch, "--tokens", golden_tokens)):
        assert decode(*model, *corpus, recipe=conformer) == 0
        (row,) = json.loads(capfd.readouterr().out)
        found.append({key: value for key, value in row.items() if key != "model"})
    assert found[0] == found[1]
    assert found[0]["mode"] == "whole utterances"
