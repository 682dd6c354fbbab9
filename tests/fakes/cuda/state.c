/* state.c - the driver as a whole: cuInit, what every call does first, lists. */
#include <stdio.h>

#include "driver.h"

pthread_mutex_t fk_big = PTHREAD_MUTEX_INITIALIZER;
bool fk_ready;
int fk_visible[FK_DEVICES], fk_visible_count;
static bool forked;
static struct fk_process *self;

void fk_list_init(struct fk_list *list)
{
    list->next = list->prev = list;
}

void fk_list_add(struct fk_list *list, struct fk_list *item)
{
    item->prev = list->prev;
    item->next = list;
    list->prev->next = item;
    list->prev = item;
}

void fk_list_remove(struct fk_list *item)
{
    if (!item->next)
        return;
    item->prev->next = item->next;
    item->next->prev = item->prev;
    item->next = item->prev = NULL;
}

unsigned fk_symbol(const char *name)
{
    unsigned low = 0, high = FKS_COUNT; /* the list is in strcmp's order */
    while (low < high) {
        unsigned mid = (low + high) / 2;
        int order = strcmp(name, fk_symbol_names[mid]);
        if (!order)
            return mid;
        if (order < 0)
            high = mid;
        else
            low = mid + 1;
    }
    return FKS_COUNT;
}

/* --- what every call does first --- */

static CUresult trouble(unsigned symbol, uint64_t call)
{
    for (unsigned i = 0; i < fk_world->failure_count; i++) {
        const struct fk_failure *f = &fk_world->failures[i];
        if ((!f->pid || f->pid == self->pid) && !strcmp(f->symbol, fk_symbol_names[symbol]) && call >= f->nth && call < f->nth + f->times)
            return (CUresult)f->code;
    }
    return CUDA_SUCCESS;
}

/* The process is locked or checkpointed from outside: its calls wait until it is unlocked. */
static CUresult wait_for_unlock(void)
{
    while (__atomic_load_n(&self->checkpoint, __ATOMIC_ACQUIRE) != FK_RUNNING) {
        if (self->checkpoint == FK_FAILED)
            return CUDA_ERROR_UNKNOWN;
        uint32_t seen = __atomic_load_n(&fk_world->changes, __ATOMIC_ACQUIRE);
        if (self->checkpoint != FK_RUNNING)
            fk_wait(seen, 0);
    }
    return CUDA_SUCCESS;
}

static bool is_checkpoint(unsigned symbol)
{
    return !strncmp(fk_symbol_names[symbol], "cuCheckpoint", 12);
}

CUresult fk_count(unsigned symbol)
{
    if (__builtin_expect(!self, 0)) {
        if (fk_world_open() || fk_self() < 0)
            return CUDA_ERROR_OPERATING_SYSTEM;
        self = &fk_world->process[fk_self()];
    }
    uint64_t call = __atomic_add_fetch(&self->calls[symbol], 1, __ATOMIC_RELAXED);
    if (__builtin_expect(self->checkpoint != FK_RUNNING, 0) && !is_checkpoint(symbol)) {
        CUresult r = wait_for_unlock();
        if (r)
            return r;
    }
    return __builtin_expect(fk_world->failure_count != 0, 0) ? trouble(symbol, call) : CUDA_SUCCESS;
}

CUresult fk_enter(unsigned symbol)
{
    CUresult r = fk_count(symbol);
    return r ? r : __builtin_expect(fk_ready, 1) ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED;
}

int fk_stub(unsigned symbol)
{
    CUresult r = fk_count(symbol);
    return r ? r : CUDA_ERROR_NOT_SUPPORTED;
}

/* --- devices that the process sees --- */

static int by_uuid(const char *text, size_t n)
{
    for (unsigned d = 0; d < fk_world->devices; d++) {
        char uuid[48];
        fk_uuid_text(&fk_world->device[d], uuid, sizeof uuid);
        if (n >= 5 && !strncasecmp(text, uuid, n)) /* a unique beginning is enough */
            return (int)d;
    }
    return -1;
}

/* CUDA_VISIBLE_DEVICES: ordinals or UUIDs, in that order; the first word that names nothing ends the list. */
static void see(const int all[FK_DEVICES])
{
    const char *text = getenv("CUDA_VISIBLE_DEVICES");
    fk_visible_count = 0;
    if (!text) {
        fk_visible_count = (int)fk_world->devices;
        memcpy(fk_visible, all, sizeof fk_visible);
        return;
    }
    while (*text && fk_visible_count < (int)FK_DEVICES) {
        size_t n = strcspn(text, ",");
        char *end;
        long ordinal = strtol(text, &end, 10);
        int device = end == text + n && n ? ordinal >= 0 && ordinal < (long)fk_world->devices ? all[ordinal] : -1 : by_uuid(text, n);
        for (int i = 0; i < fk_visible_count; i++)
            if (fk_visible[i] == device)
                device = -1;
        if (device < 0)
            return;
        fk_visible[fk_visible_count++] = device;
        text += n + (text[n] == ',');
    }
}

static void after_fork(void)
{
    self = NULL;
    forked = fk_ready;
    fk_ready = false; /* as the real one: a child of an initialised process cannot use it */
    pthread_mutex_init(&fk_big, NULL);
}

CUresult fk_start(void)
{
    if (forked)
        return CUDA_ERROR_NOT_INITIALIZED;
    pthread_mutex_lock(&fk_big);
    if (!fk_ready) {
        static bool watched;
        if (!watched)
            watched = !pthread_atfork(NULL, NULL, after_fork);
        const char *by_pci = getenv("CUDA_DEVICE_ORDER");
        int all[FK_DEVICES];
        for (unsigned i = 0; i < FK_DEVICES; i++)
            all[i] = (int)(by_pci && !strcmp(by_pci, "PCI_BUS_ID") ? i : fk_world->cuda_order[i]);
        see(all);
        fk_ready = fk_visible_count > 0;
    }
    bool ok = fk_ready;
    pthread_mutex_unlock(&fk_big);
    return ok ? CUDA_SUCCESS : CUDA_ERROR_NO_DEVICE;
}

FK_API(cuInit, (unsigned flags))
{
    FK_COUNT(cuInit);
    return flags ? CUDA_ERROR_INVALID_VALUE : fk_start();
}

FK_API(cuDriverGetVersion, (int *version))
{
    FK_COUNT(cuDriverGetVersion);
    if (!version)
        return CUDA_ERROR_INVALID_VALUE;
    *version = (int)fk_world->driver;
    return CUDA_SUCCESS;
}
