"""`table.py RESULTS EXPLAINED JUDGE…`: one table of what the judges told; fails for what failed and is not explained.

EXPLAINED has lines of judge, pattern of a test's name and reason. One that no failed test of a judge that ran matches is
out of date, and fails too. `*` and `?` are wild in a pattern; brackets mean themselves.
"""

import re
import sys
from collections import Counter
from pathlib import Path

OUTCOMES = ("passed", "failed", "skipped", "explained")


def lines(path):
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            yield line.split("\t")


def matches(pattern, name):
    wild = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(wild, name) is not None


results, explained, *judges = sys.argv[1:]
reasons = [(judge, pattern) for judge, pattern, _ in lines(explained) if judge in judges]
used = set()
rows, unexplained = {}, []
for judge, version, against, test, outcome, why in lines(results):
    if outcome == "failed":
        hits = {reason for reason in reasons if reason[0] == judge and matches(reason[1], test)}
        used |= hits
        outcome = "explained" if hits else "failed"
        if not hits:
            unexplained.append(f"{judge}: {test}\n    {why}")
    rows.setdefault((judge, version, against), Counter())[outcome] += 1

table = [("judge", "version", "against", *OUTCOMES)]
table += [(*row, *(str(count[outcome]) for outcome in OUTCOMES)) for row, count in rows.items()]
widths = [max(map(len, column)) for column in zip(*table, strict=True)]
for row in table:
    print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

stale = [f"{judge}: {pattern}" for judge, pattern in reasons if (judge, pattern) not in used]
silent = [judge for judge in judges if judge not in {row[0] for row in rows}]
for title, told in (("Failed", unexplained), ("Explained, but nothing fails so", stale), ("Told nothing", silent)):
    if told:
        print(f"\n{title}:", *told, sep="\n  ")
total = sum(rows.values(), Counter())
print("\n" + ", ".join(f"{total[outcome]} {outcome}" for outcome in OUTCOMES))
sys.exit(bool(unexplained or stale or silent))
