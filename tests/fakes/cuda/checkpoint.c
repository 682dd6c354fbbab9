/* checkpoint.c - checkpoints of a process, called from any process:
 *
 *     RUNNING --Lock--> LOCKED --Checkpoint--> CHECKPOINTED --Restore--> LOCKED --Unlock--> RUNNING
 *
 * Lock drains what is submitted; then the process's own calls wait. Checkpointed, its device memory is free for others.
 * Managed and borrowed memory make Checkpoint fail and leave the process locked; checkpoint_fails=1 makes it FAILED. */
#include "driver.h"

static struct fk_process *find(int pid)
{
    int at = pid > 0 ? fk_find_process((uint32_t)pid) : -1;
    return at < 0 ? NULL : &fk_world->process[at];
}

static bool older(void) { return fk_world->driver < 12080; }

static bool drained(struct fk_process *p)
{
    unsigned slot = (unsigned)(p - fk_world->process);
    bool idle = true;
    fk_lock();
    for (unsigned d = 0; d < fk_world->devices; d++) {
        fk_advance(fk_world, d, fk_now());
        const uint64_t *used = fk_world->queue[slot][d].used;
        idle = idle && !used[0] && !used[1];
    }
    fk_unlock();
    return idle;
}

static CUresult change(struct fk_process *p, uint32_t from, uint32_t to)
{
    if (!__atomic_compare_exchange_n(&p->checkpoint, &from, to, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
        return CUDA_ERROR_ILLEGAL_STATE;
    fk_change();
    return CUDA_SUCCESS;
}

FK_API(cuCheckpointProcessGetState, (int pid, CUprocessState *state))
{
    FK_COUNT(cuCheckpointProcessGetState);
    struct fk_process *p = find(pid);
    if (older())
        return CUDA_ERROR_NOT_SUPPORTED;
    if (!p || !state)
        return CUDA_ERROR_INVALID_VALUE;
    *state = (CUprocessState)p->checkpoint;
    return CUDA_SUCCESS;
}

FK_API(cuCheckpointProcessGetRestoreThreadId, (int pid, int *tid))
{
    FK_COUNT(cuCheckpointProcessGetRestoreThreadId);
    if (older())
        return CUDA_ERROR_NOT_SUPPORTED;
    if (!find(pid) || !tid)
        return CUDA_ERROR_INVALID_VALUE;
    *tid = pid;
    return CUDA_SUCCESS;
}

FK_API(cuCheckpointProcessLock, (int pid, CUcheckpointLockArgs *args))
{
    FK_COUNT(cuCheckpointProcessLock);
    struct fk_process *p = find(pid);
    if (older())
        return CUDA_ERROR_NOT_SUPPORTED;
    if (!p)
        return CUDA_ERROR_INVALID_VALUE;
    CUresult r = change(p, FK_RUNNING, FK_LOCKED);
    uint64_t until = args && args->timeoutMs ? fk_now() + args->timeoutMs * 1000000ull : UINT64_MAX;
    while (!r && !drained(p)) {
        if (fk_now() >= until) {
            change(p, FK_LOCKED, FK_RUNNING);
            return CUDA_ERROR_NOT_READY;
        }
        fk_wait(__atomic_load_n(&fk_world->changes, __ATOMIC_ACQUIRE), fk_world->is_virtual ? fk_now() + 1000000u : 0);
    }
    return r;
}

static bool refused(const struct fk_process *p)
{
    for (unsigned d = 0; d < fk_world->devices; d++)
        if (p->live[d][FK_MANAGED] || p->live[d][FK_BORROWED])
            return true;
    for (unsigned i = 0; i < 1024; i++)
        if (fk_world->exports[i].process == (uint32_t)(p - fk_world->process) + 1)
            return true;
    return false;
}

FK_API(cuCheckpointProcessCheckpoint, (int pid, CUcheckpointCheckpointArgs *args))
{
    FK_COUNT(cuCheckpointProcessCheckpoint);
    struct fk_process *p = find(pid);
    if (older())
        return CUDA_ERROR_NOT_SUPPORTED;
    if (!p)
        return CUDA_ERROR_INVALID_VALUE;
    if (p->checkpoint != FK_LOCKED)
        return CUDA_ERROR_ILLEGAL_STATE;
    if (refused(p))
        return CUDA_ERROR_NOT_SUPPORTED;
    fk_lock();
    bool fails = fk_world->checkpoint_fails != 0;
    if (fails)
        fk_world->checkpoint_fails--;
    for (unsigned d = 0; d < fk_world->devices && !fails; d++)
        p->parked[d] = fk_process_used(p, d);
    fk_unlock();
    change(p, FK_LOCKED, fails ? FK_FAILED : FK_CHECKPOINTED);
    return fails ? CUDA_ERROR_UNKNOWN : CUDA_SUCCESS;
}

/* old UUID -> new UUID moves what was on one device to another of the same kind. */
static CUresult target(const CUcheckpointRestoreArgs *args, unsigned d, unsigned *ret)
{
    *ret = d;
    for (unsigned i = 0; args && args->gpuPairs && i < args->gpuPairsCount; i++) {
        if (memcmp(args->gpuPairs[i].oldUuid.bytes, fk_world->device[d].uuid, 16))
            continue;
        for (unsigned n = 0; n < fk_world->devices; n++)
            if (!memcmp(args->gpuPairs[i].newUuid.bytes, fk_world->device[n].uuid, 16)) {
                *ret = n;
                const struct fk_device *a = &fk_world->device[d], *b = &fk_world->device[n];
                return a->sms == b->sms && a->major == b->major && a->minor == b->minor ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
            }
        return CUDA_ERROR_INVALID_DEVICE;
    }
    return CUDA_SUCCESS;
}

static void move(struct fk_process *p, const unsigned to[FK_DEVICES])
{
    uint64_t live[FK_DEVICES][FK_KINDS], count[FK_DEVICES][FK_KINDS];
    memcpy(live, p->live, sizeof live);
    memcpy(count, p->count, sizeof count);
    memset(p->live, 0, sizeof p->live);
    memset(p->count, 0, sizeof p->count);
    memset(p->parked, 0, sizeof p->parked);
    for (unsigned d = 0; d < fk_world->devices; d++) {
        unsigned now = p->moved_to[d] ? p->moved_to[d] - 1 : d;
        for (unsigned kind = 0; kind < FK_KINDS; kind++) {
            p->live[to[d]][kind] += live[d][kind];
            p->count[to[d]][kind] += count[d][kind];
        }
        p->moved_to[d] = to[now] == d ? 0 : to[now] + 1;
    }
}

FK_API(cuCheckpointProcessRestore, (int pid, CUcheckpointRestoreArgs *args))
{
    FK_COUNT(cuCheckpointProcessRestore);
    struct fk_process *p = find(pid);
    if (older())
        return CUDA_ERROR_NOT_SUPPORTED;
    if (!p)
        return CUDA_ERROR_INVALID_VALUE;
    if (p->checkpoint != FK_CHECKPOINTED)
        return CUDA_ERROR_ILLEGAL_STATE;
    CUresult r = CUDA_SUCCESS;
    unsigned to[FK_DEVICES];
    uint64_t need[FK_DEVICES] = {0};
    fk_lock();
    for (unsigned d = 0; d < fk_world->devices && !r; d++) {
        r = target(args, d, &to[d]);
        if (!r)
            need[to[d]] += p->parked[d];
    }
    for (unsigned d = 0; d < fk_world->devices && !r; d++)
        if (need[d] && fk_device_used(d) + need[d] > fk_world->device[d].total_bytes)
            r = CUDA_ERROR_OUT_OF_MEMORY; /* stays checkpointed */
    if (!r)
        move(p, to);
    fk_unlock();
    return r ? r : change(p, FK_CHECKPOINTED, FK_LOCKED);
}

FK_API(cuCheckpointProcessUnlock, (int pid, CUcheckpointUnlockArgs *args))
{
    FK_COUNT(cuCheckpointProcessUnlock);
    struct fk_process *p = find(pid);
    if (older())
        return CUDA_ERROR_NOT_SUPPORTED;
    return p ? change(p, FK_LOCKED, FK_RUNNING) : CUDA_ERROR_INVALID_VALUE;
}
