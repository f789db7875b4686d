"""JSON written by strangers."""

import pytest

from prism_mri.card.strict_json import parse_strict_object, shorten
from prism_mri.errors import FormatError


def test_plain_object_is_parsed():
    parsed = parse_strict_object('{"a": [1, {"b": null}], "ü": 1.5}'.encode(), "header", "x")
    assert parsed == {"a": [1, {"b": None}], "ü": 1.5}


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b'{"a": 1, "a": 1}', "key 'a' stands twice"),
        (b'{"a": {"b": 1, "b": 2}}', "key 'b' stands twice"),
        (b'{"a": 1, "\\u0061": 2}', "key 'a' stands twice"),
        (b'{"a": NaN}', "NaN is not a JSON number"),
        (b'{"a": -Infinity}', "-Infinity is not a JSON number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not valid JSON"),
        (b'{"a": 1} {"b": 2}', "not valid JSON"),
        (b'{"a": "\xff"}', "not valid JSON"),
        (b"[" * 400_000, "nested too deeply"),
        (b"[1]", "is a JSON list, not an object"),
        (b"", "not valid JSON"),
    ],
)
def test_what_could_be_read_two_ways_is_refused(raw, message):
    with pytest.raises(FormatError, match=message) as caught:
        parse_strict_object(raw, "header", "card.prism")
    assert str(caught.value).startswith("card.prism: the header ")
    assert "\n" not in str(caught.value)


def test_untrusted_text_stays_one_printable_line():
    assert shorten("site") == "site"
    assert shorten("a\x1b[31m\nb") == "'a\\x1b[31m\\nb'"
    assert len(shorten("x" * 10_000)) == 120
