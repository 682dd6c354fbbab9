/* truth.c - the questions of fake_cuda.h. */
#include <stdio.h>
#include <unistd.h>

#include "driver.h"

static bool open_world(void)
{
    return !fk_world_open();
}

/* Sum over one process or all living ones of the 64-bit word that lies `at` bytes into each. */
static uint64_t sum(uint32_t pid, const uint64_t *of_first, unsigned words)
{
    uint64_t total = 0;
    if (!open_world())
        return 0;
    size_t at = (size_t)((const char *)of_first - (const char *)fk_world->process);
    fk_lock();
    fk_reap();
    for (unsigned i = 0; i < fk_world->processes; i++) {
        const struct fk_process *p = &fk_world->process[i];
        if (!p->pid || (pid && p->pid != pid))
            continue;
        for (unsigned w = 0; w < words; w++)
            total += ((const uint64_t *)(const void *)((const char *)p + at))[w];
    }
    fk_unlock();
    return total;
}

uint64_t fake_live(uint32_t pid, unsigned device, int kind)
{
    if (!open_world() || device >= FK_DEVICES || kind >= FK_KINDS)
        return 0;
    if (kind >= 0)
        return sum(pid, &fk_world->process[0].live[device][kind], 1);
    return sum(pid, fk_world->process[0].live[device], FK_DEVICE_KINDS) - sum(pid, &fk_world->process[0].parked[device], 1);
}

uint64_t fake_count(uint32_t pid, unsigned device, int kind)
{
    if (!open_world() || device >= FK_DEVICES || kind >= FK_KINDS)
        return 0;
    return kind >= 0 ? sum(pid, &fk_world->process[0].count[device][kind], 1) : sum(pid, fk_world->process[0].count[device], FK_DEVICE_KINDS);
}

uint64_t fake_peak(uint32_t pid, unsigned device)
{
    return open_world() && device < FK_DEVICES ? sum(pid, &fk_world->process[0].peak[device], 1) : 0;
}

uint64_t fake_free(unsigned device)
{
    if (!open_world() || device >= FK_DEVICES)
        return 0;
    fk_lock();
    fk_reap();
    uint64_t used = fk_device_used(device), total = fk_world->device[device].total_bytes;
    fk_unlock();
    return used < total ? total - used : 0;
}

uint64_t fake_calls(uint32_t pid, const char *name)
{
    unsigned symbol = fk_symbol(name);
    if (!open_world() || symbol == FKS_COUNT)
        return 0;
    return sum(pid ? pid : (uint32_t)getpid(), &fk_world->process[0].calls[symbol], 1);
}

int fake_fail(const char *name, unsigned nth, unsigned times, int code)
{
    if (!open_world() || fk_symbol(name) == FKS_COUNT || !nth)
        return -1;
    uint64_t already = fake_calls(0, name);
    fk_lock();
    int rc = fk_world->failure_count < FK_FAILURES ? 0 : -1;
    if (!rc) {
        struct fk_failure *f = &fk_world->failures[fk_world->failure_count];
        *f = (struct fk_failure){.nth = already + nth, .times = times, .code = (uint32_t)code, .pid = (uint32_t)getpid()};
        snprintf(f->symbol, sizeof f->symbol, "%s", name);
        fk_world->failure_count++;
    }
    fk_unlock();
    return rc;
}

uint64_t fake_now(void)
{
    return open_world() ? fk_now() : 0;
}

void fake_pass(uint64_t ns)
{
    if (open_world() && fk_world->is_virtual) {
        __atomic_fetch_add(&fk_world->virtual_ns, ns, __ATOMIC_RELAXED);
        fk_change();
    }
}

static void bring_up(unsigned device)
{
    fk_lock();
    fk_advance(fk_world, device, fk_now());
    fk_unlock();
}

uint64_t fake_busy_ns(uint32_t pid, unsigned device)
{
    if (!open_world() || device >= FK_DEVICES)
        return 0;
    bring_up(device);
    uint64_t total = 0;
    for (unsigned i = 0; i < fk_world->processes; i++)
        if (fk_world->process[i].pid && (!pid || fk_world->process[i].pid == pid))
            total += fk_world->queue[i][device].slot_ns;
    return total / fk_world->slots;
}

uint64_t fake_jobs_done(uint32_t pid, unsigned device)
{
    if (!open_world() || device >= FK_DEVICES)
        return 0;
    bring_up(device);
    uint64_t total = 0;
    for (unsigned i = 0; i < fk_world->processes; i++)
        if (fk_world->process[i].pid && (!pid || fk_world->process[i].pid == pid))
            total += fk_world->queue[i][device].jobs_done;
    return total;
}

int fake_kernel(const char *name, uint64_t ns)
{
    if (!open_world())
        return -1;
    unsigned i = 0;
    fk_lock();
    while (i < fk_world->kernel_count && strcmp(fk_world->kernels[i].name, name))
        i++;
    int rc = i < 32 ? 0 : -1;
    if (!rc) {
        snprintf(fk_world->kernels[i].name, sizeof fk_world->kernels[i].name, "%s", name);
        fk_world->kernels[i].ns = ns;
        if (i == fk_world->kernel_count)
            fk_world->kernel_count++;
    }
    fk_unlock();
    return rc;
}

int fake_set(const char *setting)
{
    if (!open_world())
        return -1;
    fk_lock();
    int rc = fk_settings_word(fk_world, setting) ? 0 : -1;
    fk_unlock();
    return rc;
}

int fake_device_of(int ordinal)
{
    return fk_ready && fk_device_ok(ordinal) ? fk_visible[ordinal] : -1;
}

void fake_xid(unsigned device, uint32_t xid)
{
    if (!open_world() || device >= FK_DEVICES)
        return;
    fk_lock();
    fk_world->xids[fk_world->xids_seen % FK_EVENTS] = (struct fk_xid){device, xid, 8};
    fk_world->xids_seen++;
    fk_change();
    fk_unlock();
}

int fake_modelled(const char *name)
{
    unsigned symbol = fk_symbol(name);
    return symbol == FKS_COUNT ? -1 : fk_symbol_address[symbol] != fk_symbol_stub[symbol];
}
