"""How much one client, and all together, may ask of a member's door. Configuration, frozen."""

from dataclasses import dataclass

MIB = 1024 * 1024


@dataclass(frozen=True)
class Limits:
    """Bounds of the client port; all counts are per member, times in seconds."""

    request_bytes_max: int = 8 * MIB  # the original's bound on one body
    header_bytes_max: int = 32 * 1024  # a secret and its traces fit many times
    connections_max: int = 4096
    requests_in_flight_max: int = 8192  # as many as the gateway holds
    requests_per_connection_max: int = 256  # streams of HTTP/2; requests pipelined in HTTP/1.1
    bodies_bytes_max: int = 48 * MIB  # half-read bodies of all connections: bounds the memory
    answers_bytes_max: int = 64 * MIB  # unsent answers of one HTTP/2 connection
    resets_max: int = 1000  # cancelled streams of one HTTP/2 connection ("rapid reset")
    idle_s: float = 75.0  # a kept-alive connection without a request
    request_s: float = 30.0  # from the first byte of a request to its last: stops a slow loris
    write_s: float = 30.0  # a client that does not read its answer
    streams_max: int = 10_000  # of /stream/1; the original's 50,000 for a member of many cores
    stream_changes_max: int = 4096  # that wait while the client does not read: 32 KiB a stream
    stream_status_s: float = 300.0  # a quiet stream says how far it is (schema.md §9)
    linger_s: float = 2.0  # how long a refused upload is read and thrown away
