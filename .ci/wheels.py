"""Ask for every platform and Python we support whether the base and each extra install from wheels alone.

Needs the network and takes minutes, so it is no part of the tests: ``python .ci/wheels.py [EXTRA …]``. Platform markers
of our own requirements are those of the platform that is asked about. Those of other packages are of the machine it
runs on, because pip offers no way to pretend another: on Linux, the script reports packages for Windows that need
wheels for Linux only.
"""

import itertools
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

PLATFORMS = {
    "Linux x86-64": ["manylinux2014_x86_64", *(f"manylinux_2_{minor}_x86_64" for minor in range(17, 29))],
    "Linux aarch64": ["manylinux2014_aarch64", *(f"manylinux_2_{minor}_aarch64" for minor in range(17, 29))],
    "macOS arm64": [f"macosx_{major}_0_arm64" for major in range(11, 15)],
    "Windows x86-64": ["win_amd64"],
}
MARKERS = {
    "Linux x86-64": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"},
    "Linux aarch64": {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "aarch64"},
    "macOS arm64": {"sys_platform": "darwin", "platform_system": "Darwin", "platform_machine": "arm64"},
    "Windows x86-64": {"sys_platform": "win32", "platform_system": "Windows", "platform_machine": "AMD64"},
}
PYTHONS = ["3.11", "3.12", "3.13", "3.14"]
OURS = ("embcompat",)


def needed(requirements: list[str], platform: str, python: str) -> list[str]:
    """Those requirements of others that apply on a platform, without their markers."""
    chosen = []
    for requirement in map(Requirement, requirements):
        environment = {**MARKERS[platform], "python_version": python}
        if requirement.name not in OURS and (requirement.marker is None or requirement.marker.evaluate(environment)):
            requirement.marker = None
            chosen.append(str(requirement))
    return chosen


def missing(requirements: list[str], platforms: list[str], python: str) -> str:
    """Pip's last line about what has no wheel, or nothing."""
    with tempfile.TemporaryDirectory() as target:
        command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--ignore-installed"]
        command += ["--only-binary", ":all:", "--python-version", python, "--target", target, "-c", "constraints.txt"]
        command += [word for platform in platforms for word in ("--platform", platform)]
        outcome = subprocess.run([*command, *requirements], capture_output=True, text=True, check=False)
    lines = [line for line in outcome.stderr.splitlines() if line.startswith("ERROR:")]
    return "" if outcome.returncode == 0 else (lines or ["pip failed"])[0]


def main() -> None:
    """Print one line for each extra, platform and Python; exit with 1 where the base does not install."""
    project = tomllib.loads(Path("pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    names = sys.argv[1:] or [name for name in extras if name not in ("all", "dev", "docs", "demo")]
    sets = {"base": project["dependencies"]} | {name: extras[name] for name in names}
    base_complete = True
    for (name, requirements), (platform, tags), python in itertools.product(sets.items(), PLATFORMS.items(), PYTHONS):
        problem = missing(needed(requirements, platform, python), tags, python)
        base_complete &= name != "base" or not problem
        print(f"{name:10} {platform:15} {python}  {problem or 'ok'}", flush=True)
    sys.exit(0 if base_complete else 1)


if __name__ == "__main__":
    main()
