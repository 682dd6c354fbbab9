/* opencl_parts.h - what the parts of opencl_bench share. */
#pragma once
#include "opencl_run.h"

#define TENANTS 4

extern double scale;
void row(const char *what, double value, const char *unit, const char *sense, double bar, const char *note);
/* A client that runs kernels of this length, always with work queued; on_ms and off_ms: in turns, if off_ms is not 0. */
void spawn_stream(struct tenant *tenant, unsigned share, enum fg_share_mode mode, double kernel_us, unsigned on_ms, unsigned off_ms);
/* Bins of a second of several running tenants: parts[bin][tenant] in % of wall time. Those others disturbed are taken again
 * while there is patience. Returns how many were disturbed for good. */
unsigned take_bins(struct tenant *tenants, unsigned count, unsigned bins, double (*parts)[TENANTS]);

/* --- opencl_tenants.c --- */
void part_tenants(void);
void part_settle(void);
