"""Paths as the package takes them."""
import os
from collections.abc import Iterable
from typing import Union

Path = Union[str, "os.PathLike[str]"]
Paths = Union[Path, Iterable[Path]]


def all_paths(paths: Paths) -> list[str]:
    """One path or several, as strings."""
    return [os.fsdecode(os.fspath(path))
            for path in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)]
