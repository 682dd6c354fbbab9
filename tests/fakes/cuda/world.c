/* world.c - see world.h: the shared file, who is in it, and who holds what. */
#include "world.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define MAGIC 0x464b4355u

struct fk_world *fk_world;
static int self_slot = -1;
static pthread_mutex_t opening = PTHREAD_MUTEX_INITIALIZER;

static uint64_t clock_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t fk_now(void)
{
    return fk_world->is_virtual ? __atomic_load_n(&fk_world->virtual_ns, __ATOMIC_RELAXED) : clock_ns();
}

static void futex(uint32_t *word, int op, uint32_t value, const struct timespec *wait)
{
    syscall(SYS_futex, word, op, value, wait, NULL, 0);
}

void fk_change(void)
{
    __atomic_fetch_add(&fk_world->changes, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&fk_world->waiters, __ATOMIC_SEQ_CST))
        futex(&fk_world->changes, FUTEX_WAKE, INT_MAX, NULL);
}

void fk_wait(uint32_t seen, uint64_t until_ns)
{
    if (fk_world->is_virtual && until_ns > fk_now()) {
        __atomic_store_n(&fk_world->virtual_ns, until_ns, __ATOMIC_RELAXED);
        return;
    }
    uint64_t now = fk_now(), ns = until_ns > now && !fk_world->is_virtual ? until_ns - now : 1000000u;
    if (ns > 20000000u)
        ns = 20000000u;
    if (ns < 30000u) { /* a sleep takes longer */
        sched_yield();
        return;
    }
    struct timespec t = {.tv_nsec = (long)ns};
    __atomic_fetch_add(&fk_world->waiters, 1, __ATOMIC_SEQ_CST);
    futex(&fk_world->changes, FUTEX_WAIT, seen, &t);
    __atomic_fetch_sub(&fk_world->waiters, 1, __ATOMIC_SEQ_CST);
}

/* --- the lock --- */

void fk_lock(void)
{
    if (pthread_mutex_lock(&fk_world->lock) == EOWNERDEAD) {
        pthread_mutex_consistent(&fk_world->lock);
        fk_reap();
    }
}

void fk_unlock(void)
{
    pthread_mutex_unlock(&fk_world->lock);
}

static uint64_t pid_ns_of(const char *pid)
{
    char path[300];
    struct stat st;
    snprintf(path, sizeof path, "/proc/%s/ns/pid", pid);
    return stat(path, &st) == 0 ? st.st_ino : 0;
}

static uint64_t own_pid_ns(void)
{
    static uint64_t ns;                  /* a process does not change its own */
    return ns ? ns : (ns = pid_ns_of("self"));
}

/* --- the file --- */

static void make_lock(pthread_mutex_t *lock)
{
    pthread_mutexattr_t attributes;
    pthread_mutexattr_init(&attributes);
    pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
    pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
    pthread_mutex_init(lock, &attributes);
    pthread_mutexattr_destroy(&attributes);
}

static int make_world(struct fk_world *world)
{
    make_lock(&world->lock);
    const char *wrong = fk_settings_apply(world, getenv("FGPU_FAKE_CUDA_SETUP"));
    if (wrong) {
        fprintf(stderr, "stand-in driver: FGPU_FAKE_CUDA_SETUP: '%.40s' is no setting\n", wrong);
        return -1;
    }
    world->magic = MAGIC;
    world->pid_ns = own_pid_ns();
    world->ready = 1;
    return 0;
}

static int open_world(void)
{
    const char *path = getenv("FGPU_FAKE_CUDA");
    int fd = path && *path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666) : memfd_create("fake_cuda", MFD_CLOEXEC);
    if (fd < 0)
        return -1;
    int rc = -1;
    struct stat st;
    if (flock(fd, LOCK_EX) || fstat(fd, &st) || (st.st_size < (off_t)sizeof *fk_world && ftruncate(fd, sizeof *fk_world)))
        goto out;
    struct fk_world *world = mmap(NULL, sizeof *world, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, fd, 0);
    if (world == MAP_FAILED)
        goto out;
    if (world->ready ? world->magic != MAGIC : make_world(world) != 0) {
        munmap(world, sizeof *world);
        goto out;
    }
    fk_world = world;
    rc = 0;
out:
    flock(fd, LOCK_UN); /* the mapping keeps the file, and its lock, open */
    close(fd);
    return rc;
}

static void forget_self(void)
{
    self_slot = -1;
}

int fk_world_open(void)
{
    pthread_mutex_lock(&opening);
    int rc = fk_world ? 0 : open_world();
    static bool watched;
    if (!rc && !watched)
        watched = !pthread_atfork(NULL, NULL, forget_self);
    pthread_mutex_unlock(&opening);
    return rc;
}

/* --- processes --- */

