/* reclaimer.c - see reclaimer.h. */
#include "device/reclaimer_private.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <dirent.h>
#include <time.h>
#include <unistd.h>

#include "base/io.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/vec.h"
#include "device/checkpoint.h"

#define SLOW_NS     INT64_C(500000000)
#define FAST_NS     INT64_C(20000000)
#define HOST_NS     INT64_C(250000000)   /* between two looks at processor times */
#define LOCK_MS     2000
#define MOVE_NS     INT64_C(5000000000)  /* without room on the other device: the move failed */
#define HOST_SPARE  (UINT64_C(1) << 30)

/* What the host can still take: the copies go there. */
static uint64_t host_free(void)
{
    FG_AUTO_STR struct fg_str text = {0};
    const char *at = fg_read_file("/proc/meminfo", 65536, &text, NULL) == 0 ? strstr(fg_str_cstr(&text), "\nMemAvailable:") : NULL;
    return at ? strtoull(at + 14, NULL, 10) << 10 : 0;
}

/* Processor time of a process, all threads, in ns: its stat counts in steps of 10 ms. */
static int64_t host_time(int32_t pid)
{
    char path[64], text[128];
    int64_t sum = 0;
    snprintf(path, sizeof path, "/proc/%d/task", (int)pid);
    DIR *dir = opendir(path);
    for (struct dirent *d; dir && (d = readdir(dir));) {
        snprintf(path, sizeof path, "/proc/%d/task/%.12s/schedstat", (int)pid, d->d_name);
        FILE *f = *d->d_name == '.' ? NULL : fopen(path, "re");
        if (f && fgets(text, sizeof text, f))
            sum += strtoll(text, NULL, 10);
        if (f)
            fclose(f);
    }
    if (dir)
        closedir(dir);
    return sum;
}

/* --- what is seen --- */

static void drop(struct fg_reclaimer *r, size_t i)
{
    struct vgpu *v = r->vgpus.items[i];
    fg_checkpoint_abandon(&v->job);
    free(v);
    memmove(&r->vgpus.items[i], &r->vgpus.items[i + 1], (--r->vgpus.count - i) * sizeof v);
}

/* Parked by an agent that is no more: how far the driver had got is not known, so it decides what there is room for. */
static void adopt(struct fg_reclaimer *r, struct vgpu *v, const struct fg_lease_look *look)
{
    struct fg_error err;
    v->adopted = true;
    v->ordered_ns = reclaimer_now_ns();
    fg_reclaim_adopt(&v->machine);
    fg_leases_ordered(r->config.leases, v->name, v->to);
    if (strcmp(v->to, look->device) == 0)
        *v->to = '\0';                   /* it was there, and its order not yet dropped */
    if (*v->to && fg_leases_move_to(r->config.leases, v->name, v->to, &err) != 0)
        fg_log_warn("%s: %s", v->name, err.text);
}

void reclaimer_look(struct fg_reclaimer *r)
{
    size_t n = fg_leases_look(r->config.leases, r->looks, LEASES_MAX);
    for (size_t i = 0; i < r->vgpus.count; i++)
        r->vgpus.items[i]->there = false;
    for (size_t i = 0; i < n; i++) {
        struct vgpu *v = reclaimer_vgpu(r, r->looks[i].name);
        if (!v) {
            v = fg_alloc(sizeof *v);
            memcpy(v->name, r->looks[i].name, sizeof v->name);
            fg_vec_push(&r->vgpus, v);
            if (r->looks[i].parked)
                adopt(r, v, &r->looks[i]);
        }
        v->look = r->looks[i];
        v->there = true;
    }
    for (size_t i = r->vgpus.count; i-- > 0;)
        if (!r->vgpus.items[i]->there)
            drop(r, i);
}

