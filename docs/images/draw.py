"""Draw the pictures that follow from the code: ``make pictures``; ``flow.svg`` is hand-made."""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

from calve.common.config import load_toml
from calve_lstm_transducer.encoder import LstmEncoder
from calve_pruned_transducer.masks import chunk_mask

__all__ = ["PICTURES", "main"]

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1] / "pyproject.toml"

STYLE = """\
<defs>
<marker id="a" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0L10 5L0 10z" fill="#3d5a6c"/></marker>
<marker id="h" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto">
<path d="M0 0L10 5L0 10z" fill="#b3541e"/></marker>
<style>
.page { fill: #ffffff }
.box { fill: #eef5f9; stroke: #3d5a6c; stroke-width: 1.3 }
.ice { fill: #d3ebf7; stroke: #1f6f9f; stroke-width: 1.8 }
.yours { fill: #ffffff; stroke: #b3541e; stroke-width: 1.3; stroke-dasharray: 5 3 }
.own { fill: #5aa9d6 }
.past { fill: #cbe6f4 }
.none { fill: #f4f6f7 }
.word { fill: #102a38; text-anchor: middle; font-weight: 600; font-size: 13px }
.note { fill: #4b6472; text-anchor: middle; font-size: 11.5px }
.side { fill: #4b6472; font-size: 12px }
.value { fill: #102a38; font-size: 12px; text-anchor: end }
.strong { font-weight: 600; fill: #102a38 }
.same { stroke: #b3541e; stroke-width: 1.5; fill: none; stroke-dasharray: 5 3 }
.flow { stroke: #3d5a6c; stroke-width: 1.5; fill: none; marker-end: url(#a) }
.hook { stroke: #b3541e; stroke-width: 1.5; fill: none; stroke-dasharray: 5 3; marker-end: url(#h) }
.hooks { fill: #b3541e; font-size: 12px; font-style: italic }
</style>
</defs>"""

_YOURS = "your package"

NOTES = {
    _YOURS: "encoders, formats, corpora, …",
    "calve": "contracts, plugins, checkpoints, bundles, command line, conformance kit",
    "services": "functions that plugins may call",
    "cli": "the command: options, tables, exit codes",
    "testing": "conformance kit, capability matrix, tiny models",
    "exporting": "checkpoint to verified bundle; quantization",
    "decoding": "session to text: offline, online, batches",
    "training": "starting a training run",
    "models": "checkpoint files to a module",
    "bundles": "the directory on the device",
    "scoring": "error rates, alignments",
    "api": "what plugins register with",
    "registry": "specs, hooks, finding and calling plugins",
    "protocols": "interfaces of drivers and sessions",
    "data": "audio, features, symbols, utterances",
    "common": "files, child processes, progress, configuration, pages",
    "errors": "errors for the person at the terminal",
    "calve_graphs": "lexicon, G, LG",
    "calve_transducer": "layers, losses, trainer, searches",
    "calve_lstm_transducer": "one recipe: the LSTM",
    "calve_pruned_transducer": "four recipes: the conformer",
    "calve_ncnn": "format, int8, sherpa-ncnn",
    "calve_onnx": "format, sherpa-onnx",
    "calve_torchscript": "formats that torch loads",
    "calve_k2": "losses and FSAs by k2",
    "calve_lhotse": "corpora, loaders",
    "calve_bench": "benchmarks",
}
"""What a package or a room is for."""

_MODULES = ("api", "errors")
"""Modules beside the rooms."""

HOOKS = ("core finds", "packages by", "entry points", "and calls", "their hooks")


def main() -> int:
    """Write all pictures beside this file."""
    for name, draw in PICTURES.items():
        (HERE / name).write_text(draw(), encoding="utf-8")
    return 0


