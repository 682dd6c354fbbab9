"""fgpu.Client: the whole API of a FastGPU server, blocking. AsyncClient (aio.py) is its twin for asyncio."""
from __future__ import annotations

import uuid
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, Deque, Dict, Iterable, Iterator, List, Mapping, Optional, Union

from . import spec as specs
from .config import resolve
from .errors import FgpuError, InvalidInput
from .files import Files, prepare_spec
from .logs import LogLine, event_rows, log_lines
from .task import Task, first, result_of, rows, wait_for_result
from .transport import Answer, Transport, raise_for

Spec = Mapping[str, Any]


class Tasks:
    """client.tasks"""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def get(self, task_id: str) -> Task:
        return Task(self._client, self._client.get_task_status(task_id))

    def list(self, *, state: Optional[str] = None, name: Optional[str] = None, label: Optional[str] = None,
             limit: Optional[int] = None) -> Iterator[Task]:
        """Newest first, page by page as they are read; label is "KEY=VALUE"; limit is how many at most."""
        cursor: Optional[str] = None
        left = limit
        while left is None or left > 0:
            page = self._client.call_json("GET", "/v1/tasks", query={
                "state": state, "name": name, "label": label, "cursor": cursor, "limit": min(left, 100) if left else None})
            found = rows(page, "tasks")
            for row in found[:left]:
                yield Task(self._client, row)
            left = None if left is None else left - len(found)
            cursor = page.get("next_cursor") if isinstance(page, dict) else None
            if not cursor:
                return


