"""Pure consensus: `Core.step(event) -> Update`. Standard library and msgspec only.

Begin with `core`: its docstring says in which order to read the rest.
"""

from faunadb.raft.core import Core, found_cluster, restore
from faunadb.raft.state import CoreConfig, Restored

__all__ = ["Core", "CoreConfig", "Restored", "found_cluster", "restore"]
