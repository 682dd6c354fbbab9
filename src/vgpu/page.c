/* page.c - find, check and map a lease; take a slot in it. Runs inside the task's process: libc alone. */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "vgpu/ledger.h"
#include "vgpu/page.h"

#define PATH_MAX_BYTES 1024

static const char *const texts[FG_LEASE_STATUS_COUNT] = {
    [FG_LEASE_OK] = "in a vGPU",
    [FG_LEASE_NONE] = "not in a vGPU: FGPU_LEASE is not set and there is no /run/fgpu/lease.limits",
    [FG_LEASE_MALFORMED] = "FGPU_LEASE is not LIMITS_PATH:COUNTERS_PATH",
    [FG_LEASE_OPEN] = "a lease file cannot be opened; has the arbiter gone?",
    [FG_LEASE_TRUNCATED] = "a lease file has the wrong length",
    [FG_LEASE_CORRUPT] = "a lease file is corrupt",
    [FG_LEASE_VERSION_DIFFERS] = "the lease was made by another version of FastGPU",
    [FG_LEASE_FULL] = "the vGPU has 256 processes already",
    [FG_LEASE_OVER] = "the lease is over",
    [FG_LEASE_SYSTEM] = "no memory to map the lease",
};

const char *fg_lease_text(enum fg_lease_status status)
{
    return (unsigned)status < FG_LEASE_STATUS_COUNT ? texts[status] : "unknown status of a lease";
}

int64_t fg_boot_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_BOOTTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* Drepper, "Futexes are tricky", mutex 3, but for the end of the wait (page.h) */
void fg_lock_wait(uint32_t *word)
{
    const struct timespec again = {.tv_nsec = 1000000};
    while (__atomic_exchange_n(word, 2, __ATOMIC_ACQUIRE) != 0)
        syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, 2, &again, NULL, 0);
}

void fg_lock_wake(uint32_t *word) { syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0); }

enum fg_lease_status fg_limits_check(const struct fg_limits *limits, uint64_t size)
{
    if (size != 4096)
        return FG_LEASE_TRUNCATED;
    if (limits->magic != FG_LIMITS_MAGIC)
        return FG_LEASE_CORRUPT;
    if (limits->version != FG_LEASE_VERSION)
        return FG_LEASE_VERSION_DIFFERS;
    uint64_t memory = fg_get(&limits->memory_bytes), window = fg_get(&limits->window_ns);
    uint32_t share = fg_get(&limits->share_permille);
    int sane = limits->size == sizeof *limits && memory >= 1 && memory <= FG_MEMORY_MAX && share >= 1 && share <= 1000 &&
               fg_get(&limits->mode) <= FG_SHARE_EXCLUSIVE && window >= 1000 && window <= 10000000000u &&
               fg_get(&limits->vanish_ns) >= 1000000 && memchr(limits->id, 0, sizeof limits->id) &&
               memchr(limits->device, 0, sizeof limits->device);
    return sane ? FG_LEASE_OK : FG_LEASE_CORRUPT;
}

enum fg_lease_status fg_counters_check(const struct fg_counters *counters, uint64_t size)
{
    if (size != sizeof *counters)
        return FG_LEASE_TRUNCATED;
    if (counters->magic != FG_COUNTERS_MAGIC)
        return FG_LEASE_CORRUPT;
    if (counters->version != FG_LEASE_VERSION)
        return FG_LEASE_VERSION_DIFFERS;
    return counters->size == sizeof *counters && fg_get(&counters->slots_high) <= FG_SLOTS ? FG_LEASE_OK : FG_LEASE_CORRUPT;
}

void fg_counters_format(struct fg_counters *counters)
{
    counters->version = FG_LEASE_VERSION;
    counters->size = sizeof *counters;
    fg_put(&counters->magic, FG_COUNTERS_MAGIC);
}

void fg_lease_ring(struct fg_lease *lease)
{
    fg_add(&lease->counters->bell, 1);
    syscall(SYS_futex, &lease->counters->bell, FUTEX_WAKE, 1, NULL, NULL, 0);
}

void fg_lease_mark(struct fg_lease *lease, uint32_t held)
{
    if (!fg_lease_forked(lease) && (fg_get(&lease->slot->held) & held) != held)
        __atomic_fetch_or(&lease->slot->held, held, __ATOMIC_SEQ_CST);
}

