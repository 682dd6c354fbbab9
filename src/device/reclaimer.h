/* reclaimer.h - a thread that gives the device memory of idle vGPUs to others and brings it back: looks at the leases, asks
 * reclaim.h what to do, and has checkpoint.h do it. It looks twice a second, and every 20 ms while anybody is not running.
 *
 * Memory is wanted on a device when what its vGPUs may still ask for (quota - used, of those that are not parked), and what the
 * parked need that have called, is more than the device has free; or when the device is drained.
 *
 * Who is parked is aside (vgpu/server.h): the agent may give its place to tasks that it can ask to go. Who calls takes its place
 * back before it is restored, and is said to LACK it while others are there: those among them that borrowed it and are idle are
 * parked, the rest is the agent's to stop. */
#pragma once
#include "base/error.h"
#include "device/leases.h"
#include "device/reclaim.h"
#include "fgpu/device.h"

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
/* Where its memory is, as fg_device_backend.parking says; false: it is not known yet. Any thread. */
bool fg_reclaimer_parking(struct fg_reclaimer *reclaimer, const char *name, struct fg_vgpu_parking *ret);
/* Whether vGPUs that run can be moved: known once the driver was asked. Any thread. */
bool fg_reclaimer_moves(struct fg_reclaimer *reclaimer);
/* As fg_device_backend.move. FG_E_CONFLICT: it is on its way already. Any thread. */
int fg_reclaimer_move(struct fg_reclaimer *reclaimer, const char *name, const char *to, struct fg_error *err);
/* Whether the device takes no more tasks: who is idle there is parked, so that it can be moved. NULL and any thread are fine. */
void fg_reclaimer_drain(struct fg_reclaimer *reclaimer, const char *device, bool drained);
