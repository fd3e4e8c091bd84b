"""Documents, indexes and their history on an ordered map of bytes: pure, no clock, no I/O.

Read in this order: `keys` (where things lie), `mvcc` (which version a snapshot sees),
`transaction` (what one query reads and writes), `effects` (what of it enters the log),
`overlay` (the log's tail as a part of the state).
"""
