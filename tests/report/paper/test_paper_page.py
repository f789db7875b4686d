"""The page of an evaluation of sites: verdict, tables, captions, and that it is only itself."""

import base64
import json
import re
from html.parser import HTMLParser
from importlib.resources import files

import pytest

from prism_mri.errors import InputError
from prism_mri.evaluate.paper.results import Spread
from prism_mri.evaluate.results import Interval
from prism_mri.report import write_report
from prism_mri.report.paper_page import render
from prism_mri.report.tables import write_bounds

VOID = {"img", "meta", "br"}


class Reader(HTMLParser):
    """Collect words, pictures, captions and tables; refuse tags that do not close."""

    def __init__(self):
        super().__init__()
        self.words, self.pictures, self.links, self.ids = [], [], [], []
        self.open, self.counts, self.loading = [], {}, []

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.counts[tag] = self.counts.get(tag, 0) + 1
        if tag == "img":
            self.pictures.append(attributes)
        if "href" in attributes:
            self.links.append(attributes["href"])
        if "id" in attributes:
            self.ids.append(attributes["id"])
        if tag in {"link", "iframe", "object", "embed", "form", "base"} or tag in VOID - {"img"}:
            self.loading.append((tag, attributes.get("src"), attributes.get("href")))
        assert not [name for name in attributes if name.startswith("on") or name == "style"]
        if tag not in VOID:
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


def read_table(html, key):
    """Return head and rows of one table as text, a smaller line after a bar."""
    part = html[html.index(f'<figure id="{key}">') :]
    part = part[: part.index("</figure>")]
    head = re.findall(r'<th scope="col"[^>]*><button type="button">(.*?)</button></th>', part)
    rows = [
        [
            re.sub(r"<[^>]+>", "", re.sub(r"<small>", " | ", cell)).strip()
            for cell in re.findall(r"<td[^>]*>(.*?)</td>", row, re.DOTALL)
        ]
        for row in re.findall(r"<tr.*?>(.*?)</tr>", part[part.index("<tbody>") :], re.DOTALL)
    ]
    return head, rows


@pytest.fixture(scope="module")
def page(results, arrays):
    return render(results, arrays)


def test_the_page_needs_nothing_but_itself(page):
    reader = read(page)
    assert {tag for tag, *_ in reader.loading} <= {"meta", "br"}
    assert not re.search(r"https?:|url\(|@import|src=\"(?!data:)", page)
    assert all(link.startswith("#") and link[1:] in reader.ids for link in reader.links)
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', page)[1]
    assert policy.startswith("default-src 'none'; img-src data:; style-src 'unsafe-inline'; ")
    assert re.search(r"script-src 'sha256-[A-Za-z0-9+/]{43}='; ", policy)
    assert reader.counts["script"] == 1


def test_every_picture_is_whole_and_says_what_it_is(page):
    pictures = read(page).pictures
    # Three sites' main and other methods, four charts.
    assert len(pictures) == 3 * 7 + 2 + 4
    for picture in pictures:
        assert len(picture["alt"]) > 15
        prefix, _, content = picture["src"].partition("base64,")
        assert prefix == "data:image/png;"
        assert base64.b64decode(content, validate=True).startswith(b"\x89PNG\r\n\x1a\n")


def test_every_table_and_figure_has_a_caption_and_names_are_unique(page):
    reader = read(page)
    assert reader.counts["figure"] == reader.counts["figcaption"]
    assert reader.counts["table"] < reader.counts["figure"]
    assert all(len(words) > 40 for words in re.findall(r"<figcaption.*?</figcaption>", page))
    assert len(set(reader.ids)) == len(reader.ids)
    assert all(f'id="{key}"' in page for key in re.findall(r'aria-labelledby="([^"]+)"', page))


def test_the_verdict_comes_first_with_its_reasons(page):
    text = read(page).text
    assert "PRISM, all sources: ✓ improved closer to the target" in text
    assert "intensity distance to the target changes by −0.096 (95 % −0.116 to −0.076)" in text
    order = ["all sources", "Warnings", "What not to conclude", "Not harmonized", "Table 1: sim"]
    places = [text.index(words) for words in order if words != "Not harmonized"]
    assert places == sorted(places)
    head, rows = read_table(page, "all-verdicts")
    assert head[:3] == ["method", "overall", "hh"]
    assert rows[0][:3] == ["PRISM", "✓ improved", "✓ improved"]
    assert ["z-score", "✕ harmful", "✕ harmful", "✕ harmful"] in rows


