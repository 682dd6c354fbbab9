"""fgpu.AsyncClient: Client for asyncio. Each call runs in a thread of the client's own pool, so a long wait holds a
thread, never the loop; streams are async iterators. A cancelled await leaves its call to end by itself."""
from __future__ import annotations

import asyncio
import functools
from concurrent.futures import ThreadPoolExecutor
from typing import Any, AsyncIterator, Callable, Dict, Iterable, Iterator, List, Optional, TypeVar, Union

from .client import Client, Spec
from .files import PathLike
from .logs import LogLine
from .spec import Input
from .task import Cost, Task

T = TypeVar("T")
END = object()


class AsyncTask:
    """Task, awaited."""

    def __init__(self, client: "AsyncClient", task: Task) -> None:
        self._client, self._task = client, task

    def __repr__(self) -> str:
        return "<Async" + repr(self._task)[1:]

    @property
    def id(self) -> str:
        return self._task.id

    @property
    def state(self) -> str:
        return self._task.state

    @property
    def reason(self) -> Optional[str]:
        return self._task.reason

    @property
    def cost(self) -> Optional[Cost]:
        return self._task.cost

    @property
    def ended(self) -> bool:
        return self._task.ended

    @property
    def data(self) -> Dict[str, Any]:
        return self._task.data

    async def _self(self, method: Callable[..., Task], *args: Any) -> "AsyncTask":
        await self._client.in_thread(method, *args)
        return self

    async def refresh(self) -> "AsyncTask":
        return await self._self(self._task.refresh)

    async def wait(self, timeout: Optional[float] = None) -> "AsyncTask":
        return await self._self(self._task.wait, timeout)

    async def cancel(self) -> "AsyncTask":
        return await self._self(self._task.cancel)

    async def hold(self) -> "AsyncTask":
        return await self._self(self._task.hold)

    async def release(self) -> "AsyncTask":
        return await self._self(self._task.release)

    async def retry(self) -> "AsyncTask":
        return AsyncTask(self._client, await self._client.in_thread(self._task.retry))

    async def result(self, timeout: Optional[float] = None) -> Any:
        return await self._client.in_thread(self._task.result, timeout)

    async def outputs(self) -> List[Dict[str, Any]]:
        return await self._client.in_thread(lambda: self._task.outputs)

    async def download(self, folder: PathLike) -> List[str]:
        return await self._client.in_thread(self._task.download, folder)

    async def why(self) -> Dict[str, Any]:
        return await self._client.in_thread(self._task.why)

    def logs(self, follow: bool = False, **options: Any) -> AsyncIterator[LogLine]:
        return self._client.iterate(lambda: self._task.logs(follow, **options))

    def events(self, follow: bool = False) -> AsyncIterator[Dict[str, Any]]:
        return self._client.iterate(lambda: self._task.events(follow))


class AsyncFiles:
    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    async def upload(self, source: Union[PathLike, bytes]) -> str:
        return await self._client.in_thread(self._client.sync.files.upload, source)

    async def download(self, blob: str, path: PathLike) -> str:
        return await self._client.in_thread(self._client.sync.files.download, blob, path)

    async def read(self, blob: str) -> bytes:
        return await self._client.in_thread(self._client.sync.files.read, blob)


class AsyncTasks:
    def __init__(self, client: "AsyncClient") -> None:
        self._client = client

    async def get(self, task_id: str) -> AsyncTask:
        return AsyncTask(self._client, await self._client.in_thread(self._client.sync.tasks.get, task_id))

    async def list(self, **filters: Any) -> AsyncIterator[AsyncTask]:
        async for task in self._client.iterate(lambda: self._client.sync.tasks.list(**filters)):
            yield AsyncTask(self._client, task)


class AsyncClient:
    def __init__(self, api_key: Optional[str] = None, url: Optional[str] = None, *, max_threads: int = 64, **options: Any) -> None:
        self.sync = Client(api_key, url, **options)
        self.url = self.sync.url
        self._pool = ThreadPoolExecutor(max_threads, thread_name_prefix="fgpu-aio")
        self.files, self.tasks = AsyncFiles(self), AsyncTasks(self)

    async def __aenter__(self) -> "AsyncClient":
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        self.sync.close()
        self._pool.shutdown(wait=False)

    async def in_thread(self, function: Callable[..., T], *args: Any, **options: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, functools.partial(function, *args, **options))

    async def iterate(self, start: Callable[[], Iterator[T]]) -> AsyncIterator[T]:
        """A blocking iterator, each step in a thread."""
        iterator = await self.in_thread(start)
        try:
            while True:
                item = await self.in_thread(next, iterator, END)
                if item is END:
                    return
                yield item
        finally:
            close = getattr(iterator, "close", None)
            if close is not None:
                try:
                    close()
                except ValueError:
                    pass    # its step still runs in its thread; it ends with the connection

    async def submit(self, model: Optional[str] = None, input: Optional[Input] = None, **options: Any) -> AsyncTask:
        return AsyncTask(self, await self.in_thread(self.sync.submit, model, input, **options))

    async def submit_spec(self, spec: Spec, *, idempotency_key: Optional[str] = None) -> AsyncTask:
        return AsyncTask(self, await self.in_thread(self.sync.submit_spec, spec, idempotency_key=idempotency_key))

    async def run(self, model: Optional[str] = None, input: Optional[Input] = None, **options: Any) -> AsyncTask:
        return AsyncTask(self, await self.in_thread(self.sync.run, model, input, **options))

    def map(self, model: str, inputs: Iterable[Input], **options: Any) -> AsyncIterator[Any]:
        return self.iterate(lambda: self.sync.map(model, inputs, **options))

    async def quote(self, model: Optional[str] = None, input: Optional[Input] = None, **options: Any) -> Dict[str, Any]:
        return await self.in_thread(self.sync.quote, model, input, **options)

    async def submit_task(self, spec: Spec) -> str:
        return await self.in_thread(self.sync.submit_task, spec)

    async def get_task_status(self, task_id: str) -> Dict[str, Any]:
        return await self.in_thread(self.sync.get_task_status, task_id)

    async def get_task_result(self, task_id: str, timeout: Optional[float] = None) -> Any:
        return await self.in_thread(self.sync.get_task_result, task_id, timeout)

    async def cancel_task(self, task_id: str) -> Dict[str, Any]:
        return await self.in_thread(self.sync.cancel_task, task_id)

    async def list_tasks(self, **filters: Any) -> List[Dict[str, Any]]:
        return await self.in_thread(self.sync.list_tasks, **filters)

    async def devices(self) -> List[Dict[str, Any]]:
        return await self.in_thread(self.sync.devices)

    async def nodes(self) -> List[Dict[str, Any]]:
        return await self.in_thread(self.sync.nodes)

    async def models(self) -> List[Dict[str, Any]]:
        return await self.in_thread(self.sync.models)

    async def usage(self, **period: Union[str, int]) -> Dict[str, Any]:
        return await self.in_thread(self.sync.usage, **period)
