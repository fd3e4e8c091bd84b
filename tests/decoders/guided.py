"""Feed one decoder, guided by coverage: the process that libFuzzer takes over.

    python -m decoders.guided FOLDER NAME LIBFUZZER-OPTION ...

Trap: what is imported before `instrument_imports` is not seen.
"""

import contextlib
import sys

import atheris

with atheris.instrument_imports(include=["faunadb", "fauna_client"]):
    from decoders.catalogue import DECODERS


def main() -> None:
    program, folder, name, *options = sys.argv
    (decoder,) = (d for d in DECODERS if d.name == name)

    def feed(block: bytes) -> None:
        with contextlib.suppress(*decoder.refuses):
            decoder.decode(block)

    atheris.Setup([program, folder, *options], feed)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
