"""A headless Chromium for tests, driven by chromedriver over plain HTTP (the W3C WebDriver protocol)."""

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")

needs_chromium_alone = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium (apt install chromium)")

needs_chromium = pytest.mark.skipif(
    CHROMIUM is None or DRIVER is None,
    reason="there is no chromium with its chromedriver (apt install chromium-driver)",
)

ARGUMENTS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"),
)


class Browser:
    """One window."""

    def __init__(self, address: str, session: str) -> None:
        self.url = f"{address}/session/{session}"

    def open(self, url: str, width: int, height: int = 900) -> None:
        """Go there, in a window whose inside is so many pixels wide."""
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.command("Emulation.setDeviceMetricsOverride", **metrics)
        _post(f"{self.url}/url", {"url": url})

    def command(self, name: str, **parameters: Any) -> Any:
        """One of Chromium's own commands (the DevTools protocol)."""
        return _post(f"{self.url}/goog/cdp/execute", {"cmd": name, "params": parameters})

    def ask(self, script: str) -> Any:
        """What a JavaScript expression is on the page."""
        return _post(f"{self.url}/execute/sync", {"script": f"return {script}", "args": []})

    def complaints(self) -> list[str]:
        """Everything that the console has shown since the last call."""
        return [entry["message"] for entry in _post(f"{self.url}/se/log", {"type": "browser"})]

    def photograph(self, path: Path) -> None:
        """The whole page, however long, as a PNG."""
        taken = self.command("Page.captureScreenshot", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(taken["data"]))


def dump(url: str, profile: Path) -> tuple[str, list[str]]:
    """(the page as it is in the end, what its console has shown), without chromedriver."""
    assert CHROMIUM is not None
    options = [*ARGUMENTS, f"--user-data-dir={profile}", "--virtual-time-budget=8000", "--enable-logging=stderr"]
    ended = subprocess.run(
        [CHROMIUM, *options, "--dump-dom", url], capture_output=True, text=True, timeout=90, check=True
    )
    return ended.stdout, [line for line in ended.stderr.splitlines() if "CONSOLE" in line]


@contextmanager
def browsing(profile: Path) -> Iterator[Browser]:
    """A browser of its own with an empty profile; its processes end with the block."""
    assert DRIVER is not None
    driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        address = f"http://127.0.0.1:{_port(driver)}"
        arguments = [*ARGUMENTS, f"--user-data-dir={profile}"]
        wanted = {
            "goog:chromeOptions": {"binary": CHROMIUM, "args": arguments},
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        started = _post(f"{address}/session", {"capabilities": {"alwaysMatch": wanted}})
        browser = Browser(address, started["sessionId"])
        try:
            yield browser
        finally:
            _request(browser.url, None, "DELETE")
    finally:
        driver.terminate()
        driver.wait(20)


def _port(driver: "subprocess.Popen[str]") -> int:
    """chromedriver says which port it has found free."""
    assert driver.stdout is not None
    until = time.monotonic() + 30
    while time.monotonic() < until:
        line = driver.stdout.readline()
        if "started successfully on port" in line:
            return int(line.split()[-1].rstrip("."))
    raise RuntimeError("chromedriver does not start")


def _post(url: str, body: dict[str, Any]) -> Any:
    return _request(url, json.dumps(body).encode(), "POST")


def _request(url: str, body: bytes | None, method: str) -> Any:
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=90) as answer:
            return json.load(answer)["value"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(error.read().decode()) from error
