/* opencl_try.h - a plain OpenCL program that looks at its own lease's counters; parts of opencl_try. */
#pragma once
#define CL_TARGET_OPENCL_VERSION 300
#define CL_USE_DEPRECATED_OPENCL_1_0_APIS
#define CL_USE_DEPRECATED_OPENCL_1_1_APIS
#define CL_USE_DEPRECATED_OPENCL_1_2_APIS
#define CL_USE_DEPRECATED_OPENCL_2_0_APIS
#define CL_USE_DEPRECATED_OPENCL_2_1_APIS
#define CL_USE_DEPRECATED_OPENCL_2_2_APIS
#include <CL/cl.h>
#include <CL/cl_ext.h>
#include <stdio.h>
#include <stdlib.h>

#include "vgpu/ledger.h"

struct world {
    cl_platform_id platform;
    cl_device_id device;
    cl_context context;
    cl_command_queue queue;
    const struct fg_limits *limits;
    struct fg_counters *counters;
};
extern struct world w;

/* A claim that stops the program when it does not hold, and shows both numbers. */
#define EQUAL(a, b) equal((long long)(a), (long long)(b), #a, __LINE__)
static inline void equal(long long a, long long b, const char *what, int line)
{
    if (a == b)
        return;
    printf("line %d: %s is %lld, not %lld\n", line, what, a, b);
    exit(1);
}

static inline unsigned long long used(void) { return fg_ledger_used(w.counters); }
unsigned long long submitted(void); /* by all processes of the lease, settled or not */
/* Wait until nothing is in flight. Returns 1 when that came true within 5 s. */
int quiet(void);

/* opencl_try_memory.c: 0, or 2 for an unknown entry point. */
int try_alloc(const char *entry);
int try_hold(const char *entry, int wait);
int try_shared(void);
/* opencl_try_enqueue.c */
int try_enqueue(void);
int try_commands(void);
int try_queue(void);
