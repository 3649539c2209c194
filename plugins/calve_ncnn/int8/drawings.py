"""Small pictures as inline SVG; colors are the page's CSS variables."""

from __future__ import annotations

import math
from collections.abc import Sequence
from html import escape

__all__ = ["bars", "histogram", "scatter"]

_WIDTH = 900


def bars(rows: Sequence[tuple[str, int, int, str]]) -> str:
    """Two bars per row (name, before, after, precision): how much is left of each."""
    step, left = 18, 150
    scale = (_WIDTH - left - 10) / max(max(before, after) for _, before, after, _ in rows)
    parts = []
    for index, (name, before, after, precision) in enumerate(rows):
        top = index * step
        color = "--int8" if precision == "int8" else "--kept"
        parts.append(
            f'<text x="{left - 8}" y="{top + 12}" text-anchor="end">{escape(name)}</text>'
            f'<rect x="{left}" y="{top + 2}" width="{max(1, before * scale):.1f}" height="13" '
            f'rx="2" style="fill:var(--before)"/>'
            f'<rect x="{left}" y="{top + 5}" width="{max(1, after * scale):.1f}" height="7" '
            f'rx="2" style="fill:var({color})"><title>{escape(name)}: {before} to {after} '
            f"bytes</title></rect>"
        )
    return _svg(_WIDTH, len(rows) * step, parts, "Bytes per layer before and after")


def histogram(counts: Sequence[int], threshold: float) -> str:
    """Counts on a logarithmic scale, with a line at ``threshold`` (1 is the right edge)."""
    width, height, floor = 320, 120, 100
    tallest = math.log1p(max(counts)) or 1.0
    step = width / len(counts)
    parts = []
    for index, count in enumerate(counts):
        size = math.log1p(count) / tallest * (floor - 8)
        if size:
            inside = (index + 0.5) / len(counts) <= threshold
            color = "--int8" if inside else "--kept"
            parts.append(
                f'<rect x="{index * step:.2f}" y="{floor - size:.1f}" width="{step * 0.85:.2f}" '
                f'height="{size:.1f}" style="fill:var({color})"/>'
            )
    x = min(threshold, 1.0) * width
    parts.append(
        f'<path d="M0 {floor}H{width}" style="stroke:var(--line)"/>'
        f'<path d="M{x:.1f} 0V{floor}" style="stroke:var(--ink);stroke-dasharray:4 3"/>'
        f'<text x="0" y="{height - 4}">0</text>'
    )
    return _svg(width, height, parts, "Distribution of absolute values")


def scatter(points: Sequence[tuple[float, float, str]], x_label: str, y_label: str) -> str:
    """Named points (x, y, name) in a frame that holds them all."""
    width, height, margin = _WIDTH, 300, 50
    xs, ys = [point[0] for point in points], [point[1] for point in points]

    def place(value: float, values: Sequence[float], start: float, end: float) -> float:
        low, high = min(values), max(values)
        share = (value - low) / (high - low) if high > low else 0.5
        return start + (0.08 + 0.84 * share) * (end - start)

    parts = [
        f'<path d="M{margin} 10V{height - margin}H{width - 10}" '
        'style="stroke:var(--line);fill:none"/>',
        f'<text x="{width - 10}" y="{height - margin + 34}" text-anchor="end">'
        f"{escape(x_label)}</text>",
        f'<text x="{margin}" y="{height - 6}">{escape(y_label)} upwards</text>',
    ]
    for x, y, name in points:
        left = place(x, xs, margin, width - 10)
        top = place(y, ys, height - margin, 10)
        parts.append(
            f'<circle cx="{left:.1f}" cy="{top:.1f}" r="5" style="fill:var(--int8)"/>'
            f'<text x="{left:.1f}" y="{top - 9:.1f}" text-anchor="middle">{escape(name)}: '
            f"{x:.3g}, {y:.2f}</text>"
        )
    return _svg(width, height, parts, f"{y_label} by {x_label}")


def _svg(width: int, height: int, parts: Sequence[str], label: str) -> str:
    return (
        f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(label)}" '
        f'style="max-width:{width}px">{"".join(parts)}</svg>'
    )
