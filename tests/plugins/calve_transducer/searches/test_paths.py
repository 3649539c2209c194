from __future__ import annotations

from calve_transducer.searches.paths import Path


def path_of(*symbols: int, first_frame: int = 0) -> Path:
    path = Path()
    for frame, symbol in enumerate(symbols, start=first_frame):
        path = Path(path, symbol, frame)
    return path


def test_paths_are_equal_if_their_symbols_are_whatever_the_frames():
    one, two = path_of(3, 1, 4), path_of(3, 1, 4, first_frame=7)
    assert one == two
    assert hash(one) == hash(two)
    assert len({one, two}) == 1
    assert one.symbols_and_frames() == ([3, 1, 4], [0, 1, 2])
    assert two.symbols_and_frames() == ([3, 1, 4], [7, 8, 9])


def test_other_symbols_another_order_and_another_length_are_other_paths():
    different = {path_of(), path_of(0), path_of(1), path_of(0, 1), path_of(1, 0), path_of(0, 0)}
    assert len(different) == 6


def test_paths_whose_hashes_collide_are_told_apart_by_their_symbols():
    one, two = path_of(3, 1, 4), path_of(3, 2, 4)
    two._hash = one._hash
    assert one != two


def test_a_path_may_be_as_long_as_a_day_of_speech():
    one, two = path_of(*range(200_000)), path_of(*range(200_000))
    assert one == two
    assert len(one.symbols_and_frames()[0]) == one.length == 200_000