/* What may be asked for on a device, beside what is held. */
static uint64_t claims_on(const struct fg_reclaimer *r, const char *device)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < r->vgpus.count; i++) {
        const struct vgpu *v = r->vgpus.items[i];
        if (strcmp(v->look.device, device) != 0)
            continue;
        if (v->machine.state == FG_RECLAIM_RUNNING)
            sum += v->look.memory_bytes - FG_MIN(v->look.used_bytes, v->look.memory_bytes);
        else if (v->machine.state == FG_RECLAIM_PARKED && v->machine.called)
            sum += v->look.used_bytes;
    }
    return sum;
}

static void look_at_processes(struct fg_reclaimer *r, struct vgpu *v, int64_t now)
{
    if (v->host_looked_ns && now - v->host_looked_ns < HOST_NS)
        return;
    v->member_count = fg_leases_members(r->config.leases, v->name, v->members, FG_CHECKPOINT_PIDS);
    v->host_looked_ns = now;
    v->host_ns = 0;
    for (size_t i = 0; i < v->member_count; i++)
        v->host_ns += host_time(v->members[i].pid);
}

static struct fg_reclaim_input see(struct fg_reclaimer *r, struct vgpu *v, int64_t now)
{
    uint64_t members = 0, free_bytes = 0;
    enum fg_reclaim_reply reply = fg_checkpoint_reply(&v->job);
    if (reply != FG_REPLY_NONE)
        v->host_looked_ns = 0; /* the driver's own part of it ran in these processes */
    look_at_processes(r, v, now);
    for (size_t i = 0; i < v->member_count; i++)
        members = (members ^ (uint64_t)v->members[i].pid) * UINT64_C(0x9e3779b97f4a7c15);
    bool known = r->config.free_bytes(r->config.arg, v->look.device, &free_bytes);
    uint64_t there = 0;
    bool elsewhere = *v->to && (v->adopted || (r->config.free_bytes(r->config.arg, v->to, &there) && there >= v->look.used_bytes));
    return (struct fg_reclaim_input){
        .idle = v->look.idle && v->member_count == v->look.processes,
        .movable = v->look.movable && strncmp(v->look.device, "MIG-", 4) != 0,
        .wanted = reclaimer_is_drained(r, v->look.device) || (known && claims_on(r, v->look.device) > free_bytes), .urgent = reclaimer_is_urgent(r, v),
        .host_room = v->machine.state != FG_RECLAIM_RUNNING || host_free() >= v->look.used_bytes + HOST_SPARE,
        .room = reclaimer_has_place(r, v, known, free_bytes, now), .ordered = *v->to != 0, .elsewhere = elsewhere, .told = *v->park_for != 0,
        .processes = v->look.processes, .members = members, .work = v->look.work + v->look.used_bytes, .bell = v->look.bell,
        .used_bytes = v->look.used_bytes, .host_ns = v->host_ns, .reply = reply};
}

/* --- what is done --- */

/* Its gate is closed before the driver locks it, so that a call that comes rings. */
static int start(struct fg_reclaimer *r, struct vgpu *v, bool restore, bool elsewhere, struct fg_error *err)
{
    FG_AUTO_FREE char *pairs = elsewhere ? fg_asprintf("%s=%s", v->look.device, v->to) : NULL;
    v->elsewhere = elsewhere;
    if (!restore && fg_leases_park(r->config.leases, v->name, true, err) != 0)
        return -1;
    if (!restore || !v->parked_count) {
        v->parked_count = v->member_count;
        for (size_t i = 0; i < v->member_count; i++)
            v->parked[i] = v->members[i].pid;
    }
    struct fg_checkpoint_job job = {.program = r->program, .driver = r->driver, .restore = restore, .pids = v->parked, .count = v->parked_count,
                                    .pairs = pairs, .lock_ms = LOCK_MS};
    return fg_checkpoint_start(&v->job, &job, err);
}