def test_the_rules_that_were_applied_are_stated(page):
    text = read(page).text
    assert "Harmful: one look for harm fails" in text
    assert "below 0.75 is harm" in text


@pytest.mark.parametrize(
    ("judgement", "mark"),
    [("harmful", "bad"), ("no effect", "neutral"), ("undecided", "unknown")],
)
def test_other_verdicts_are_not_painted_green(bare, results, judgement, mark):
    verdict = results.verdicts[-1].model_copy(
        update={"judgement": judgement, "reasons": ("because < of it",)}
    )
    html = render(bare.model_copy(update={"verdicts": (verdict,)}), {})
    assert f'<section id="verdict" class="card verdict {mark}"' in html
    assert judgement in html
    assert "because &lt; of it" in html


def test_names_from_outside_are_escaped(page):
    assert "<img src=x" not in page
    assert "&lt;/script&gt;&lt;img src=x onerror=alert(1)&gt;$\\frac" in page
    assert "8 test people only &lt;b&gt;bold&lt;/b&gt;" in page


def test_published_numbers_stand_beside_the_sites_of_that_name(page):
    _, drawn = read_table(page, "reconstruction")
    assert drawn[1][3] == "0.9712 | 0.9512 to 0.9912 | paper 0.9775"
    _, recall = read_table(page, "recall")
    prism = [row for row in recall if row[:3] == ["ResNet-50", "originals", "PRISM"]]
    assert prism[0][4] == "0.180 | ± 0.030 | paper 0.3111"
    assert "paper" not in prism[0][5]
    _, dice = read_table(page, "dice")
    forward = [row for row in dice if row[0] == "hh" and row[2] == "PRISM"]
    assert forward[0][4] == "0.820 | 0.800 to 0.840 | runs ± 0.004 | paper 0.8964"
    assert "paper" not in " ".join(forward[1])


def test_table_2_has_its_controls(page):
    head, rows = read_table(page, "recall")
    assert head[3:5] == ["recall guys", "recall hh"]
    assert head[6] == "hh called guys"
    kinds = {(row[1], row[2]) for row in rows}
    assert {("harmonized alike", "PRISM"), ("originals, shuffled", "not harmonized")} <= kinds
    assert rows[-1] == [
        "a guess",
        "share of slices",
        "–",
        "0.500",
        "0.300",
        "0.200",
        *2 * ["0.500"],
        "–",
    ]
    assert "Always naming guys is right for 50% of all test slices." in page


def test_table_3_has_ceiling_and_reverse(page):
    _, rows = read_table(page, "dice")
    networks = {row[1] for row in rows if row[0] == "hh"}
    assert networks == {
        "target&#39;s network, source&#39;s images",
        "source&#39;s own network (ceiling)",
        "source&#39;s network, target&#39;s images (reverse)",
    }
    _, changes = read_table(page, "dice-changes")
    assert changes[0][:4] == ["hh", "PRISM", "not harmonized", "+0.120 | +0.100 to +0.140"]


def test_looks_for_harm_show_value_limit_and_result(page):
    _, rows = read_table(page, "harm-others")
    wanted = [row for row in rows if row[:3] == ["hh", "z-score", "sharpness of edges"]]
    assert wanted[0][4:6] == ["0.400 | 0.380 to 0.420", "✕ harm"]
    assert wanted[0][6].endswith("below 0.75 is harm")


def test_the_rest_is_there(page):
    text = read(page).text
    _, volumes = read_table(page, "volumes")
    assert volumes[-1] == ["ComBat, on the volumes", "28", *3 * ["0.500"], "–", "–", "–"]
    _, effects = read_table(page, "effects")
    assert effects[0][-1] == "−0.40 | −0.42 to −0.38"
    _, travellers = read_table(page, "travellers")
    assert travellers[0][5:9] == ["0.800", "0.700", "–", "3.40"]
    for words in (
        "Simulated is not real.",
        "The fewest test people here are 4",
        "What age does to tissue shares",
        "9.8.7",
        "c" * 64,
        "for research, not for diagnosis",
    ):
        assert words in text


def test_recall_of_networks_that_learned_nothing_is_called_so(bare, results):
    untouched = results.recalls[0].model_copy(
        update={"recall": dict.fromkeys(results.recalls[0].recall, Spread(mean=0.3, sd=None))}
    )
    harmonized = untouched.model_copy(update={"method": "prism"})
    html = render(bare.model_copy(update={"recalls": (untouched, harmonized)}), {})
    _, rows = read_table(html, "summary")
    assert rows[0][2] == "0.30 → 0.30 | no better than a guess before: says nothing"
    _, rows = read_table(
        render(bare.model_copy(update={"recalls": results.recalls}), {}), "summary"
    )
    assert rows[0][2] == "0.90 → 0.18"


