"""Audit of the locked packages: ``make audit`` asks the database of known vulnerabilities for each.

A database that cannot be reached knows of nothing: then nothing was audited, and that is said.
Exit code 1 if a package has a known hole.
"""

from __future__ import annotations

import json
import subprocess
import sys

_PIP_AUDIT = (
    *(sys.executable, "-m", "pip_audit", "--requirement", "requirements.lock", "--disable-pip"),
    *("--no-deps", "--format", "json", "--progress-spinner", "off"),
)


def main() -> int:
    done = subprocess.run(_PIP_AUDIT, capture_output=True, text=True, check=False)
    if not done.stdout and "connect" not in done.stderr.lower():
        print(done.stderr, file=sys.stderr)
        return done.returncode or 1
    packages = json.loads(done.stdout)["dependencies"] if done.stdout else []
    known = [package for package in packages if "vulns" in package]
    if not known:
        print("audit: skipped, the database of known vulnerabilities cannot be reached from here.")
        return 0
    holes = [(package, hole) for package in known for hole in package["vulns"]]
    for package, hole in holes:
        mended = ", ".join(hole["fix_versions"]) or "no version yet"
        print(f"{package['name']} {package['version']}: {hole['id']}, mended in {mended}")
    print(f"audit: {len(known)} of {len(packages)} packages looked up, {len(holes)} known holes.")
    return 1 if holes else 0


if __name__ == "__main__":
    sys.exit(main())
