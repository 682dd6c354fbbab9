/* opencl_log.h - memory that opencl_bench shares with the programs that it starts: commands down, times up. */
#pragma once
#include <stdint.h>

#define LOG_SPANS (1u << 19)

struct span { uint64_t start_ns, end_ns; };

struct log {
    /* bench -> program */
    uint32_t go;          /* streams: 1 run; rounds: +1 for each round. A futex */
    uint32_t stop;
    /* program -> bench */
    uint32_t ready;       /* everything is built and warm. A futex */
    uint32_t done;        /* rounds finished. A futex */
    int64_t offset_ns;    /* device clock - CLOCK_MONOTONIC, of this program */
    uint64_t loops_per_ms; /* calibrate */
    uint64_t count;       /* spans below this are written */
    struct span spans[LOG_SPANS]; /* streams: START and END of each kernel by the driver's clock; rounds: wall and processor time */
};
