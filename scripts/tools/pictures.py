"""Makes the pictures of README and docs.

python -m scripts.tools.pictures runs/first docs

Needs the extra `test` (selenium) and Chromium with its driver for page and projector.
"""

import argparse
import io
import pathlib
import shutil
import socket
import subprocess
import sys
import time

from PIL import Image
from selenium import webdriver

from siamjax.assessment import visualize

WIDTH, HEIGHT = 1280, 1290
TENSORBOARD_S = 20  # until its projector has drawn the points
# A click on the bookmark with the true axes, wherever its button is.
_BOOKMARK = """
    const within = (node) => [...node.querySelectorAll('*')].flatMap(
        (child) => [child, ...(child.shadowRoot ? within(child.shadowRoot) : [])]);
    within(document).find((node) => /radio-button/.test(node.icon)).click()"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("workdir", type=pathlib.Path, help="a finished run")
    parser.add_argument("docs", type=pathlib.Path, help="where the pictures go")
    options = parser.parse_args()
    workdir, docs = options.workdir, options.docs
    visualize.visualize_run(workdir)
    shutil.copy(workdir / "embedding.png", docs / "embedding.png")
    shutil.copy(workdir / "film" / "film.gif", docs / "film.gif")
    with _chromium() as browser:
        browser.get((workdir / visualize.REPORT).resolve().as_uri())
        time.sleep(1)
        _shoot(browser, docs / "page.png")
        browser.execute_script("document.getElementById('mistakes').scrollIntoView()")
        time.sleep(1)
        _shoot(browser, docs / "mistakes.png")
        _projector(browser, workdir, docs / "projector.png")


def _projector(browser, workdir, path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    shown = str(workdir / "projector" / "view")
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", shown]
    server = subprocess.Popen([*command, "--port", port], stderr=subprocess.DEVNULL)
    try:
        time.sleep(TENSORBOARD_S / 2)
        browser.get(f"http://localhost:{port}/#projector")
        time.sleep(TENSORBOARD_S)
        while frames := browser.find_elements("tag name", "iframe"):
            browser.switch_to.frame(frames[0])  # a plug-in lies in a frame in a frame
        browser.execute_script(_BOOKMARK)
        browser.switch_to.default_content()
        time.sleep(TENSORBOARD_S / 4)
        _shoot(browser, path)
    finally:
        server.terminate()


def _chromium():
    options = webdriver.ChromeOptions()
    for argument in (
        "headless=new",
        "no-sandbox",
        "disable-dev-shm-usage",
        "hide-scrollbars",
        "use-angle=swiftshader",
        "enable-unsafe-swiftshader",
        f"window-size={WIDTH},{HEIGHT}",
    ):
        options.add_argument(f"--{argument}")
    # Named, so that selenium does not look for one in the network.
    options.binary_location = shutil.which("chromium")
    service = webdriver.ChromeService(shutil.which("chromedriver"))
    return webdriver.Chrome(options=options, service=service)


def _shoot(browser, path):
    image = Image.open(io.BytesIO(browser.get_screenshot_as_png())).convert("RGB")
    image.save(path, optimize=True)  # with fewer colours those of conditions drift


if __name__ == "__main__":
    main()
