"""Reading and writing tokens.txt."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calve.data.byte_symbols import BYTE_LETTERS
from calve.data.tokens import SymbolTable
from calve.errors import TokensError

SYMBOL = st.text(
    st.characters(codec="utf-8", exclude_characters=" \t\n\v\f\r"), min_size=1, max_size=8
).filter(lambda symbol: symbol != "<blk>")
TABLES = st.lists(SYMBOL, unique=True, max_size=40).map(
    lambda symbols: SymbolTable(("<blk>", *symbols))
)


def write(tmp_path: Path, content: str | bytes) -> Path:
    path = tmp_path / "tokens.txt"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@given(table=TABLES)
def test_what_is_written_is_read_back(tmp_path_factory: pytest.TempPathFactory, table: SymbolTable):
    path = tmp_path_factory.mktemp("tokens") / "tokens.txt"
    table.write(path)
    assert SymbolTable.read(path) == table


@given(table=TABLES, order=st.randoms())
def test_the_order_of_lines_does_not_matter(
    tmp_path_factory: pytest.TempPathFactory, table: SymbolTable, order
):
    lines = [f"{symbol} {index}" for index, symbol in enumerate(table)]
    order.shuffle(lines)
    path = write(tmp_path_factory.mktemp("tokens"), "\n".join(lines))
    assert SymbolTable.read(path) == table


@given(content=st.binary(max_size=200))
def test_any_bytes_are_a_table_or_a_tokens_error(
    tmp_path_factory: pytest.TempPathFactory, content: bytes
):
    path = write(tmp_path_factory.mktemp("tokens"), content)
    message = str(path)
    try:
        SymbolTable.read(path)
    except TokensError as error:
        message = str(error)
    assert str(path) in message


def test_icefalls_file_is_read_with_tabs_and_windows_line_ends(tmp_path: Path):
    table = SymbolTable.read(
        write(tmp_path, "<blk> 0\r\n<sos/eos>\t1\r\n<unk> 2\r\n▁ONE 3\r\n\r\n")
    )
    assert table.symbols == ("<blk>", "<sos/eos>", "<unk>", "▁ONE")
    assert (table.blank_id, table.unk_id, table.id("▁ONE"), table[3]) == (0, 2, 3, "▁ONE")
    assert "▁ONE" in table
    assert "▁TWO" not in table


def test_a_symbol_may_be_a_space_of_another_script(tmp_path: Path):
    assert SymbolTable.read(write(tmp_path, "<blk> 0\n\u3000 1\n\u00a0 2\n")).id("\u3000") == 1


def test_text_puts_a_space_where_a_word_starts():
    table = SymbolTable(("<blk>", "▁ONE", "▁T", "WO", "▁"))
    assert table.text([1, 2, 3]) == "ONE TWO"
    assert table.text([3, 4, 3]) == "WO WO"
    assert table.text([]) == ""


def test_a_table_without_unk_has_no_unk_id():
    assert SymbolTable(("<blk>", "a")).unk_id is None


@pytest.mark.parametrize("index", [-1, 2])
def test_an_id_outside_the_table_is_an_index_error(index: int):
    with pytest.raises(IndexError):
        SymbolTable(("<blk>", "a"))[index]


def test_an_unknown_symbol_is_an_error():
    with pytest.raises(TokensError, match="does not hold 'x'"):
        SymbolTable(("<blk>",)).id("x")


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        ("", "empty"),
        ("\n \n", "empty"),
        ("<blk> 0\na\n", "line 2"),
        ("<blk> 0\na b 1\n", "line 2"),
        ("<blk> 0\na one\n", "not a whole number"),
        ("<blk> 0\na -1\n", "not a whole number"),
        ("<blk> 0\na 1.0\n", "not a whole number"),
        ("<blk> 0\na ١\n", "not a whole number"),
        ("<blk> 0\na 1\nb 1\n", "id 1 already belongs to 'a'"),
        ("<blk> 0\na 1\na 2\n", "symbol 'a' is already on line 2"),
        ("<blk> 0\na 2\n", "leaves a gap"),
        ("<blk> 1\na 2\n", "leaves a gap"),
        ("a 0\n<blk> 1\n", "symbol 0 is 'a'"),
        ("\ufeff<blk> 0\n", "byte order mark"),
        ("<blk> 0\nä 1\n".encode("latin-1"), "line 2"),
        ("<blk> 0\n".encode("utf-16"), "not UTF-8"),
    ],
)
def test_a_bad_file_is_an_error_that_names_it(tmp_path: Path, content: str | bytes, complaint: str):
    path = write(tmp_path, content)
    with pytest.raises(TokensError) as caught:
        SymbolTable.read(path)
    assert complaint in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_file_is_an_error_that_names_it(tmp_path: Path):
    with pytest.raises(TokensError, match=r"nowhere\.txt"):
        SymbolTable.read(tmp_path / "nowhere.txt")


def test_disambiguation_symbols_are_not_part_of_the_models_vocabulary():
    table = SymbolTable(("<blk>", "a", "b", "#0", "#1"))
    assert table.for_vocabulary(3).symbols == ("<blk>", "a", "b")
    assert table.for_vocabulary(5) == table


@pytest.mark.parametrize("vocab_size", [2, 3, 6, 500])
def test_a_table_of_another_model_is_an_error_that_names_both_sizes(vocab_size: int):
    table = SymbolTable(("<blk>", "a", "b", "c", "#0"))
    with pytest.raises(TokensError, match=f"5 symbols, but the model scores {vocab_size}"):
        table.for_vocabulary(vocab_size)


@pytest.mark.parametrize("symbols", [(), ("<blk>", ""), ("<blk>", "a b"), ("<blk>", "a", "a")])
def test_a_table_that_no_file_could_hold_is_refused(symbols: tuple[str, ...]):
    with pytest.raises(TokensError):
        SymbolTable(symbols)


@pytest.mark.parametrize(
    ("symbols", "starts"),
    [
        ([], []),
        (["▁one", "▁two"], [0, 1]),
        (["▁o", "ne", "▁", "two", "▁"], [0, 3]),
        (["o", "ne▁two"], [0, 1]),
    ],
)
def test_words_start_where_their_first_letter_is(symbols: list[str], starts: list[int]):
    table = SymbolTable(("<blk>", *dict.fromkeys(symbols)))
    assert table.word_starts(map(table.id, symbols)) == starts
    assert len(starts) == len("".join(symbols).replace("▁", " ").split())


FALLBACK = SymbolTable(
    ("<blk>", "<unk>", "▁", "▁one", "ne", *(f"<0x{byte:02X}>" for byte in range(256)))
)


def fallback_ids(*symbols: str | bytes) -> list[int]:
    """Ids in `FALLBACK`; bytes are spelt by their symbols."""
    return [
        FALLBACK.id(one if isinstance(one, str) else f"<0x{byte:02X}>")
        for one in symbols
        for byte in (one if isinstance(one, bytes) else b"x")
    ]


@pytest.mark.parametrize(
    ("symbols", "text", "starts"),
    [
        (["▁", "爿".encode(), "▁one"], "爿 one", [1, 4]),
        (["▁one", "é".encode(), "ne"], "oneéne", [0]),
        (["😀".encode()], "😀", [0]),
        (["▁one", b"\xe7\x88"], "one\ufffd", [0]),
        ([b"\xe7\x88", "▁one"], "\ufffd one", [0, 2]),
        ([b"\xe7", "ne"], "\ufffdne", [0]),
        ([b"\x88", "▁", b"\xe7\x88\xbf"], "\ufffd 爿", [0, 2]),
        (["▁one", b" ", b"a"], "one a", [0, 2]),
        (["▁one", "\u3000".encode(), b"a"], "one\u3000a", [0, 4]),
        ([b"\xff", b"\xff"], "\ufffd\ufffd", [0]),
        ([], "", []),
    ],
)
def test_symbols_of_bytes_are_joined_to_characters(
    symbols: list[str | bytes], text: str, starts: list[int]
):
    ids = fallback_ids(*symbols)
    assert FALLBACK.text(ids) == text
    assert FALLBACK.word_starts(ids) == starts


@given(text=st.text(st.characters(codec="utf-8"), max_size=30))
def test_any_text_in_bytes_is_that_text(text: str):
    ids = fallback_ids(text.encode())
    assert FALLBACK.text(ids) == text.strip()
    assert len(FALLBACK.word_starts(ids)) == len(text.split())


@given(data=st.binary(max_size=30))
def test_any_bytes_have_as_many_word_starts_as_words(data: bytes):
    ids = fallback_ids(data)
    assert len(FALLBACK.word_starts(ids)) == len(FALLBACK.text(ids).split())


def byte_bpe_table() -> SymbolTable:
    """A vocabulary of single letters and the boundary, as every byte-level BPE has them."""
    letters = (letter for letter in BYTE_LETTERS if letter != " ")
    return SymbolTable(("<blk>", "<sos/eos>", "<unk>", "▁", *letters))


@pytest.mark.parametrize("text", ["zero", "你好 世界", "naïve Ångström", "привет", "😀 x"])
def test_text_of_byte_level_bpe_is_decoded(text: str):
    table = byte_bpe_table()
    of_byte = {byte: letter for letter, byte in BYTE_LETTERS.items()}
    of_byte[0x20] = "▁"
    ids = [table.id(of_byte[byte]) for byte in text.encode()]
    assert table.text(ids) == text
    assert len(table.word_starts(ids)) == len(text.split())
    assert table.text(ids[:-1]) == text.encode()[:-1].decode("utf-8", "replace").strip()


@pytest.mark.parametrize(
    "symbols",
    [
        ("<blk>", "▁one", "▁two"),
        ("<blk>", "▁czeŝć", "łą"),
        ("<blk>", "▁ơn", "ư", "à"),
        ("<blk>", "你", "好"),
        FALLBACK.symbols,
    ],
)
def test_an_ordinary_vocabulary_is_not_byte_level_bpe(symbols: tuple[str, ...]):
    assert not SymbolTable(symbols).is_byte_bpe


def test_the_256_letters_are_icefalls():
    letters = list(BYTE_LETTERS)
    assert list(BYTE_LETTERS.values()) == list(range(256))
    codes = [ord(letter) for letter in letters]
    assert codes[:32] == list(range(256, 288))
    assert codes[32:127] == list(range(32, 127))
    assert codes[127:] == [
        *range(288, 306),
        *range(308, 319),
        *range(321, 329),
        *range(330, 383),
        *range(384, 423),
    ]


def test_a_git_lfs_pointer_is_named(tmp_path: Path):
    with pytest.raises(TokensError, match="git lfs pull"):
        SymbolTable.read(write(tmp_path, "version https://git-lfs.github.com/spec/v1\noid 4b\n"))


@pytest.mark.parametrize("line", ["s" * 5000, "s" * 5000 + " 1x", "x " + "9" * 5000])
def test_a_message_quotes_the_start_of_a_line_only(tmp_path: Path, line: str) -> None:
    """A file that is taken for a symbol table may hold what nobody should see."""
    path = tmp_path / "tokens.txt"
    path.write_text(f"<blk> 0\n{line}\n")
    with pytest.raises(TokensError) as caught:
        SymbolTable.read(path)
    assert len(caught.value.what) < 200
    assert "ssssssssssssssss" not in caught.value.what
    assert "9999999999999999" not in caught.value.what


def test_a_symbol_is_found_in_any_normal_form():
    table = SymbolTable(("<blk>", "\u00e9", "a\u0308"))
    assert table.id("e\u0301") == 1
    assert table.id("\u00e4") == 2
    assert "e\u0301" in table


def test_a_symbol_that_is_there_exactly_goes_before_another_normal_form():
    table = SymbolTable(("<blk>", "\u00c5", "\u212b"))  # both are the letter A with a ring
    assert (table.id("\u00c5"), table.id("\u212b")) == (1, 2)
