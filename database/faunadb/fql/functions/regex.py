"""Regular expressions in Java's dialect, on Python's engine (functions.yaml, String#).

Java's defaults are kept: ASCII classes, a dot stops at line ends, `^` and `$` are the text's
ends. What the engine cannot do is refused with `disabled_feature`, never guessed.

Trap: a pattern can take exponential time and cannot be interrupted, so a match is never run on
the event loop: it costs more steps than a query gets there, and a worker can be killed.
"""

import re
from functools import lru_cache

from faunadb.errors import QueryError
from faunadb.fql.budget import STEPS_ON_LOOP
from faunadb.fql.display import sized
from faunadb.fql.failures import invalid_argument, not_built, out_of_bounds, too_large
from faunadb.fql.functions.text import cut_units
from faunadb.fql.registry import method
from faunadb.fql.runtime import STRING_UNITS_MAX, Runtime

S = "String#"
PATTERN_CHARS_MAX = 4096
_POSIX = {
    "Lower": "a-z", "Upper": "A-Z", "Alpha": "a-zA-Z", "Digit": "0-9", "Alnum": "a-zA-Z0-9",
    "Punct": r"!-/:-@\[-`{-~", "Graph": "!-~", "Print": " -~", "Blank": r" \t",
    "XDigit": "0-9a-fA-F", "Space": r" \t\n\x0b\f\r", "ASCII": r"\x00-\x7f",
}  # fmt: skip
_CLASSES = {
    "h": r" \t\xa0\u1680\u180e\u2000-\u200a\u202f\u205f\u3000",
    "v": r"\n\x0b\f\r\x85\u2028\u2029",
}
_LINE_END = r"\n\r\u0085\u2028\u2029"


def invalid(description: str, at: int) -> QueryError:
    return QueryError("invalid_regex", f"Invalid regular expression. {description} at index {at}")


@lru_cache(512)
def compiled(pattern: str) -> re.Pattern[str]:
    """Translate and compile; raises `invalid_regex`."""
    if len(pattern) > PATTERN_CHARS_MAX:
        raise invalid_argument("regex", f"longer than {PATTERN_CHARS_MAX} characters")
    translated = _Translator(pattern).run()
    try:
        return re.compile(translated, re.ASCII)
    except (re.error, RecursionError, OverflowError) as error:
        at = getattr(error, "pos", None)
        text = str(getattr(error, "msg", "Pattern too complex"))
        raise invalid(text[:1].upper() + text[1:], min(at or 0, len(pattern))) from None


class _Translator:
    """One pass over a pattern."""

    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.out: list[str] = []
        self.depth = 0  # of character classes

    def run(self) -> str:
        while self.at < len(self.pattern):
            self._step()
        if self.depth:
            raise invalid("Unclosed character class", len(self.pattern) - 1)
        return "".join(self.out)

    def _step(self) -> None:
        char = self.pattern[self.at]
        if char == "\\":
            self._escape()
        elif self.depth:
            self._in_class(char)
        elif char == "[":
            self._open_class()
        elif char == ".":
            self._put(f"[^{_LINE_END}]", 1)
        elif char == "$":
            self._put(r"(?=\r?\n?\Z)", 1)
        elif (
            self.pattern.startswith("(?<", self.at)
            and self.pattern[self.at + 3 : self.at + 4].isalpha()
        ):
            self._put("(?P<", 3)
        elif self.pattern.startswith("(?", self.at) and self.pattern[
            self.at + 2 : self.at + 3
        ] not in ("", ":", "=", "!", ">", "<"):
            self._flags()
        else:
            self._put(char, 1)

    def _put(self, text: str, width: int) -> None:
        self.out.append(text)
        self.at += width

    def _flags(self) -> None:
        found = re.match(r"\(\?([a-zA-Z]*)(-[a-zA-Z]+)?([:)])", self.pattern[self.at :])
        if found is None:
            raise invalid("Unknown inline modifier", self.at + 2)
        if set(found[1] + (found[2] or "")) - set("-imsxu") or "s" in found[1] or "m" in found[1]:
            raise not_built("The flag of this regular expression")
        flags = found[1].replace("u", "")
        body = flags + (found[2] or "")
        if found[3] == ")":
            if self.out:
                raise not_built("A flag in the middle of a regular expression")
            self._put(f"(?{flags})" if flags else "", found.end())
        else:
            self._put(f"(?{body}:", found.end())

    def _open_class(self) -> None:
        self.depth += 1
        if self.depth > 1:
            raise not_built("A union of character classes in a regular expression")
        negated = self.pattern.startswith("[^", self.at)
        self._put("[^" if negated else "[", 2 if negated else 1)
        if self.pattern.startswith("]", self.at):
            self._put(r"\]", 1)

    def _in_class(self, char: str) -> None:
        if char == "]":
            self.depth -= 1
            self._put("]", 1)
        elif char == "[":
            raise not_built("A union of character classes in a regular expression")
        elif self.pattern.startswith("&&", self.at):
            raise not_built("An intersection of character classes in a regular expression")
        else:
            self._put(f"\\{char}" if char in "-&~|" and char != "-" else char, 1)

    def _escape(self) -> None:
        following = self.pattern[self.at + 1 : self.at + 2]
        if not following:
            raise invalid("Unexpected internal error", self.at + 1)
        if following == "Q":
            end = self.pattern.find("\\E", self.at + 2)
            end = len(self.pattern) if end < 0 else end
            self._put(re.escape(self.pattern[self.at + 2 : end]), end + 2 - self.at)
        elif following in "pP":
            self._property(negated=following == "P")
        elif following in _CLASSES:
            inner = _CLASSES[following]
            self._put(inner if self.depth else f"[{inner}]", 2)
        elif following in "HVXNGE" or (following.isdigit() and following == "0"):
            raise not_built(f"\\{following} in a regular expression")
        elif following == "R":
            self._put(rf"(?:\r\n|[{_LINE_END}\x0b\f])", 2)
        elif following == "z":
            self._put(r"\Z", 2)
        elif following == "Z":
            self._put(r"(?=\r?\n?\Z)", 2)
        elif following == "e":
            self._put(r"\x1b", 2)
        elif following == "k" and self.pattern.startswith("<", self.at + 2):
            end = self.pattern.find(">", self.at)
            self._put(f"(?P={self.pattern[self.at + 3 : end]})", end + 1 - self.at)
        elif following == "x" and self.pattern.startswith("{", self.at + 2):
            raise not_built("\\x{..} in a regular expression")
        elif following.isalpha() and following not in "tnrfaxudDsSwWbBA":
            raise invalid("Illegal/unsupported escape sequence", self.at + 1)
        elif following == "s" and not self.depth:
            self._put(r"[ \t\n\x0b\f\r]", 2)
        else:
            self._put(self.pattern[self.at : self.at + 2], 2)

    def _property(self, *, negated: bool) -> None:
        found = re.match(r"\\[pP](?:\{(\w+)\}|(\w))", self.pattern[self.at :])
        if found is None:
            raise invalid("Unclosed character family", len(self.pattern) - 1)
        inner = _POSIX.get(found[1] or found[2])
        if inner is None:
            raise not_built(f"The property `{found[1] or found[2]}` in a regular expression")
        if negated:
            if self.depth:
                raise not_built("A negated property inside of a character class")
            self._put(f"[^{inner}]", found.end())
        else:
            self._put(inner if self.depth else f"[{inner}]", found.end())


