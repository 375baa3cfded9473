"""The page with a service behind it: its logic without a browser, then what only a browser shows.

One service (a tiny model), one studio and one browser for all tests. Pictures of the page lie in the session's
temporary folder afterwards (`screenshots0/`).
"""

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from streamlit.testing.v1 import AppTest

from components.artifact import point
from components.settings import settings
from flows.package import build
from flows.ports import HOST, free_port
from flows.server import Server
from flows.studio import pages
from serving.studio import gallery
from serving.studio.__main__ import HERE
from tests.promoted import home, tiny_recipe, tiny_version

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
WIDTHS = (390, 820, 1440)
SECONDS = 120
browsing = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed")


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with home(tmp_path_factory.mktemp("studio")):
        models = settings().models_dir
        folder = tiny_version(models, "1")
        point(folder.parent, "1")
        with Server(build(tiny_recipe(engine="eager"), folder, {}), models=models) as running:
            running.wait_ready()
            os.environ["KYARA_STUDIO_SERVICE"] = running.url
            settings.cache_clear()
            yield running.url


def run(language: str = "ja") -> AppTest:
    test = AppTest.from_file(str(HERE / "app.py"), default_timeout=SECONDS)
    test.query_params["language"] = language
    test.run()
    assert not test.exception
    return test


def button(test: AppTest, key: str) -> Any:
    return next(each for each in test.button if str(each.key).startswith(key))


def drawn(test: AppTest, prompt: str, seed: int) -> AppTest:
    test.text_area(key="draw.prompt").set_value(prompt)
    test.number_input(key="draw.seed").set_value(seed)
    test.run()
    button(test, "draw.once_go").click()
    test.run()
    assert not test.exception and not test.error
    return test


def html(test: AppTest) -> str:
    return "\n".join(each.proto.body for each in test.get("html"))


def test_a_prompt_is_read_and_drawn_and_its_settings_are_used_again(service: str) -> None:
    test = drawn(run(), "pnik hiar、笑顔", 7)
    assert "ピンク髪" in html(test) and "読みかえた言葉" in html(test)
    kept = gallery.kept(settings().gallery_dir)[0]
    assert kept.facts["seed"] == 7 and "pink hair" in kept.facts["prompt"]
    test.text_area(key="draw.prompt").set_value("blue hair")
    test.run()
    button(test, f"draw.once_{kept.name}_again").click()
    test.run()
    assert test.text_area(key="draw.prompt").value == "pnik hiar、笑顔"
    assert test.number_input(key="draw.seed").value == 7
    again = drawn(test, "pnik hiar、笑顔", 7)
    assert not again.exception
    assert gallery.kept(settings().gallery_dir)[0].content == kept.content


def test_a_picture_is_changed_in_a_box_and_settings_outlive_another_panel(service: str) -> None:
    test = drawn(run("en"), "pink hair", 3)
    kept = gallery.kept(settings().gallery_dir)[0]
    button(test, f"draw.once_{kept.name}_edit").click()
    test.run()
    assert test.session_state["page"] == "edit" and test.text_area(key="edit.prompt").value == "pink hair"
    test.checkbox(key="edit.boxed").check()
    test.run()
    button(test, "edit.once_go").click()
    test.run()
    assert not test.exception and not test.error
    changed = gallery.kept(settings().gallery_dir)[0]
    assert changed.facts["mode"] == "inpaint" and changed.content != kept.content
    test.session_state["page"] = "draw"
    test.run()
    assert test.text_area(key="draw.prompt").value == "pink hair" and test.number_input(key="draw.seed").value == 3


def test_emotions_become_a_slider_and_a_motion_a_film(service: str) -> None:
    test = run()
    test.session_state["page"] = "move"
    test.run()
    test.text_area(key="move.prompt").set_value("ピンクの髪")
    test.run()
    button(test, "move.once_go").click()
    test.run()
    assert not test.exception and not test.error
    assert test.slider(key="move.place").value == 50
    test.session_state["move.mode"] = "animate"
    test.session_state["move.motion"] = "nod"
    test.session_state["move.frames"] = 4
    test.run()
    button(test, "move.once_go").click()
    test.run()
    assert not test.exception and not test.error
    assert gallery.kept(settings().gallery_dir)[0].media_type == "image/webp"


