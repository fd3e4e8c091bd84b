"""The `faunadb` command: the composition root, and the only reader of environment and arguments.

    serve, dev        run a member                       cli/serve.py, cli/dev.py
    init, open, …     tell a running member what to do   cli/admin.py
    inspect, dev-ca   look at a directory, make a CA     cli/tools.py

Exit codes: 0, 64 usage, 74 I/O, 78 identity or corruption; the last two with one line of JSON
on standard error and in the termination message.
"""
