"""Streams that are dealt out among processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from calve.decoding.bundle_model import BundleModel
from calve.decoding.online_jobs import StreamingJob
from calve.decoding.splits import Split


@pytest.mark.parametrize(
    ("streams", "processes", "shares"),
    [(5, 4, (2, 1, 1, 1)), (8, 4, (2, 2, 2, 2)), (2, 4, (1, 1)), (50, 1, (50,)), (1, 1, (1,))],
)
def test_the_processes_have_as_many_streams_as_were_asked_for(
    streams: int, processes: int, shares: tuple[int, ...]
):
    job = StreamingJob(
        BundleModel(Path("bundle")),
        Split("corpus", Path("data"), "test"),
        (),
        num_streams=streams,
        groups=processes,
    )
    assert job.streams_by_group == shares
    assert sum(shares) == streams
