"""Reports in a real Chromium, where one is installed: nothing fails, nothing is fetched, figures answer."""

import shutil
from contextlib import contextmanager
from pathlib import Path

import pytest

import moewright
from cases import paper
from moewright.case.strategy import StrategySpec
from moewright.planning.search import plan
from moewright.report.html.audit_report import audit_report
from moewright.report.html.pass_report import pass_report
from moewright.report.html.render_report import render_html
from moewright.report.html.training_report import training_report

playwright = pytest.importorskip("playwright.sync_api")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]


@contextmanager
def opened(file, **options):
    """A page of ``file``; fails where the page logs an error or a warning, or asks for anything else."""
    said, asked = [], []
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_context(**options).new_page()
        page.on("console", lambda m: said.append(m.text))
        page.on("pageerror", lambda e: said.append(str(e)))
        page.on("request", lambda r: asked.append(r.url))
        page.goto(file.as_uri())
        page.wait_for_function("[...document.querySelectorAll('.chart')].every(x => x.dataset.drawn)")
        yield page
        browser.close()
    assert said == []
    assert asked == [file.as_uri()]


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    file = tmp_path_factory.mktemp("reports") / "plan.html"
    file.write_text(render_html(pass_report(plan(paper(), [StrategySpec(dp=64, tp=2, ep=64, etp=2)]))))
    return file


def test_points_are_clicked_and_filtered(report):
    with opened(report, viewport={"width": 1200, "height": 900}) as page:
        points = "#frontier .mark-symbol path[aria-roledescription]"
        before = page.locator(points).count()
        page.locator(points).last.click(force=True)
        assert "R32 · PP1" in page.locator("#frontier .panel").inner_text()
        page.locator("#frontier select").first.select_option(label="32")
        page.wait_for_timeout(300)
        assert 0 < page.locator(points).count() < before


def test_a_strategy_is_chosen_by_keyboard(report):
    with opened(report) as page:
        choose = page.locator("#frontier .chooser select")
        choose.focus()
        page.keyboard.press("ArrowDown")
        assert "R32 · PP1" in page.locator("#frontier .panel").inner_text()


@pytest.mark.parametrize("width", [390, 1200])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_page_fits_its_window_in_light_and_dark(report, width, scheme):
    with opened(report, viewport={"width": width, "height": 900}, color_scheme=scheme) as page:
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        paper_colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert paper_colour == ("rgb(20, 25, 31)" if scheme == "dark" else "rgb(255, 255, 255)")
        bar = page.locator("#time .mark-rect path").first
        assert bar.evaluate("x => getComputedStyle(x).fill").startswith("rgb(")
        answer = page.locator(".answer").bounding_box()
        command = page.locator("#command").bounding_box()
        assert answer["y"] + answer["height"] < command["y"] < 900  # on the first screen


def test_marks_of_a_document_say_why_by_keyboard(tmp_path):
    from moewright.audit.audit_document import audit

    seed = ROOT / "examples" / "strategy-ep64-tp2.md"
    file = tmp_path / "audit.html"
    file.write_text(render_html(audit_report(seed.read_text(), audit(seed, [], None, None))))
    with opened(file) as page:
        page.locator(".document mark.wrong").first.focus()
        assert "wrong" in page.locator("#why").inner_text()


def test_a_training_schedule_shows_its_end(tmp_path):
    file = tmp_path / "train.html"
    trained = moewright.plan_training(moewright.load(ROOT / "examples" / "train-deepseek-v3.yaml"), top=1)
    file.write_text(render_html(training_report(trained)))
    with opened(file) as page:
        page.locator("#schedule select").select_option(label="end")
        page.wait_for_timeout(300)
        assert page.locator("#schedule .mark-rect path").count() > 20


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_an_audit_of_accessibility_finds_nothing_serious(report, scheme):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    with opened(report, color_scheme=scheme) as page:
        found = axe.run(page).response["violations"]
    assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []
