"""Variants of a method: a row of `methods` with other options, named by what they change.

"cdsp@lorm.mask=literal@segmentation.learning_rate=0.01" is the row `cdsp` with another option of
its loss term `lorm` and another setting of the training. The name says all, so that it can name the
folder of a run.
"""

from __future__ import annotations

import json
from typing import Any

VARIANT = "@"
"""Stands before each change of an option in the name of a method's variant."""


def method_row(method: str) -> str:
    """The row of `methods` that a method's name begins with: "cdsp" of "cdsp@lorm.weight=0.1"."""
    return method.partition(VARIANT)[0]


def method_changes(method: str) -> dict[str, Any]:
    """What a variant changes: option, such as "lorm.weight" → value."""
    changes = {}
    for change in method.split(VARIANT)[1:]:
        option, _, value = change.partition("=")
        changes[option] = _value(value)
    return changes


def method_title(method: str) -> str:
    """A method's name as figures show it: "cdsp, lorm.weight 0.1"."""
    return method.replace(VARIANT, ", ").replace("=", " ")


def change_text(option: str, value: Any) -> str:
    """A change as it stands in the name of a variant."""
    return f"{VARIANT}{option}={value_text(value)}"


def value_text(value: Any) -> str:
    """The value of an option in a name or a path; different values have different texts."""
    if isinstance(value, float):
        return repr(value).removesuffix(".0")
    return value if isinstance(value, str) else json.dumps(value)


def _value(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text
