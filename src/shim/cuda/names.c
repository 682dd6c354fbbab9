/* names.c - cuGetProcAddress: the driver answers, since it alone knows which variant a version and a stream mode mean. The
 * pointer it gives is one of its exports; the hook of exactly that export is handed out, and anything else as it came. */
#include <string.h>

#include "shim/cuda/shim.h"

/* The driver's pointers in order, made once. 243 of them: a search is eight steps. */
struct named { uintptr_t pointer; uint32_t function; };
static struct { uint32_t lock, ready; struct named sorted[FGCU_WRAPPED]; unsigned count; } table;

static const struct { const char *base; int since, own; } asked_for[FGCU_WRAPPED] = {
#define ROW(export, base, since, own) [FGCU_##export] = {#base, since, own},
    FGCU_WRAPPED_LIST(ROW)
#undef ROW
};

static void insert(uintptr_t pointer, uint32_t function)
{
    unsigned at = table.count++;
    for (; at && table.sorted[at - 1].pointer > pointer; at--)
        table.sorted[at] = table.sorted[at - 1];
    table.sorted[at] = (struct named){pointer, function};
}

static void make_table(void)
{
    fg_lock(&table.lock);
    if (!table.ready) {
        for (unsigned i = 0; i < FGCU_WRAPPED; i++)
            if (fgcu_has(i))
                insert((uintptr_t)fgcu.next[i], i);
        fg_put(&table.ready, 1);
    }
    fg_unlock(&table.lock);
}

static int search(const void *pointer, const char *base)
{
    unsigned low = 0, high = table.count;
    while (low < high) {
        unsigned middle = (low + high) / 2;
        if (table.sorted[middle].pointer < (uintptr_t)pointer)
            low = middle + 1;
        else
            high = middle;
    }
    int found = -1; /* a driver may export one function under two names: the one that was asked for goes first */
    for (; low < table.count && table.sorted[low].pointer == (uintptr_t)pointer; low++)
        if (found < 0 || !strcmp(asked_for[table.sorted[low].function].base, base))
            found = (int)table.sorted[low].function;
    return found;
}

/* A driver that answers with something else than its export: which export would it be? The newest that is not newer than
 * the version asked for, with the default stream asked for where there are two. */
static int by_version(const char *base, int version, cuuint64_t flags)
{
    int best = -1, own = (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) != 0;
    for (unsigned i = 0; i < FGCU_WRAPPED; i++) {
        if (strcmp(asked_for[i].base, base) || asked_for[i].since > version || (asked_for[i].own && !own))
            continue;
        if (best < 0 || asked_for[i].since > asked_for[best].since ||
            (asked_for[i].since == asked_for[best].since && asked_for[i].own >= asked_for[best].own))
            best = (int)i;
    }
    return best;
}

static void substitute(const char *symbol, void **pointer, int version, cuuint64_t flags)
{
    fgcu_attach(); /* the runtime asks before it calls cuInit, and keeps what it gets: the lease must be known by now */
    if (!symbol || !pointer || !*pointer || (!fgcu_attached() && fgcu.refused == FG_LEASE_OK))
        return;
    if (!fg_get(&table.ready))
        make_table();
    int function = search(*pointer, symbol);
    if (function < 0 && (function = by_version(symbol, version, flags)) >= 0) {
        fg_add(&fgcu.unnamed, 1);
        fgcu.next[function] = *pointer;
    }
    if (function >= 0)
        *pointer = fgcu_hook((unsigned)function);
}

CUresult fgcu_do_cuGetProcAddress(unsigned which, const char *symbol, void **pointer, int version, cuuint64_t flags)
{
    CUresult result = FGCU_WHICH(cuGetProcAddress)(symbol, pointer, version, flags);
    if (result == CUDA_SUCCESS)
        substitute(symbol, pointer, version, flags);
    return result;
}

CUresult fgcu_do_cuGetProcAddress_v2(unsigned which, const char *symbol, void **pointer, int version, cuuint64_t flags,
                                     CUdriverProcAddressQueryResult *status)
{
    CUresult result = FGCU_WHICH(cuGetProcAddress_v2)(symbol, pointer, version, flags, status);
    if (result == CUDA_SUCCESS)
        substitute(symbol, pointer, version, flags);
    return result;
}
