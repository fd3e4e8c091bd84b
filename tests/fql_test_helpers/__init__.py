"""What the tests of the language stand on: a store of dictionaries, and how cases are run."""
