"""The page in a real browser: nothing fails, nothing is fetched, tables sort, nothing overflows."""

import html
import json
import re
import shutil
import subprocess
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from prism_mri.report.paper_page import render

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium: apt-get install chromium")

HARNESS = """<!DOCTYPE html><title>harness</title><pre id="found"></pre>
<iframe id="page" src="PAGE" width="WIDTH" height="900"></iframe>
<script>
const frame = document.getElementById("page");
frame.addEventListener("load", () => {
  const page = frame.contentDocument, inside = frame.contentWindow;
  const read = (key, column) => Array.from(
    page.querySelectorAll(`#${key} tbody tr`), (row) => row.cells[column].firstChild.textContent);
  const click = (key, column) => {
    const header = page.querySelectorAll(`#${key} th`)[column];
    header.firstElementChild.focus();
    header.firstElementChild.click();
    const sorted = page.querySelectorAll(`#${key} th[aria-sort]`);
    return [sorted.length, header.getAttribute("aria-sort"), read(key, column),
      page.activeElement === header.firstElementChild];
  };
  const found = {
    width: page.documentElement.clientWidth, needed: page.documentElement.scrollWidth,
    images: page.images.length,
    broken: Array.from(page.images).filter((one) => !one.complete || !one.naturalWidth).length,
    scripts: page.scripts.length, intruder: window.intruder ?? null,
    fetched: inside.performance.getEntriesByType("resource")
      .map((one) => one.name).filter((name) => !name.startsWith("data:")),
    up: click("distances", 3), down: click("distances", 3), words: click("distances", 1),
    gaps: click("volumes", 5), gapsDown: click("volumes", 5),
  };
  document.getElementById("found").textContent = JSON.stringify(found);
  console.log("harness done");
});
</script>"""


class Handler(SimpleHTTPRequestHandler):
    """Serves a folder and keeps what was asked for."""

    def __init__(self, asked, *args, **options):
        self.asked = asked
        super().__init__(*args, **options)

    def log_request(self, *_):
        self.asked.append(self.path)

    def log_error(self, *_):
        pass


@pytest.fixture
def browse(tmp_path):
    """Return a function that opens a page in a frame and returns what a look inside found."""
    asked = []
    folder = tmp_path / "served"
    folder.mkdir()
    handler = partial(Handler, asked, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()

        def look(page, width):
            asked.clear()
            (folder / "report.html").write_text(page)
            harness = HARNESS.replace("PAGE", "report.html").replace("WIDTH", str(width))
            (folder / "harness.html").write_text(harness)
            address = f"http://127.0.0.1:{server.server_port}/harness.html"
            dumped, messages = run_chromium(address, tmp_path / "profile")
            found = re.search(r'<pre id="found">(.*?)</pre>', dumped, re.DOTALL)
            return json.loads(html.unescape(found[1])), messages, list(asked)

        yield look
        server.shutdown()
        thread.join()


def run_chromium(address, profile):
    """Return the finished document, and what the page wrote to the console."""
    done = subprocess.run(
        [
            CHROMIUM,
            *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
            *("--no-first-run", "--disable-background-networking", "--no-proxy-server"),
            "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
            *("--enable-logging=stderr", "--virtual-time-budget=20000"),
            *(f"--user-data-dir={profile}", "--window-size=1600,1000", "--dump-dom", address),
        ],
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )
    return done.stdout, re.findall(r"CONSOLE[:(\d)\]]*\s*\"(.*?)\", source", done.stderr)


@pytest.fixture(scope="module")
def page(results, arrays):
    return render(results, arrays)


def check_quiet(messages, asked, found):
    assert messages == ["harness done"]
    assert sorted(set(asked) - {"/favicon.ico"}) == ["/harness.html", "/report.html"]
    assert found["fetched"] == []


def test_on_a_desk_nothing_fails_and_tables_sort(browse, page):
    found, messages, asked = browse(page, 1280)
    check_quiet(messages, asked, found)
    assert found["scripts"] == 1
    assert found["images"] == 3 * 7 + 2 + 4
    assert found["broken"] == 0
    assert found["needed"] <= found["width"]
    for key, order in (("up", "ascending"), ("down", "descending")):
        marked, state, values, focused = found[key]
        assert (marked, state, focused) == (1, order, True)
        numbers = [float(value) for value in values]
        assert len(numbers) == 3 * 7
        assert numbers == sorted(numbers, reverse=order == "descending")
    assert found["words"][1] == "ascending"
    assert found["words"][2] == sorted(found["words"][2], key=str.lower)
    # What is missing stays last, whichever way the rest runs.
    assert found["gaps"][2][-1] == found["gapsDown"][2][-1] == "–"


def test_on_a_phone_nothing_overflows(browse, page):
    found, messages, asked = browse(page, 390)
    check_quiet(messages, asked, found)
    assert found["width"] <= 390
    assert found["needed"] <= found["width"]
    assert found["broken"] == 0


def test_a_foreign_script_does_not_run_and_is_noticed(browse, page):
    """A control: it shows that the tests above would have seen a message on the console."""
    infected = page.replace("</main>", "<script>parent.intruder = true;</script></main>")
    found, messages, _ = browse(infected, 1280)
    assert found["scripts"] == 2
    assert found["intruder"] is None
    assert any("Content Security Policy" in message for message in messages)
