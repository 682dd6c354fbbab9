"""A task as the server last told it, and what can be asked of it."""
from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING, Any, Dict, Iterator, List, Mapping, NamedTuple, Optional

from .errors import FgpuError, InvalidInput, TaskTimeout, from_end
from .files import PathLike
from .logs import LogLine

if TYPE_CHECKING:
    from .client import Client

ENDED = ("succeeded", "failed", "canceled", "expired")
POLL_S = 60    # one long poll; the server takes up to 300


class Cost(NamedTuple):
    """amount is an exact decimal string."""

    amount: str
    currency: str

    def __str__(self) -> str:
        return f"{self.amount} {self.currency}"


def first(row: Mapping[str, Any], *names: str, default: Any = None) -> Any:
    return next((row[n] for n in names if row.get(n) is not None), default)


def rows(answer: Any, *names: str) -> List[Dict[str, Any]]:
    """The list in an answer: under one of names, or the answer itself."""
    if isinstance(answer, dict):
        answer = first(answer, *names, "items", default=[])
    return [row for row in answer or [] if isinstance(row, dict)]


class Task:
    """Made by a Client. Properties tell what was last heard; refresh() hears again."""

    def __init__(self, client: "Client", data: Mapping[str, Any]) -> None:
        self._client = client
        self.data: Dict[str, Any] = dict(data)

    def __repr__(self) -> str:
        return f"<Task {self.id} {self.state}" + (f" ({self.reason})>" if self.reason else ">")

    @property
    def id(self) -> str:
        return str(self.data["id"])

    @property
    def state(self) -> str:
        return str(self.data.get("state", "queued"))

    @property
    def reason(self) -> Optional[str]:
        """Why it waits or why it ended so; None when there is nothing to explain."""
        reason = self.data.get("reason")
        return None if reason in (None, "", "none") else str(reason)

    @property
    def name(self) -> Optional[str]:
        return self.data.get("name")

    @property
    def ended(self) -> bool:
        return self.state in ENDED

    @property
    def cost(self) -> Optional[Cost]:
        """Charged so far; final once the task has ended and is settled."""
        cost = self.data.get("cost")
        if isinstance(cost, dict):
            cost, currency = first(cost, "amount", "total"), str(cost.get("currency", "USD"))
        else:
            currency = "USD"
        return None if cost is None else Cost(str(cost), currency)

    def refresh(self) -> "Task":
        self.data = dict(self._client.get_task_status(self.id))
        return self

    def wait(self, timeout: Optional[float] = None) -> "Task":
        """Until it has ended, however it ended. TaskTimeout after timeout seconds."""
        if not self.ended:
            self._client.wait_result(self.id, timeout)
            self.refresh()
        return self

    def result(self, timeout: Optional[float] = None) -> Any:
        """Its result; waits for it. A task that did not succeed raises TaskFailed, TaskCanceled or TaskExpired."""
        return self._client.get_task_result(self.id, timeout)

    @property
    def outputs(self) -> List[Dict[str, Any]]:
        """Files it left, once it ended: path, size, blob."""
        return rows(self._client.wait_result(self.id, 0), "outputs")

    def download(self, folder: PathLike) -> List[str]:
        """Write its output files below folder; the local paths."""
        written = []
        for row in self.outputs:
            local = below(os.fspath(folder), str(row["path"]))
            blob = str(row["blob"])
            written.append(self._client.files.download(blob if blob.startswith("blob:") else "blob:" + blob, local))
        return written

    def cancel(self) -> "Task":
        self._client.cancel_task(self.id)
        return self.refresh()

    def hold(self) -> "Task":
        self._client.call_json("POST", f"/v1/tasks/{self.id}/hold", safe=True)
        return self.refresh()

    def release(self) -> "Task":
        self._client.call_json("POST", f"/v1/tasks/{self.id}/release", safe=True)
        return self.refresh()

    def retry(self) -> "Task":
        """A new task with the same spec."""
        return self._client.task_of(self._client.call_json("POST", f"/v1/tasks/{self.id}/retry"))

    def why(self) -> Dict[str, Any]:
        """Why it waits, on every device; or which rule placed it."""
        return dict(self._client.call_json("GET", f"/v1/tasks/{self.id}/why"))

    def logs(self, follow: bool = False, *, source: Optional[str] = None, tail: Optional[int] = None,
             attempt: Optional[int] = None) -> Iterator[LogLine]:
        """What it printed. follow=True goes on until it ends, over cut connections too."""
        query = {"source": source, "tail": tail, "attempt": attempt}
        return self._client.stream_logs(self.id, query, follow)

    def events(self, follow: bool = False) -> Iterator[Dict[str, Any]]:
        """What happened to it, oldest first. follow=True goes on until it ends."""
        return self._client.stream_events(self.id, follow)


def below(folder: str, path: str) -> str:
    """folder/path, or an error when path would lead out of folder: it is the task that chose it."""
    local = os.path.normpath(os.path.join(folder, path))
    if os.path.isabs(path) or not local.startswith(os.path.normpath(folder) + os.sep):
        raise InvalidInput(f"the output '{path}' would be written outside '{folder}'", code="invalid")
    return local


def wait_for_result(client: "Client", task_id: str, timeout: Optional[float]) -> Dict[str, Any]:
    """The body of /result once the task has ended. TaskTimeout after timeout seconds; 0 asks once."""
    until = None if timeout is None else time.monotonic() + timeout
    while True:
        left = POLL_S if until is None else max(0.0, until - time.monotonic())
        poll = min(POLL_S, int(left) + (left > int(left)))
        asked = time.monotonic()
        answer = client.call("GET", f"/v1/tasks/{task_id}/result", query={"wait": poll or None}, wait=poll)
        body = answer.json() or {}
        if answer.status != 202:
            return dict(body)
        if until is not None and time.monotonic() >= until:
            raise TaskTimeout(task_id, str(body.get("state", "not ended")), timeout or 0)
        if time.monotonic() - asked < poll / 2:    # it did not hold the answer as asked: the pause is ours to make
            time.sleep(min(0.5, left))


def result_of(task_id: str, body: Mapping[str, Any]) -> Any:
    """The result in the body of /result, or the error the task ended with."""
    state, error = str(body.get("state", "")), body.get("error")
    if state != "succeeded":
        if not isinstance(error, dict) and state not in ENDED:
            raise FgpuError(f"task {task_id} has no result and no error: its state is '{state}'", code="internal")
        raise from_end(task_id, state, {**body, **(error if isinstance(error, dict) else {})})
    if body.get("result") is not None:
        return body["result"]
    return {"exit_code": body.get("exit_code", 0), "outputs": rows(body, "outputs")}
