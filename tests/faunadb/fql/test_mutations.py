"""Whatever a query says, it is answered: a result, an error of the language, or over budget."""

import itertools
import random
import re
from typing import Any

import pytest

from faunadb.errors import QueryError
from faunadb.fql.budget import Budget, OverBudget
from faunadb.fql.compile import compile_query
from faunadb.fql.evaluate import run
from faunadb.fql.runtime import Context
from faunadb.fql.tagged import Format, encode_error, encode_result
from fql_test_helpers.memory_view import MemoryDatabase
from fql_test_helpers.specification import load

MUTATIONS_PER_SEED = 400
CONTEXT = Context(cursor_key=b"k" * 32, draw=lambda count: b"r" * count)
TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[A-Za-z_]\w*|\d+\.?\d*|\s+|[^\w\s]')
OPERATORS = [
    "+",
    "-",
    "*",
    "/",
    "%",
    "**",
    "==",
    "!=",
    "<",
    ">=",
    "&",
    "|",
    "^",
    "??",
    "isa",
    "&&",
    "||",
]
VALUES = [
    "null",
    "true",
    "1",
    "-1",
    "0",
    "2.5",
    "1e300",
    "9223372036854775807",
    '""',
    '"a"',
    '"1"',
    "[]",
    "[1, null]",
    '[[1], "a"]',
    "{}",
    "{ a: 1 }",
    "{ from: 1 }",
    "x => x",
    "(x, y) => x",
    "() => 1",
    "newId()",
    "Time.now()",
    "Date.today()",
    "Math.NaN",
    "N.all()",
    "N",
    "A(1)",
    "Set.sequence(0, 3)",
    "TransactionTime()",
    "A.definition",
    "Math",
    "abort",
    "N.all().paginate(1).after",
    "N.where(.n > 2)",
    "desc(.n)",
    'Collection.byName("A")',
    "Key.all()",
    '"3".parseLong()',
    'Bytes("AA==")',
]
LOADED = load()
TEXTS = [text for _, _, case in LOADED for text in case.texts if "$" not in text]
TOKENS = [TOKEN.findall(text) for text in TEXTS]
MEMBERS = sorted({b for text in TOKENS for a, b in itertools.pairwise(text) if a == "."})


def database() -> MemoryDatabase:
    made = MemoryDatabase()
    for text in {text for _, topic, _ in LOADED for text in topic.setup}:
        answer(made, text)
    return made


def answer(database: MemoryDatabase, text: str) -> None:
    view: Any = database.view()
    try:
        program = compile_query(text, view.schema)
        found = run(program, [], view, CONTEXT, Budget(20_000))
        for form in Format:
            encode_result(found.result, form)
        view.commit()
    except QueryError as error:
        encode_error(error, Format.TAGGED)
    except OverBudget:
        pass


def mutate(tokens: list[str], chance: random.Random) -> str:
    tokens = list(tokens)
    for _ in range(chance.randint(1, 4)):
        place = chance.randrange(len(tokens))
        token = tokens[place]
        if "".join(tokens[:place]).rstrip().endswith(".") and token[0].isalpha():
            tokens[place] = chance.choice(MEMBERS)
        elif token[0] in '"0123456789' or token in {"null", "true", "false"}:
            tokens[place] = chance.choice(VALUES)
        elif token in OPERATORS:
            tokens[place] = chance.choice(OPERATORS)
        elif token == ")":
            tokens[place] = f").{chance.choice(MEMBERS)}({chance.choice(VALUES)})"
        elif chance.random() < 0.1:
            tokens[place] = chance.choice(chance.choice(TOKENS))
    return "".join(tokens)


@pytest.mark.parametrize("seed", range(3))
def test_every_mutation_is_answered(seed: int) -> None:
    """No mutation of the specification raises anything else."""
    chance = random.Random(seed)
    made = database()
    for _ in range(MUTATIONS_PER_SEED):
        answer(made, mutate(chance.choice(TOKENS), chance))
