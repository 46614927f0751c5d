"""How every judge tells an outcome: one line of judge, version, what it was run against, test, outcome and why, with tabs between.

It is also the plugin that makes pytest tell its outcomes so; a test's class or file then says which row it belongs to.
"""

import json
import os
import re
from functools import cache
from pathlib import Path

RUN = json.loads(Path(os.environ["JUDGE_RUN"]).read_text(encoding="utf-8"))
OUT = Path(os.environ["JUDGE_OUT"])

OPENAI = "openai/gpt-5-mini"
ANTHROPIC = "anthropic/claude-haiku-4-5"

# What the worker refuses by design. A judge that fills every member is asked a second time without these.
REFUSED = {
    "/chat/completions": ("web_search_options",),  # the provider runs it at a price that nobody can bound
    "/responses": ("background", "conversation", "previous_response_id", "prompt"),  # they need something stored
}


def tell(judge, version, against, test, outcome, why=""):
    fields = (judge, version, against, test, outcome, why)
    with OUT.open("a", encoding="utf-8") as file:
        file.write("\t".join(re.sub(r"\s+", " ", str(field)).strip() for field in fields) + "\n")


@cache
def row(nodeid):
    """Judge, version and what against: JUDGE_ROWS maps the beginning of a test's id to them."""
    rows = json.loads(os.environ["JUDGE_ROWS"])
    return next(row for start, row in rows.items() if nodeid.startswith(start))


def reason(report):
    if isinstance(report.longrepr, tuple):
        return report.longrepr[2]
    crash = getattr(report.longrepr, "reprcrash", None)
    return crash.message if crash else str(report.longrepr or "")


def pytest_runtest_logreport(report):
    expected = getattr(report, "wasxfail", None)
    if expected is not None and report.skipped:
        outcome, why = "skipped", f"expected to fail: {expected}"
    elif report.failed or report.skipped or report.when == "call":
        outcome, why = report.outcome, "" if report.passed else reason(report)
    else:
        return
    tell(*row(report.nodeid), report.nodeid + os.environ.get("JUDGE_SUFFIX", ""), outcome, why[:600])
