"""A task's output and events. The server keeps output in pieces as they were written; here they become lines."""
from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any, Dict, Iterable, Iterator, Mapping, Optional

from .sse import follow

if TYPE_CHECKING:
    from .client import Client


class LogLine(str):
    """A line of output without its end, with where it came from: stdout, stderr, or system (FastGPU itself)."""

    source: str
    time: Optional[str]
    attempt: Optional[int]


def _line(text: bytes, record: Mapping[str, Any]) -> LogLine:
    line = LogLine(text.decode("utf-8", "replace").rstrip("\r"))
    line.source = str(record.get("src", "stdout"))
    line.time, line.attempt = record.get("t"), record.get("attempt")
    return line


def _bytes(record: Mapping[str, Any]) -> bytes:
    if isinstance(record.get("base64"), str):    # bytes that are no UTF-8
        return base64.b64decode(record["base64"])
    return str(record.get("line", "")).encode("utf-8", "surrogatepass")


def assemble(records: Iterable[Any]) -> Iterator[LogLine]:
    """Whole lines out of pieces {"t", "src", "attempt", "line"}: a piece may hold many lines or a part of one, and
    those of stdout and stderr come mixed."""
    rest: Dict[str, bytes] = {}
    last: Dict[str, Mapping[str, Any]] = {}
    for record in records:
        if not isinstance(record, dict):
            continue
        source = str(record.get("src", "stdout"))
        if source in last and last[source].get("attempt") != record.get("attempt") and rest.get(source):
            yield _line(rest.pop(source), last[source])
        *whole, rest[source] = (rest.get(source, b"") + _bytes(record)).split(b"\n")
        last[source] = record
        for text in whole:
            yield _line(text, record)
    for source, text in rest.items():
        if text:
            yield _line(text, last[source])


def log_lines(client: "Client", task_id: str, query: Mapping[str, Any], following: bool) -> Iterator[LogLine]:
    path = f"/v1/tasks/{task_id}/logs"
    if following:
        events = follow(client.transport, path, dict(query, follow="true"))
        return assemble(event.data for event in events if event.name in ("log", "message"))
    answer = client.call("GET", path, query=query, headers={"Accept": "application/x-ndjson"})
    return assemble(json.loads(line) for line in answer.body.split(b"\n") if line)


def event_rows(client: "Client", task_id: str, following: bool) -> Iterator[Dict[str, Any]]:
    path = f"/v1/tasks/{task_id}/events"
    if following:
        for event in follow(client.transport, path, {"follow": "true"}):
            if event.name != "done":
                yield dict(event.data) if isinstance(event.data, dict) else {"event": event.name, "data": event.data}
        return
    after: Optional[int] = None
    while True:
        page = client.call_json("GET", path, query={"after": after})
        yield from page["events"]
        if not page.get("more"):
            return
        after = page["next_after"]
