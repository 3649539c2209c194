"""The picture of a ranking."""

from __future__ import annotations

from xml.etree import ElementTree

from calve.scoring.error_rates import DecodedUtterance, score
from calve.scoring.ranking import drawing, rank

SPOKEN = [("a", "one two three four"), ("b", "five"), ("c", "six seven")]


def test_it_shows_every_result_with_its_rate() -> None:
    wrong = score([DecodedUtterance(name, text, "one") for name, text in SPOKEN])
    right = score([DecodedUtterance(name, text, text) for name, text in SPOKEN])
    labels = {"$greedy_x$, <torch> & \x1b": wrong, "beam": right}
    drawn = drawing("test-<clean>", rank(list(labels.items())))
    texts = [one.text for one in ElementTree.fromstring(drawn).iter()]
    for text in (
        *("test-<clean>", r"$greedy_x$, <torch> & \x1b", "beam", "0.00", "85.71"),
        "WER %, with 95 % confidence intervals",
    ):
        assert text in texts
    assert texts.index("beam") < texts.index(r"$greedy_x$, <torch> & \x1b")
