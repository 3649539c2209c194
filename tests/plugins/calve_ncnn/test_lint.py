from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from calve.api import ConfigError
from calve_ncnn.layout import bin_path, param_path
from calve_ncnn.lint import lint
from calve_ncnn.metadata import store

Break = Callable[[Path], None]


def edit(network: str, pattern: str, replacement: str) -> Break:
    """Replace the first match of a pattern in a network's param file."""

    def apply(bundle_dir: Path) -> None:
        path = param_path(bundle_dir, network)
        text, count = re.subn(pattern, replacement, path.read_text(), count=1, flags=re.M)
        assert count == 1, pattern
        path.write_text(text)

    return apply


def resize(network: str, change: int) -> Break:
    def apply(bundle_dir: Path) -> None:
        path = bin_path(bundle_dir, network)
        data = path.read_bytes()
        path.write_bytes(data[:change] if change < 0 else data + bytes(change))

    return apply


def edit_tokens(pattern: str, replacement: str) -> Break:
    def apply(bundle_dir: Path) -> None:
        path = bundle_dir / "tokens.txt"
        text, count = re.subn(pattern, replacement, path.read_text(), count=1, flags=re.M)
        assert count == 1, pattern
        path.write_text(text)

    return apply


def remove(name: str) -> Break:
    return lambda bundle_dir: (bundle_dir / name).unlink()


ENCODER = "encoder_jit_trace-pnnx.ncnn"
BREAKS: dict[str, tuple[Break, str]] = {
    "wrong magic": (edit("encoder", r"\A7767517", "7767518"), "magic"),
    "no header": (edit("joiner", r"^7 7$", "seven"), "header"),
    "mangled layer": (edit("joiner", r"^TanH .*$", "TanH"), "layer-syntax"),
    "layer count": (edit("encoder", r"^87 ", "86 "), "layer-count"),
    "blob count": (edit("encoder", r"^87 116", "87 115"), "blob-count"),
    "metadata removed": (edit("encoder", r"^SherpaMetaData.*\n", ""), "metadata-missing"),
    "metadata doubled": (edit("encoder", r"^(SherpaMetaData.*\n)", r"\1\1"), "metadata-twice"),
    "metadata renamed": (edit("encoder", "sherpa_meta_data1", "sherpa_meta"), "metadata-layer"),
    "dimension halved": (edit("encoder", " 2=32 3=48$", " 2=16 3=48"), "metadata-mismatch"),
    "hidden size wrong": (edit("encoder", " 2=32 3=48$", " 2=32 3=96"), "metadata-mismatch"),
    "size no integer": (edit("encoder", r"^(LSTM .*) 0=32 ", r"\1 0=3.2 "), "bin-size"),
    "layers wrong": (edit("encoder", " 0=3 1=3 2", " 0=3 1=12 2"), "metadata-mismatch"),
    "other architecture": (edit("encoder", " 0=3 1=3 2", " 0=1 1=3 2"), "metadata-mismatch"),
    "foreign operator": (edit("decoder", "^Permute ", "aten::permute "), "operator"),
    "input renamed": (edit("joiner", r"0 1 in1$", "0 1 input1"), "blob-names"),
    "output renamed": (edit("encoder", r" out3 0=0$", " cell 0=0"), "blob-names"),
    "blob not written": (edit("joiner", r" 1 1 in0 2 ", " 1 1 in9 2 "), "blob-unknown"),
    "blob written twice": (edit("joiner", r" 1 1 in1 3 ", " 1 1 in1 2 "), "blob-twice"),
    "blob read twice": (edit("joiner", r" 1 1 in1 3 ", " 1 1 in0 3 "), "blob-shared"),
    "weights cut short": (resize("encoder", -100), "bin-size"),
    "weights too long": (resize("decoder", 4), "bin-size"),
    "weights missing": (remove(f"{ENCODER}.bin"), "file-missing"),
    "network missing": (remove(f"{ENCODER}.param"), "file-missing"),
    "tokens missing": (remove("tokens.txt"), "tokens"),
    "tokens of another model": (edit_tokens(r"^▁word29 29\n", ""), "tokens"),
    "blank not first": (edit_tokens(r"^<blk> 0", "a 0"), "tokens"),
    "unk elsewhere": (edit_tokens(r"^<unk> 2", "word 2"), "unk-id"),
    "context of three": (edit("decoder", " 1=2 2=1 ", " 1=3 2=1 "), "context-size"),
    "decoder of another model": (edit("decoder", " 1=30 2=0 3=960", " 1=60 2=0 3=960"), "vocab"),
}


def test_a_fresh_bundle_has_no_findings(bundle_dir: Path) -> None:
    assert lint(bundle_dir) == []


