"""axe-core, which checks a page's contrast, names and roles, from npm's registry."""

from __future__ import annotations

from tests.support.chromium import Tab
from tests.support.npm import package

VERSION = "4.14.1"
RULES = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"], "resultTypes": ["violations"]}


def axe_source() -> str:
    """Return the script. Raises Missing when it cannot be had."""
    return (package("axe-core", VERSION) / "axe.min.js").read_text(encoding="utf-8")


def complaints(tab: Tab, source: str) -> list[str]:
    """Return what axe finds on the page as it is shown: the rule, and the elements that break it."""
    if not tab.run("'axe' in window"):
        tab.run(f"{source}; 0")
    found = tab.run(f"axe.run(document, {RULES}).then((result) => result.violations)")
    return [
        f"{rule['id']}: {node['html'][:200]}: {node['failureSummary'][:300]}"
        for rule in found
        for node in rule["nodes"]
    ]
