"""Every decoder of foreign bytes, fed with whatever comes: a value or its refusal, nothing else.

    make fuzz INPUTS=100000       each decoder with so many inputs (FAUNA_FUZZ)
    make fuzz-guided              each decoder for SECONDS_EACH=60, guided by coverage

An input is a good one with some bytes changed, cut, repeated or put in, or noise; and all that
guided runs have found worth keeping (`tests/decoders/corpus`).
"""

import contextlib
import os
import random
import time

import pytest

from decoders.catalogue import DECODERS, Decoder
from decoders.corpus import KEPT_BYTES_MAX, PLACE, file_of, kept

INPUTS = int(os.environ.get("FAUNA_FUZZ", "300"))  # of each decoder
DEEP = 100_000


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.name)
def test_whatever_comes_is_decoded_or_refused(decoder: Decoder) -> None:
    """Nothing else is raised, and the good inputs are taken."""
    for block in decoder.good:
        decoder.decode(block)
    chance = random.Random(decoder.name)
    refused, began_s = 0, time.monotonic()
    for number in range(INPUTS):
        block = changed(chance, chance.choice(decoder.good))
        try:
            decoder.decode(block)
        except decoder.refuses:
            refused += 1
        except Exception as problem:
            raise AssertionError(f"input {number}: {block!r}") from problem
    print(f"{decoder.name}: {INPUTS} inputs, {refused} refused, {time.monotonic() - began_s:.1f} s")


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.name)
def test_what_is_nested_too_deep_is_decoded_or_refused(decoder: Decoder) -> None:
    """Also in a field that nobody asked for."""
    whole = decoder.good[0]
    longer = bytes([whole[0] + 1]) + whole[1:]  # of a map or array of MessagePack, one item more
    for block in (
        *(b"[" * DEEP, b"(" * DEEP, b"a { " * DEEP, b'"#{' * DEEP, b"\x91" * DEEP),
        *(longer + b"\x91" * DEEP, longer + b"\xa1x" + b"\x91" * DEEP),
        *(b'{"%s":' % name + b"[" * DEEP for name in (b"query", b"data", b"error", b"x")),
        whole.rstrip()[:-1] + b', "x": ' + b"[" * DEEP,
    ):
        with contextlib.suppress(*decoder.refuses):
            decoder.decode(block)


@pytest.mark.parametrize("decoder", DECODERS, ids=lambda decoder: decoder.name)
def test_what_was_kept_is_decoded_or_refused(decoder: Decoder) -> None:
    """Inputs that took a decoder where no other did, found by guided runs."""
    for block in kept(decoder.name):
        with contextlib.suppress(*decoder.refuses):
            decoder.decode(block)


def test_what_is_kept_is_small_and_of_a_decoder() -> None:
    """No file is left over from a decoder that is gone."""
    files = sorted(PLACE.iterdir())

    assert [] == [path for path in files if path not in {file_of(d.name) for d in DECODERS}]
    assert sum(path.stat().st_size for path in files) <= KEPT_BYTES_MAX


def changed(chance: random.Random, good: bytes) -> bytes:
    """Return noise, or a good input to which something happened."""
    if chance.random() < 0.1:
        return chance.randbytes(chance.randrange(200))
    block = bytearray(good)
    for _ in range(chance.randrange(5)):
        at = chance.randrange(len(block) + 1)
        match chance.randrange(5):
            case 0:
                del block[at : at + chance.randrange(1, 9)]
            case 1:
                block[at:at] = chance.randbytes(chance.randrange(1, 5))
            case 2:
                block[at:at] = block[at : at + chance.randrange(1, 40)]
            case 3:
                block[at : at + 1] = chance.choice(
                    (b"\xff", b"\0", b"(", b'"', b"{", b"@", b"\x7f")
                )
            case _ if at < len(block):
                block[at] ^= 1 << chance.randrange(8)
    return bytes(block[: chance.randrange(len(block) + 1)] if chance.random() < 0.1 else block)