static void act(struct fg_reclaimer *r, struct vgpu *v, enum fg_reclaim_action action)
{
    struct fg_error err = {0};
    bool failed = false;
    switch (action) {
    case FG_RECLAIM_NOTHING:
        break;
    case FG_RECLAIM_PARK:
    case FG_RECLAIM_RESTORE:
    case FG_RECLAIM_RESTORE_ELSEWHERE:
        failed = start(r, v, action != FG_RECLAIM_PARK, action == FG_RECLAIM_RESTORE_ELSEWHERE, &err) != 0;
        break;
    case FG_RECLAIM_OPEN:
        v->parked_count = 0;
        if (v->elsewhere && fg_leases_moved(r->config.leases, v->name, &err) != 0)
            fg_log_warn("%s: %s", v->name, err.text);
        if (v->elsewhere) {
            memcpy(v->look.device, v->to, sizeof v->to);
            *v->to = '\0';
        }
        v->elsewhere = v->adopted = false;
        failed = fg_leases_park(r->config.leases, v->name, false, &err) != 0;
        break;
    case FG_RECLAIM_ABANDON:
    case FG_RECLAIM_END:
        fg_checkpoint_abandon(&v->job);
        break;
    }
    if (failed) /* the lease ended, or no process can be made: the deadline of the step decides */
        fg_log_warn("%s: %s", v->name, err.text);
}

static void tell(const struct vgpu *v, enum fg_reclaim_state before)
{
    const struct fg_reclaim *m = &v->machine;
    unsigned long long mib = (unsigned long long)(v->look.used_bytes >> 20);
    if (m->state == before)
        return;
    if (m->state == FG_RECLAIM_FAILED)
        fg_log_error("%s is lost: %s%s%s", v->name, m->why, *v->job.said ? ": " : "", v->job.said);
    else if (before == FG_RECLAIM_PARKING && m->state == FG_RECLAIM_RUNNING)
        fg_log_info("%s is not parked: %s%s%s", v->name, m->why, *v->job.said ? ": " : "", v->job.said);
    else
        fg_log_info("%s, %llu MiB of device memory: %s (%s)", v->name, mib, fg_reclaim_state_name(m->state), m->why);
}

/* Put aside, its place is free; brought back elsewhere in vain, it is said so until the order is taken back. */
static void follow(struct fg_reclaimer *r, struct vgpu *v, enum fg_reclaim_state before, const struct fg_reclaim_input *in, int64_t now)
{
    struct fg_error err;
    const struct fg_reclaim *m = &v->machine;
    if (*v->park_for) {
        reclaimer_follow_move(r, v, before, in, now);
        return;
    }
    if (before == FG_RECLAIM_PARKING && m->state == FG_RECLAIM_PARKED && in->reply == FG_REPLY_DONE &&
        fg_leases_aside(r->config.leases, v->name, &err) != 0)
        fg_log_warn("%s: %s", v->name, err.text);
    if (m->state == FG_RECLAIM_PARKED && before == FG_RECLAIM_RESTORING)
        v->elsewhere = false;
    if (m->state == FG_RECLAIM_PARKED && *v->to && (m->not_elsewhere || now - v->ordered_ns > MOVE_NS))
        v->move_failed = true;
}

/* Returns whether anybody is not running. */
static bool turn(struct fg_reclaimer *r)
{
    bool any = false;
    pthread_mutex_lock(&r->mutex);
    reclaimer_look(r);
    for (size_t i = 0; i < r->vgpus.count; i++) {
        struct vgpu *v = r->vgpus.items[i];
        int64_t now = reclaimer_now_ns();
        enum fg_reclaim_state before = v->machine.state;
        struct fg_reclaim_input in = see(r, v, now);
        enum fg_reclaim_action action = fg_reclaim_step(&v->machine, &r->config.params, &in, now);
        tell(v, before);
        follow(r, v, before, &in, now);
        act(r, v, action);
        any |= v->machine.state != FG_RECLAIM_RUNNING && v->machine.state != FG_RECLAIM_FAILED;
    }
    pthread_mutex_unlock(&r->mutex);
    return any;
}

