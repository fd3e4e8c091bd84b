"""Numbers: `Math` and `toString` (functions.yaml, Math).

Trap: Java rounds by adding one half and truncating, so negatives are off; see `round_`.
"""

import math
from collections.abc import Callable
from typing import Any

from faunadb.fql.arithmetic import (
    NUMBERS,
    Number,
    absolute,
    divided_by_zero,
    float_power,
    to_double,
    to_long,
)
from faunadb.fql.display import display
from faunadb.fql.failures import invalid_argument
from faunadb.fql.operators import OPERATORS
from faunadb.fql.order import compare
from faunadb.fql.registry import getter, method
from faunadb.fql.runtime import READ, Runtime, SetValue
from faunadb.fql.sets import iterate
from faunadb.values import Long

M = "Math"
_CONSTANTS = {"E": math.e, "PI": math.pi, "NaN": math.nan, "Infinity": math.inf}
for _name, _value in _CONSTANTS.items():
    getter(M, _name)(lambda rt, this, value=_value: value)


@method("Number#", "toString")
def number_to_string(rt: Runtime, this: Number) -> str:
    return display(rt, this)


@method("Boolean#", "toString")
def boolean_to_string(rt: Runtime, this: bool) -> str:
    return "true" if this else "false"


@method("Null#", "toString")
def null_to_string(rt: Runtime, this: None) -> str:
    return "null"


@method(M, "abs", "(x: Number)")
def abs_(rt: Runtime, this: Any, x: Number) -> Number:
    return absolute(x)


def _java(run: Callable[..., float], *args: float) -> float:
    """Evaluate where Python raises and Java answers NaN or Infinity."""
    try:
        return run(*args)
    except OverflowError:
        return math.inf
    except ValueError:
        return math.nan


def _plain(name: str, run: Callable[[float], float]) -> None:
    method(M, name, "(x: Number)")(lambda rt, this, x: _java(run, to_double(x)))


def _sinh(x: float) -> float:
    try:
        return math.sinh(x)
    except OverflowError:
        return math.copysign(math.inf, x)


for _name, _run in (
    ("atan", math.atan), ("cos", math.cos), ("cosh", math.cosh), ("exp", math.exp),
    ("sin", math.sin), ("sinh", _sinh), ("tan", math.tan), ("tanh", math.tanh),
    ("degrees", math.degrees), ("radians", math.radians),
):  # fmt: skip
    _plain(_name, _run)


def _within_one(x: Number) -> float:
    value = to_double(x)
    if abs(value) > 1.0:
        raise invalid_argument("x", "argument must lie in [-1, 1]")
    return value


@method(M, "acos", "(x: Number)")
def acos(rt: Runtime, this: Any, x: Number) -> float:
    return math.acos(_within_one(x))


@method(M, "asin", "(x: Number)")
def asin(rt: Runtime, this: Any, x: Number) -> float:
    return math.asin(_within_one(x))


@method(M, "hypot", "(x: Number, y: Number)")
def hypot(rt: Runtime, this: Any, x: Number, y: Number) -> float:
    return math.hypot(to_double(x), to_double(y))


def _positive(x: Number) -> float:
    value = to_double(x)
    if value <= 0.0:
        raise invalid_argument("x", "x must be positive")
    return value


@method(M, "log", "(x: Number)")
def log(rt: Runtime, this: Any, x: Number) -> float:
    return math.log(_positive(x))


@method(M, "log10", "(x: Number)")
def log10(rt: Runtime, this: Any, x: Number) -> float:
    return math.log10(_positive(x))


@method(M, "sqrt", "(x: Number)")
def sqrt(rt: Runtime, this: Any, x: Number) -> float:
    value = to_double(x)
    if value < 0.0 or (value == 0.0 and math.copysign(1.0, value) < 0):
        raise invalid_argument("x", "x must be nonnegative")
    return math.sqrt(value)


@method(M, "pow", "(x: Number, power: Number)")
def pow_(rt: Runtime, this: Any, x: Number, power: Number) -> float:
    return float_power(to_double(x), to_double(power))


@method(M, "ceil", "(x: Number)")
def ceil(rt: Runtime, this: Any, x: Number) -> Number:
    return _whole(x, math.ceil)


@method(M, "floor", "(x: Number)")
def floor(rt: Runtime, this: Any, x: Number) -> Number:
    return _whole(x, math.floor)


def _whole(x: Number, run: Callable[[float], int]) -> Number:
    if type(x) is not float or not math.isfinite(x):
        return x
    return math.copysign(float(run(x)), x)


@method(M, "round", "(x: Number, precision: Int)")
def round_(rt: Runtime, this: Any, x: Number, precision: int) -> Number:
    return _at_place(x, precision, 0.5)


@method(M, "trunc", "(x: Number, precision: Int)")
def trunc(rt: Runtime, this: Any, x: Number, precision: int) -> Number:
    return _at_place(x, precision, 0.0)


def _at_place(x: Number, precision: int, half: float) -> Number:
    scale = float_power(10.0, float(precision))
    if type(x) is not float:
        if precision >= 0:
            return Long(x)
        if scale == 0.0:
            return Long(0)
        return Long(to_long(to_long(to_double(x) * scale + half) / scale))
    if scale == 0.0:
        return 0.0
    return to_long(x * scale + half) / scale if math.isfinite(scale) else x


@method(M, "sign", "(x: Number)")
def sign(rt: Runtime, this: Any, x: Number) -> int:
    if type(x) is float:
        if math.isnan(x):
            return 1
        return 0 if x == 0.0 and math.copysign(1.0, x) > 0 else int(math.copysign(1.0, x))
    return (x > 0) - (x < 0)


@method(M, "max", "(x: Number, y: Number)")
def max_(rt: Runtime, this: Any, x: Number, y: Number) -> Number:
    return y if compare(rt, x, y) == -1 else x


@method(M, "min", "(x: Number, y: Number)")
def min_(rt: Runtime, this: Any, x: Number, y: Number) -> Number:
    return y if compare(rt, x, y) == 1 else x


def _items(rt: Runtime, numbers: Any) -> Any:
    return iterate(rt, numbers) if isinstance(numbers, SetValue) else numbers


def _total(rt: Runtime, numbers: Any) -> tuple[Number, int, bool]:
    """Return (sum, count, whether all were integers)."""
    if isinstance(numbers, SetValue):
        rt.need(READ, "`sum`")
    total: Number = 0
    count, whole = 0, True
    for value in _items(rt, numbers):
        if type(value) not in NUMBERS:
            raise invalid_argument("numbers", "all array elements must be numbers")
        rt.tick(1)
        total = OPERATORS["+"](rt, total, value)
        count += 1
        whole = whole and type(value) is not float
    return total, count, whole


@method(M, "sum", "(numbers: Array)", "(numbers: Set)")
def sum_(rt: Runtime, this: Any, numbers: Any) -> Number:
    return _total(rt, numbers)[0]


@method(M, "mean", "(numbers: Array)", "(numbers: Set)")
def mean(rt: Runtime, this: Any, numbers: Any) -> Number:
    total, count, whole = _total(rt, numbers)
    if isinstance(numbers, SetValue):
        if count == 0:
            raise divided_by_zero()
        result: Number = OPERATORS["/"](rt, total, count)
        return result if whole else to_double(result)
    return to_double(total) / count if count else math.nan
