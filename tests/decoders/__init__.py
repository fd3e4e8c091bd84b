"""What decodes foreign bytes, and inputs that were found by fuzzing it.

    PYTHONPATH=tests python -m decoders --seconds 60 [WORD ...]     needs atheris (extra `fuzz`)

Trap: nothing is imported here: `guided` must instrument what it imports.
"""