/* Map one file of exactly size bytes. */
static enum fg_lease_status map_file(const char *path, size_t size, int writable, void **ret, int *system_error)
{
    int fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC);
    if (fd < 0) {
        *system_error = errno;
        return FG_LEASE_OPEN;
    }
    struct stat st;
    enum fg_lease_status status = FG_LEASE_OK;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode) || (uint64_t)st.st_size != size)
        status = FG_LEASE_TRUNCATED;
    if (!status) {
        void *at = mmap(NULL, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
        if (at == MAP_FAILED) {
            *system_error = errno;
            status = errno == ENOMEM ? FG_LEASE_SYSTEM : FG_LEASE_OPEN;
        } else {
            *ret = at;
        }
    }
    close(fd);
    return status;
}

/* When this process began, boot clock, down to a clock tick: field 22 of /proc/self/stat; the name in brackets may hold
 * anything. 0 without /proc. */
static uint64_t own_start_ns(void)
{
    char buf[1024];
    int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof buf - 1);
    if (fd >= 0)
        close(fd);
    if (n <= 0)
        return 0;
    buf[n] = 0;
    char *at = strrchr(buf, ')');
    for (int field = 2; at && field < 22; field++) {
        at = strchr(at + 1, ' ');
    }
    return at ? strtoull(at + 1, NULL, 10) * (1000000000 / FG_TICKS) : 0;
}

static uint64_t own_pid_ns(void)
{
    struct stat st;
    return stat("/proc/self/ns/pid", &st) == 0 ? st.st_ino : 0;
}

static uint64_t own_image(void) { return getauxval(AT_RANDOM) ^ getauxval(AT_SYSINFO_EHDR) * 0x9e3779b97f4a7c15u; }

/* What an earlier image of this process held died with the exec; what a process held whose pid we now have, likewise. A slot
 * of our pid and image is our own (two shims in one process), or of one forked from the same parent: only then does it
 * matter, at the price of a read of /proc, when we began. */
static void reap_former_selves(struct fg_counters *counters, int32_t pid, uint64_t pid_ns, uint64_t image)
{
    unsigned high = fg_get(&counters->slots_high);
    for (unsigned i = 0; i < high && i < FG_SLOTS; i++) {
        struct fg_slot *slot = &counters->slots[i];
        uint64_t owner = fg_get(&slot->owner);
        if (fg_owner_state(owner) == FG_SLOT_LIVE && fg_owner_pid(owner) == pid && fg_get(&slot->pid_ns) == pid_ns &&
            (fg_get(&slot->image) != image || own_start_ns() > fg_get(&slot->attached_ns)))
            fg_slot_reap(counters, i, owner);
    }
}

/* The free slot i becomes ours, or somebody else's first: then 0. */
static int claim(struct fg_counters *counters, unsigned i, uint64_t owner, int32_t pid, uint64_t *ret_owner)
{
    struct fg_slot *slot = &counters->slots[i];
    uint64_t mine = fg_owner_make(FG_SLOT_INIT, fg_owner_generation(owner) + 1, pid);
    if (!fg_cas(&slot->owner, &owner, mine))
        return 0;
    uint32_t high = fg_get(&counters->slots_high);
    while (high < i + 1 && !fg_cas(&counters->slots_high, &high, i + 1))
        ;
    *ret_owner = mine;
    return 1;
}

/* Fill the claimed slot and let it live. 0: it took so long that a reaper freed it. */
static int fill(struct fg_slot *slot, uint64_t *owner, uint64_t pid_ns)
{
    fg_put(&slot->pid_ns, pid_ns);
    fg_put(&slot->image, own_image());
    fg_put(&slot->attached_ns, (uint64_t)fg_boot_ns());
    uint64_t *const counts[] = {&slot->peak, &slot->denied, &slot->inflight, &slot->settled, &slot->device_ns,
                                &slot->throttle_ns, &slot->ungated, &slot->busy_until_ns};
    for (size_t i = 0; i < sizeof counts / sizeof *counts; i++)
        fg_put(counts[i], 0);
    fg_put(&slot->waiting, 0);
    fg_put(&slot->held, 0);
    uint64_t init = *owner, live = fg_owner_make(FG_SLOT_LIVE, fg_owner_generation(init), fg_owner_pid(init));
    if (!fg_cas(&slot->owner, &init, live))
        return 0;
    *owner = live;
    return 1;
}

