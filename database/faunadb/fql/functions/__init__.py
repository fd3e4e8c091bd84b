"""The standard library, one module for each topic (`library` imports them all)."""
