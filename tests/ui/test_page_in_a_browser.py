"""The local page in a real Chromium: by mouse, by keyboard alone, by an accessibility audit."""

import shutil
import socket
import threading
import time
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api")
uvicorn = pytest.importorskip("uvicorn")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = [pytest.mark.slow, pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here")]


@pytest.fixture(scope="module")
def address():
    from moewright.ui.local_server import application

    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(application(), log_level="error"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.05)
    yield f"http://127.0.0.1:{listening.getsockname()[1]}/"
    server.should_exit = True
    thread.join(10)


@pytest.fixture
def page(address):
    said = []
    with playwright.sync_playwright() as p:
        browser = p.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": 1280, "height": 900}, accept_downloads=True)
        context.grant_permissions(["clipboard-read", "clipboard-write"])
        opened = context.new_page()
        opened.on("console", lambda m: said.append(m.text) if m.type in ("error", "warning") else None)
        opened.on("pageerror", lambda e: said.append(str(e)))
        opened.goto(address)
        done(opened)
        yield opened
        browser.close()
    assert said == []


def done(page):
    """Waits for the latest answer."""
    page.wait_for_timeout(350)
    page.wait_for_selector("main[aria-busy=false]", timeout=60_000)
    page.wait_for_function("[...document.querySelectorAll('.chart')].every(x => x.dataset.drawn)")


def test_it_plans_the_documents_case_changes_a_limit_and_copies_a_command(page):
    page.get_by_role("button", name="The document's case").click()
    done(page)
    assert "R32 · PP1 · attn DP4×TP1 · moe EP4×TP1" in page.locator(".answer").inner_text()
    spec = page.locator("#spec")
    spec.fill(spec.input_value() + "\nlimits: {ttft: 2.31 ms}\n")
    done(page)
    assert "2.302 ms" in page.locator(".answer").inner_text()
    assert "slower than limits.ttft" in page.locator("#result").inner_text()
    page.locator("#copy").click()
    page.wait_for_selector("text=Copied")
    assert page.evaluate("navigator.clipboard.readText()") == page.locator("#command").inner_text()
    spec.fill(spec.input_value().replace("2.31 ms", "1 ms"))
    done(page)
    assert "no strategy meets limits.ttft" in page.locator("#status").inner_text()
    assert spec.get_attribute("aria-invalid") is None or page.locator("#status.error").count() == 1


def test_a_link_holds_the_case_and_the_spec_is_saved(page, address):
    page.locator("#kind").select_option("prefill")
    page.locator("#gpus").fill("16")
    done(page)
    assert "16 ×" in page.locator("#status").inner_text()
    page.locator("#share").click()
    link = page.evaluate("navigator.clipboard.readText()")
    answer = page.locator(".answer").inner_text()
    page.goto("about:blank")
    page.goto(link)
    done(page)
    assert page.locator(".answer").inner_text() == answer
    with page.expect_download() as saved:
        page.locator("#save").click()
    text = Path(saved.value.path()).read_text()
    assert "gpus: 16" in text
    assert "kind: prefill" in text


def test_the_keyboard_alone_suffices(page):
    def focus(name, most=40):
        for _ in range(most):
            page.keyboard.press("Tab")
            if page.evaluate("document.activeElement.id") == name:
                return
        raise AssertionError(f"{name} is not reached by Tab")

    page.evaluate("document.activeElement.blur()")
    focus("kind")
    page.keyboard.press("ArrowDown")  # one prefill pass
    done(page)
    assert page.locator("#kind").input_value() == "prefill"
    page.locator("#gpus-slider").focus()
    page.keyboard.press("ArrowRight")
    done(page)
    assert page.locator("#gpus").input_value() == "16"
    focus("copy", 60)
    page.keyboard.press("Enter")
    page.wait_for_selector("text=Copied")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_an_audit_of_accessibility_finds_nothing_serious(page, scheme, width):
    axe = pytest.importorskip("axe_playwright_python.sync_playwright").Axe()
    page.set_viewport_size({"width": width, "height": 900})
    page.emulate_media(color_scheme=scheme)
    page.locator("#kind").select_option("prefill")
    done(page)
    page.locator("details summary").last.click()
    found = axe.run(page).response["violations"]
    serious = [f"{v['id']}: {v['nodes'][0]['html'][:120]}" for v in found if v["impact"] in ("serious", "critical")]
    assert serious == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
