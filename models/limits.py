"""How many threads a worker may use: as many as its share of the processor lets run at once.

A cgroup quota stops all threads of a task when their sum reaches it, so more threads than the quota
has cores make each other wait, in the middle of a kernel. FGPU_SHARE (permille of the whole
processor) is what the agent says; the cgroup files are what the kernel says; the smaller one counts.
"""
import os
from pathlib import Path
from typing import Iterator, Mapping, Optional


def _own_groups(listing: str) -> Iterator[tuple]:
    """(hierarchy folder, path) of every group in /proc/self/cgroup that can hold a cpu quota."""
    for line in listing.splitlines():
        number, controllers, path = (line.split(":", 2) + ["", ""])[:3]
        if number == "0" and not controllers:
            yield "", path
        elif "cpu" in controllers.split(","):
            yield controllers, path
            yield "cpu", path


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _quota_of(folder: Path) -> Optional[float]:
    """Cores that this one group allows, or None: v2 says "max|QUOTA PERIOD", v1 has two files."""
    words = _read(folder / "cpu.max").split()
    if not words:
        words = [_read(folder / "cpu.cfs_quota_us").strip(), _read(folder / "cpu.cfs_period_us").strip()]
    try:
        quota, period = int(words[0]), int(words[1])
    except (ValueError, IndexError):
        return None
    return quota / period if quota > 0 and period > 0 else None


def cgroup_cores(root: str = "/sys/fs/cgroup", listing: str = "/proc/self/cgroup") -> Optional[float]:
    """The smallest quota of this process's groups and of those above them, in cores."""
    found = []
    for hierarchy, path in _own_groups(_read(Path(listing))):
        top = Path(root) / hierarchy
        folder = top / path.strip("/")
        for group in [folder, *folder.parents]:
            found.append(_quota_of(group))
            if group == top:
                break
    quotas = [q for q in found if q is not None]
    return min(quotas) if quotas else None


def thread_count(cores: int, quota: Optional[float], environ: Mapping[str, str]) -> int:
    """Whole threads that fit the share, at least one. A quarter of a core missing is let pass."""
    allowed = float(cores) if quota is None else min(float(cores), quota)
    try:
        allowed = min(allowed, (os.cpu_count() or 1) * int(environ.get("FGPU_SHARE", "")) / 1000)
    except ValueError:
        pass
    return max(1, int(allowed + 0.25))


def apply_thread_limit() -> int:
    """Set the limit for every library that reads it from the environment; call before they load."""
    count = thread_count(len(os.sched_getaffinity(0)), cgroup_cores(), os.environ)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = str(count)
    # Threads that spin while they wait would spend the quota on nothing.
    os.environ["OMP_WAIT_POLICY"] = "PASSIVE"
    return count