def packages() -> str:
    """Which package may import which, as import-linter checks it, and who calls whom."""
    left, top, gap, wide, row = 118, 20, 10, 640, 60
    third = (wide - 2 * gap) / 3
    layers = _layers("plugins import one another only downwards")
    layers[0].insert(0, _YOURS)
    parts: list[Element] = []
    heights = []
    for names in layers:
        width = wide if names == ["calve"] else third
        heights.append(top)
        for first in range(0, len(names), 3):
            shown = names[first : first + 3]
            x = left + wide - len(shown) * (width + gap) + gap
            for column, name in enumerate(shown):
                kind = {_YOURS: "yours", "calve": "ice"}.get(name, "box")
                parts += _box(x + column * (width + gap), top, width, kind, name)
            top += row
        top += 22
    parts += [
        _path("flow", f"M{left + wide + 22} 24V{top - 36}"),
        *_lines("side", left + wide + 30, 110, "imports", "go down", "only"),
        *(_path("hook", f"M{left} {heights[-1] + 25}H94V{y + 25}H{left - 3}") for y in heights[:2]),
        *_lines("hooks", 8, heights[-2] - 30, *HOOKS),
    ]
    return _picture(left + wide + 86, top - 14, "Which package may import which", parts)


def rooms() -> str:
    """Which room of the core may import which, as import-linter checks it."""
    left, top, gap, wide, row = 20, 20, 10, 640, 60
    parts: list[Element] = []
    for names in _layers("the rooms of the core"):
        width = (wide - (len(names) - 1) * gap) / len(names)
        for column, name in enumerate(names):
            kind = "yours" if name in _MODULES else "box"
            parts += _box(left + column * (width + gap), top, width, kind, name)
        top += row
    parts += [
        _path("flow", f"M{left + wide + 22} 24V{top - 14}"),
        *_lines("side", left + wide + 30, 110, "imports", "go down", "only"),
    ]
    return _picture(left + wide + 86, top + 6, "Which room of the core may import which", parts)


def _layers(name: str) -> list[list[str]]:
    """The layers of the contract of import-linter whose name begins so, the top first."""
    contracts = load_toml(PROJECT)["tool"]["importlinter"]["contracts"]
    (contract,) = (one for one in contracts if one["name"].startswith(name))
    return [layer.split(" | ") for layer in contract["layers"]]


def steps() -> str:
    """How the LSTM steps over feature frames."""
    geometry = LstmEncoder.geometry
    count, side, left = 4, 26, 96
    frames = geometry.overlap + count * geometry.shift
    parts = [_text("side", left, 22, "feature frames, one each 10 ms")]
    for frame in range(frames):
        x = left + frame * side
        parts.append(_rect("box", x, 30, side, 22))
        parts.append(_text("note", x + side / 2, 45, str(frame)))
    out = left + frames * side + 46
    parts.append(_text("side", out - 34, 22, "encoder frames"))
    for step in range(count):
        y = 72 + 46 * step
        x = left + step * geometry.shift * side
        ends = x + geometry.shift * side, x + geometry.segment * side
        parts.append(_text("side", 20, y + 18, f"step {step + 1}"))
        parts.append(_rect("own", x, y, ends[0] - x, 26))
        parts.append(_rect("past", ends[0], y, ends[1] - ends[0], 26))
        parts.append(_path("flow", f"M{ends[1]} {y + 13}H{out - 4}"))
        parts.append(_rect("ice", out, y, 40, 26))
        parts.append(_text("note", out + 20, y + 17, str(step)))
        if step == 0:
            for middle, text in (
                ((x + ends[0]) / 2, f"shift {geometry.shift}"),
                (sum(ends) / 2, f"overlap {geometry.overlap}"),
            ):
                parts.append(_text("word", middle, y + 18, text))
        if step:
            parts.append(_path("hook", f"M44 {y - 22}V{y + 2}"))
    parts.append(_text("hooks", 52, 112, "states"))
    y = 72 + 46 * count
    text = (
        f"A step reads a segment of {geometry.segment} frames and advances by {geometry.shift}; "
        f"{geometry.subsampling_factor} feature frames become one encoder frame."
    )
    parts.append(_text("side", left, y + 10, text))
    return _picture(out + 60, y + 26, "How a streaming encoder steps over feature frames", parts)


