#!/usr/bin/env python3
"""A PyTorch program for `make check-gpu`: trains and infers a small network, once with a CUDA graph, then single operations of cuBLAS
and cuDNN; prints one JSON object of steps a second by name. What fails is there with its reason in the number's place.

usage: torch_task.py [--seconds N: for each]. Exits 77 where PyTorch or its CUDA is missing."""
import json
import sys
import time

try:
    import torch
except ImportError as why:
    print(why)
    sys.exit(77)
if not torch.cuda.is_available():
    print("PyTorch sees no CUDA device")
    sys.exit(77)


def rate(step, seconds):
    """Steps a second, after some to warm up."""
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


def network():
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

    return train, infer


def captured(infer):
    graph, side = torch.cuda.CUDAGraph(), torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            infer()
    torch.cuda.current_stream().wait_stream(side)
    with torch.cuda.graph(graph):
        infer()
    return graph.replay


def product(kind):
    a, b = (torch.randn(2048, 2048, device="cuda", dtype=kind) for _ in range(2))
    return lambda: torch.mm(a, b)


def linear():
    layer, x = torch.nn.Linear(2048, 2048).cuda().bfloat16(), torch.randn(512, 2048, device="cuda", dtype=torch.bfloat16)
    return lambda: layer(x)  # with its bias: cuBLASLt's


def convolution(gradient):
    if not torch.backends.cudnn.is_available():
        raise RuntimeError("this PyTorch has no cuDNN")
    torch.backends.cudnn.benchmark = True  # it tries several ways, each with a workspace of its own
    layer, x = torch.nn.Conv2d(64, 128, 3, padding=1).cuda(), torch.randn(32, 64, 56, 56, device="cuda", requires_grad=gradient)
    return (lambda: layer(x).sum().backward()) if gradient else lambda: layer(x)


def out_of_memory(total):
    try:
        torch.empty(total + (1 << 30), dtype=torch.uint8, device="cuda")
        return False
    except torch.cuda.OutOfMemoryError:
        return True


def main():
    seconds = float(sys.argv[sys.argv.index("--seconds") + 1]) if "--seconds" in sys.argv else 3
    net = {}
    steps = {"PyTorch train": lambda: net.update(zip(("train", "infer"), network())) or net["train"], "PyTorch infer": lambda: net["infer"],
             "PyTorch graph": lambda: captured(net["infer"]), "cuBLAS, fp32": lambda: product(torch.float32),
             "cuBLAS, bf16": lambda: product(torch.bfloat16), "cuBLASLt, linear": linear, "cuDNN, convolution": lambda: convolution(False),
             "cuDNN, its gradient": lambda: convolution(True)}
    result = {}
    for what, make in steps.items():
        try:
            result[what] = rate(make(), seconds)
        except Exception as why:  # pylint: disable=broad-except  # the others go on
            result[what] = f"{type(why).__name__}: {str(why).strip().splitlines()[0][:120] if str(why).strip() else ''}"
    free, total = torch.cuda.mem_get_info()
    result["free_mib"], result["total_mib"] = free >> 20, total >> 20
    result["oom"] = out_of_memory(total)
    print(json.dumps(result))


main()
