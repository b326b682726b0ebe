"""Tests that the page has the exact data, escapes text from run folders, and fetches nothing."""

import html
import json
import re
import shutil
import subprocess

import pytest

from nlstm_jax.analysis.comparison import compare
from nlstm_jax.analysis.figure import PlotOptions
from nlstm_jax.analysis.group_style import MARKERS
from nlstm_jax.analysis.page import SYMBOLS, render, script_json
from nlstm_jax.analysis.verdict import verdict

EVIL = "</script><script>alert('x')</script><img src=x onerror=alert(1)>{{data}}"


@pytest.fixture
def comparison(make_run):
    environment = {"data": {"floor": {"valid": {"log_loss": 1.7}}}, "tokens_per_step": 100}
    lstm = [
        make_run("lstm", seed, valid=[3.0 + seed / 3, 2.0, 1.9], test=[3.1, 2.1, 2.0], environment=environment)
        for seed in range(2)
    ]
    nlstm = make_run(EVIL, 0, valid=[2.9, 1.8, 1.75], train=[2.8, 1.7, 1.6], environment=environment)
    return compare([*lstm, nlstm])


@pytest.fixture
def page(comparison):
    return render({"": comparison}, PlotOptions("log_loss"))


def embedded(page):
    """Return the data that the script reads."""
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page)[1])


def without_plotly(page):
    return re.sub(r"<script>\s*/\*\*\s*\* plotly\.js.*?</script>", "", page, flags=re.DOTALL)


def test_every_groups_data_are_in_it_exactly(page, comparison) -> None:
    data = embedded(page)
    assert data["groups"] == ["lstm", EVIL]
    assert list(data["units"]) == ["log_loss", "wall_seconds", "examples_per_second"]
    (panel,) = data["panels"]
    for group, drawn in zip(comparison.groups, panel["groups"], strict=True):
        assert data["groups"][drawn["place"]] == group.label
        for metric in data["units"]:
            for split in ("valid", "train", "test"):
                curve, found = group.curve(split, metric), drawn["curves"][metric].get(split)
                if curve is None:
                    assert found is None
                    continue
                assert tuple(found["steps"]) == curve.steps
                for name in ("mean", "half_width"):
                    exact = getattr(curve, name)
                    assert found[name] == (exact and pytest.approx(list(exact), rel=1e-6))


def test_floor_and_unit(page) -> None:
    data = embedded(page)
    assert data["panels"][0]["floors"] == {"log_loss": 1.7, "wall_seconds": None, "examples_per_second": None}
    assert data["units"] == {"log_loss": "nats", "wall_seconds": "", "examples_per_second": ""}


def test_curves_have_positions_on_every_axis_but_that_of_steps(page, comparison) -> None:
    (panel,) = embedded(page)["panels"]
    for group, drawn in zip(comparison.groups, panel["groups"], strict=True):
        steps = [10, 20, 30]
        assert drawn["along"]["tokens"] == [[step, 100 * step] for step in steps]
        seconds = group.along("seconds", steps)
        assert drawn["along"].get("seconds") == (seconds and [list(pair) for pair in zip(steps, seconds, strict=True)])
        assert "step" not in drawn["along"]
    assert any("seconds" in drawn["along"] for drawn in panel["groups"])


def test_names_from_run_folders_are_escaped(page) -> None:
    own = without_plotly(page)
    assert len(page) - len(own) > 1_000_000
    assert "alert('x')</script>" not in own
    assert "<img" not in own
    assert own.count("<script") == own.count("</script>") == 2
    assert "&lt;img src=x onerror=alert(1)&gt;{{data}}" in own


def test_json_cannot_end_its_script_element() -> None:
    text = script_json({"name": "</script>&<!--"})
    assert not set("<>&") & set(text)
    assert json.loads(text) == {"name": "</script>&<!--"}


def test_nothing_is_fetched(page) -> None:
    assert "default-src 'none'" in page
    assert not re.search(r"(src|href)\s*=|url\(|@import|https?://", without_plotly(page).replace("src=x", ""))


def test_it_fits_a_phone(page) -> None:
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in page


def test_the_best_values_stand_beside_the_names(page, comparison) -> None:
    """On a phone the first columns are on the screen, as names are broken into lines there."""
    heads = re.findall(r"<th [^>]*><button>([^<]*)</button>", page)
    assert heads[:2] == ["group", "best valid log_loss"]
    rows = re.findall(r"<tr>(<td.*?)</tr>", page)
    cells = [re.findall(r"<td[^>]*>(.*?)</td>", row) for row in rows]
    assert [row[:2] for row in cells] == [[html.escape(EVIL), "1.750"], ["lstm", "1.900 ± 0"]]
    assert {len(row) for row in cells} == {len(heads)}

    facets = render({"a": comparison, "b": comparison}, PlotOptions("log_loss"))
    heads = re.findall(r"<th [^>]*><button>([^<]*)</button>", facets)
    assert heads[:3] == ["facet", "group", "best valid log_loss"]
    assert "td.left { min-width: 5rem; overflow-wrap: anywhere; }" in page


def test_every_metric_has_its_verdict_and_table(page, comparison) -> None:
    sections = dict(re.findall(r'<section data-metric="(\w+)"( hidden)?><p', page))
    assert sections == {"log_loss": "", "wall_seconds": " hidden", "examples_per_second": " hidden"}
    assert f'<p class="verdict">{html.escape(verdict(comparison, "log_loss"))}</p>' in page
    assert "wall_seconds is a clock" in page
    assert page.count("<table>") == 1
    assert '<td class="left">lstm</td>' in page


