"""What can go wrong, as one tree under FgpuError.

An error of the server carries what its RFC 9457 body says: code, status, detail, hint, the JSON pointer to the value
at fault and the request's id, which finds it in the server's log.
"""
from __future__ import annotations

from typing import Any, Dict, List, Mapping, Optional, Type


class FgpuError(Exception):
    """Base of all. The message is whole: what happened, and the hint on a line of its own."""

    def __init__(self, message: str, *, hint: str = "", code: str = "", status: int = 0, pointer: str = "",
                 errors: Optional[List[Dict[str, Any]]] = None, request_id: str = "", retryable: bool = False,
                 idempotency_key: str = "") -> None:
        super().__init__(f"{message}\nhint: {hint}" if hint else message)
        self.message, self.hint, self.code, self.status = message, hint, code, status
        self.pointer, self.errors, self.request_id, self.retryable = pointer, errors or [], request_id, retryable
        self.idempotency_key = idempotency_key    # submit again with it and nothing runs twice


class AuthError(FgpuError):
    """No valid key."""


class Forbidden(FgpuError):
    """The key does not allow this."""


class NotFound(FgpuError):
    """No such task, blob or model, or not yours."""


class InvalidInput(FgpuError):
    """A value is not allowed; pointer says which."""


class InputMissing(InvalidInput):
    """A local file that was named is not there. Nothing was sent."""


class Conflict(FgpuError):
    """The object is in a state that does not allow this."""


class QuotaExceeded(FgpuError):
    """Too many requests or slices for this key."""


class BudgetExceeded(FgpuError):
    """The budget does not cover this."""


class StorageFull(FgpuError):
    """The server's disk is full."""


class ServerUnavailable(FgpuError):
    """The server cannot be reached or cannot answer now."""


class TaskTimeout(FgpuError):
    """The task had not ended in the time given to wait. It goes on."""

    def __init__(self, task_id: str, state: str, seconds: float) -> None:
        super().__init__(f"task {task_id} is {state} after {seconds:g} s of waiting; it goes on",
                         hint=f"wait again, or see why: fgpu why {task_id}", code="timeout")
        self.task_id, self.state = task_id, state


class TaskEnded(FgpuError):
    """The task ended without success; reason is one of the stable codes, log_tail its last output."""

    verb = "ended"

    def __init__(self, task_id: str, reason: str, detail: str = "", hint: str = "", log_tail: str = "",
                 exit_code: Optional[int] = None) -> None:
        why = [part for part in ("" if reason == "none" else reason, detail) if part]    # a cancel needs no reason
        super().__init__(": ".join([f"task {task_id} {self.verb}", *why]), hint=hint, code="task_failed")
        if log_tail:
            self.args = (f"{self.args[0]}\nlast output:\n{log_tail.rstrip()}",)
        self.task_id, self.reason, self.detail, self.log_tail, self.exit_code = task_id, reason, detail, log_tail, exit_code


class TaskFailed(TaskEnded):
    """The program or the platform failed."""

    verb = "failed"


class TaskCanceled(TaskEnded):
    """Its owner canceled it."""

    verb = "was canceled"


class TaskExpired(TaskEnded):
    """It reached its queue limit before it started."""

    verb = "expired"


BY_CODE: Dict[str, Type[FgpuError]] = {
    "unauthenticated": AuthError, "forbidden": Forbidden, "not_found": NotFound, "conflict": Conflict,
    "malformed": InvalidInput, "invalid": InvalidInput, "method_not_allowed": InvalidInput, "too_large": InvalidInput,
    "unsupported_media": InvalidInput, "idempotency_mismatch": InvalidInput, "unsupported": InvalidInput,
    "budget_exceeded": BudgetExceeded, "rate_limited": QuotaExceeded, "storage_full": StorageFull,
    "unavailable": ServerUnavailable, "timeout": ServerUnavailable, "unreachable": ServerUnavailable,
    "internal": ServerUnavailable, "io": ServerUnavailable, "nomem": ServerUnavailable,
}
BY_STATUS: Dict[int, Type[FgpuError]] = {401: AuthError, 402: BudgetExceeded, 403: Forbidden, 404: NotFound, 409: Conflict,
                                         429: QuotaExceeded, 507: StorageFull}
ENDED: Dict[str, Type[TaskEnded]] = {"failed": TaskFailed, "canceled": TaskCanceled, "expired": TaskExpired}


def from_problem(status: int, body: Any) -> FgpuError:
    """The error that an answer with this status and body (problem+json, or anything else) stands for."""
    problem: Mapping[str, Any] = body if isinstance(body, dict) else {}
    code = str(problem.get("code") or "")
    kind = BY_CODE.get(code) or BY_STATUS.get(status) or (InvalidInput if 400 <= status < 500 else ServerUnavailable)
    errors = [e for e in problem.get("errors") or [] if isinstance(e, dict)]
    pointer = str(errors[0].get("pointer", "")) if errors else ""
    message = str(problem.get("detail") or problem.get("title") or f"the server answered {status}")
    if pointer and pointer not in message:
        message = f"{pointer}: {message}"
    return kind(message, hint=str(problem.get("hint") or ""), code=code, status=status, pointer=pointer, errors=errors,
                request_id=str(problem.get("request_id") or ""), retryable=bool(problem.get("retryable")))


def from_end(task_id: str, state: str, error: Mapping[str, Any]) -> TaskEnded:
    """The error of a task that ended in state, which is not succeeded."""
    tail = error.get("log_tail") or ""
    exit_code = error.get("exit_code")
    return ENDED.get(state, TaskFailed)(
        task_id, str(error.get("reason") or state), detail=str(error.get("detail") or error.get("message") or ""), hint=str(error.get("hint") or ""),
        log_tail="\n".join(map(str, tail)) if isinstance(tail, list) else str(tail),
        exit_code=exit_code if isinstance(exit_code, int) else None)
