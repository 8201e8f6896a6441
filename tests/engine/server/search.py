"""Runs in a container: searches a folder with VS Code, in Chromium, and prints what VS Code shows."""

from __future__ import annotations

import sys

from playwright.sync_api import sync_playwright

SECONDS = 180


def main(token: str, folder: str, text: str) -> None:
    """Opens a folder, searches for a text as a user would, and prints the summary and the picture's path."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch()
        page = browser.new_page(viewport={"width": 1200, "height": 800})
        page.set_default_timeout(SECONDS * 1000)
        page.goto(f"http://127.0.0.1:8001/?tkn={token}&folder={folder}")
        page.wait_for_selector(".monaco-workbench .explorer-folders-view .monaco-list-row")
        page.keyboard.press("Control+Shift+F")
        page.wait_for_selector(".search-view .search-widget textarea")
        page.keyboard.type(text)
        page.keyboard.press("Enter")
        summary = page.wait_for_selector(".search-view .messages .message >> text=/result/")
        assert summary is not None
        print(summary.inner_text())
        page.screenshot(path="/tmp/search.png")
        browser.close()


main(*sys.argv[1:])