def test_a_grid_holds_every_combination(service: str) -> None:
    test = run()
    test.session_state["page"] = "compare"
    test.run()
    test.text_area(key="compare.prompt").set_value("pink hair")
    test.text_input(key="compare.x_values").set_value("1, 2")
    test.run()
    button(test, "compare.once_go").click()
    test.run()
    assert not test.exception and not test.error
    assert html(test).count("<img") == 6


def test_a_model_without_a_controlnet_says_how_to_train_one(service: str) -> None:
    test = run("en")
    test.session_state["page"] = "guide"
    test.run()
    assert "kyara produce control-sketch" in test.info[0].value
    assert button(test, "guide.once_go").disabled


def test_what_the_service_refuses_is_told_in_a_sentence(service: str) -> None:
    test = run()
    test.text_area(key="draw.prompt").set_value("pink hair")
    test.number_input(key="draw.steps").set_value(99)
    test.run()
    button(test, "draw.once_go").click()
    test.run()
    assert not test.exception
    assert "この設定では描けません" in test.error[0].value and "steps" in test.error[0].value


def test_without_a_service_the_page_says_how_to_start_it(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import streamlit as st

    st.cache_resource.clear()
    monkeypatch.setenv("KYARA_STUDIO_SERVICE", f"http://{HOST}:{free_port()}")
    settings.cache_clear()
    try:
        for language, sentence in (("ja", "つながりません"), ("en", "does not answer")):
            test = run(language)
            assert sentence in test.error[0].value and test.code[0].value == "kyara serve"
    finally:
        st.cache_resource.clear()


@pytest.fixture(scope="module")
def page_url(service: str) -> Iterator[str]:
    """As `kyara studio` serves it beside a service that is there."""
    port = free_port()
    lines = pages(port)
    assert [next(lines), next(lines)] == [f"service  {service}", f"studio   http://{HOST}:{port}"]
    yield f"http://{HOST}:{port}/"
    lines.close()


@pytest.fixture(scope="module")
def shots(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("screenshots")


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield running
        running.close()


class Watched:
    """A page of the browser, and what it did besides: requests to the outside, errors of the console."""

    def __init__(self, browser: Any, **options: Any) -> None:
        self.page = browser.new_page(**options)
        self.page.set_default_timeout(SECONDS * 1000)
        self.outside: list[str] = []
        self.errors: list[str] = []
        self.page.on("request", lambda request: self._asked(request.url))
        self.page.on("console", lambda line: line.type == "error" and self.errors.append(line.text))
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _asked(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("data", "blob") and parts.hostname != HOST:
            self.outside.append(url)

    def open(self, url: str) -> None:
        self.page.goto(url)
        self.page.wait_for_selector(".k-foot, main figure")
        self.settle()

    def settle(self) -> None:
        self.page.wait_for_function("() => !document.querySelector('[data-test-script-state=\"running\"]')")
        self.page.wait_for_timeout(300)

    def panel(self, number: int) -> None:
        self.page.locator(".st-key-panels button").nth(number).click()
        self.settle()

    def fits(self) -> bool:
        """Nothing is wider than the window."""
        return bool(self.page.evaluate("() => document.documentElement.scrollWidth <= window.innerWidth"))

    def check(self) -> None:
        self.page.close()
        assert self.outside == [] and self.errors == []


@browsing
@pytest.mark.parametrize("language", ["ja", "en"])
def test_every_panel_at_every_width_light_and_dark(browser: Any, page_url: str, shots: Path, language: str) -> None:
    watched = Watched(browser, viewport={"width": 1440, "height": 900})
    watched.open(f"{page_url}?language={language}")
    colors = set()
    for number in range(6):
        watched.panel(number)
        for scheme in ("light", "dark"):
            watched.page.emulate_media(color_scheme=scheme)
            for width in WIDTHS:
                watched.page.set_viewport_size({"width": width, "height": 900})
                watched.page.wait_for_timeout(150)
                assert watched.fits(), (number, width)
                watched.page.screenshot(path=shots / f"{language}-{number}-{scheme}-{width}.png")
            colors.add(
                watched.page.evaluate("() => getComputedStyle(document.querySelector('.stApp')).backgroundColor")
            )
    assert len(colors) == 2
    japanese = re.search(r"[぀-ヿ]", watched.page.locator(".st-key-panels").inner_text())
    assert (japanese is not None) == (language == "ja")
    watched.check()


@browsing
def test_a_picture_by_keyboard_alone(browser: Any, page_url: str, shots: Path) -> None:
    watched = Watched(browser, viewport={"width": 1440, "height": 900})
    watched.open(page_url)
    page = watched.page

    def focus(wanted: str) -> None:
        for _ in range(40):
            if page.evaluate("wanted => document.activeElement.matches(wanted)", wanted):
                return
            page.keyboard.press("Tab")
        pytest.fail(f"no way to {wanted} by the keyboard")

    focus("textarea")
    page.keyboard.type("ピンクの髪で笑顔")
    page.keyboard.press("Control+Enter")
    page.wait_for_selector(".k-chip")
    watched.settle()
    focus(".st-key-draw-once_go button")
    page.keyboard.press("Enter")
    page.wait_for_selector(".st-key-stage_draw img")
    watched.settle()
    page.screenshot(path=shots / "drawn.png")
    focus("[class*='_edit'] button")
    page.keyboard.press("Enter")
    page.wait_for_selector("canvas")
    watched.settle()
    assert page.locator(".st-key-edit-once_go button").is_disabled()
    page.locator("canvas").focus()
    for key in ("ArrowRight", "ArrowDown", " "):
        page.keyboard.press(key)
    page.wait_for_selector(".st-key-edit-once_go button:enabled")
    watched.settle()
    page.screenshot(path=shots / "brushed.png")
    watched.check()


@browsing
def test_a_stroke_of_the_brush_marks_what_is_drawn_anew(browser: Any, page_url: str) -> None:
    watched = Watched(browser, viewport={"width": 1440, "height": 900})
    watched.open(page_url)
    watched.panel(5)
    watched.page.locator("[class*='_edit'] button").first.click()
    watched.page.wait_for_selector("canvas")
    watched.settle()
    place = watched.page.locator("canvas").bounding_box()
    assert place is not None
    watched.page.mouse.move(place["x"] + 40, place["y"] + 40)
    watched.page.mouse.down()
    watched.page.mouse.move(place["x"] + 160, place["y"] + 90, steps=6)
    watched.page.mouse.up()
    watched.page.wait_for_selector(".st-key-edit-once_go button:enabled")
    watched.settle()
    before = len(gallery.kept(settings().gallery_dir))
    watched.page.locator(".st-key-edit-once_go button").click()
    watched.page.wait_for_selector(".st-key-stage_edit img")
    watched.settle()
    newest = gallery.kept(settings().gallery_dir)
    assert len(newest) == before + 1 and newest[0].facts["mode"] == "inpaint"
    watched.check()


@browsing
@pytest.mark.parametrize("language", ["ja", "en"])
def test_the_services_own_page(browser: Any, service: str, shots: Path, language: str) -> None:
    watched = Watched(browser, viewport={"width": 1440, "height": 900})
    watched.open(f"{service}/")
    page = watched.page
    page.locator(f"#{language}").click()
    page.wait_for_function("() => document.querySelector('#model').textContent.includes('tiny')")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        for width in WIDTHS:
            page.set_viewport_size({"width": width, "height": 900})
            assert watched.fits(), width
            page.screenshot(path=shots / f"service-{language}-{scheme}-{width}.png")
    page.locator("textarea").fill("pink hair, smile")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_selector("#save:not([hidden])")
    page.screenshot(path=shots / f"service-{language}-drawn.png")
    page.locator("footer a").first.click()
    page.wait_for_selector(".swagger-ui .info")
    watched.check()
