/* slice_audit.c - see slice_audit.h. */
#include "cli/slice_audit.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/units.h"
#include "device/opencl.h"
#include "vgpu/ledger.h"

#define LAYER      "libfgpu_opencl.so"
#define PERIOD_MS  300
#define DUTY       50 /* of this part of the time at most is spent looking */
#define MAX_PIDS   8192

static const void *map(int fd, size_t size)
{
    const void *at = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    return at == MAP_FAILED ? NULL : at;
}

bool slice_audit_init(struct slice_audit *a, const char *lease, const struct slice_files *files, struct slice_cuda *cuda)
{
    struct stat ns = {0}, counters = {0};
    const char *vendors = getenv("OCL_ICD_VENDORS");
    struct stat st;
    bool folder = vendors && stat(vendors, &st) == 0 && S_ISDIR(st.st_mode);
    *a = (struct slice_audit){.counters = map(files->counters, sizeof(struct fg_counters)),
                              .limits = map(files->limits, sizeof(struct fg_limits)), .cuda = cuda};
    if (stat("/proc/self/ns/pid", &ns) == 0)
        a->pid_ns = ns.st_ino;
    fstat(files->counters, &counters);
    a->look_for = (struct fg_look_for){.drivers = (const char *const *)a->drivers, .layer = LAYER, .loader = "libOpenCL",
                                       .env_on = "OPENCL_LAYERS=", .counters_inode = counters.st_ino, .lease = lease,
                                       .driver_count = fg_opencl_drivers(folder ? vendors : "/etc/OpenCL/vendors", a->drivers,
                                                                         SLICE_DRIVERS_MAX)};
    return a->counters && a->limits && access("/proc/self/maps", R_OK) == 0 && (!cuda || slice_cuda_look(cuda));
}

void slice_audit_fini(struct slice_audit *a)
{
    for (size_t i = 0; i < a->look_for.driver_count; i++)
        free(a->drivers[i]);
    if (a->counters)
        munmap((void *)a->counters, sizeof *a->counters);
    if (a->limits)
        munmap((void *)a->limits, sizeof *a->limits);
    fg_vec_fini(&a->spared);
    fg_vec_fini(&a->suspects);
    *a = (struct slice_audit){0};
}

/* Those in the books need no look. Who is in another pid namespace is known by the counters that he has mapped. */
static const struct fg_slot *slot_of(const struct slice_audit *a, pid_t pid)
{
    uint32_t high = FG_MIN(fg_get(&a->counters->slots_high), FG_SLOTS);
    for (uint32_t i = 0; i < high; i++) {
        const struct fg_slot *slot = &a->counters->slots[i];
        uint64_t owner = fg_get(&slot->owner);
        if (fg_owner_state(owner) == FG_SLOT_LIVE && fg_owner_pid(owner) == pid && slot->pid_ns == a->pid_ns)
            return slot;
    }
    return NULL;
}

/* Some process of another pid namespace is in the books, under a number that we do not know. */
static bool has_strangers(const struct slice_audit *a)
{
    uint32_t high = FG_MIN(fg_get(&a->counters->slots_high), FG_SLOTS);
    for (uint32_t i = 0; i < high; i++)
        if (fg_owner_state(fg_get(&a->counters->slots[i].owner)) == FG_SLOT_LIVE && a->counters->slots[i].pid_ns != a->pid_ns)
            return true;
    return false;
}

/* NVIDIA's driver says that he holds memory: the front end puts a process in the books before its first byte. */
static enum fg_verdict judge_holder(const struct slice_audit *a, pid_t pid, char *text)
{
    struct fg_look look;
    if (!fg_look_at(&a->look_for, pid, &look))
        return FG_IN_ORDER;
    if (look.counters || (look.hidden && has_strangers(a)))
        return FG_IN_ORDER;
    snprintf(text, 200, "process %d (%s) uses the device past the front end that keeps the limits, the driver says", (int)pid, look.name);
    return FG_OFFENDER;
}

static enum fg_verdict judge(const struct slice_audit *a, pid_t pid, int64_t now, struct fg_suspect *odd, char *text)
{
    struct fg_look look;
    if (a->cuda && slice_cuda_holder(a->cuda, pid))
        return judge_holder(a, pid, text);
    if (!fg_look_at(&a->look_for, pid, &look) || (look.hidden && !*look.driver))
        return FG_IN_ORDER;
    return fg_judge_process(&look, pid, false, now, odd, text);
}

static struct fg_suspect suspect_as(const struct slice_audit *a, pid_t pid)
{
    for (size_t i = 0; i < a->suspects.count; i++)
        if (a->suspects.items[i].pid == pid)
            return a->suspects.items[i];
    return (struct fg_suspect){0};
}

static void end(struct slice_audit *a, pid_t pid, int pidfd, slice_said *said, void *arg, const char *text)
{
    if (syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) == 0) {
        said(arg, true, text);
        return;
    }
    for (size_t i = 0; i < a->spared.count; i++)
        if (a->spared.items[i] == pid)
            return;
    fg_vec_push(&a->spared, pid);
    said(arg, false, text);
}

