"""Fields of a JSON object from elsewhere, each checked; what is wrong stops with one line that names the place."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, NoReturn

from latentese.errors import LatenteseError

LARGEST = 2**31 - 1
"""Units are 32-bit numbers."""
LARGEST_ACTIVATION = (2 - 2**-23) * 2.0**127
"""Activations are 32-bit numbers, too."""
NOT_NUMBERS = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}
"""How JSON writers put them as text; null is NaN, too."""


@dataclass(frozen=True)
class Fields:
    """One object."""

    values: dict[str, Any]
    place: str
    """File and path within it, for errors."""

    @classmethod
    def parse(cls, data: bytes, file: str) -> Fields:
        """Read a file of one JSON object; of JSON lines the first one, which is all that such files hold."""
        try:
            text = data.decode("utf-8").strip()
            line, _, rest = text.partition("\n")
            return cls.of(json.loads(line if rest.startswith('{"') else text), file)
        except (ValueError, RecursionError) as error:
            raise LatenteseError(f"{file}: not JSON ({' '.join(str(error).split())})") from error

    @classmethod
    def of(cls, value: Any, place: str) -> Fields:
        """Take a value that must be an object."""
        if not isinstance(value, dict):
            raise LatenteseError(f"{place}: should be an object, is {_name(value)}")
        return cls(value, place)

    def has(self, key: str) -> bool:
        """Whether a field is there and not null."""
        return self.values.get(key) is not None

    def wrong(self, key: str, problem: str) -> NoReturn:
        """Stop, naming the field."""
        raise LatenteseError(f"{self.place}.{key}: {problem}")

    def index(self, key: str) -> int:
        """Read a number of a layer or neuron."""
        value = self.values.get(key)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST:
            self.wrong(key, f"should be a whole number from 0 on, is {_name(value)}")
        return value

    def text(self, key: str) -> str:
        """Read a text."""
        return self._text(key, self.values.get(key))

    def texts(self, key: str) -> tuple[str, ...]:
        """Read a list of texts."""
        return tuple(self._text(f"{key}[{i}]", value) for i, value in enumerate(self._list(key)))

    def number(self, key: str) -> float | None:
        """Read a number; None where it is missing, null, not a number or infinite."""
        value = self._number(key, self.values.get(key))
        return value if math.isfinite(value) else None

    def numbers(self, key: str) -> tuple[float, ...]:
        """Read a list of numbers, NaN where one is null."""
        return tuple(self._number(f"{key}[{i}]", value) for i, value in enumerate(self._list(key)))

    def child(self, key: str) -> Fields:
        """Read an object within this one."""
        return Fields.of(self.values.get(key), f"{self.place}.{key}")

    def children(self, key: str) -> list[Fields]:
        """Read a list of objects; a missing or null one is empty."""
        values = self._list(key) if self.has(key) else []
        return [Fields.of(value, f"{self.place}.{key}[{i}]") for i, value in enumerate(values)]

    def nested(self, key: str) -> list[list[Fields]]:
        """Read a list of lists of objects; a missing or null one is empty."""
        rows = self._list(key) if self.has(key) else []
        return [Fields({"": row}, f"{self.place}.{key}[{i}]").children("") for i, row in enumerate(rows)]

    def _list(self, key: str) -> list[Any]:
        value = self.values.get(key)
        if not isinstance(value, list):
            self.wrong(key, f"should be a list, is {_name(value)}")
        return value

    def _text(self, key: str, value: Any) -> str:
        if not isinstance(value, str):
            self.wrong(key, f"should be a text, is {_name(value)}")
        # Half of a surrogate pair is legal in JSON and cannot be written as UTF-8.
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")

    def _number(self, key: str, value: Any) -> float:
        if value is None:
            return math.nan
        if isinstance(value, str) and value in NOT_NUMBERS:
            return NOT_NUMBERS[value]
        if not isinstance(value, int | float) or isinstance(value, bool):
            self.wrong(key, f"should be a number, is {_name(value)}")
        if LARGEST_ACTIVATION < abs(value) < math.inf:
            self.wrong(key, "is too large for a 32-bit number")
        return float(value)


def _name(value: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "true or false", type(None): "missing or null"}
    return names.get(type(value), f"{value!r:.20}")
