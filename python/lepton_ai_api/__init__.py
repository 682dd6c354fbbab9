"""The four-line API over fgpu.Client:

    import lepton_ai_api
    client = lepton_ai_api.Client("your_api_key")
    task_id = client.submit_task({"task_type": "image_classification", "model_name": "resnet50",
                                  "input_data": "path/to/image.jpg"})
    result = client.get_task_result(task_id)

The placeholder "your_api_key" means the key of FGPU_API_KEY or the one that `fgpu up` saved.
"""
from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional

import fgpu
from fgpu import (AuthError, FgpuError, InputMissing, InvalidInput, NotFound, ServerUnavailable, TaskCanceled, TaskExpired,
                  TaskFailed, TaskTimeout)


class Client:
    """submit_task, get_task_result, get_task_status, cancel_task, list_tasks. All else is in fgpu.Client."""

    def __init__(self, api_key: Optional[str] = None, url: Optional[str] = None) -> None:
        self._client = fgpu.Client(api_key, url)

    def submit_task(self, task: Mapping[str, Any]) -> str:
        """Submit a task; its id. A local path in input_data is uploaded, once."""
        return self._client.submit_task(task)

    def get_task_result(self, task_id: str, timeout: Optional[float] = None) -> Any:
        """Wait for the result. A failed task raises TaskFailed with reason, hint and log_tail."""
        return self._client.get_task_result(task_id, timeout)

    def get_task_status(self, task_id: str) -> Dict[str, Any]:
        """State, reason, times, cost."""
        return self._client.get_task_status(task_id)

    def cancel_task(self, task_id: str) -> Dict[str, Any]:
        return self._client.cancel_task(task_id)

    def list_tasks(self, **filters: Any) -> List[Dict[str, Any]]:
        """Newest first: state=, name=, label=, limit=."""
        return self._client.list_tasks(**filters)

    def close(self) -> None:
        self._client.close()

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


__all__ = ["AuthError", "Client", "FgpuError", "InputMissing", "InvalidInput", "NotFound", "ServerUnavailable", "TaskCanceled",
           "TaskExpired", "TaskFailed", "TaskTimeout"]