static enum fg_lease_status take_slot(struct fg_lease *lease)
{
    struct fg_counters *counters = lease->counters;
    int32_t pid = getpid();
    uint64_t pid_ns = own_pid_ns();
    if (fg_get(&lease->limits->flags) & FG_LIMIT_CLOSED)
        return FG_LEASE_OVER;
    reap_former_selves(counters, pid, pid_ns, own_image());
    for (unsigned i = 0; i < FG_SLOTS; i++) {
        uint64_t owner = fg_get(&counters->slots[i].owner);
        if (fg_owner_state(owner) != FG_SLOT_FREE || !claim(counters, i, owner, pid, &owner) ||
            !fill(&counters->slots[i], &owner, pid_ns))
            continue;
        lease->slot = &counters->slots[i];
        lease->owner = owner;
        lease->epoch++;
        if (!fg_get(&counters->arrivals) && !__atomic_exchange_n(&counters->arrivals, 1, __ATOMIC_SEQ_CST))
            fg_lease_ring(lease); /* of many at once, one */
        return FG_LEASE_OK;
    }
    return FG_LEASE_FULL;
}

/* Two words that a forked child finds zeroed: alive[0], and the lock of its reattach. */
static uint32_t *map_alive(void)
{
    uint32_t *at = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED)
        return NULL;
    if (madvise(at, 4096, MADV_WIPEONFORK) != 0) {
        munmap(at, 4096);
        return NULL;
    }
    at[0] = 1;
    return at;
}

/* where -> two paths. */
static enum fg_lease_status split(const char *where, char *limits, char *counters)
{
    const char *colon = strchr(where, ':');
    if (!colon || colon == where || !colon[1] || strchr(colon + 1, ':') || colon - where >= PATH_MAX_BYTES ||
        strlen(colon + 1) >= PATH_MAX_BYTES)
        return FG_LEASE_MALFORMED;
    memcpy(limits, where, (size_t)(colon - where));
    limits[colon - where] = 0;
    strcpy(counters, colon + 1);
    return FG_LEASE_OK;
}

static enum fg_lease_status map_lease(struct fg_lease *lease, const char *where)
{
    char limits_path[PATH_MAX_BYTES], counters_path[PATH_MAX_BYTES];
    enum fg_lease_status status;
    if (!where)
        where = getenv(FG_LEASE_ENV);
    int given = where != NULL;
    if ((status = split(given ? where : FG_LEASE_DEFAULT_LIMITS ":" FG_LEASE_DEFAULT_COUNTERS, limits_path, counters_path)))
        return status;
    void *limits = NULL, *counters = NULL;
    status = map_file(limits_path, 4096, 0, &limits, &lease->system_error);
    if (status == FG_LEASE_OPEN && !given && lease->system_error == ENOENT)
        return FG_LEASE_NONE;
    lease->limits = limits;
    if (status || (status = fg_limits_check(lease->limits, 4096)))
        return status;
    status = map_file(counters_path, sizeof(struct fg_counters), 1, &counters, &lease->system_error);
    lease->counters = counters;
    return status ? status : fg_counters_check(lease->counters, sizeof(struct fg_counters));
}

static void unmap(struct fg_lease *lease)
{
    if (lease->limits)
        munmap((void *)(uintptr_t)lease->limits, 4096);
    if (lease->counters)
        munmap(lease->counters, sizeof *lease->counters);
    if (lease->alive)
        munmap(lease->alive, 4096);
    lease->limits = NULL;
    lease->counters = NULL;
    lease->alive = NULL;
    lease->slot = NULL;
}

enum fg_lease_status fg_lease_attach(struct fg_lease *lease, const char *where)
{
    int saved = errno;
    lease->system_error = 0;
    enum fg_lease_status status = map_lease(lease, where);
    if (!status && !(lease->alive = map_alive())) {
        lease->system_error = errno;
        status = FG_LEASE_SYSTEM;
    }
    if (!status)
        status = take_slot(lease);
    if (status)
        unmap(lease);
    errno = saved;
    return status;
}

void fg_lease_detach(struct fg_lease *lease)
{
    if (!lease || !lease->limits)
        return;
    if (!fg_lease_forked(lease)) { /* a child's view of the slot is its parent's */
        fg_slot_reap(lease->counters, (unsigned)(lease->slot - lease->counters->slots), lease->owner);
        fg_lease_ring(lease);
    }
    unmap(lease);
}

enum fg_lease_status fg_lease_reattach(struct fg_lease *lease)
{
    int saved = errno;
    enum fg_lease_status status = FG_LEASE_OK;
    fg_lock(&lease->alive[1]);
    if (fg_lease_forked(lease)) {
        lease->lock = 0; /* another thread of the parent may have held it at the fork */
        status = take_slot(lease);
        if (!status)
            fg_put(&lease->alive[0], 1);
    }
    fg_unlock(&lease->alive[1]);
    errno = saved;
    return status;
}
