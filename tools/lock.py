"""Makes package-lock.json complete; run it after `npm install --package-lock-only --ignore-scripts`.

A registry that lacks workerd for macOS or Windows makes npm leave those packages out of the lock, and `npm ci` then
refuses it. And a lock should not say where its packages were fetched: the integrity hashes say what they are.
"""
import json

PATH = "package-lock.json"
OS = {"windows": "win32"}
CPU = {"64": "x64"}

with open(PATH) as file:
    lock = json.load(file)
packages = lock["packages"]

for name, version in packages["node_modules/workerd"]["optionalDependencies"].items():
    _, system, chip = name.rsplit("/", 1)[1].split("-")
    entry = {"version": version, "dev": True, "optional": True, "os": [OS.get(system, system)], "cpu": [CPU.get(chip, chip)]}
    packages.setdefault(f"node_modules/{name}", entry)
for package in packages.values():
    package.pop("resolved", None)

lock["packages"] = dict(sorted(packages.items()))
with open(PATH, "w") as file:
    json.dump(lock, file, indent=2)
    file.write("\n")
