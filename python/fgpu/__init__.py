"""FastGPU's Python SDK: submit deep-learning tasks to a FastGPU server, wait, read results, logs and cost.

    from fgpu import Client
    with Client() as client:
        task = client.run("efficientnet_lite0", "cat.jpg")
        print(task.result(), task.cost)
"""
from .aio import AsyncClient, AsyncTask
from .client import Client
from .errors import (AuthError, BudgetExceeded, Conflict, FgpuError, Forbidden, InputMissing, InvalidInput, NotFound,
                     QuotaExceeded, ServerUnavailable, StorageFull, TaskCanceled, TaskEnded, TaskExpired, TaskFailed, TaskTimeout)
from .logs import LogLine
from .task import Cost, Task

__version__ = "0.1.0"
__all__ = ["AsyncClient", "AsyncTask", "AuthError", "BudgetExceeded", "Client", "Conflict", "Cost", "FgpuError", "Forbidden",
           "InputMissing", "InvalidInput", "LogLine", "NotFound", "QuotaExceeded", "ServerUnavailable", "StorageFull", "Task",
           "TaskCanceled", "TaskEnded", "TaskExpired", "TaskFailed", "TaskTimeout"]
