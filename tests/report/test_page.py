"""The page: what it says, and that it needs nothing but itself."""

import base64
import json
import re
import struct
from html.parser import HTMLParser

import pytest

from prism_mri.errors import InputError
from prism_mri.evaluate.files import write_results
from prism_mri.report import write_report
from prism_mri.report.page import render


class Reader(HTMLParser):
    """Collect text, pictures and whatever could reach outside the page."""

    def __init__(self):
        super().__init__()
        self.words, self.sources, self.outside, self.open = [], [], [], []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag == "img":
            self.sources.append(attributes["src"])
            assert attributes["alt"]
        if tag in {"script", "link", "iframe", "object", "form"} or "href" in attributes:
            self.outside.append(tag)
        if tag not in {"img", "meta", "br"}:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)

    @property
    def text(self):
        return re.sub(r"\s+", " ", " ".join(self.words))


def read(html):
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def page(results, arrays):
    return render(results, arrays)


def test_the_page_needs_nothing_but_itself(page):
    reader = read(page)
    assert reader.outside == []
    assert "http:" not in page
    assert "https:" not in page
    assert "url(" not in page
    assert "default-src 'none'" in page
    # Scores, styles and one picture a pair, each a whole PNG.
    assert len(reader.sources) == 2 + 4
    for source in reader.sources:
        prefix, _, content = source.partition("base64,")
        assert prefix == "data:image/png;"
        picture = base64.b64decode(content, validate=True)
        assert picture.startswith(b"\x89PNG\r\n\x1a\n")
        width, height = struct.unpack(">II", picture[16:24])
        assert width > 500
        assert height > 100


def test_the_verdict_comes_first(page):
    text = read(page).text
    verdict = text.index("PRISM beats quantile matching on the mean.")
    assert verdict < text.index("What was compared")
    assert "SSIM +0.030 (95 %" in text
    assert "it covers 60 %" in text


def test_numbers_settings_versions_and_warnings_are_stated(page):
    text = read(page).text
    for expected in (
        "far (unseen) → hh",
        "mean of pairs 0.902 0.932 0.962 0.982",
        "20.0 23.0 26.0 28.0",
        "far → hh, 2 people: outside what the card knows",
        "guys 1 person (held-out slices) 1 0.971 27.3 0.0213",
        "prism-mri 9.8.7",
        "3, 500",
        "b" * 64,
        "unsigned",
        "deformations of one template",
        "for research, not for diagnosis",
    ):
        assert expected in text


def test_text_from_outside_is_escaped(page):
    assert "travelling &lt;b&gt;people&lt;/b&gt;" in page
    assert "<b>people</b>" not in page


def test_the_best_competitor_is_marked_and_never_the_oracle(page):
    assert '<td class="best">0.962</td><td>0.982</td>' in page
    # The smallest error is the best one.
    assert '<td>0.0700</td><td class="best">0.0400</td><td>0.0200</td>' in page


def test_a_method_that_does_not_win_is_not_called_a_winner(results):
    swapped = {"prism-quantile": "none"}
    comparisons = tuple(
        one.model_copy(update={"interval": one.interval.model_copy(update={"low": -0.1})})
        if one.contrast in swapped
        else one
        for one in results.comparisons
    )
    bare = {"panels": (), "styles": ()}
    html = render(results.model_copy(update={"comparisons": comparisons} | bare), {})
    assert "not beyond doubt" in html
    assert "verdict good" not in html


def test_a_page_without_styles_pictures_and_reconstruction_is_whole(results):
    bare = results.model_copy(update={"styles": (), "panels": (), "reconstructions": ()})
    text = read(render(bare, {})).text
    assert "Reconstruction at home" not in text
    assert "Settings and versions" in text


def test_the_same_results_give_the_same_bytes(results, arrays, page):
    assert render(results, arrays) == page


def test_a_missing_picture_is_named(results, arrays):
    fewer = {name: array for name, array in arrays.items() if name != "pair2_prism"}
    bare = results.model_copy(update={"styles": (), "panels": results.panels[2:3]})
    with pytest.raises(InputError, match="lacks prism of panel pair2"):
        render(bare, fewer)


def test_the_page_is_written_once(results, tmp_path):
    results_folder = tmp_path / "results"
    write_results(results_folder, results.model_copy(update={"panels": (), "styles": ()}), {})
    out = tmp_path / "new" / "report.html"
    write_report(results_folder, out)
    assert out.read_text().startswith("<!DOCTYPE html>")
    assert [path.name for path in out.parent.iterdir()] == ["report.html"]
    with pytest.raises(InputError, match="--overwrite"):
        write_report(results_folder, out)
    write_report(results_folder, out, overwrite=True)


def test_a_folder_without_results_is_refused(tmp_path):
    with pytest.raises(InputError, match="run 'prism-mri evaluate' first"):
        write_report(tmp_path, tmp_path / "report.html")


def test_damaged_pictures_are_refused(results_folder, tmp_path):
    (results_folder / "panels.npz").write_bytes(b"PK\x03\x04 not a zip")
    with pytest.raises(InputError, match=r"cannot read pictures from .*panels\.npz"):
        write_report(results_folder, tmp_path / "report.html")


def test_results_of_another_version_are_refused(results_folder, tmp_path):
    path = results_folder / "results.json"
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(InputError, match="schema_version"):
        write_report(results_folder, tmp_path / "report.html")


def test_results_of_another_evaluation_are_refused_in_one_line(results_folder, tmp_path):
    content = {"kind": "reconstruction", "schema_version": 1, "scores": []}
    (results_folder / "results.json").write_text(json.dumps(content))
    words = "results of 'evaluate reconstruction'; report takes results of 'evaluate travelling'"
    with pytest.raises(InputError, match=words) as caught:
        write_report(results_folder, tmp_path / "page.html")
    assert "\n" not in str(caught.value)
    assert "extra" not in str(caught.value).lower()