/* A file of a process as text; false: it is gone. */
static bool read_proc(const char *pid, const char *file, char *buf, size_t size)
{
    char path[300];
    snprintf(path, sizeof path, "/proc/%s/%s", pid, file);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, buf, size - 1);
    close(fd);
    buf[n > 0 ? n : 0] = 0;
    return true;
}

/* Start time of a process in ticks since boot; 0: it is gone or a zombie. */
static uint64_t start_ticks(uint32_t pid)
{
    char name[16], buf[1024];
    snprintf(name, sizeof name, "%u", pid);
    if (!read_proc(name, "stat", buf, sizeof buf))
        return 0;
    char *at = strrchr(buf, ')'), state = 0;
    unsigned long long ticks = 0;
    if (!at || sscanf(at + 1, " %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &state, &ticks) != 2)
        return 0;
    return state == 'Z' || state == 'X' ? 0 : ticks;
}

bool fk_export_held(const struct fk_export *e)
{
    for (unsigned i = 0; i < FK_HOLDERS; i++)
        if (e->holders[i])
            return true;
    return false;
}

void fk_export_check(struct fk_export *e)
{
    if (!e->process || !e->left || fk_export_held(e))
        return;
    fk_world->process[e->process - 1].live[e->device][e->kind] -= e->bytes;
    fk_world->process[e->process - 1].count[e->device][e->kind]--;
    e->process = 0;
}

static void empty_slot(unsigned i)
{
    struct fk_process *p = &fk_world->process[i];
    for (unsigned d = 0; d < fk_world->devices; d++)
        fk_queue_reset(fk_world, i, d);
    for (unsigned e = 0; e < 1024; e++) {
        struct fk_export *export = &fk_world->exports[e];
        if (export->process == i + 1)
            export->process = 0;
        for (unsigned h = 0; h < FK_HOLDERS; h++)
            if (export->holders[h] == i + 1)
                export->holders[h] = 0;
        fk_export_check(export);
    }
    memset(p, 0, sizeof *p);
}

/* The last number of the line NSpid: its pid in the innermost namespace. */
static uint32_t innermost_pid(const char *pid)
{
    char buf[4096];
    if (!read_proc(pid, "status", buf, sizeof buf))
        return 0;
    char *at = strstr(buf, "\nNSpid:"), *last = NULL;
    if (!at)
        return 0;
    at += 7;
    at[strcspn(at + 1, "\n") + 1] = 0;
    for (char *save, *word = strtok_r(at, " \t\n", &save); word; word = strtok_r(NULL, " \t\n", &save))
        last = word;
    return last ? (uint32_t)strtoul(last, NULL, 10) : 0;
}

static uint32_t look_for(const struct fk_process *p)
{
    uint32_t found = 0;
    DIR *dir = opendir("/proc");
    for (struct dirent *d; dir && !found && (d = readdir(dir));)
        if (*d->d_name >= '1' && *d->d_name <= '9' && pid_ns_of(d->d_name) == p->pid_ns && innermost_pid(d->d_name) == p->pid)
            found = (uint32_t)strtoul(d->d_name, NULL, 10);
    if (dir)
        closedir(dir);
    return found;
}

uint32_t fk_pid_here(struct fk_process *p)
{
    if (p->pid_ns == own_pid_ns())
        return p->pid;
    if (fk_world->pid_ns != own_pid_ns())
        return 0;
    if (!p->outer_pid)
        p->outer_pid = look_for(p);
    return p->outer_pid;
}

static bool is_dead(struct fk_process *p)
{
    bool seen = p->pid_ns == own_pid_ns() || fk_world->pid_ns == own_pid_ns();
    return seen && start_ticks(fk_pid_here(p)) != p->start_ticks;
}

void fk_reap(void)
{
    for (unsigned i = 0; i < fk_world->processes; i++)
        if (fk_world->process[i].pid && (int)i != self_slot && is_dead(&fk_world->process[i]))
            empty_slot(i);
}

int fk_find_process(uint32_t pid)
{
    for (unsigned i = 0; i < fk_world->processes; i++)
        if (fk_world->process[i].pid && pid && fk_pid_here(&fk_world->process[i]) == pid)
            return (int)i;
    return -1;
}

/* The cgroup: "0::/path" of /proc/self/cgroup, unless a test says another. */
static void read_cgroup(char *ret, size_t n)
{
    const char *given = getenv("FGPU_FAKE_CGROUP");
    char text[1024];
    int fd = given ? -1 : open("/proc/self/cgroup", O_RDONLY | O_CLOEXEC);
    ssize_t got = fd >= 0 ? read(fd, text, sizeof text - 1) : 0;
    if (fd >= 0)
        close(fd);
    text[got > 0 ? got : 0] = 0;
    const char *at = given ? given : strstr(text, "0::");
    at = at && !given ? at + 3 : at;
    snprintf(ret, n, "%.*s", at ? (int)strcspn(at, "\n") : 0, at ? at : "");
}

static int take_slot(void)
{
    for (unsigned i = 0; i < FK_PROCESSES; i++) {
        struct fk_process *p = &fk_world->process[i];
        if (p->pid)
            continue;
        memset(p, 0, sizeof *p);
        if (i >= fk_world->processes)
            fk_world->processes = i + 1;
        p->start_ticks = start_ticks((uint32_t)getpid());
        p->pid = (uint32_t)getpid();
        p->pid_ns = own_pid_ns();
        read_cgroup(p->cgroup, sizeof p->cgroup);
        for (unsigned d = 0; d < FK_DEVICES; d++)
            fk_world->queue[i][d].head = fk_world->queue[i][d].tail = 1;
        return (int)i;
    }
    return -1;
}

int fk_self(void)
{
    if (__builtin_expect(self_slot >= 0, 1))
        return self_slot;
    fk_lock();
    fk_reap();
    if (self_slot < 0)
        self_slot = take_slot();
    fk_unlock();
    return self_slot;
}

/* --- who holds what --- */

uint64_t fk_process_used(const struct fk_process *p, unsigned device)
{
    uint64_t sum = 0;
    for (unsigned kind = 0; kind < FK_DEVICE_KINDS; kind++)
        sum += p->live[device][kind];
    return sum - p->parked[device];
}

uint64_t fk_device_used(unsigned device)
{
    uint64_t sum = fk_world->device[device].hidden_bytes;
    for (unsigned i = 0; i < fk_world->processes; i++)
        if (fk_world->process[i].pid)
            sum += fk_process_used(&fk_world->process[i], device);
    return sum;
}

static bool inside(const char *cgroup, const char *limited)
{
    size_t n = strlen(limited);
    return n && !strncmp(cgroup, limited, n) && (!cgroup[n] || cgroup[n] == '/' || limited[n - 1] == '/');
}

uint64_t fk_cgroup_used(unsigned device, const char *cgroup)
{
    uint64_t sum = 0;
    for (unsigned i = 0; i < fk_world->processes; i++)
        if (fk_world->process[i].pid && inside(fk_world->process[i].cgroup, cgroup))
            sum += fk_process_used(&fk_world->process[i], device);
    return sum;
}

static bool within_limits(unsigned device, uint64_t bytes, const char *cgroup)
{
    for (unsigned i = 0; i < 32; i++) {
        const struct fk_limit *l = &fk_world->limits[i];
        if (l->used && l->device == device && l->hard_bytes && inside(cgroup, l->cgroup) && fk_cgroup_used(device, l->cgroup) + bytes > l->hard_bytes)
            return false;
    }
    return true;
}

static bool fits(unsigned device, uint64_t bytes)
{
    if (!within_limits(device, bytes, fk_world->process[self_slot].cgroup))
        return false;
    uint64_t used = fk_device_used(device), total = fk_world->device[device].total_bytes;
    return used <= total && bytes <= total - used;
}

/* Reserves grow and shrink: they are no things. */
static bool is_counted(enum fk_kind kind)
{
    return kind != FK_POOL && kind != FK_GRAPH;
}

bool fk_take(unsigned device, enum fk_kind kind, uint64_t bytes)
{
    int self = fk_self();
    if (self < 0)
        return false;
    struct fk_process *p = &fk_world->process[self];
    device = p->moved_to[device] ? p->moved_to[device] - 1 : device;
    fk_lock();
    bool ok = kind >= FK_DEVICE_KINDS || fits(device, bytes);
    if (!ok) {
        fk_reap();
        ok = fits(device, bytes);
    }
    if (ok) {
        p->live[device][kind] += bytes;
        p->count[device][kind] += is_counted(kind);
        uint64_t used = fk_process_used(p, device);
        if (used > p->peak[device])
            p->peak[device] = used;
    }
    fk_unlock();
    return ok;
}

void fk_give(unsigned device, enum fk_kind kind, uint64_t bytes)
{
    int self = fk_self();
    if (self < 0)
        return;
    struct fk_process *p = &fk_world->process[self];
    fk_lock();
    device = p->moved_to[device] ? p->moved_to[device] - 1 : device;
    p->live[device][kind] -= bytes;
    p->count[device][kind] -= is_counted(kind);
    fk_unlock();
}

void fk_uuid_text(const struct fk_device *device, char *buf, size_t n)
{
    const uint8_t *u = device->uuid;
    snprintf(buf, n, "GPU-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", u[0], u[1], u[2], u[3], u[4], u[5],
             u[6], u[7], u[8], u[9], u[10], u[11], u[12], u[13], u[14], u[15]);
}
