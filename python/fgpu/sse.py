"""Server-sent events that survive a cut connection: the stream goes on after the last id that arrived."""
from __future__ import annotations

import json
from typing import Any, Iterator, List, Mapping, NamedTuple, Optional

from .errors import ServerUnavailable
from .transport import FAILURES, Backoff, Transport

QUIET_S = 60.0    # the server sends a comment every 15 s; silence this long means the connection is dead


class Event(NamedTuple):
    id: str
    name: str
    data: Any


def parse(lines: Iterator[bytes]) -> Iterator[Event]:
    """Events out of the lines of a text/event-stream. A last event without its empty line is cut off: not given out."""
    last, name = "", "message"
    data: List[str] = []
    for raw in lines:
        if not raw.endswith(b"\n"):
            return
        line = raw.decode("utf-8", "replace").rstrip("\r\n")
        if not line:
            if data:
                yield Event(last, name, _decode("\n".join(data)))
            name, data = "message", []
            continue
        field, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if field == "id":
            last = value
        elif field == "event":
            name = value
        elif field == "data":
            data.append(value)


def _decode(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def follow(transport: Transport, path: str, query: Optional[Mapping[str, Any]], ends: str = "done") -> Iterator[Event]:
    """All events until the one named ends (which is given out too), over as many connections as it takes."""
    last = ""
    backoff = Backoff(transport.patience)
    while True:
        headers = {"Accept": "text/event-stream", **({"Last-Event-ID": last} if last else {})}
        try:
            response = transport.open(path, query=query, headers=headers, timeout=QUIET_S)
            try:
                for event in parse(iter(response.readline, b"")):
                    last = event.id or last
                    backoff = Backoff(transport.patience)
                    yield event
                    if event.name == ends:
                        return
            finally:
                response.close()
        except ServerUnavailable as error:
            if not error.retryable or not backoff.sleep():
                raise
            continue
        except FAILURES as error:
            if not backoff.sleep():
                raise ServerUnavailable(f"the stream {path} broke: {error or type(error).__name__}", code="unreachable",
                                        retryable=True) from error
            continue
        if not backoff.sleep():
            raise ServerUnavailable(f"the stream {path} ended early, again and again", code="unreachable", retryable=True)
