/* slice_audit.c - see slice_audit.h. */
#include "cli/slice_audit.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "device/opencl.h"
#include "vgpu/page.h"

#define LAYER      "libfgpu_opencl.so"
#define PERIOD_MS  300
#define DUTY       50 /* of this part of the time at most is spent looking */
#define MAX_PIDS   8192

bool slice_audit_init(struct slice_audit *a, const char *lease, int counters_fd)
{
    struct stat ns = {0}, counters = {0};
    const char *vendors = getenv("OCL_ICD_VENDORS");
    struct stat st;
    bool folder = vendors && stat(vendors, &st) == 0 && S_ISDIR(st.st_mode);
    void *at = mmap(NULL, sizeof(struct fg_counters), PROT_READ, MAP_SHARED, counters_fd, 0);
    *a = (struct slice_audit){.counters = at == MAP_FAILED ? NULL : at};
    if (stat("/proc/self/ns/pid", &ns) == 0)
        a->pid_ns = ns.st_ino;
    fstat(counters_fd, &counters);
    a->look_for = (struct fg_look_for){.drivers = (const char *const *)a->drivers, .layer = LAYER, .loader = "libOpenCL",
                                       .env_on = "OPENCL_LAYERS=", .counters_inode = counters.st_ino, .lease = lease,
                                       .driver_count = fg_opencl_drivers(folder ? vendors : "/etc/OpenCL/vendors", a->drivers,
                                                                         SLICE_DRIVERS_MAX)};
    return a->counters && access("/proc/self/maps", R_OK) == 0;
}

void slice_audit_fini(struct slice_audit *a)
{
    for (size_t i = 0; i < a->look_for.driver_count; i++)
        free(a->drivers[i]);
    if (a->counters)
        munmap((void *)a->counters, sizeof *a->counters);
    fg_vec_fini(&a->suspects);
    *a = (struct slice_audit){0};
}

/* Those in the books need no look. Who is in another pid namespace is known by the counters that he has mapped. */
static bool is_member(const struct slice_audit *a, pid_t pid)
{
    uint32_t high = FG_MIN(fg_get(&a->counters->slots_high), FG_SLOTS);
    for (uint32_t i = 0; i < high; i++) {
        const struct fg_slot *slot = &a->counters->slots[i];
        uint64_t owner = fg_get(&slot->owner);
        if (fg_owner_state(owner) == FG_SLOT_LIVE && fg_owner_pid(owner) == pid && slot->pid_ns == a->pid_ns)
            return true;
    }
    return false;
}

static enum fg_verdict judge(const struct slice_audit *a, pid_t pid, int64_t now, struct fg_suspect *odd, char *text)
{
    struct fg_look look;
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

/* Judged once more while it is held, so that nobody else of its number is stopped, and none in the moment of an exec. */
static bool stop(const struct slice_audit *a, pid_t pid, int64_t now, struct fg_suspect *odd, char *text)
{
    FG_AUTO_FD int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    return pidfd >= 0 && !is_member(a, pid) && judge(a, pid, now, odd, text) == FG_OFFENDER &&
           syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0) == 0;
}

int slice_audit_run(struct slice_audit *a, void (*said)(void *arg, const char *text), void *arg)
{
    static pid_t pids[MAX_PIDS];
    char text[200];
    int64_t began = fg_boot_ns();
    __typeof__(a->suspects) odd = {0};
    if (began < a->due_ns)
        return (int)((a->due_ns - began) / 1000000) + 1;
    size_t n = fg_look_tree(NULL, getpid(), pids, MAX_PIDS);
    for (size_t i = 1; i < n; i++) { /* the first is this process */
        struct fg_suspect suspect = suspect_as(a, pids[i]);
        enum fg_verdict verdict = is_member(a, pids[i]) ? FG_IN_ORDER : judge(a, pids[i], began, &suspect, text);
        if (verdict == FG_OFFENDER && stop(a, pids[i], began, &suspect, text))
            said(arg, text);
        else if (verdict != FG_IN_ORDER)
            fg_vec_push(&odd, suspect);
    }
    fg_vec_fini(&a->suspects);
    a->suspects.items = odd.items;
    a->suspects.count = odd.count;
    a->suspects.cap = odd.cap;
    int64_t now = fg_boot_ns();
    a->due_ns = now + FG_MAX(INT64_C(1000000) * PERIOD_MS, (now - began) * DUTY);
    return (int)((a->due_ns - now) / 1000000) + 1;
}
