"""A task spec (api/task.toml) out of keyword arguments. The server checks it; here only shapes are turned."""
from __future__ import annotations

import os
import re
from decimal import Decimal
from typing import Any, Dict, List, Mapping, Optional, Sequence, Union

from .errors import InvalidInput
from .files import PathLike

Input = Union[PathLike, bytes, Mapping[str, Union[PathLike, bytes]]]
Money = Union[str, int, float, Decimal]
Seconds = Union[int, float, str]

SIZE = re.compile(r"\d+(\.\d+)?\s*[KMGTP]?i?B", re.I)
SHARE = re.compile(r"(\d+(?:\.\d+)?)%|(0?\.\d+|1(?:\.0*)?)")


def parse_gpu(text: str) -> Dict[str, Any]:
    """"8GB", "0.25" or "25%", "H200", "H200:8GB", "H200:0.25" as resources."""
    out: Dict[str, Any] = {}
    value: Any
    for part in text.split(":"):
        share = SHARE.fullmatch(part)
        if SIZE.fullmatch(part):
            name, value = "memory", part
        elif share:
            name, value = "share", float(share.group(1)) if share.group(1) else float(share.group(2)) * 100
        elif part and not part[0].isdigit():
            name, value = "device_kind", part
        else:
            raise InvalidInput(f"'{part}' is neither a memory, a share nor a device kind", code="invalid",
                               hint='gpu="8GB", gpu="0.25", gpu="25%" or gpu="H200:8GB"')
        if name in out:
            raise InvalidInput(f"gpu='{text}' names {name} twice", code="invalid")
        out[name] = value
    return out


def money(amount: Money) -> str:
    return amount if isinstance(amount, str) else format(Decimal(str(amount)), "f")


def build(model: Optional[str] = None, input: Optional[Input] = None, *, command: Union[str, Sequence[str], None] = None,
          task_type: Optional[str] = None, gpu: Optional[str] = None, memory: Union[int, str, None] = None,
          share: Optional[float] = None, share_max: Optional[float] = None, device_kind: Optional[str] = None,
          cpus: Optional[float] = None, host_memory: Union[int, str, None] = None,
          env: Optional[Mapping[str, str]] = None,
          workdir: Optional[PathLike] = None, outputs: Optional[Sequence[str]] = None, name: Optional[str] = None,
          labels: Optional[Mapping[str, str]] = None, task_class: Optional[str] = None, priority: Optional[str] = None,
          queue_limit: Optional[Seconds] = None, startup_limit: Optional[Seconds] = None, time_limit: Optional[Seconds] = None,
          max_cost: Optional[Money] = None, retries: Optional[int] = None, retry_on: Optional[Sequence[str]] = None,
          hold: Optional[bool] = None, deadline: Optional[Seconds] = None, preemptible: Optional[bool] = None,
          spot: Optional[bool] = None, array: Optional[str] = None, gang: Optional[bool] = None) -> Dict[str, Any]:
    """share and share_max are percent of the device; cpus (cores) and host_memory are beside it, on its machine; times are seconds or
    "5m"; a command that is one string runs in sh -c."""
    if command is not None and model is not None:
        raise InvalidInput("a task has a model or a command, not both", code="invalid")
    resources = {**(parse_gpu(gpu) if gpu else {}),
                 **_given(memory=memory, share=share, share_max=share_max, device_kind=device_kind, cpus=cpus, host_memory=host_memory)}
    limits = _given(queue=queue_limit, startup=startup_limit, run=time_limit, deadline=deadline,
                    max_cost=None if max_cost is None else money(max_cost))
    argv: Optional[List[str]] = None
    if command is not None:
        argv = ["/bin/sh", "-c", command] if isinstance(command, str) else [os.fspath(word) for word in command]
    return _given(task_type=task_type or ("command" if argv else "image_classification"), model_name=model, input_data=input,
                  command=argv, env=None if env is None else dict(env), workdir=workdir,
                  outputs=None if outputs is None else list(outputs), name=name,
                  labels=None if labels is None else dict(labels), resources=resources or None, limits=limits or None,
                  priority=priority, retries=retries, retry_on=None if retry_on is None else list(retry_on), hold=hold,
                  preemptible=preemptible, spot=spot, array=array, gang=gang, **{"class": task_class})


def _given(**values: Any) -> Dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}
