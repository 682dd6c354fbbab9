/* fake.h - the inside of the stand-in. One lock for all. */
#pragma once
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "fake_hip.h"

#define FK_EXPORT __attribute__((visibility("default")))
/* A function of the library: declared, then defined. */
#define FK_API(name, params) FK_EXPORT CUresult name params; FK_EXPORT CUresult name params

extern pthread_mutex_t fk_lock;
/* Locked. Count the call; an error that a test asked for. */
CUresult fk_enter(const char *name);
CUresult fk_error(CUresult result); /* remembered for hipGetLastError */

struct fk_stream { int64_t end_ns; int captures; struct fk_graph *graph; };
struct fk_graph { uint64_t nodes; };
struct fk_stream *fk_stream(hipStream_t stream, int own);
CUresult fk_submit(const char *name, struct fk_stream *stream, int waits);
/* Locked. All streams are done. */
void fk_drain(void);
/* Locked. Pools give back what is unused. */
void fk_trim_pools(void);