@pytest.mark.parametrize("name", BREAKS)
def test_each_kind_of_damage_is_found_with_its_fix(bundle_dir: Path, name: str) -> None:
    damage, code = BREAKS[name]
    damage(bundle_dir)
    found = [finding for finding in lint(bundle_dir) if finding.code.startswith(code)]
    assert found, [finding.code for finding in lint(bundle_dir)]
    for finding in found:
        assert finding.severity == "error"
        assert finding.fix
        assert str(bundle_dir) in finding.where


def test_lines_are_named(bundle_dir: Path) -> None:
    BREAKS["dimension halved"][0](bundle_dir)
    (finding,) = lint(bundle_dir)
    assert finding.where == f"{param_path(bundle_dir, 'encoder')}:3"
    assert "encoder_dim=16, the layers have 32" in finding.what


CONV_EMFORMER = {
    **{"arch": 1, "num_encoder_layers": 2, "memory_size": 4, "cnn_module_kernel": 5},
    **{"left_context_length": 8, "chunk_length": 32, "right_context_length": 8, "encoder_dim": 32},
}


def test_metadata_by_which_sherpa_ncnn_would_feed_other_blobs(bundle_dir: Path) -> None:
    """An LSTM network that is stamped as something else."""
    store.write(bundle_dir, CONV_EMFORMER)
    found = [one.what for one in lint(bundle_dir) if one.code == "metadata-mismatch"]
    assert (
        "by SherpaMetaData sherpa-ncnn feeds a ConvEmformer 9 blobs, the encoder takes 4" in found
    )


def test_metadata_that_lack_a_size(bundle_dir: Path) -> None:
    store.write(bundle_dir, CONV_EMFORMER)
    edit("encoder", r" 4=8( 5=32) 6=8 ", r"\1 ")(bundle_dir)
    found = [one.what for one in lint(bundle_dir) if one.code == "metadata-mismatch"]
    assert (
        "SherpaMetaData of a ConvEmformer lacks left_context_length, right_context_length" in found
    )


def test_sizes_in_metadata_are_not_believed_before_they_are_checked(bundle_dir: Path) -> None:
    """The list of the states of so many layers would not fit into memory."""
    sizes = " ".join(f"{number}=2000000000" for number in range(1, 8))
    edit("encoder", r"^(SherpaMetaData.* 0 0) 0=3.*$", rf"\1 0=1 {sizes}")(bundle_dir)
    impossible = [one for one in lint(bundle_dir) if "impossible num_encoder_layers" in one.what]
    assert [one.code for one in impossible] == ["metadata-mismatch"]


def test_weights_of_impossible_sizes_are_found(bundle_dir: Path) -> None:
    """The sizes' product is 2 ** 64, which is 0 in 64 bits."""
    edit("encoder", r"^(LSTM .*) 0=32 ", r"\1 0=1073741824 ")(bundle_dir)
    assert "bin-size" in {finding.code for finding in lint(bundle_dir)}


def test_a_quoted_symbol_is_cut(bundle_dir: Path) -> None:
    edit_tokens(r"^\S+ 2$", "x" * 5000 + " 2")(bundle_dir)
    (finding,) = (one for one in lint(bundle_dir) if one.code == "unk-id")
    assert len(finding.what) < 200


def test_ncnn_alone_needs_no_metadata_and_takes_any_context(bundle_dir: Path) -> None:
    BREAKS["metadata removed"][0](bundle_dir)
    BREAKS["layer count"][0](bundle_dir)
    BREAKS["unk elsewhere"][0](bundle_dir)
    assert lint(bundle_dir, "ncnn") == []
    codes = {finding.code for finding in lint(bundle_dir, "sherpa-ncnn")}
    assert codes == {"metadata-missing", "unk-id"}


def test_an_operator_that_only_sherpa_ncnn_lacks(bundle_dir: Path) -> None:
    edit("joiner", "^TanH ", "Softplus ")(bundle_dir)
    assert lint(bundle_dir, "ncnn") == []
    (finding,) = lint(bundle_dir, "sherpa-ncnn")
    assert finding.code == "operator"
    assert "Softplus" in finding.what


def test_several_errors_are_all_reported(bundle_dir: Path) -> None:
    for name in ("layer count", "weights too long", "unk elsewhere"):
        BREAKS[name][0](bundle_dir)
    assert {finding.code for finding in lint(bundle_dir)} == {"layer-count", "bin-size", "unk-id"}


def test_an_unknown_runtime_is_refused(bundle_dir: Path) -> None:
    with pytest.raises(ConfigError, match="sherpa-nccn"):
        lint(bundle_dir, "sherpa-nccn")
