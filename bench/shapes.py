"""Shares by kernel shape on the stand-in CUDA driver: a table of what vGPUs got, alone and side by side. Device time is what the kernels
are worth alone; of copies, which take no compute, what was charged."""
import argparse
import re
import sys

from server import ROOT
from table import at_least, at_most

SHAPES = ["tiny", "grid", "long", "mixed", "bursty", "graph", "coop", "sync"]
BESIDE = [(a, "grid") for a in SHAPES if a != "grid"] + [("grid", "grid"), ("sync", "sync"), ("sync", "tiny"), ("sync", "graph"), ("sync", "long"),
                                                          ("copy", "copy"), ("two processes", "grid")]

sys.path.insert(0, str(ROOT / "tests/gpu"))
from world import World  # noqa: E402


class Runs:
    def __init__(self, scale):
        self.world = World(argparse.Namespace(build=str(ROOT / "build"), quick=False, stand_in=True, limit=3600))
        self.seconds = str(max(0.5, 3 * scale))

    def command(self, shape):
        tenant = self.world.program("tenant")
        if shape == "two processes":
            return ["/bin/sh", "-c", f"{tenant} --shape grid --seconds {self.seconds} & {tenant} --shape grid --seconds {self.seconds}; wait"]
        return [tenant, "--shape", shape, "--seconds", self.seconds]

    def got(self, settings, *shapes):
        """Per cent of the device that each got, over the time of the longest; of three runs the one that others on this machine disturbed
        least: in which most was done."""
        return max((self.once(settings, *shapes) for _ in range(3)), key=sum)

    def once(self, settings, *shapes):
        _, outputs, figures, _ = self.world.slices(settings, *[self.command(shape) for shape in shapes])
        totals = [re.findall(r"total_ms ([\d.]+) launches \d+ worth_ms ([\d.]+)", text) for text in outputs]
        span = max(float(ms) for total in totals for ms, _ in total)
        return [100 * (sum(float(worth) for _, worth in total) or figure["device_ns"] / 1e6) / span for total, figure in zip(totals, figures)]


def shapes(scale):
    runs, rows = Runs(scale), []
    try:
        alone = {shape: runs.got(["share=1000"], shape)[0] for shape in SHAPES}
        for shape in SHAPES:
            got = {share: runs.got([f"share={share}0", "mode=capped"], shape)[0] for share in (25, 50, 75)}
            error = max(abs(value - min(share, alone[shape])) for share, value in got.items())
            rows.append(at_most(f"capped 25, 50, 75, {shape}: farthest from it", error, "points", 2,
                                ", ".join(f"{value:.1f}" for value in got.values()) + f" of {alone[shape]:.0f} alone"))
        for a, b in BESIDE:
            for first in (50, 30):
                got = runs.got([f"share={first}0,{100 - first}0", "mode=weighted"], a, b)
                error, used = abs(100 * got[0] / sum(got) - first), sum(got)
                rows.append(at_most(f"{first}:{100 - first}, {a} beside {b}: share error", error, "points", 2, f"got {got[0]:.1f} and {got[1]:.1f}"))
                rows.append(at_least("... use of the device", used, "%", 97))
    finally:
        runs.world.close()
    return rows
