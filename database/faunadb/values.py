"""What a document is made of: the storable values, without clock or chance.

    Null Boolean Int Long Double String Bytes   None bool int int/Long float str bytes
    Array Object                                list dict          (never changed in place)
    Time Date UUID                              Time Date Uuid
    a reference to a document                   Ref

An `int` is Int when it fits 32 bits, else Long. A `Long` is a number held as 64 bits although
it would fit (`"1".parseLong()`); stored, it becomes an `int` again.
`TransactionTime` stands for the time of the transaction that is running, and is filled in when
its entry is appended (SAFETY 12).

Trap: `True == 1` and `1 == 1.0` in Python; compare values with the language's own functions.
"""

from typing import Any, Self

INT_MIN, INT_MAX = -(2**31), 2**31 - 1
LONG_MIN, LONG_MAX = -(2**63), 2**63 - 1


class Long(int):
    """A 64-bit number that stays one although 32 bits would do."""

    __slots__ = ()


class _Scalar:
    """One comparable payload under a type of its own; equal only to its own type.

    Not a msgspec struct: the codec would write those as maps without asking.
    """

    __slots__ = ("_key",)
    _key: Any

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self) and bool(self._key == other._key)

    def __hash__(self) -> int:
        return hash((type(self).__name__, self._key))

    def __lt__(self, other: Self) -> bool:
        return bool(self._key < other._key)

    def __le__(self, other: Self) -> bool:
        return bool(self._key <= other._key)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._key!r})"


class Time(_Scalar):
    """A point in time: nanoseconds since 1970 UTC, any size (the text form bounds it)."""

    __slots__ = ()

    def __init__(self, nanos: int) -> None:
        self._key = nanos

    @classmethod
    def from_micros(cls, micros: int) -> "Time":
        return cls(micros * 1000)

    @property
    def nanos(self) -> int:
        return int(self._key)

    @property
    def micros(self) -> int:
        """Return whole microseconds, rounded down."""
        return int(self._key // 1000)


class Date(_Scalar):
    """A calendar day: days since 1970-01-01 in the proleptic Gregorian calendar."""

    __slots__ = ()

    def __init__(self, days: int) -> None:
        self._key = days

    @property
    def days(self) -> int:
        return int(self._key)


class Uuid(_Scalar):
    """Sixteen bytes."""

    __slots__ = ()

    def __init__(self, raw: bytes) -> None:
        assert len(raw) == 16
        self._key = raw

    @property
    def raw(self) -> bytes:
        return bytes(self._key)


class Ref(_Scalar):
    """Points at a document of a user collection by the collection's number; may dangle."""

    __slots__ = ()

    def __init__(self, coll: int, doc_id: int) -> None:
        self._key = (coll, doc_id)

    @property
    def coll(self) -> int:
        return int(self._key[0])

    @property
    def id(self) -> int:
        return int(self._key[1])


class TransactionTime(_Scalar):
    """The time of this transaction, unknown until its entry is appended."""

    __slots__ = ()

    def __init__(self) -> None:
        self._key = 0


TRANSACTION_TIME = TransactionTime()

Value = (
    bool
    | int
    | float
    | str
    | bytes
    | list["Value"]
    | dict[str, "Value"]
    | Time
    | Date
    | Uuid
    | Ref
    | TransactionTime
    | None
)
Fields = dict[str, Value]
