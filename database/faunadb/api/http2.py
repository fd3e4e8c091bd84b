"""One client connection that speaks HTTP/2 with prior knowledge: streams side by side, by h2.

Answers of one turn of the event loop leave in one write. Bodies wait in `_unsent` for the
client's flow-control window.

Trap: a client that cancels a stream has not cancelled its query. Cancelled ones count as under
way until they are answered, so that opening and cancelling cannot pile up work.
"""

import asyncio

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
import msgspec

from faunadb.api.bodies import Response
from faunadb.api.hub import Hub
from faunadb.api.routes import Request
from faunadb.api.streams import Flowing, Streaming

PREFACE_BYTES = 24
_FRAME_BYTES_MAX = 16_384  # the protocol's default, which we keep
_WINDOW_BYTES = 1024 * 1024  # what one stream may send before we acknowledge
_ERROR = h2.errors.ErrorCodes
_SETTING = h2.settings.SettingCodes


class _Stream(msgspec.Struct):
    """A request that is not complete yet, or (began_s None) waits for its answer."""

    headers: dict[str, str]
    method: str
    target: str
    began_s: float | None
    chunks: list[bytes]
    body_bytes: int = 0


class Flow:
    """Where the bytes of one stream of events go: implements `streams.Sink`."""

    def __init__(self, connection: "Http2", stream_id: int) -> None:
        self._connection, self._stream_id = connection, stream_id

    @property
    def full(self) -> bool:
        return self._connection.flow_full(self._stream_id)

    def write(self, data: bytes) -> None:
        self._connection.flow_write(self._stream_id, data)

    def end(self) -> None:
        self._connection.flow_end(self._stream_id)

    def cut(self) -> None:
        self._connection.flow_cut(self._stream_id)


