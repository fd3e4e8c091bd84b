"""What does a person see after `make run`: does it answer, over real data?

The 3,376 airports of airports.csv, loaded through the official driver, and three questions about
them. House rule: everything may be repeated on a cluster that was shown before.
"""

import csv
import importlib.util
import itertools
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
from fauna import fql
from fauna.client import Client
from fauna.http.httpx_client import HTTPXClient

from kind_test_helpers.progress import say, stage

BATCH = 100
AIRPORTS = 3376
SECONDS_MAX = 60.0
COLLECTION = """
if (Collection.byName("Airport") == null) {
  Collection.create({
    name: "Airport",
    constraints: [{ unique: ["iata"] }],
    indexes: {
      byState: { terms: [{ field: "state" }], values: [{ field: "city" }] },
      byIata: { terms: [{ field: "iata" }] }
    }
  })
}
"""
LOAD = """${airports}.forEach(airport =>
  if (Airport.byIata(airport.iata).isEmpty()) { Airport.create(airport) })"""
QUESTIONS = (
    "Airport.all().count()",
    'Airport.byIata("JFK").first() { name, city, state }',
    'Airport.byState("HI").where(.latitude > 21).map(.city).distinct().toArray()',
)


def airports() -> list[dict[str, Any]]:
    """The rows of airports.csv, as documents."""
    found = importlib.util.find_spec("vega_datasets")
    assert found is not None
    assert found.origin is not None, "vega_datasets is not installed: make dev"
    path = Path(found.origin).parent / "_data" / "airports.csv"  # the package imports pandas
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == AIRPORTS, f"{len(rows)} airports in {path}"
    numbers = ("latitude", "longitude")
    return [{**row, **{name: float(row[name]) for name in numbers}} for row in rows]


def show(endpoint: str, secret: str) -> None:
    """Load the airports and print three questions with their answers."""
    with httpx.Client(timeout=SECONDS_MAX, trust_env=False) as http:
        client = Client(
            endpoint=endpoint,
            secret=secret,
            http_client=HTTPXClient(http),
            query_timeout=timedelta(seconds=SECONDS_MAX),  # the machine may be busy
        )
        with stage(f"loading {AIRPORTS} airports through the official driver"):
            client.query(fql(COLLECTION))
            rows = iter(airports())
            loaded = 0
            while batch := list(itertools.islice(rows, BATCH)):
                client.query(fql(LOAD, airports=batch))
                loaded += len(batch)
        say(f"{loaded} airports are there")
        for question in QUESTIONS:
            print(f"\n> {question}\n{client.query(fql(question)).data}")
