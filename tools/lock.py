"""Makes package-lock.json complete; run it after `npm install --package-lock-only --ignore-scripts`, with the lock's folder if it is not
this one: `tools/lock.py tests/x402`.

A registry that lacks a program's packages for macOS or Windows makes npm leave those packages out of the lock, and `npm ci` then
refuses it. And a lock should not say where its packages were fetched: the integrity hashes say what they are.
"""
import json
import pathlib
import re
import sys

PATH = pathlib.Path(*sys.argv[1:2], "package-lock.json")
KIND = re.compile(r"-(darwin|linux|windows|win32)-(64|x64|amd64|arm64)$")
OS = {"windows": "win32"}
CPU = {"64": "x64", "amd64": "x64"}

lock = json.loads(PATH.read_text())
packages = lock["packages"]

for package in list(packages.values()):
    for name, version in package.get("optionalDependencies", {}).items():
        if kind := KIND.search(name):
            system, chip = kind.groups()
            entry = {"version": version, "optional": True, "os": [OS.get(system, system)], "cpu": [CPU.get(chip, chip)]}
            if package.get("dev"):
                entry["dev"] = True
            packages.setdefault(f"node_modules/{name}", entry)
for package in packages.values():
    package.pop("resolved", None)

lock["packages"] = dict(sorted(packages.items()))
PATH.write_text(json.dumps(lock, indent=2) + "\n")
