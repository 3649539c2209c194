from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from calve.bundles.bundle import Bundle
from calve.protocols import (
    ActivationReport,
    CalibrationReport,
    LayerReport,
    QuantizationReport,
    VariantReport,
)
from calve_ncnn.int8.drawings import histogram, scatter
from calve_ncnn.int8.page import write_page

VOID = {"meta"}


class Outline(HTMLParser):
    """Checks that every element is closed in order; gathers the text of each kind of element."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: dict[str, list[str]] = {}

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.seen.setdefault(tag, []).append("")
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: object) -> None:
        self.seen.setdefault(tag, []).append("")

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.seen[self.open[-1]][-1] += data


def variant(name: str, size: int, rate: float) -> VariantReport:
    return VariantReport(name, size, rate, 7, 100, (), 0.05)


@pytest.fixture
def report() -> QuantizationReport:
    frontier = (variant("int8", 1000, 3.0), variant("int8, 1 in fp16", 1200, 2.0))
    return QuantizationReport(
        scheme="int8",
        precision={"encoder": "int8", "joiner": "int8"},
        layers=(
            LayerReport("encoder", "lstm_1", "LSTM", "int8", "rows", 2_000_000, 8_000_000, 10, 0.5),
            LayerReport("joiner", "<&>", "InnerProduct", "fp16", "kept & <why>", 10, 40, 20),
        ),
        calibration=CalibrationReport("recordings", "kl", 3, 12.5, 1.0, {"<bad>.wav": "silent"}),
        activations=(ActivationReport("joiner", "linear", 4.0, 3.0, (5, 4, 1, 0, 1, 0, 0, 1)),),
        measure="WER",
        variants=(variant("fp32", 4000, 1.5), *frontier[-1:]),
        frontier=frontier,
        notes=("a note",),
    )


@pytest.fixture
def outline(golden_bundle: Bundle, report: QuantizationReport, tmp_path: Path) -> Outline:
    write_page(tmp_path / "page.html", report, golden_bundle.manifest)
    parser = Outline()
    parser.feed((tmp_path / "page.html").read_text(encoding="utf-8"))
    assert not parser.open
    return parser


def test_everything_is_shown(outline: Outline) -> None:
    cells = outline.seen["td"]
    for text in ("lstm_1", "2,000,000", "7.7 MB", "0.50000", "int8, 1 in fp16", "3.00"):
        assert text in cells
    assert outline.seen["li"] == ["a note", "skipped <bad>.wav: silent"]
    assert outline.seen["figcaption"] == ["joiner/linear: 3 of 4"]
    assert len(outline.seen["svg"]) == 3  # bars, one histogram, the frontier


def test_names_cannot_break_out_of_the_page(outline: Outline) -> None:
    assert "<&>" in outline.seen["td"]
    assert "kept & <why>" in outline.seen["td"]


def test_the_page_needs_no_other_file(
    golden_bundle: Bundle, report: QuantizationReport, tmp_path: Path
) -> None:
    write_page(tmp_path / "page.html", report, golden_bundle.manifest)
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert not re.search(r"<script|<link|src=|href=(?!\"#)|url\((?!#)|@import", text)


def test_a_histogram_marks_what_is_clipped() -> None:
    drawing = histogram([8, 4, 2, 1], threshold=2.0, absmax=4.0)
    paths = r'd="M (\S+) [^"]*?L (\S+) [^"]*" [^>]*fill: var\((--teal|--orange)\)'
    bars = re.findall(paths, drawing)
    assert [color for *_, color in bars] == ["--teal", "--teal", "--orange", "--orange"]
    (line,) = re.findall(r'd="M (\S+) [^"]*" [^>]*stroke: var\(--ink\)', drawing)
    assert float(bars[1][1]) < float(line) < float(bars[2][0])
    # The powers of ten beside a logarithmic scale are not shown as TeX.
    assert "$" not in re.sub("<!--.*?-->", "", drawing)


def test_a_scatter_of_one_point_has_a_place_for_it() -> None:
    assert "nan" not in scatter([(1.0, 2.0, "only")], "MB", "WER %").lower()
