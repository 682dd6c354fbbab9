/* reclaimer.h - a thread that gives the device memory of idle vGPUs to others and brings it back: looks at the leases, asks
 * reclaim.h what to do, and has checkpoint.h do it. It looks twice a second, and every 20 ms while anybody is not running.
 *
 * Memory is wanted on a device when what its vGPUs may still ask for (quota - used, of those that are not parked), and what the
 * parked need that have called, is more than the device has free. */
#pragma once
#include "base/error.h"
#include "device/leases.h"
#include "device/reclaim.h"

struct fg_reclaimer;
struct fg_reclaimer_config {
    struct fg_reclaim_params params;
    struct fg_leases *leases;            /* outlives it */
    const char *program, *driver;        /* paths: fgpu-checkpoint, the driver's libcuda; copied */
    /* What is free on the device. Called by its thread. False: not known, so nothing is wanted there. */
    bool (*free_bytes)(void *arg, const char *device, uint64_t *ret);
    void *arg;
};
/* Leases that an earlier agent parked come back, whatever the parameters say. */
int fg_reclaimer_start(struct fg_reclaimer **ret, const struct fg_reclaimer_config *config, struct fg_error *err);
/* Who is parked stays so, for the next one. NULL is fine. */
void fg_reclaimer_stop(struct fg_reclaimer *reclaimer);
/* Whether the vGPU is lost: its task is to end. Any thread. */
bool fg_reclaimer_lost(struct fg_reclaimer *reclaimer, const char *name, char text[200]);
/* Any thread. RUNNING when it does not know the vGPU. */
enum fg_reclaim_state fg_reclaimer_state(struct fg_reclaimer *reclaimer, const char *name);
