#!/usr/bin/env python3
"""cuBLAS and cuDNN called directly, over the driver alone, for `make check-gpu`; prints one JSON object of calls a second by name, or
in a number's place why there is none: a library may be missing. Results are compared with what they must be.

usage: library_task.py [--seconds N: for each]. Exits 77 where there is no driver."""
import ctypes
import glob
import json
import site
import sys
import time

N = 512


def library(name):
    """By the loader's own path, then as Python packages carry it."""
    places = [f"{folder}/nvidia/*/lib/{name}" for folder in [*site.getsitepackages(), site.getusersitepackages(), *sys.path] if folder]
    places += [f"/usr/local/cuda*/lib64/{name}", f"/usr/local/cuda*/targets/*/lib/{name}", f"/usr/lib/*/{name}"]
    tried = [name.replace(".so.*", f".so.{n}") for n in (13, 12, 11, 10, 9, 8)] + [p for place in places for p in sorted(glob.glob(place))]
    for path in tried:
        try:
            return ctypes.CDLL(path, mode=ctypes.RTLD_GLOBAL)
        except OSError:
            continue
    raise RuntimeError(f"no {name} here that loads")


def need(result, what):
    if result:
        raise RuntimeError(f"{what}: {result}")


class Device:
    def __init__(self):
        self.cu = ctypes.CDLL("libcuda.so.1")
        context = ctypes.c_void_p()
        need(self.cu.cuInit(0), "cuInit")
        need(self.cu.cuDevicePrimaryCtxRetain(ctypes.byref(context), 0), "cuDevicePrimaryCtxRetain")
        need(self.cu.cuCtxSetCurrent(context), "cuCtxSetCurrent")

    def floats(self, values):
        at, host = ctypes.c_void_p(), (ctypes.c_float * len(values))(*values)
        need(self.cu.cuMemAlloc_v2(ctypes.byref(at), ctypes.c_size_t(ctypes.sizeof(host))), "cuMemAlloc")
        need(self.cu.cuMemcpyHtoD_v2(at, host, ctypes.c_size_t(ctypes.sizeof(host))), "cuMemcpyHtoD")
        return at

    def first(self, at):
        value = ctypes.c_float()
        need(self.cu.cuMemcpyDtoH_v2(ctypes.byref(value), at, ctypes.c_size_t(4)), "cuMemcpyDtoH")
        return value.value

    def rate(self, step, seconds):
        for _ in range(10):
            need(step(), "the call")
        need(self.cu.cuCtxSynchronize(), "cuCtxSynchronize")
        start, n = time.monotonic(), 0
        while time.monotonic() - start < seconds:
            for _ in range(50):
                need(step(), "the call")
            need(self.cu.cuCtxSynchronize(), "cuCtxSynchronize")
            n += 50
        return n / (time.monotonic() - start)


def cublas(device, seconds):
    blas, handle = library("libcublas.so.*"), ctypes.c_void_p()
    need(blas.cublasCreate_v2(ctypes.byref(handle)), "cublasCreate")
    a, b, c = (device.floats([value] * (N * N)) for value in (1, 2, 0))
    one, zero = ctypes.byref(ctypes.c_float(1)), ctypes.byref(ctypes.c_float(0))
    result = device.rate(lambda: blas.cublasSgemm_v2(handle, 0, 0, N, N, N, one, a, N, b, N, zero, c, N), seconds)
    if device.first(c) != 2 * N:
        raise RuntimeError(f"the product is {device.first(c)}, not {2 * N}")
    return result


def cudnn(device, seconds):
    dnn, handle, tensor, what = library("libcudnn.so.*"), ctypes.c_void_p(), ctypes.c_void_p(), ctypes.c_void_p()
    need(dnn.cudnnCreate(ctypes.byref(handle)), "cudnnCreate")
    need(dnn.cudnnCreateTensorDescriptor(ctypes.byref(tensor)), "cudnnCreateTensorDescriptor")
    need(dnn.cudnnSetTensor4dDescriptor(tensor, 0, 0, 1, 1, N, N), "cudnnSetTensor4dDescriptor")  # NCHW, float
    need(dnn.cudnnCreateActivationDescriptor(ctypes.byref(what)), "cudnnCreateActivationDescriptor")
    need(dnn.cudnnSetActivationDescriptor(what, 1, 0, ctypes.c_double(0)), "cudnnSetActivationDescriptor")  # relu
    x, y = device.floats([3] * (N * N)), device.floats([0] * (N * N))
    one, zero = ctypes.byref(ctypes.c_float(1)), ctypes.byref(ctypes.c_float(0))
    result = device.rate(lambda: dnn.cudnnActivationForward(handle, what, one, tensor, x, zero, tensor, y), seconds)
    if device.first(y) != 3:
        raise RuntimeError(f"the activation of 3 is {device.first(y)}")
    return result


def main():
    seconds = float(sys.argv[sys.argv.index("--seconds") + 1]) if "--seconds" in sys.argv else 3
    try:
        device = Device()
    except (OSError, RuntimeError) as why:
        print(f"no driver: {why}")
        sys.exit(77)
    result = {}
    for what, call in {"cuBLAS by itself": cublas, "cuDNN by itself": cudnn}.items():
        try:
            result[what] = call(device, seconds)
        except (OSError, RuntimeError, AttributeError) as why:
            result[what] = str(why)
    print(json.dumps(result))


main()
