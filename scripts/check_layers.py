"""Reads the include graph of the sources and fails on an edge that scripts/layers.toml does not allow.

    check_layers.py [--root DIR] [--graph]
"""
import argparse
import re
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

INCLUDE = re.compile(r'^\s*#\s*include\s*"([^"]+)"')
SOURCES = (".h", ".cpp", ".inc")
PUBLIC = "include"


class Layers:
    """The table, with every component's reach worked out."""

    def __init__(self, table):
        self.components = table["components"]
        self.outside = table["outside"]
        order = TopologicalSorter(self.components).static_order()
        self.reach = {}
        for name in order:
            if name not in self.components:
                raise ValueError(f"'{name}' is listed as a dependency but has no line of its own")
            self.reach[name] = self._closure(name, self.components[name])
        for folder, allowed in self.outside.items():
            self.reach[folder] = self._closure(folder, allowed)

    def _closure(self, name, allowed):
        return {name, PUBLIC}.union(*(self.reach[other] for other in allowed))

    def owner(self, path):
        """The component (src/X/…, or src/X/Y/… where that has a line) or outside folder of a path."""
        if path.parts[0] != "src":
            return path.parts[0]
        inner = "/".join(path.parts[1:3])
        return inner if inner in self.components else path.parts[1]


def includes(path):
    for number, line in enumerate(path.read_text(errors="replace").splitlines(), 1):
        if match := INCLUDE.match(line):
            yield number, match[1]


def resolve(root, path, name):
    """The project file that an include names, or None for a generated or foreign header."""
    for base in (root / "src", root / "include", path.parent, root):
        if (base / name).is_file():
            return (base / name).resolve().relative_to(root)
    return None


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parent.parent)
    parser.add_argument("--graph", action="store_true", help="also print the edges in use")
    arguments = parser.parse_args()
    root = arguments.root.resolve()
    try:
        layers = Layers(tomllib.loads((root / "scripts/layers.toml").read_text()))
    except (CycleError, ValueError) as error:
        sys.exit(f"scripts/layers.toml: {error}")

    problems, edges, files = [], {}, 0
    for folder in ("src", *layers.outside):
        for path in sorted((root / folder).rglob("*")):
            if path.suffix not in SOURCES:
                continue
            files += 1
            owner = layers.owner(path.relative_to(root))
            if owner not in layers.reach:
                problems.append(f"{path.relative_to(root)}: '{owner}' is not in scripts/layers.toml")
                continue
            for number, name in includes(path):
                target = resolve(root, path, name)
                if target is None:
                    continue
                other = layers.owner(target)
                edges.setdefault(owner, set()).add(other)
                if other not in layers.reach[owner]:
                    problems.append(f"{path.relative_to(root)}:{number}: {owner} may not include "
                                    f"{other} ({name})")
    if arguments.graph:
        for owner, others in sorted(edges.items()):
            print(f"{owner}: {', '.join(sorted(others - {owner}))}")
    print(*problems, sep="\n", end="\n" if problems else "")
    print(f"layers: {files} files, {len(problems)} edges that are not allowed")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