def test_labels_of_the_encoder_are_called_what_they_are(bare):
    html = render(bare.model_copy(update={"labels": "anatomy-encoder"}), {})
    assert "Table 3 is no independent evidence for PRISM" in html


def test_sections_without_rows_are_left_out_and_named(bare):
    html = render(bare, {})
    text = read(html).text
    assert "no verdict" in text
    assert (
        "Not in these results: Before and after; Table 1: similarity; Table 2: which site is it?;"
        " Table 3: tissues; Distances to the target; Looks for harm; Styles; Tissue volumes;"
        " Effects of a covariate; Travelling people." in text
    )
    assert 'id="table2"' not in html
    assert "Data, settings and versions" in text


@pytest.mark.parametrize(
    "field",
    [
        *("similarity", "recalls", "segmentation", "dice_changes", "distances", "styles"),
        *("style_energy", "checks", "volumes", "effects", "travelling", "verdicts"),
    ],
)
def test_every_table_stands_alone_and_bears_unknown_sites(bare, results, field):
    """Rows that name sites and methods which the results do not list are shown as they are."""
    few = {"sites": results.sites[:2], "methods": results.methods[:1]}
    html = render(bare.model_copy(update=few | {field: getattr(results, field)}), {})
    assert "</html>" in html
    assert "<img src=x" not in html


def test_a_target_alone_has_a_page(bare, results):
    html = render(bare.model_copy(update={"sites": results.sites[:1]}), {})
    assert "no other site → guys" in read(html).text


def test_no_interval_is_said():
    assert write_bounds(Interval(estimate=1.0)) == "no interval"


def test_the_same_results_give_the_same_bytes(results, arrays, page):
    assert render(results, arrays) == page


def test_missing_and_broken_pictures_are_refused(results, arrays):
    fewer = {name: array for name, array in arrays.items() if name != "site_1_prism"}
    with pytest.raises(InputError, match=r"panels\.npz lacks site_1_prism"):
        render(results, fewer)
    broken = arrays | {"site_1_prism": arrays["site_1_prism"][:, :0]}
    with pytest.raises(InputError, match="no pictures in site_1_prism"):
        render(results, broken)


def test_the_page_is_written_from_a_folder(results_folder, page, tmp_path):
    write_report(results_folder, tmp_path / "page.html")
    assert (tmp_path / "page.html").read_text() == page


def test_damaged_results_are_refused_in_one_line(results_folder, tmp_path):
    path = results_folder / "results.json"
    content = json.loads(path.read_text())
    damages = {
        "schema_version": content | {"schema_version": 2},
        "target": {key: value for key, value in content.items() if key != "target"},
        "and 11 more": {"kind": "paper"} | {"sites": [{}, {}]},
    }
    for words, damaged in damages.items():
        path.write_text(json.dumps(damaged))
        with pytest.raises(InputError, match="is no result of this version") as caught:
            write_report(results_folder, tmp_path / "page.html")
        assert "\n" not in str(caught.value)
        assert words.split()[0] in str(caught.value)
        assert len(str(caught.value)) < 1000
    path.write_text(path.read_text()[:-9])
    with pytest.raises(InputError, match="is no result of this version"):
        write_report(results_folder, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_words_are_dark_enough_to_read():
    """WCAG 2.1, contrast at least 4.5, of every colour of words on every ground they stand on."""
    style = (files("prism_mri.report") / "templates" / "base.css").read_text()
    colors = dict(re.findall(r"--(\w+): (#[0-9a-f]{6});", style))
    for name in ("ink", "soft", "good", "doubt", "bad", "blue"):
        for ground in ("#ffffff", "#eef4fd", colors["page"]):
            assert compute_contrast(colors[name], ground) >= 4.5, (name, ground)


def compute_contrast(first, second):
    lights = sorted(measure_light(color) for color in (first, second))
    return (lights[1] + 0.05) / (lights[0] + 0.05)


def measure_light(color):
    parts = [int(color[index : index + 2], 16) / 255 for index in (1, 3, 5)]
    linear = [x / 12.92 if x <= 0.04045 else ((x + 0.055) / 1.055) ** 2.4 for x in parts]
    return sum(weight * x for weight, x in zip((0.2126, 0.7152, 0.0722), linear, strict=True))
