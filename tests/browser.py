"""A real browser for the tests: headless Chromium, through selenium."""

import contextlib
import shutil

import pytest


@contextlib.contextmanager
def chromium():
    """A driver; skips the test where no browser is installed."""
    webdriver = pytest.importorskip("selenium.webdriver")
    binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not binary or not driver:
        pytest.skip("no browser: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for argument in (
        "headless=new",
        "no-sandbox",
        "disable-dev-shm-usage",
        "use-angle=swiftshader",
        "enable-unsafe-swiftshader",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability(
        "goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"}
    )
    service = webdriver.chrome.service.Service(driver)
    browser = webdriver.Chrome(options=options, service=service)
    try:
        yield browser
    finally:
        browser.quit()


def set_size(browser, width, height):
    """Sets the size of the viewport, which may be smaller than any window."""
    browser.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        dict(width=width, height=height, deviceScaleFactor=1, mobile=False),
    )


def visit(browser, path, width=1200, height=900):
    """Opens a file in a viewport of this size, without what earlier pages stored."""
    set_size(browser, width, height)
    browser.execute_script("try { sessionStorage.clear() } catch {}")
    browser.get(path.as_uri())
    settle(browser)


def settle(browser):
    """Waits for two frames, after which the page is drawn."""
    browser.execute_async_script(
        "const frame = requestAnimationFrame; frame(() => frame(arguments[0]))"
    )


def logged_errors(browser):
    """Errors that the page has logged since the last call."""
    return [x for x in browser.get_log("browser") if x["level"] == "SEVERE"]