/* Sleeps; returns false when it is to stop. */
static bool rest(struct fg_reclaimer *r, int64_t ns)
{
    struct timespec until;
    clock_gettime(CLOCK_MONOTONIC, &until);
    ns += until.tv_nsec;
    until = (struct timespec){until.tv_sec + ns / 1000000000, ns % 1000000000};
    pthread_mutex_lock(&r->mutex);
    while (!r->stopping && pthread_cond_timedwait(&r->stop, &r->mutex, &until) == 0)
        ;
    bool on = !r->stopping;
    pthread_mutex_unlock(&r->mutex);
    return on;
}

static void *run(void *arg)
{
    struct fg_reclaimer *r = arg;
    struct fg_error err = {0};
    bool moves = false;
    if (fg_checkpoint_probe(r->program, r->driver, &moves, &err) != 0) {
        fg_log_warn("idle device memory is not reclaimed: %s", err.text);
        r->config.params.idle_ns = 0;    /* who is parked is brought back all the same, or ends with the driver's reason */
        moves = false;
    }
    pthread_mutex_lock(&r->mutex);
    r->moves = moves;
    pthread_mutex_unlock(&r->mutex);
    while (rest(r, turn(r) ? FAST_NS : SLOW_NS))
        ;
    return NULL;
}

int fg_reclaimer_start(struct fg_reclaimer **ret, const struct fg_reclaimer_config *config, struct fg_error *err)
{
    struct fg_reclaimer *r = fg_alloc(sizeof *r);
    pthread_condattr_t attr;
    *r = (struct fg_reclaimer){.config = *config, .program = fg_strdup(config->program), .driver = fg_strdup(config->driver)};
    pthread_mutex_init(&r->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&r->stop, &attr);
    pthread_condattr_destroy(&attr);
    int code = pthread_create(&r->thread, NULL, run, r);
    if (code == 0) {
        *ret = r;
        return 0;
    }
    pthread_mutex_destroy(&r->mutex);
    pthread_cond_destroy(&r->stop);
    free(r->program);
    free(r->driver);
    free(r);
    return fg_fail(err, FG_E_INTERNAL, "start the thread that reclaims idle memory: %s", strerror(code));
}

void fg_reclaimer_stop(struct fg_reclaimer *r)
{
    if (!r)
        return;
    pthread_mutex_lock(&r->mutex);
    r->stopping = true;
    pthread_cond_signal(&r->stop);
    pthread_mutex_unlock(&r->mutex);
    pthread_join(r->thread, NULL);
    while (r->vgpus.count)
        drop(r, r->vgpus.count - 1);
    fg_vec_fini(&r->vgpus);
    fg_vec_fini(&r->drained);
    pthread_mutex_destroy(&r->mutex);
    pthread_cond_destroy(&r->stop);
    free(r->program);
    free(r->driver);
    free(r);
}

bool fg_reclaimer_lost(struct fg_reclaimer *r, const char *name, char text[200])
{
    if (!r)
        return false;
    pthread_mutex_lock(&r->mutex);
    const struct vgpu *v = reclaimer_vgpu(r, name);
    bool lost = v && v->machine.state == FG_RECLAIM_FAILED;
    if (lost)
        snprintf(text, 200, "its device memory was given to others while it was idle, and is lost: %s%s%.90s", v->machine.why,
                 *v->job.said ? ": " : "", v->job.said);
    pthread_mutex_unlock(&r->mutex);
    return lost;
}

enum fg_reclaim_state fg_reclaimer_state(struct fg_reclaimer *r, const char *name)
{
    pthread_mutex_lock(&r->mutex);
    const struct vgpu *v = reclaimer_vgpu(r, name);
    enum fg_reclaim_state state = v ? v->machine.state : FG_RECLAIM_RUNNING;
    pthread_mutex_unlock(&r->mutex);
    return state;
}
