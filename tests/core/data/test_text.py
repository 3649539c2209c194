from __future__ import annotations

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from calve.data.text import normalized


def test_an_accent_of_its_own_joins_its_letter():
    assert normalized("e\u0301te\u0301") == "\u00e9t\u00e9"


@given(st.text())
def test_both_normal_forms_of_a_text_are_equal(text: str):
    forms = {normalized(unicodedata.normalize(form, text)) for form in ("NFC", "NFD")}
    assert forms == {normalized(text)}
