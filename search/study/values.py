"""Values of a study file as plain Python: numbers, strings, booleans, and tuples of them.

A study is stored as JSON and compared with the stored one, so NumPy's numbers, paths and enums are converted first.
"""

import os
from collections.abc import Mapping, Sequence, Set
from decimal import Decimal
from enum import Enum
from numbers import Integral, Real
from typing import Any

from maskcls.system.errors import UserError, one_line


def plain(where: str, value: Any) -> Any:
    """The value in plain Python; a set is sorted, a mapping becomes a dict.

    Raises UserError, naming ``where``, for a value that has no such form.
    """
    match value:
        case Enum():
            return plain(where, value.value)
        case None | bool():
            return value
        case str():
            return str(value)
        case Integral():
            return int(value)
        case Real() | Decimal():
            return float(value)
        case os.PathLike():
            return str(os.fspath(value))
        case Mapping():
            return {str(plain(where, key)): plain(where, item) for key, item in value.items()}
        case Set():
            return tuple(sorted((plain(where, item) for item in value), key=str))
        case Sequence() if not isinstance(value, bytes | bytearray | memoryview):
            return tuple(plain(where, item) for item in value)
    to_list = getattr(value, "tolist", None)  # numpy's and torch's
    if callable(to_list) and not isinstance(value, type | bytes | bytearray | memoryview):
        return plain(where, to_list())
    raise UserError(f"{where} must be a number, a word or a list of them, not {one_line(repr(value), 80)}.")


def plain_values(where: str, values: Any) -> dict[str, Any]:
    """The mapping with plain names and values. Raises UserError for anything else."""
    return {name: plain(name, value) for name, value in with_plain_names(where, values).items()}


def with_plain_names(where: str, values: Any) -> dict[str, Any]:
    """The mapping with plain names, its values unchanged. Raises UserError for anything but a mapping."""
    if not isinstance(values, Mapping):
        raise UserError(f'{where} is {{"name": value, ...}}, not {one_line(repr(values), 80)}.')
    return {str(plain(where, name)): value for name, value in values.items()}
