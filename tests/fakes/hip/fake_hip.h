/* fake_hip.h - a stand-in for libamdhip64, for tests: exact accounting of one process on one device of 1 GiB, and streams on a
 * clock that moves only when a test or a wait moves it. Written from HIP's documents; it runs no code.
 *
 *   linear memory    pages of 4096          pools           grow by 2 MiB, shrink when the device is synchronised
 *   pitch            multiples of 256       physical        granules of 2 MiB
 *   arrays           rows of 256 bytes, levels in pages
 *
 * A job takes cost_ns (0: it is done at once). Tests find these functions by dlsym, behind the front end. */
#pragma once
#include <stdint.h>

#include "shim/hip/hip_abi.h"

#define FK_TOTAL (UINT64_C(1) << 30)

uint64_t fake_hip_live(void);                           /* bytes of device memory taken */
uint64_t fake_hip_calls(const char *name);              /* of a submitting function, or of one that fails on demand */
void fake_hip_fail(const char *name, int error);        /* its next call */
void fake_hip_cost(int64_t cost_ns);                    /* of each further job */
uint64_t fake_hip_jobs(void);                           /* run, not captured */
void fake_hip_hold(int yes);                            /* another process holds all that was exported */
uint64_t fake_hip_graph_nodes(void *graph);
void fake_hip_by_soname(int yes);                       /* look functions up in what bears our name */
int fake_hip_launch_inside(void *stream);                /* two jobs, by the exported names */
int fake_hip_newer(int x);                              /* what no front end knows */
