/* cudart_mini.h - a library shaped like CUDA's runtime, small: it opens libcuda.so.1, asks cuGetProcAddress_v2 for every
 * function by name, version and kind of default stream, and uses primary contexts. So a program linked with it reaches the
 * driver the way unmodified programs do, static or shared. No code of the runtime is in it; no cuGetExportTable either. */
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef int cudaError_t; /* the codes used here have the driver's numbers */
typedef struct CUstream_st *cudaStream_t;
typedef struct CUevent_st *cudaEvent_t;
typedef struct CUgraph_st *cudaGraph_t;
typedef struct CUgraphExec_st *cudaGraphExec_t;
typedef struct { unsigned x, y, z; } cuda_dim3; /* dim3 */
enum { cudaMemcpyHostToHost, cudaMemcpyHostToDevice, cudaMemcpyDeviceToHost, cudaMemcpyDeviceToDevice, cudaMemcpyDefault };

/* 1: stream 0 is the thread's own, as programs are compiled with --default-stream per-thread. Before the first call. */
void cudart_mini_per_thread(int on);

/* What a compiled program does before main: an image, and which kernel a host function stands for. */
void **__cudaRegisterFatBinary(const void *image);
void __cudaRegisterFunction(void **handle, const void *host_function, const char *name);

cudaError_t cudaGetLastError(void);
const char *cudaGetErrorName(cudaError_t code);
cudaError_t cudaGetDeviceCount(int *n);
cudaError_t cudaSetDevice(int device);
cudaError_t cudaGetDevice(int *device);
cudaError_t cudaDeviceSynchronize(void);
cudaError_t cudaDeviceReset(void);
cudaError_t cudaMemGetInfo(size_t *free_bytes, size_t *total);
cudaError_t cudaMalloc(void **ret, size_t bytes);
cudaError_t cudaFree(void *pointer);
cudaError_t cudaMallocPitch(void **ret, size_t *pitch, size_t width, size_t height);
cudaError_t cudaMallocManaged(void **ret, size_t bytes, unsigned flags);
cudaError_t cudaMallocHost(void **ret, size_t bytes);
cudaError_t cudaFreeHost(void *pointer);
cudaError_t cudaMallocAsync(void **ret, size_t bytes, cudaStream_t stream);
cudaError_t cudaFreeAsync(void *pointer, cudaStream_t stream);
cudaError_t cudaMemcpy(void *to, const void *from, size_t bytes, int kind);
cudaError_t cudaMemcpyAsync(void *to, const void *from, size_t bytes, int kind, cudaStream_t stream);
cudaError_t cudaMemset(void *to, int value, size_t bytes);
cudaError_t cudaStreamCreateWithFlags(cudaStream_t *ret, unsigned flags);
cudaError_t cudaStreamDestroy(cudaStream_t stream);
cudaError_t cudaStreamSynchronize(cudaStream_t stream);
cudaError_t cudaStreamQuery(cudaStream_t stream);
cudaError_t cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned flags);
cudaError_t cudaEventCreate(cudaEvent_t *ret);
cudaError_t cudaEventDestroy(cudaEvent_t event);
cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream);
cudaError_t cudaEventSynchronize(cudaEvent_t event);
cudaError_t cudaEventQuery(cudaEvent_t event);
cudaError_t cudaEventElapsedTime(float *ms, cudaEvent_t from, cudaEvent_t to);
cudaError_t cudaLaunchKernel(const void *host_function, cuda_dim3 grid, cuda_dim3 block, void **params, size_t shared, cudaStream_t stream);
cudaError_t cudaLaunchCooperativeKernel(const void *host_function, cuda_dim3 grid, cuda_dim3 block, void **params, size_t shared, cudaStream_t stream);
cudaError_t cudaLaunchHostFunc(cudaStream_t stream, void (*call)(void *), void *arg);
cudaError_t cudaStreamBeginCapture(cudaStream_t stream, int mode);
cudaError_t cudaStreamEndCapture(cudaStream_t stream, cudaGraph_t *ret);
cudaError_t cudaGraphInstantiate(cudaGraphExec_t *ret, cudaGraph_t graph, unsigned long long flags);
cudaError_t cudaGraphLaunch(cudaGraphExec_t exec, cudaStream_t stream);
cudaError_t cudaGraphDestroy(cudaGraph_t graph);
cudaError_t cudaGraphExecDestroy(cudaGraphExec_t exec);
