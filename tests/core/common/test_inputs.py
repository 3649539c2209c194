"""What keeps an input file from being read, and how text is decoded."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from calve.common.inputs import (
    check_input,
    check_not_placeholder,
    decoded_text,
    input_problem,
    is_git_lfs_pointer,
    parse_json,
    read_bytes,
    read_json,
    read_text,
)
from calve.errors import CalveError, DataError, TokensError

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4b\nsize 244865\n"


def test_a_regular_file_with_content_has_no_problem(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"x")
    assert input_problem(tmp_path / "a") is None
    check_input(tmp_path / "a")
    (tmp_path / "link").symlink_to("a")
    assert input_problem(tmp_path / "link") is None


def test_a_missing_file_suggests_a_near_name(tmp_path: Path) -> None:
    (tmp_path / "bpe.model").touch()
    with pytest.raises(TokensError, match=r"(?s)there is no such model.*did you mean 'bpe\.model'"):
        check_input(tmp_path / "bp.model", "model", TokensError)


def test_a_link_that_leads_nowhere_is_named_as_such(tmp_path: Path) -> None:
    (tmp_path / "epoch-99.pt").symlink_to("exp/pretrained.pt")
    problem = input_problem(tmp_path / "epoch-99.pt")
    assert problem is not None
    assert problem.what == "this is a link that points to exp/pretrained.pt, which does not exist"
    (tmp_path / "data").symlink_to("/nowhere/data")
    inside = input_problem(tmp_path / "data" / "tokens.txt")
    assert inside is not None
    assert (
        inside.what == f"the link {tmp_path / 'data'} points to /nowhere/data, which does not exist"
    )


def test_a_link_to_itself_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("a")
    problem = input_problem(tmp_path / "a")
    assert problem is not None
    assert "symbolic links" in problem.what


def test_a_folder_an_empty_file_and_a_file_as_a_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    kinds = {
        tmp_path: "this is a folder, not a symbol table",
        tmp_path / "empty": "this file is empty",
        tmp_path / "empty" / "tokens.txt": "there is no such symbol table",
    }
    for path, what in kinds.items():
        problem = input_problem(path, "symbol table")
        assert problem is not None
        assert problem.what == what


@pytest.mark.timeout(10)
def test_a_pipe_and_a_device_are_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, kind in ((tmp_path / "pipe", "pipe"), (Path("/dev/zero"), "device")):
        with pytest.raises(CalveError, match=f"this is a {kind}, not a file"):
            check_input(path)


@pytest.mark.timeout(10)
def test_a_placeholder_is_refused_and_nothing_else(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").touch()
    for name in ("pipe", "empty", "missing"):
        check_not_placeholder(tmp_path / name, "file", CalveError)
    (tmp_path / "pointer").write_bytes(POINTER)
    (tmp_path / "link").symlink_to("missing")
    for name in ("pointer", "link"):
        with pytest.raises(TokensError):
            check_not_placeholder(tmp_path / name, "file", TokensError)


def test_a_git_lfs_pointer_says_how_to_fetch_the_file(tmp_path: Path) -> None:
    (tmp_path / "bpe.model").write_bytes(POINTER)
    problem = input_problem(tmp_path / "bpe.model", "model")
    assert problem is not None
    assert problem.what == "this is a Git LFS pointer, not the model itself"
    assert problem.fix == "run: git lfs pull --include '*bpe.model'"
    assert is_git_lfs_pointer(tmp_path / "bpe.model")
    assert not is_git_lfs_pointer(tmp_path / "nothing")


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_text_comes_without_byte_order_mark_and_carriage_returns(
    tmp_path: Path, mark: bytes, end: bytes
) -> None:
    (tmp_path / "a.txt").write_bytes(mark + "ein Ä".encode() + end + b"two" + end)
    assert read_text(tmp_path / "a.txt", "list", CalveError) == "ein Ä\ntwo\n"


def test_an_empty_text_is_empty(tmp_path: Path) -> None:
    (tmp_path / "a.txt").touch()
    assert read_text(tmp_path / "a.txt", "list", CalveError) == ""


def test_text_in_another_encoding_is_named_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes(b"one\nf\xfcnf\n")
    with pytest.raises(CalveError, match=r"(?s)the list is not UTF-8 text.*a\.txt, line 2.*iconv"):
        read_text(tmp_path / "a.txt", "list", CalveError)
    (tmp_path / "b.txt").write_text("one", encoding="utf-16")
    with pytest.raises(CalveError, match=r"(?s)line 1.*UTF-16"):
        read_text(tmp_path / "b.txt", "list", CalveError)


def test_a_text_that_cannot_be_read_has_the_callers_error(tmp_path: Path) -> None:
    with pytest.raises(TokensError, match="there is no such list"):
        read_text(tmp_path / "a.txt", "list", TokensError)


def test_bytes_that_were_decompressed_are_decoded_alike() -> None:
    data = "\ufeffone\r\ntwo".encode()
    assert decoded_text(data, "a.jsonl.gz", "manifest", CalveError) == "one\ntwo"
    with pytest.raises(CalveError, match=r"a\.jsonl\.gz, line 2"):
        decoded_text(b"one\n\xff", "a.jsonl.gz", "manifest", CalveError)


def test_bytes_up_to_the_limit_are_read(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "empty").touch()
    assert read_bytes(tmp_path / "a", "table", DataError, limit=5) == b"12345"
    assert read_bytes(tmp_path / "empty", "table", DataError) == b""
    with pytest.raises(DataError, match="this is no table: it has more than 4 bytes"):
        read_bytes(tmp_path / "a", "table", DataError, limit=4)


def test_a_huge_file_is_refused_unread(tmp_path: Path) -> None:
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**43)
    with pytest.raises(DataError, match="more than 268435456 bytes"):
        read_text(tmp_path / "huge", "table", DataError)


def test_an_endless_device_and_a_pipe_are_refused_unread(tmp_path: Path) -> None:
    (tmp_path / "device").symlink_to("/dev/zero")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="this is a device, not a table"):
        read_bytes(tmp_path / "device", "table", DataError)
    with pytest.raises(DataError, match="this is a pipe, not a table"):
        read_json(tmp_path / "pipe", "table", DataError)


@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_json_may_be_nested_as_deep_as_its_readers_can_walk(opening: str) -> None:
    closing = {"[": "]", '{"a":': "}"}[opening]
    for depth in (1, 64):
        value = parse_json(opening * depth + "1" + closing * depth)
        for _ in range(depth):
            (value,) = value if isinstance(value, list) else value.values()
        assert value == 1
    for depth in (65, 1000, 100_000):
        with pytest.raises(ValueError, match="nested more than 64 levels"):
            parse_json(opening * depth + "1" + closing * depth)


def test_a_json_file_that_is_none_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text("[1, 2", encoding="utf-8")
    with pytest.raises(DataError, match="the table is not valid JSON") as caught:
        read_json(tmp_path / "a.json", "table", DataError)
    assert caught.value.where == str(tmp_path / "a.json")
