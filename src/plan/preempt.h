/* preempt.h - whose place a task takes that may displace others. Pure. Any thread.
 *
 * Of a device's tasks those go first that rank lowest (spot, then low, ...), the youngest of them first: least is lost.
 * Where the processor of the machine is short, those who hold a part of it may go too, wherever on the machine they are.
 * Nobody is asked to go who ranks as high as the task, or who is not preemptible, or in vain. Of several devices it is
 * the one where the highest rank that must go is lowest, then where least work is lost, then the lowest id. */
#pragma once
#include "plan/place.h"

struct fg_plan_victim {                  /* a live lease that may be asked to go */
    fg_device_id device;
    uint32_t index;                      /* the caller's, to know it again */
    uint64_t memory_bytes;
    uint32_t share_permille;
    int rank;
    int64_t started_ns;
    bool chosen;
    fg_device_id host;                   /* on which it holds a part beside its device; 0: none */
    uint32_t host_milli;
    uint64_t host_bytes;
};
/* Choose victims for the task (and its gang) in devices as they are. victims are put in order by device. True: the chosen
 * ones, once gone, make room for all of it, and *ret_devices[i] is where its i-th task will go; false: nothing would. */
bool fg_preempt(const struct fg_snapshot *snap, const struct fg_plan_task *task, struct fg_plan_victim *victims, size_t count,
                fg_device_id *ret_devices);
