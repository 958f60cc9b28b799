"""Print what an installation of embcompat brings, as the table of the docs: ``python .ci/packages.py``.

Run it with the Python of an environment in which embcompat alone was installed.
"""

import os
from importlib.metadata import Distribution, distribution

import packaging.requirements


def size(name: str) -> float:
    """The megabytes of a package's files."""
    files = (os.fspath(file.locate()) for file in distribution(name).files or [])
    return sum(os.path.getsize(file) for file in files if os.path.isfile(file)) / 1e6


def needs(package: Distribution) -> list[str]:
    """The packages that one needs without extras, by their usual names."""
    requirements = map(packaging.requirements.Requirement, package.requires or [])
    required = (each for each in requirements if each.marker is None or each.marker.evaluate({"extra": ""}))
    return [each.name.lower().replace("_", "-") for each in required]


def main() -> None:
    """Print a row for each package, the largest first."""
    needed_by: dict[str, set[str]] = {"embcompat": set()}
    waiting = ["embcompat"]
    while waiting:
        name = waiting.pop()
        for required in needs(distribution(name)):
            if required not in needed_by:
                waiting.append(required)
            needed_by.setdefault(required, set()).add(name)
    sizes = {name: size(name) for name in needed_by}
    print("| package | MB | needed by |\n|---|---|---|")
    for name in sorted(sizes, key=lambda name: -sizes[name]):
        print(f"| {name} | {sizes[name]:.1f} | {', '.join(sorted(needed_by[name]))} |")
    print(f"\n{len(sizes)} packages, {sum(sizes.values()):.0f} MB")


if __name__ == "__main__":
    main()
