"""`python -m faunadb`."""

from faunadb.cli.main import main

main()
