"""Numbers as the package takes them."""
import operator
from typing import Optional

from tenon._error import Error


def count(name: str, value: Optional[int]) -> int:
    """The argument `name`, a whole number from 1 up; 0 for None, which stands for the default."""
    if value is None:
        return 0
    try:
        number = operator.index(value)
    except TypeError:
        number = 0
    if number < 1:
        raise Error(f"{name} is {value!r}; give a whole number, 1 or more", "invalid_argument")
    return number
