"""The one exception that Tenon raises for a model, a file or a value that is wrong."""
from collections.abc import Sequence


class Error(Exception):
    """What was wrong, what was expected, and the way out.

    code: "invalid_argument", "invalid_model", "not_found", "unsupported", "resource_exhausted", "io",
    "cancelled" or "internal".
    where: the place, e.g. a node of the user's model or FILE:OFFSET; may be empty.
    notes: what was being done, innermost first: "while …".
    """

    code: str
    where: str
    notes: tuple[str, ...]

    def __init__(self, message: str, code: str = "internal", where: str = "",
                 notes: Sequence[str] = ()) -> None:
        super().__init__(message, code, where, tuple(notes))
        self.message = message
        self.code = code
        self.where = where
        self.notes = tuple(notes)

    def __str__(self) -> str:
        lines = [f"{self.code}: {self.message}"]
        if self.where:
            lines.append(f"  at {self.where}")
        lines += [f"  {note}" for note in self.notes]
        return "\n".join(lines)


Error.__module__ = "tenon"
