"""What all connections of the client port share: limits, counters, the routes, the clock.

House rule: no task per request and no timer per connection; one sweep a second ends what takes
too long.
"""

from bisect import bisect_left
from collections.abc import Callable

from faunadb.api.bodies import Response, refusal
from faunadb.api.limits import Limits
from faunadb.api.routes import Request, Respond, Routes
from faunadb.api.streams import Streaming, Streams
from faunadb.errors import RequestTooLarge, TooManyPending

DURATIONS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class Hub:
    """Counts what is under way; `now_s` is the monotonic clock of the loop."""

    def __init__(self, routes: Routes, limits: Limits, now_s: Callable[[], float]) -> None:
        self.limits, self.now_s = limits, now_s
        self._routes = routes
        self.connections = 0
        self.requests_in_flight = 0
        self.bodies_bytes = 0
        self.requests_total = 0
        self.durations = [0] * (len(DURATIONS_S) + 1)  # requests by DURATIONS_S; the last: longer
        self.durations_sum_s = 0.0
        self.draining = False  # answer what was asked, then close
        self.too_large = refusal(RequestTooLarge("Request entity is too large"))
        self.too_many = refusal(TooManyPending("Too many pending requests", retry_after_s=1))

    def dispatch(self, request: Request, respond: Respond) -> None:
        """Handle a request, or refuse it when too many are under way."""
        self.requests_total += 1
        if self.requests_in_flight >= self.limits.requests_in_flight_max:
            respond(self.too_many)
            return
        self.requests_in_flight += 1
        began_s = self.now_s()

        def done(response: Response | Streaming) -> None:
            self.requests_in_flight -= 1
            seconds = self.now_s() - began_s
            self.durations[bisect_left(DURATIONS_S, seconds)] += 1
            self.durations_sum_s += seconds
            respond(response)

        self._routes.handle(request, done)

    @property
    def streams(self) -> Streams:
        return self._routes.streams

    def reserve_body(self, size_bytes: int) -> bool:
        """Count bytes of a body that must be held; False when there is no room for them."""
        if self.bodies_bytes + size_bytes > self.limits.bodies_bytes_max:
            return False
        self.bodies_bytes += size_bytes
        return True

    def release_body(self, size_bytes: int) -> None:
        self.bodies_bytes -= size_bytes
        assert self.bodies_bytes >= 0, "a body was released twice"