class Http2:
    """The state of one connection; `front.Front` carries its bytes."""

    def __init__(self, hub: Hub, transport: asyncio.Transport) -> None:
        self._hub, self._limits, self._transport = hub, hub.limits, transport
        config = h2.config.H2Configuration(client_side=False, header_encoding=None)
        self._h2 = h2.connection.H2Connection(config)
        self._streams: dict[int, _Stream] = {}
        self._unsent: dict[int, memoryview] = {}
        self._unsent_bytes = 0
        self._flows: dict[int, Flowing] = {}  # answers that go on
        self._in_flight = 0
        self._resets = 0
        self._skip, self._head = PREFACE_BYTES, b""  # of the frame that is coming in
        self._closed = False
        self._paused = False
        self._flush_scheduled = False
        self._quiet_since_s = self._progress_s = hub.now_s()
        self._loop = asyncio.get_running_loop()
        self._h2.local_settings = h2.settings.Settings(
            client=False,
            initial_values={
                _SETTING.MAX_CONCURRENT_STREAMS: self._limits.requests_per_connection_max,
                _SETTING.MAX_HEADER_LIST_SIZE: self._limits.header_bytes_max,
                _SETTING.INITIAL_WINDOW_SIZE: _WINDOW_BYTES,
                _SETTING.ENABLE_PUSH: 0,
            },
        )
        self._h2.decoder.max_header_list_size = self._limits.header_bytes_max
        self._h2.initiate_connection()
        self._h2.increment_flow_control_window(_WINDOW_BYTES)
        self._flush()

    # ------------------------------------------------------------ bytes in

    def feed(self, data: bytes) -> None:
        """Take bytes of the client."""
        if self._closed:
            return
        if self._is_overlong(data):
            self._close(_ERROR.FRAME_SIZE_ERROR)
            return
        try:
            events = self._h2.receive_data(data)
        except (h2.exceptions.H2Error, ValueError):
            self._close()
            return
        for event in events:
            if not self._closed:
                self._happened(event)
        self._flush()

    def _is_overlong(self, data: bytes) -> bool:
        """Return whether a frame announces more than we allow; h2 would first collect all of it."""
        at, size = self._skip, len(data)
        while at < size:
            head = self._head + data[at : at + 3 - len(self._head)]
            at += len(head) - len(self._head)
            self._head = head
            if len(head) == 3:
                length = int.from_bytes(head, "big")
                if length > _FRAME_BYTES_MAX:
                    return True
                self._head = b""
                at += 6 + length
        self._skip = at - size
        return False

    def _happened(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived():
                self._began(event)
            case h2.events.DataReceived():
                self._body(event)
            case h2.events.StreamEnded():
                self._complete(event.stream_id or 0)
            case h2.events.StreamReset():
                self._was_reset(event.stream_id)
            case h2.events.WindowUpdated() | h2.events.RemoteSettingsChanged():
                for stream_id in list(self._unsent):
                    self._send_body(stream_id)
            case h2.events.ConnectionTerminated():
                self._close()

    def _began(self, event: h2.events.RequestReceived) -> None:
        fields = {
            bytes(name).decode("latin-1"): bytes(value).decode("latin-1")
            for name, value in event.headers or ()
        }
        stream = _Stream(
            headers=fields,
            method=fields.get(":method", ""),
            target=fields.get(":path", ""),
            began_s=self._hub.now_s(),
            chunks=[],
        )
        stream_id = event.stream_id or 0
        self._streams[stream_id] = stream
        if self._in_flight >= self._limits.requests_per_connection_max:
            self._reset(stream_id, _ERROR.REFUSED_STREAM)

    def _body(self, event: h2.events.DataReceived) -> None:
        stream_id = event.stream_id or 0
        length = event.flow_controlled_length or 0
        self._h2.acknowledge_received_data(length, stream_id)
        stream = self._streams.get(stream_id)
        data = event.data or b""
        if stream is None or stream.began_s is None or not data:
            return
        if stream.body_bytes + len(data) > self._limits.request_bytes_max:
            self._refuse(stream_id, self._hub.too_large)
        elif not self._hub.reserve_body(len(data)):
            self._refuse(stream_id, self._hub.too_many)
        else:
            stream.chunks.append(data)
            stream.body_bytes += len(data)

    def _complete(self, stream_id: int) -> None:
        """The request is whole: hand it over."""
        stream = self._streams.get(stream_id)
        if stream is None or stream.began_s is None:
            return
        stream.began_s = None
        size, stream.body_bytes = stream.body_bytes, 0
        request = Request(stream.method, stream.target, stream.headers, b"".join(stream.chunks))
        stream.chunks = []
        self._in_flight += 1

        def respond(response: Response | Streaming) -> None:
            self._in_flight -= 1
            self._hub.release_body(size)
            if isinstance(response, Streaming):
                self._begin_flow(stream_id, response)
                return
            self._respond(stream_id, response, head_only=stream.method == "HEAD")

        self._hub.dispatch(request, respond)

    def _refuse(self, stream_id: int, response: Response) -> None:
        """Answer before the request is complete, and take no more of it."""
        self._release(self._streams[stream_id])
        self._streams[stream_id].began_s = None
        self._respond(stream_id, response, head_only=False)

    def _reset(self, stream_id: int, code: h2.errors.ErrorCodes) -> None:
        self._forget(stream_id)
        self._h2.reset_stream(stream_id, code)
        self._schedule_flush()

    def _was_reset(self, stream_id: int | None) -> None:
        self._forget(stream_id or 0)
        self._resets += 1
        if self._resets > self._limits.resets_max:
            self._close(_ERROR.ENHANCE_YOUR_CALM)

    def _forget(self, stream_id: int) -> None:
        stream = self._streams.pop(stream_id, None)
        if stream is not None:
            self._release(stream)
        unsent = self._unsent.pop(stream_id, None)
        self._unsent_bytes -= len(unsent) if unsent is not None else 0
        flow = self._flows.pop(stream_id, None)
        if flow is not None:
            flow.lost()
        self._quiet_since_s = self._hub.now_s()

    def _release(self, stream: _Stream) -> None:
        """Let go of a body that is not complete."""
        self._hub.release_body(stream.body_bytes)
        stream.body_bytes, stream.chunks = 0, []

    # ------------------------------------------------------------ answers out

    def _respond(self, stream_id: int, response: Response, *, head_only: bool) -> None:
        if self._closed or stream_id not in self._streams:
            return
        headers = [
            (":status", str(response.status)),
            *response.headers,
            ("content-length", str(len(response.body))),
        ]
        body = b"" if head_only else response.body
        self._h2.send_headers(stream_id, headers, end_stream=not body)
        if body:
            self._add_body(stream_id, body)
        else:
            self._forget(stream_id)
            self._schedule_flush()

    def _begin_flow(self, stream_id: int, streaming: Streaming) -> None:
        """Begin an answer that goes on."""
        if self._closed or stream_id not in self._streams:
            streaming.stream.lost()
            return
        headers = [(":status", str(streaming.status)), *streaming.headers]
        self._h2.send_headers(stream_id, headers)
        self._flows[stream_id] = streaming.stream
        self._schedule_flush()
        streaming.stream.begin(Flow(self, stream_id))

    def _add_body(self, stream_id: int, data: bytes) -> None:
        """Append to an answer, and send what the client takes."""
        waiting = self._unsent.get(stream_id)
        self._unsent[stream_id] = memoryview(data if waiting is None else bytes(waiting) + data)
        if not self._unsent_bytes:
            self._progress_s = self._hub.now_s()
        self._unsent_bytes += len(data)
        self._send_body(stream_id)
        if self._unsent_bytes > self._limits.answers_bytes_max:
            self._close(_ERROR.ENHANCE_YOUR_CALM)
        self._schedule_flush()

    def _send_body(self, stream_id: int) -> None:
        """Send as much of an answer as the client's window takes."""
        unsent = self._unsent.get(stream_id)
        if unsent is None:
            return
        goes_on = stream_id in self._flows
        while unsent:
            room = self._h2.local_flow_control_window(stream_id)
            count = min(room, self._h2.max_outbound_frame_size, len(unsent))
            if count <= 0:
                break
            last = count == len(unsent) and not goes_on
            self._h2.send_data(stream_id, bytes(unsent[:count]), end_stream=last)
            unsent = unsent[count:]
            self._unsent_bytes -= count
            self._progress_s = self._hub.now_s()
        self._unsent[stream_id] = unsent
        if not unsent:
            del self._unsent[stream_id]
            if goes_on:
                self._flows[stream_id].drained()
            else:
                self._forget(stream_id)

    # ------------------------------------------------------------ what a flow asks

    def flow_full(self, stream_id: int) -> bool:
        return self._paused or stream_id in self._unsent

    def flow_write(self, stream_id: int, data: bytes) -> None:
        if not self._closed and stream_id in self._flows:
            self._add_body(stream_id, data)

    def flow_end(self, stream_id: int) -> None:
        """End an answer once all of it is sent."""
        if self._closed or self._flows.pop(stream_id, None) is None:
            return
        if stream_id not in self._unsent:
            self._h2.end_stream(stream_id)
            self._forget(stream_id)
        self._schedule_flush()

    def flow_cut(self, stream_id: int) -> None:
        """Break an answer off, as an error of ours: a driver asks again."""
        if not self._closed and self._flows.pop(stream_id, None) is not None:
            self._reset(stream_id, _ERROR.INTERNAL_ERROR)

    def _schedule_flush(self) -> None:
        if not self._flush_scheduled:
            self._flush_scheduled = True
            self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        self._flush_scheduled = False
        data = self._h2.data_to_send()
        if data and not self._transport.is_closing():
            self._transport.write(data)

    def _close(self, code: h2.errors.ErrorCodes = _ERROR.NO_ERROR) -> None:
        """Say goodbye and close; after an error of the protocol h2 has said it already."""
        if self._closed:
            return
        self._closed = True
        if code != _ERROR.NO_ERROR:
            self._h2.close_connection(code)
        self._flush()
        self._transport.close()

    # ------------------------------------------------------------ back-pressure, time, end

    def pause(self) -> None:
        """The client reads too slowly: take no more of it."""
        self._paused = True
        self._progress_s = self._hub.now_s()
        self._transport.pause_reading()

    def resume(self) -> None:
        self._paused = False
        for flow in list(self._flows.values()):
            flow.drained()
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def expire(self, now_s: float) -> None:
        """Called once a second: end what takes too long."""
        stalled = self._paused or self._unsent
        if stalled and now_s - self._progress_s > self._limits.write_s:
            self._transport.abort()
            return
        for stream_id, stream in list(self._streams.items()):
            if stream.began_s is not None and now_s - stream.began_s > self._limits.request_s:
                self._reset(stream_id, _ERROR.CANCEL)
        idle = now_s - self._quiet_since_s > self._limits.idle_s or self._hub.draining
        if not self._streams and not self._in_flight and idle and not self._closed:
            self._h2.close_connection()
            self._close()

    def lost(self) -> None:
        """The connection is gone; answers that still come go nowhere."""
        self._closed = True
        for stream_id in list(self._streams):
            self._forget(stream_id)
