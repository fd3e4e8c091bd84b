"""Pure consensus: `Core.step(event) -> Update`. Standard library and msgspec only."""
