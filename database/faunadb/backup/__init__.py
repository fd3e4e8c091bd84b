"""Backups: a client of a member puts its state into an object store, and makes members of it."""
