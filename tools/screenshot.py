# SPDX-License-Identifier: Apache-2.0
"""Take a picture of a page, such as a report: `python tools/screenshot.py PAGE.html OUT.png`.

Runs a headless Chromium that reaches no network. The tests of the report use the same browser.
"""

from __future__ import annotations

import argparse
import base64
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

_SETTLE_S = 0.5  # for decoding what the page shows first
_OPTIONS = (
    '--headless',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-quic',
    '--no-first-run',
    '--disable-background-networking',
    '--disable-component-update',
    '--disable-sync',
    '--hide-scrollbars',
    '--host-resolver-rules=MAP * ~NOTFOUND',  # no name has an address
)


class NoBrowserError(RuntimeError):
    """There is no browser here; the text says how to get one."""


@contextmanager
def browser(*, width: int, height: int) -> Iterator[Chrome]:
    """Give a Chromium that is offline and keeps its console and its requests (`get_log`).

    Args:
        width: Of the window's content, pixels.
        height: Likewise.

    Raises:
        NoBrowserError: Chromium, its driver or selenium is missing.
    """
    chromium, driver = shutil.which('chromium'), shutil.which('chromedriver')
    if chromium is None or driver is None:
        raise NoBrowserError(
            'no chromium and chromedriver on the PATH: `apt-get install chromium chromium-driver`'
        )
    try:
        from selenium import webdriver
    except ImportError as error:
        raise NoBrowserError('no selenium: `pip install selenium`, or `make test`') from error
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    options.set_capability('goog:loggingPrefs', {'browser': 'ALL', 'performance': 'ALL'})
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        for option in (*_OPTIONS, f'--user-data-dir={profile}'):
            options.add_argument(option)
        chrome = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
        try:
            offline = {'offline': True, 'latency': 0, 'downloadThroughput': 0}
            chrome.execute_cdp_cmd('Network.enable', {})
            chrome.execute_cdp_cmd(
                'Network.emulateNetworkConditions', {**offline, 'uploadThroughput': 0}
            )
            size = {'width': width, 'height': height, 'deviceScaleFactor': 1, 'mobile': False}
            chrome.execute_cdp_cmd('Emulation.setDeviceMetricsOverride', size)
            yield chrome
        finally:
            chrome.quit()


def save_screenshot(chrome: Chrome, path: Path, *, height: int | None = None) -> None:
    """Write the page from its top as PNG, down to `height` pixels or its end."""
    width, whole = chrome.execute_script(
        'return [innerWidth, document.documentElement.scrollHeight]'
    )
    clip = {'x': 0, 'y': 0, 'width': width, 'height': min(whole, height or whole), 'scale': 1}
    answer = chrome.execute_cdp_cmd(
        'Page.captureScreenshot', {'captureBeyondViewport': True, 'clip': clip}
    )
    path.write_bytes(base64.b64decode(answer['data']))


def main(argv: Sequence[str] | None = None) -> int:
    """Take the picture and return the exit status."""
    parser = argparse.ArgumentParser(description='Take a picture of a page on this machine.')
    parser.add_argument('page', type=Path, metavar='PAGE.html')
    parser.add_argument('out', type=Path, metavar='OUT.png')
    parser.add_argument('--width', type=int, default=1400, help='pixels (default %(default)s)')
    parser.add_argument('--height', type=int, help='pixels from the top; default: all')
    parser.add_argument('--dark', action='store_true', help='in the dark scheme')
    arguments = parser.parse_args(argv)
    if not arguments.page.is_file():
        parser.error(f'{arguments.page} is not a file')
    try:
        with browser(width=arguments.width, height=1000) as chrome:
            scheme = 'dark' if arguments.dark else 'light'
            feature = {'name': 'prefers-color-scheme', 'value': scheme}
            chrome.execute_cdp_cmd('Emulation.setEmulatedMedia', {'features': [feature]})
            chrome.get(arguments.page.resolve().as_uri())
            time.sleep(_SETTLE_S)
            save_screenshot(chrome, arguments.out, height=arguments.height)
    except NoBrowserError as error:
        print(f'screenshot: {error}', file=sys.stderr)
        return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