class Client:
    """Talks to one server. Safe to share between threads. Use as a context manager or close() it.

    api_key: None or "your_api_key" takes FGPU_API_KEY, then the key that `fgpu up` saved. url: None takes FGPU_URL,
    then the saved address, then http://127.0.0.1:8470. timeout: seconds for one answer; patience: seconds to go on
    trying while the server cannot be reached.
    """

    def __init__(self, api_key: Optional[str] = None, url: Optional[str] = None, *, timeout: float = 30.0,
                 patience: float = 30.0) -> None:
        key, address = resolve(api_key, url)
        self.transport = Transport(address, key, timeout, patience)
        self.url = self.transport.url
        self.files = Files(self.transport)
        self.tasks = Tasks(self)

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self.transport.close()

    def __repr__(self) -> str:
        return f"<fgpu.Client {self.url}>"

    # The plumbing; also for routes that have no method here.

    def call(self, method: str, path: str, **options: Any) -> Answer:
        answer = self.transport.call(method, path, **options)
        raise_for(answer)
        return answer

    def call_json(self, method: str, path: str, **options: Any) -> Any:
        return self.transport.json(method, path, **options)

    def task_of(self, data: Any) -> Task:
        return Task(self, data["task"] if isinstance(data.get("task"), dict) else data)

    # A task by its spec, a dict as api/task.toml describes it.

    def submit_spec(self, spec: Spec, *, idempotency_key: Optional[str] = None) -> Task:
        """Upload what the spec names locally and submit it, once, however often the connection breaks."""
        if not isinstance(spec, Mapping):
            raise InvalidInput(f"a task is a dict, not {type(spec).__name__}", code="invalid")
        ready = prepare_spec(spec, self.files)
        headers = {"Idempotency-Key": idempotency_key or uuid.uuid4().hex}
        return self.task_of(self.call_json("POST", "/v1/tasks", data=ready, headers=headers))

    def submit_task(self, spec: Spec) -> str:
        """Submit a task; its id."""
        return self.submit_spec(spec).id

    def get_task_status(self, task_id: str) -> Dict[str, Any]:
        """The task as the server has it now."""
        return dict(self.call_json("GET", f"/v1/tasks/{task_id}"))

    def get_task_result(self, task_id: str, timeout: Optional[float] = None) -> Any:
        """Wait until the task has ended and return its result. One that did not succeed raises TaskFailed (with reason,
        hint and log_tail), TaskCanceled or TaskExpired; timeout seconds of waiting raise TaskTimeout."""
        return result_of(task_id, self.wait_result(task_id, timeout))

    def wait_result(self, task_id: str, timeout: Optional[float] = None) -> Dict[str, Any]:
        """Wait until the task has ended, however; the body of /v1/tasks/ID/result."""
        return wait_for_result(self, task_id, timeout)

    def cancel_task(self, task_id: str) -> Dict[str, Any]:
        """Cancel a task; one that has ended stays as it is."""
        return dict(self.call_json("POST", f"/v1/tasks/{task_id}/cancel", safe=True) or {})

    def list_tasks(self, **filters: Any) -> List[Dict[str, Any]]:
        """Tasks as dicts, newest first: state=, name=, label=, limit=."""
        return [task.data for task in self.tasks.list(**filters)]

    # A task by keyword arguments; see spec.build for all of them.

    def submit(self, model: Optional[str] = None, input: Optional[specs.Input] = None, **options: Any) -> Task:
        """Submit a task and return at once."""
        return self.submit_spec(specs.build(model, input, **options))

    def run(self, model: Optional[str] = None, input: Optional[specs.Input] = None, *, timeout: Optional[float] = None,
            check: bool = True, **options: Any) -> Task:
        """Submit a task and wait until it has ended. With check, one that did not succeed raises."""
        task = self.submit(model, input, **options)
        body = self.wait_result(task.id, timeout)
        if check:
            result_of(task.id, body)
        return task.refresh()

    def map(self, model: str, inputs: Iterable[specs.Input], *, max_parallel: int = 32, return_exceptions: bool = False,
            timeout: Optional[float] = None, **options: Any) -> Iterator[Any]:
        """Results of one task per input, in the order of the inputs, at most max_parallel at a time.

        The first failure raises and cancels the rest, unless return_exceptions puts failures among the results.
        Leaving the loop early cancels the rest too.
        """
        if max_parallel < 1:
            raise InvalidInput("max_parallel must be at least 1", code="invalid")
        return self._map(model, iter(inputs), max_parallel, return_exceptions, timeout, options)

    def _map(self, model: str, inputs: Iterator[specs.Input], max_parallel: int, return_exceptions: bool,
             timeout: Optional[float], options: Dict[str, Any]) -> Iterator[Any]:
        live: Dict[str, Task] = {}

        def one(item: specs.Input) -> Any:
            task = self.submit(model, item, **options)
            live[task.id] = task
            try:
                return task.result(timeout)
            except FgpuError as error:
                if not return_exceptions:
                    raise
                return error
            finally:
                live.pop(task.id, None)

        waiting: Deque["Future[Any]"] = deque()
        pool = ThreadPoolExecutor(max_parallel, thread_name_prefix="fgpu-map")
        try:
            for item in inputs:
                waiting.append(pool.submit(one, item))
                if len(waiting) >= 2 * max_parallel:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
            for task_id in list(live):
                self._cancel_quietly(task_id)
            pool.shutdown(wait=False)

    def _cancel_quietly(self, task_id: str) -> None:
        try:
            self.cancel_task(task_id)
        except FgpuError:
            pass

    def quote(self, model: Optional[str] = None, input: Optional[specs.Input] = None, **options: Any) -> Dict[str, Any]:
        """What a task would be given and cost; nothing is submitted (inputs are uploaded)."""
        ready = prepare_spec(specs.build(model, input, **options), self.files)
        return dict(self.call_json("POST", "/v1/tasks", query={"dry_run": "true"}, data=ready, safe=True))

    def stream_logs(self, task_id: str, query: Mapping[str, Any], follow: bool) -> Iterator[LogLine]:
        return log_lines(self, task_id, query, follow)

    def stream_events(self, task_id: str, follow: bool) -> Iterator[Dict[str, Any]]:
        return event_rows(self, task_id, follow)

    # What there is.

    def devices(self) -> List[Dict[str, Any]]:
        return rows(self.call_json("GET", "/v1/devices"), "devices")

    def nodes(self) -> List[Dict[str, Any]]:
        return rows(self.call_json("GET", "/v1/nodes"), "nodes")

    def models(self) -> List[Dict[str, Any]]:
        return rows(self.call_json("GET", "/v1/models"), "models")

    def usage(self, **period: Union[str, int]) -> Dict[str, Any]:
        """Charged time and cost; from_= and to= bound it."""
        query = {"from": first(period, "from_", "from"), "to": period.get("to")}
        return dict(self.call_json("GET", "/v1/usage", query=query))
