"""What becomes of a FaunaRestore: `plan.py` decides, purely; `loop.py` looks and acts.

What it does to a cluster that exists is the business of that cluster's own loop, in
`fauna_operator.plan.recovery`, from the phase `Accepted` on.
"""
