#!/usr/bin/env python3
"""A PyTorch program for `make check-gpu`: trains and infers a small network, once with a CUDA graph; prints one JSON object.

usage: torch_task.py [--seconds N]. Exits 77 where PyTorch or its CUDA is missing."""
import json
import sys
import time

try:
    import torch
except ImportError:
    sys.exit(77)
if not torch.cuda.is_available():
    sys.exit(77)


def rate(step, seconds):
    """Steps a second, after a tenth of them to warm up."""
    for _ in range(10):
        step()
    torch.cuda.synchronize()
    start, n = time.monotonic(), 0
    while time.monotonic() - start < seconds:
        for _ in range(10):
            step()
        torch.cuda.synchronize()
        n += 10
    return n / (time.monotonic() - start)


def main():
    seconds = float(sys.argv[sys.argv.index("--seconds") + 1]) if "--seconds" in sys.argv else 5
    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 64, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(64, 64, 3, padding=1), torch.nn.ReLU(),
                              torch.nn.AdaptiveAvgPool2d(8), torch.nn.Flatten(), torch.nn.Linear(64 * 64, 1000)).cuda()
    x, y = torch.randn(64, 3, 64, 64, device="cuda"), torch.randint(0, 1000, (64,), device="cuda")
    optimizer = torch.optim.SGD(net.parameters(), lr=0.01)

    def train():
        optimizer.zero_grad(set_to_none=True)
        torch.nn.functional.cross_entropy(net(x), y).backward()
        optimizer.step()

    def infer():
        with torch.no_grad():
            net(x)

    result = {"train": rate(train, seconds), "infer": rate(infer, seconds)}
    graph = torch.cuda.CUDAGraph()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            infer()
    torch.cuda.current_stream().wait_stream(side)
    with torch.cuda.graph(graph):
        infer()
    result["graph"] = rate(graph.replay, seconds)
    result["matmul"] = rate(lambda: torch.mm(torch.ones(2048, 2048, device="cuda"), torch.ones(2048, 2048, device="cuda")), seconds)
    free, total = torch.cuda.mem_get_info()
    result["free_mib"], result["total_mib"] = free >> 20, total >> 20
    try:
        torch.empty(total + (1 << 30), dtype=torch.uint8, device="cuda")
        result["oom"] = False
    except torch.cuda.OutOfMemoryError:
        result["oom"] = True
    print(json.dumps(result))


main()