def chunks() -> str:
    """What attention in chunks sees."""
    import torch

    size, chunk_size, left_context, side = 16, 4, 8, 20
    hidden = chunk_mask(size, chunk_size, left_context, torch.device("cpu")).tolist()
    left, top = 120, 48
    parts = [
        _text("side", left, 18, "frames that it sees"),
        *_lines("side", 20, 62, "frame", "that is", "encoded"),
    ]
    for query in range(size):
        parts.append(_text("note", left + side * query + side / 2, top - 8, str(query)))
        parts.append(_text("note", left - 14, top + side * query + 14, str(query)))
        for key in range(size):
            kind = "own" if key // chunk_size == query // chunk_size else "past"
            kind = "none" if hidden[query][key] else kind
            parts.append(_rect(kind, left + side * key, top + side * query, side - 1, side - 1))
    x = left + side * size + 28
    for row, (kind, text) in enumerate(
        (
            ("own", f"its chunk, of {chunk_size} frames"),
            ("past", f"left context: {left_context} frames before the chunk"),
            ("none", "hidden"),
        )
    ):
        parts.append(_rect(kind, x, top + 30 * row, 18, 18))
        parts.append(_text("side", x + 28, top + 30 * row + 14, text))
    return _picture(x + 290, top + side * size + 16, "What attention in chunks sees", parts)


def speed() -> str:
    """The first table of docs/benchmarks.md as bars."""
    lines = (HERE.parent / "benchmarks.md").read_text(encoding="utf-8").splitlines()
    start = lines.index("| what | compared with | time |") + 2
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines[start:])
    left, unit, row = 470, 260, 44
    parts: list[Element] = []
    y = 34.0
    for line in rows:
        what, beside, time = (cell.strip() for cell in line.strip("|").split("|"))
        parts.append(_text("side strong", 20, y + 12, what))
        parts.append(_text("side", 20, y + 27, f"compared with {beside}"))
        times = re.findall(r"\d\.\d+", time)
        for number, value in enumerate(times):
            height = 24 / len(times)
            top = y + 2 + number * height
            parts.append(_rect("own", left, top, float(value) * unit, height - 1))
            middle = top + height / 2 + 4
            parts.append(_text("value", left - 8, middle, value))
        y += row
    parts.append(_path("same", f"M{left + unit} 26V{y - 8:g}"))
    parts.append(_text("note", left + unit, 18, "as long as the other"))
    return _picture(left + 1.6 * unit, y + 4, "Time relative to others; shorter is faster", parts)


def _picture(width: float, height: float, title: str, parts: Sequence[Element]) -> str:
    picture = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {width:g} {height:g}",
            "role": "img",
            "aria-labelledby": "t",
            "font-family": "Helvetica, Arial, sans-serif",
        },
    )
    name = Element("title", id="t")
    name.text = title
    picture.extend([name, ElementTree.fromstring(STYLE), _rect("page", 0, 0, width, height)])
    picture.extend(parts)
    ElementTree.indent(picture, "")
    return ElementTree.tostring(picture, encoding="unicode") + "\n"


def _box(x: float, y: float, width: float, kind: str, word: str) -> list[Element]:
    middle = x + width / 2
    return [
        _rect(kind, x, y, width, 50, rounded=True),
        _text("word", middle, y + 21, word),
        _text("note", middle, y + 38, NOTES[word]),
    ]


def _lines(kind: str, x: float, y: float, *lines: str) -> list[Element]:
    return [_text(kind, x, y + 16 * row, line) for row, line in enumerate(lines)]


def _rect(
    kind: str, x: float, y: float, width: float, height: float, *, rounded: bool = False
) -> Element:
    numbers = {"x": x, "y": y, "width": width, "height": height} | ({"rx": 8} if rounded else {})
    return Element("rect", {"class": kind} | {key: f"{one:g}" for key, one in numbers.items()})


def _text(kind: str, x: float, y: float, text: str) -> Element:
    element = Element("text", {"class": kind, "x": f"{x:g}", "y": f"{y:g}"})
    element.text = text
    return element


def _path(kind: str, line: str) -> Element:
    return Element("path", {"class": kind, "d": line})


PICTURES: dict[str, Callable[[], str]] = {
    "packages.svg": packages,
    "rooms.svg": rooms,
    "steps.svg": steps,
    "chunks.svg": chunks,
    "speed.svg": speed,
}
"""Name of the file, and who draws it."""

if __name__ == "__main__":
    sys.exit(main())