/* Judged once more while it is held, so that nobody else of its number is stopped, and none in the moment of an exec. */
static bool stop(struct slice_audit *a, pid_t pid, int64_t now, struct fg_suspect *odd, char *text, slice_said *said, void *arg)
{
    FG_AUTO_FD int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (a->cuda)
        slice_cuda_look(a->cuda);
    if (pidfd < 0 || slot_of(a, pid) || judge(a, pid, now, odd, text) != FG_OFFENDER)
        return false;
    end(a, pid, pidfd, said, arg, text);
    return true;
}

/* --- who is in the books, and holds more than they say --- */

static uint64_t booked(const struct slice_audit *a, pid_t pid)
{
    const struct fg_slot *slot = slot_of(a, pid);
    return slot ? fg_total_bytes(fg_get(&slot->used)) : 0;
}

/* Who is furthest above the books, or, where those are right, who holds most. */
static void stop_worst(struct slice_audit *a, const pid_t *pids, size_t n, bool books_right, const char *text, slice_said *said, void *arg)
{
    pid_t worst = 0;
    uint64_t most = 0;
    for (size_t i = 1; i < n; i++) {
        const struct fg_nvml_process *p = slice_cuda_holder(a->cuda, pids[i]);
        uint64_t over = p && p->used_bytes != UINT64_MAX ? p->used_bytes - FG_MIN(p->used_bytes, books_right ? 0 : booked(a, pids[i])) : 0;
        if (over > most) {
            most = over;
            worst = pids[i];
        }
    }
    FG_AUTO_FD int pidfd = worst ? (int)syscall(SYS_pidfd_open, worst, 0) : -1;
    if (pidfd < 0 || !slice_cuda_look(a->cuda) || !slice_cuda_holder(a->cuda, worst))
        return;
    FG_AUTO_FREE char *whole = fg_asprintf("process %d: %s", (int)worst, text);
    end(a, worst, pidfd, said, arg, whole);
}

/* More in the books than the slice was ever granted: its limits were not read where we wrote them. used was read before the quota. */
static bool above_grant(struct slice_audit *a, uint64_t used, uint64_t quota, char *text)
{
    char has[32], had[32];
    uint32_t generation = fg_get(&a->limits->generation);
    a->granted_bytes = FG_MAX(a->granted_bytes, quota);
    if (generation - a->generation > 1) /* changed more than once since: one of the quotas in between we did not see */
        a->granted_bytes = FG_MAX(a->granted_bytes, used);
    a->generation = generation;
    if (used <= a->granted_bytes)
        return false;
    snprintf(text, 200, "its processes hold %s of %s that it ever might, and its books say so", fg_format_bytes(has, sizeof has, used),
             fg_format_bytes(had, sizeof had, a->granted_bytes));
    return true;
}

/* Memory alone, and over twice in a row: the driver's list and the books are not read in the same moment. */
static void audit_books(struct slice_audit *a, const pid_t *pids, size_t n, slice_said *said, void *arg)
{
    char text[200];
    struct fg_truth truth = {.known = true, .used_bytes = fg_ledger_used(a->counters)};
    truth.quota_bytes = fg_get(&a->limits->memory_bytes);
    for (size_t i = 1; i < n; i++) {
        const struct fg_nvml_process *p = slice_cuda_holder(a->cuda, pids[i]);
        if (p && p->used_bytes != UINT64_MAX) {
            truth.memory_bytes += p->used_bytes;
            truth.processes++;
        }
    }
    bool granted = !above_grant(a, truth.used_bytes, truth.quota_bytes, text);
    bool over = !granted || fg_judge_truth(&(struct fg_truth){.known = false}, &truth, text);
    if (over && a->over)
        stop_worst(a, pids, n, !granted, text, said, arg);
    a->over = over;
}

int slice_audit_run(struct slice_audit *a, slice_said *said, void *arg)
{
    static pid_t pids[MAX_PIDS];
    char text[200];
    int64_t began = fg_boot_ns();
    __typeof__(a->suspects) odd = {0};
    if (began < a->due_ns)
        return (int)((a->due_ns - began) / 1000000) + 1;
    size_t n = fg_look_tree(NULL, getpid(), pids, MAX_PIDS);
    if (a->cuda)
        slice_cuda_look(a->cuda);
    for (size_t i = 1; i < n; i++) { /* the first is this process */
        struct fg_suspect suspect = suspect_as(a, pids[i]);
        enum fg_verdict verdict = slot_of(a, pids[i]) ? FG_IN_ORDER : judge(a, pids[i], began, &suspect, text);
        if (verdict == FG_OFFENDER && stop(a, pids[i], began, &suspect, text, said, arg))
            continue;
        if (verdict != FG_IN_ORDER)
            fg_vec_push(&odd, suspect);
    }
    if (a->cuda)
        audit_books(a, pids, n, said, arg);
    fg_vec_fini(&a->suspects);
    a->suspects.items = odd.items;
    a->suspects.count = odd.count;
    a->suspects.cap = odd.cap;
    int64_t now = fg_boot_ns();
    a->due_ns = now + FG_MAX(INT64_C(1000000) * PERIOD_MS, (now - began) * DUTY);
    return (int)((a->due_ns - now) / 1000000) + 1;
}