def test_the_metric_asked_for_comes_first(comparison) -> None:
    page = render({"": comparison}, PlotOptions("examples_per_second"))
    assert re.findall('<option value="(\\w+)"', page)[0] == "examples_per_second"


def test_splits_that_occur_can_be_chosen(make_run) -> None:
    boxes = re.compile(r'<input type="checkbox" value="(\w+)"( checked)?>')
    page = render({"": compare([make_run("lstm", 0, valid=[3.0], train=[2.0])])}, PlotOptions("log_loss"))
    assert boxes.findall(page) == [("valid", " checked"), ("train", "")]
    page = render({"": compare([make_run("lstm", 0, train=[2.0])])}, PlotOptions("log_loss"))
    assert boxes.findall(page) == [("train", " checked")]


def test_markers_have_their_names_in_plotly(make_run) -> None:
    assert len(SYMBOLS) == len(MARKERS)
    cell = {"name": "nlstm", "depth": 2}
    runs = [make_run(name, 0, valid=[3.0], config={"cell": cell}) for name in ("first", "second")]
    styles = embedded(render({"": compare(runs)}, PlotOptions("log_loss")))["styles"]
    assert [(style["symbol"], style["hollow"]) for style in styles] == [("square", False), ("square", True)]
    assert styles[0]["color"] == "#d55e00" != styles[1]["color"]


# Uses the controls as a reader would, and records what Plotly then shows.
PROBE = """<script>
const seen = {errors: []};
addEventListener("securitypolicyviolation", (event) => seen.errors.push(event.violatedDirective));
const use = (id, change) => { change(control(id)); control(id).dispatchEvent(new Event("input", {bubbles: true})); };
const plot = plots[0];
const lines = () => plot.data.filter((trace) => trace.hoverinfo !== "skip");
seen.names = lines().map((trace) => trace.name);
seen.dashes = lines().map((trace) => trace.line.dash);
seen.values = lines().map((trace) => trace.y);
seen.legend = [...document.querySelectorAll(".legendtext")].map((item) => item.textContent);
seen.floor = plot.layout.shapes[0].y0;
use("smoothing", (slider) => { slider.value = 0.5; });
seen.smoothed = lines()[0].y;
use("log", (box) => { box.checked = true; });
seen.type = plot.layout.yaxis.type;
use("splits", (set) => { set.querySelector("[value=train]").checked = true; });
seen.trained = lines().length;
use("axis", (select) => { select.value = "tokens"; });
seen.tokens = lines()[0].x;
seen.along = plot.layout.xaxis.title.text;
seen.kept = location.hash;
const table = document.querySelector("section:not([hidden]) table");
const column = (n) => [...table.tBodies[0].rows].map((row) => row.children[n].textContent);
table.querySelectorAll("th button")[0].click();
seen.byName = column(0);
table.querySelectorAll("th button")[1].click();
table.querySelectorAll("th button")[1].click();
seen.byValue = column(1);
use("metric", (select) => { select.value = "wall_seconds"; });
seen.title = plot.layout.yaxis.title.text;
seen.shown = [...document.querySelectorAll("section:not([hidden])")].map((part) => part.dataset.metric);
seen.wide = document.documentElement.scrollWidth <= window.innerWidth;
document.title = "done";
document.body.dataset.seen = JSON.stringify(seen);
</script></body>"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium on the path")
def test_in_a_browser(page, comparison, tmp_path) -> None:
    caught = page.replace(
        "<script>", "<script>window.onerror = (text) => { document.title = text; };</script><script>", 1
    )
    (tmp_path / "page.html").write_text(caught.replace("</body>", PROBE), "utf-8")
    options = "--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking"
    options += " --disable-component-update --disable-sync --virtual-time-budget=8000 --dump-dom"
    profile = f"--user-data-dir={tmp_path / 'profile'}"
    command = ["chromium", *options.split(), profile, (tmp_path / "page.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    assert "<title>done</title>" in done.stdout
    seen = json.loads(html.unescape(re.search(r'data-seen="([^"]*)"', done.stdout)[1]))
    assert seen["errors"] == []
    evil = EVIL.replace("<", "&lt;").replace(">", "&gt;")
    assert seen["names"] == ["lstm", "lstm · test", evil]
    assert seen["legend"] == ["lstm", EVIL]
    assert seen["dashes"] == ["solid", "dot", "solid"]
    assert seen["values"][2] == [2.9, 1.8, 1.75]
    assert seen["floor"] == 1.7
    first, second, third = comparison.groups[0].curve("valid", "log_loss").mean
    expected = [first, (first + 2 * second) / 3, (first + 2 * second + 4 * third) / 7]
    assert seen["smoothed"] == pytest.approx(expected)
    assert (seen["tokens"], seen["along"]) == ([1000, 2000, 3000], "training tokens")
    assert seen["kept"] == "#metric=log_loss&axis=tokens&smoothing=0.5&log=1&splits=valid%2Ctrain%2Ctest"
    assert (seen["byName"], seen["byValue"]) == (["lstm", EVIL][::-1], ["1.900 ± 0", "1.750"])
    assert (seen["type"], seen["trained"], seen["title"]) == ("log", 4, "wall_seconds")
    assert seen["shown"] == ["wall_seconds", "wall_seconds"]
    assert seen["wide"]
