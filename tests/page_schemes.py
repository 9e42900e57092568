"""What a page looks like in the light and in the dark scheme, asked in a browser."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from browser import Page, opened

#: Least contrast of text by WCAG 2.2, level AA.
LEAST = 4.5

#: Texts of the page and of its figures whose contrast to what lies behind is below a number.
FAINT = """(() => {
  const light = (colour) => {
    const channels = colour.match(/[\\d.]+/g).slice(0, 3).map((each) => each / 255);
    const linear = (c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
    const [r, g, b] = channels.map(linear);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const own = getComputedStyle(element).backgroundColor;
    const clear = own === 'rgba(0, 0, 0, 0)' && element.parentElement;
    return clear ? behind(element.parentElement) : own;
  };
  const contrast = (a, b) => (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const texts = [...document.querySelectorAll('body *')].filter((element) =>
    element.checkVisibility()
    && [...element.childNodes].some((each) => each.nodeType === 3 && each.textContent.trim())
    && !element.closest('script, style, option, svg'));
  const found = texts.map((element) => [element, getComputedStyle(element).color]);
  const drawn = document.querySelectorAll('figure g[style*="--ink"], figure g[style*="--muted"]');
  for (const element of drawn) found.push([element, getComputedStyle(element).fill]);
  return found
    .map(([element, colour]) => [element, contrast(light(colour), light(behind(element)))])
    .filter(([, ratio]) => ratio < LEAST)
    .map(([element, ratio]) => `${element.tagName} ${element.textContent.slice(0, 40)}: ${ratio}`);
})()""".replace("LEAST", str(LEAST))

_BACK = "getComputedStyle(document.body).backgroundColor"
_FIGURES = "document.querySelectorAll('figure g[style*=\"--ink\"]').length"
_SWITCH = "document.getElementById('scheme')"


async def _reload(browser: Page) -> None:
    """Open the page again, with what it has stored.

    A busy Chromium may load a page before it has written what the last one stored: that it keeps
    a storage at all is its own affair, and what the page has left there is put back.
    """
    stored = await browser.ask("JSON.stringify({...localStorage})")
    source = f"for (const pair of Object.entries({stored})) localStorage.setItem(...pair)"
    await browser.call("Page.addScriptToEvaluateOnNewDocument", source=source)
    await browser.ask("window.isOld = true")
    await browser.call("Page.reload")
    await browser.until("!window.isOld && document.readyState === 'complete'")


def assert_readable_in_both_schemes(page: Path, profile: Path, *, figures: bool = True) -> None:
    """Fail if a text is faint, or if the page follows neither the system nor its own switch.

    Parameters
    ----------
    page : Path
        The page.
    profile : Path
        Folder for the browser to write to.
    figures : bool
        Whether it has figures, whose texts are judged too.
    """

    async def drive() -> dict[str, Any]:
        async with opened(page, profile) as browser:
            await browser.until(f"{_SWITCH} !== null")
            backs = {}
            for scheme in ("light", "dark"):
                await browser.prefer(scheme)
                named = "Light" if scheme == "dark" else "Dark"
                await browser.until(f"{_SWITCH}.textContent === '{named}'")
                backs[scheme] = await browser.ask(_BACK)
                assert await browser.ask(FAINT) == []
            await browser.ask(f"{_SWITCH}.click()")
            backs["switched"] = await browser.ask(_BACK)
            await _reload(browser)
            backs["remembered"] = await browser.ask(_BACK)
            assert await browser.ask(f"{_SWITCH}.textContent") == "Dark"
            await browser.ask(f"{_SWITCH}.click()")
            backs["back"] = await browser.ask(_BACK)
            assert (await browser.ask(_FIGURES) > 0) == figures
            assert browser.problems == []
            return backs

    backs = asyncio.run(drive())
    assert backs["light"] != backs["dark"] == backs["back"]
    assert backs["light"] == backs["switched"] == backs["remembered"]
