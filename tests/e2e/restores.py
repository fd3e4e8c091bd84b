"""Ask for a FaunaRestore, as a person does, and see what it says of itself.

House rule: a wait says what the resource says of itself.
"""

import json
from dataclasses import dataclass
from typing import Any

from kind_test_helpers.api import Json
from kind_test_helpers.commands import await_that
from kind_test_helpers.product import API_PATH, Database
from kind_test_helpers.progress import say

HANG_SECONDS = 400.0
EVERY_SECONDS = 0.1


@dataclass(frozen=True)
class Restores:
    """The FaunaRestores of the namespace of a database."""

    database: Database

    @property
    def path(self) -> str:
        return f"{API_PATH}/namespaces/{self.database.namespace}/faunarestores"

    def ask(self, name: str, source: Json, target: Json | None = None, **spec: Any) -> None:
        """Create a FaunaRestore; in place and confirmed, unless the test says otherwise."""
        if target is None:
            target = {"inPlace": {"clusterName": self.database.name}}
            uid = self.database.resource()["metadata"]["uid"]
            spec = {"confirm": {"clusterUID": uid, "acceptDataLoss": True}, **spec}
        self.database.cluster.api.create(
            self.path,
            {
                "apiVersion": "fauna.dev/v1alpha1",
                "kind": "FaunaRestore",
                "metadata": {"name": name},
                "spec": {"source": source, "target": target, **spec},
            },
        )

    def status(self, name: str) -> Json:
        found: Json = self.database.cluster.api.get(f"{self.path}/{name}").get("status", {})
        return found

    def await_phase(self, name: str, *phases: str) -> Json:
        """Wait until a restore is in one of these phases; return its status."""
        last = ""

        def there() -> Json | None:
            nonlocal last
            status = self.status(name)
            line = f"{status.get('phase')}: {status.get('message')}"
            if line != last:
                last = line
                say(f"FaunaRestore {name}: {line}")
            return status if status.get("phase") in phases else None

        try:
            what = f"FaunaRestore {name} to be {' or '.join(phases)}"
            return await_that(what, there, seconds_max=HANG_SECONDS, every=EVERY_SECONDS)
        except Exception as late:
            late.add_note(json.dumps(self.status(name)))
            raise

    def await_message(self, name: str, words: str) -> Json:
        """Wait until a restore says something that contains these words."""

        def said() -> Json | None:
            status = self.status(name)
            return status if words in status.get("message", "") else None

        try:
            what = f"FaunaRestore {name} to say {words!r}"
            return await_that(what, said, seconds_max=HANG_SECONDS, every=EVERY_SECONDS)
        except Exception as late:
            late.add_note(json.dumps(self.status(name)))
            raise