def search_cost(rt: Runtime, text: str) -> None:
    """Pay enough that no match runs on the event loop."""
    rt.tick(2 * STEPS_ON_LOOP + len(text))


@method(S, "includesRegex", "(regex: String)")
def includes_regex(rt: Runtime, this: str, regex: str) -> bool:
    search_cost(rt, this)
    return compiled(regex).search(this) is not None


@method(S, "indexOfRegex", "(regex: String)", "(regex: String, start: Int)")
def index_of_regex(rt: Runtime, this: str, regex: str, start: int | None = None) -> int | None:
    search_cost(rt, this)
    if start is not None and not 0 <= start < len(this):
        raise out_of_bounds(start, len(this))
    found = compiled(regex).search(this[start or 0 :])
    return None if found is None else found.start() + (start or 0)


@method(S, "matches", "(regex: String)")
def matches(rt: Runtime, this: str, regex: str) -> list[str]:
    search_cost(rt, this)
    return [found[0] for found in compiled(regex).finditer(this)]


@method(S, "matchIndexes", "(regex: String)")
def match_indexes(rt: Runtime, this: str, regex: str) -> list[list[object]]:
    search_cost(rt, this)
    return [[found.start(), found[0]] for found in compiled(regex).finditer(this)]


@method(S, "replaceRegex", "(regex: String, replacement: String)",
        "(regex: String, replacement: String, amount: Int)")  # fmt: skip
def replace_regex(rt: Runtime, this: str, regex: str, replacement: str, amount: int = 1) -> str:
    if amount < 1:
        raise invalid_argument("count", "must be greater than or equal to 1")
    return _replaced(rt, this, regex, replacement, amount)


@method(S, "replaceAllRegex", "(pattern: String, replacement: String)")
def replace_all_regex(rt: Runtime, this: str, pattern: str, replacement: str) -> str:
    return _replaced(rt, this, pattern, replacement, None)


def _replaced(rt: Runtime, text: str, regex: str, replacement: str, amount: int | None) -> str:
    """Each match is searched in the text that is left; one of no length does not advance."""
    done: list[str] = []
    size = 0
    while amount is None or amount > 0:
        search_cost(rt, text)
        found = compiled(regex).search(text)
        if found is None:
            break
        part = text[: found.start()] + replacement
        if not found[0] and not found.start():
            if amount is None:
                if not replacement:
                    raise invalid_argument("pattern", "an empty match never stops matching")
                raise too_large(
                    f"string size {STRING_UNITS_MAX + 1} exceeds limit {STRING_UNITS_MAX}"
                )
            if size + len(replacement) * amount > STRING_UNITS_MAX:
                raise too_large(f"string size {size} exceeds limit {STRING_UNITS_MAX}")
        done.append(part)
        size += len(part)
        text = text[found.end() :]
        amount = None if amount is None else amount - 1
    return sized(rt, "".join([*done, text]))


@method(S, "splitRegex", "(regex: String)")
def split_regex(rt: Runtime, this: str, regex: str) -> list[str]:
    pattern = compiled(regex)
    parts: list[str] = []
    text = this
    while True:
        search_cost(rt, text)
        found = pattern.search(text)
        if found is None:
            return [*parts, text]
        if found[0]:
            parts.append(text[: found.start()])
            text = text[found.end() :]
            continue
        if not text:
            return parts or [text]
        first, *rest = cut_units(text)
        parts.append(first)
        text = (
            "".join(rest).encode("utf-16-be", "surrogatepass").decode("utf-16-be", "surrogatepass")
        )
