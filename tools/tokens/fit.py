"""Fits the token estimate: what each class of characters weighs, from samples.json. Prints the weights for
src/analysis/tokens.rs, and how far off they are on the half of the samples that the fit did not see.

Least squares on the relative error, none below zero (a class that would be is left out and the rest fitted again).
"""
import json
import re
from pathlib import Path

# The order of WEIGHTS in src/analysis/tokens.rs.
CLASSES = ["word", "letters_past_7", "digits_of_3", "marks_run", "spaces_run", "line_ends", "han", "kana", "hangul",
           "cyrillic", "arabic", "greek", "hebrew", "thai", "indic", "caucasian", "latin_extended", "other"]

RANGES = [(0x0400, 0x052F, "cyrillic"), (0x0600, 0x06FF, "arabic"), (0x0370, 0x03FF, "greek"), (0x0590, 0x05FF, "hebrew"),
          (0x0E00, 0x0E7F, "thai"), (0x0900, 0x0DFF, "indic"), (0x0530, 0x058F, "caucasian"), (0x10A0, 0x10FF, "caucasian"),
          (0x3040, 0x30FF, "kana"), (0x3400, 0x9FFF, "han"), (0xAC00, 0xD7AF, "hangul"), (0x00C0, 0x024F, "latin_extended"),
          (0x1E00, 0x1EFF, "latin_extended")]


def class_of(char):
    code = ord(char)
    for low, high, name in RANGES:
        if low <= code <= high:
            return name
    return "other"


def features(text):
    told = dict.fromkeys(CLASSES, 0)
    for run in re.finditer(r"[A-Z]*[a-z]+|[A-Z]+|[0-9]+|[ \t]+|[\r\n]+|[!-/:-@\[-`{-~]+|[^\x00-\x7f]", text):
        piece = run.group()
        first = piece[0]
        if first.isascii() and first.isalpha():
            told["word"] += 1
            told["letters_past_7"] += max(0, len(piece) - 7)
        elif first.isascii() and first.isdigit():
            told["digits_of_3"] += (len(piece) + 2) // 3
        elif first in " \t":
            # One space belongs to the word after it.
            told["spaces_run"] += len(piece) > 1
        elif first in "\r\n":
            told["line_ends"] += 1
        elif first.isascii():
            told["marks_run"] += 1
        else:
            told[class_of(piece)] += 1
    return [told[name] for name in CLASSES]


def solve(rows, wanted):
    """Normal equations, by elimination."""
    size = len(rows[0])
    system = [[sum(row[i] * row[j] for row in rows) + (1e-9 if i == j else 0) for j in range(size)] +
              [sum(row[i] * want for row, want in zip(rows, wanted))] for i in range(size)]
    for i in range(size):
        pivot = max(range(i, size), key=lambda k: abs(system[k][i]))
        system[i], system[pivot] = system[pivot], system[i]
        for k in range(size):
            if k != i and system[i][i]:
                factor = system[k][i] / system[i][i]
                system[k] = [a - factor * b for a, b in zip(system[k], system[i])]
    return [system[i][size] / system[i][i] if system[i][i] else 0 for i in range(size)]


def fit(samples):
    kept = list(range(len(CLASSES)))
    while True:
        rows = [[sample["features"][k] / sample["tokens"] for k in kept] for sample in samples]
        weights = solve(rows, [1.0] * len(rows))
        worst = min(range(len(kept)), key=lambda k: weights[k])
        if weights[worst] >= 0:
            return [weights[kept.index(k)] if k in kept else 0.0 for k in range(len(CLASSES))]
        kept.pop(worst)


def main():
    samples = json.loads(Path(__file__).with_name("samples.json").read_text(encoding="utf-8"))
    for sample in samples:
        sample["features"] = features(sample["text"])
    half, other = samples[::2], samples[1::2]
    for name, rows, seen in (("half", half, other), ("all", samples, samples)):
        weights = fit(rows)
        off = sorted(abs(sum(w * f for w, f in zip(weights, s["features"])) / s["tokens"] - 1) for s in seen)
        print(f"{name}: mean error {sum(off) / len(off):.1%}, median {off[len(off) // 2]:.1%}, p95 {off[int(len(off) * .95)]:.1%}")
        kinds = {}
        for s in seen:
            kinds.setdefault(s["kind"], []).append(sum(w * f for w, f in zip(weights, s["features"])) / s["tokens"] - 1)
        if name == "half":
            print("  by kind:", ", ".join(f"{kind} {sum(e) / len(e):+.0%}" for kind, e in sorted(kinds.items())))
    for name, weight in zip(CLASSES, weights):
        print(f"    {weight:.2f}, // {name}")


if __name__ == "__main__":
    main()
