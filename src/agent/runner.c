/* runner.c - an attempt from START to FORGET. Each step ends by calling the next one; internal.h has the picture. Acting on
 * a state is safe to repeat: a START that is here already, a KILL of what has ended and a FORGET of what is gone do nothing. */
#include <spawn.h>
#include <string.h>
#include <sys/wait.h>

#include "agent/internal.h"
#include "agent/job.h"
#include "base/io.h"
#include "base/json.h"
#include "base/log.h"

/* --- the end --- */

struct removal { char *path; };

static void remove_run(void *arg)
{
    struct fg_error err;
    struct removal *r = arg;
    if (fg_remove_tree(r->path, &err) == 0)
        return;
    /* A task of our own user may have closed its folders to us. */
    char *const open_up[] = {"chmod", "-R", "u+rwX", "--", r->path, NULL};
    pid_t pid;
    if (posix_spawnp(&pid, "chmod", NULL, NULL, open_up, environ) == 0)
        waitpid(pid, NULL, 0);
    if (fg_remove_tree(r->path, &err) != 0)
        fg_log_warn("%s", err.text);
}

static void remove_done(void *arg)
{
    struct removal *r = arg;
    free(r->path);
    free(r);
}

/* Processes may need a moment to leave: the tick tries again. */
static void release_vgpu(struct attempt *t)
{
    struct fg_error err;
    struct agent *a = t->agent;
    if (!t->vgpu)
        return;
    const struct backend *b = devices_backend(a, t->device);
    if (b->ops->destroy(b->state, t->device, t->name, &err) == 0) {
        t->vgpu = false;
        return;
    }
    if (err.code != FG_E_CONFLICT)
        fg_log_warn("%s: %s", t->name, err.text);
    b->ops->kill(b->state, t->device, t->name, NULL);
}

/* Out of the list; its folder goes away under a name that no later scan takes for an attempt. */
static void go(struct attempt *t)
{
    struct agent *a = t->agent;
    struct removal *r = fg_alloc(sizeof *r);
    release_vgpu(t);
    if (t->vgpu) {                       /* its cgroup is not empty yet: stay until it is */
        t->forget_wanted = true;
        free(r);
        return;
    }
    r->path = fg_asprintf("%s/.gone-%s", a->set.attempts, t->name);
    if (rename(t->dir, r->path) != 0) {
        free(r->path);
        r->path = fg_strdup(t->dir);
    }
    t->phase = PHASE_GONE;
    attempt_destroy(t);
    job_start(a, remove_run, remove_done, r);
}

static void finish(struct attempt *t)
{
    t->phase = PHASE_DONE;
    release_vgpu(t);
    fg_outcome_fini(&t->outcome);
    outcome_of(&t->ending, &t->outcome);
    t->outcome.pull_ns = t->pull_ns;
    t->outcome.usage = t->usage;
    t->outcome.usage.seq = 0;
    t->outcome.outputs = outputs_json(t);
    fg_log_info("%s %s%s%s%s", t->name, fg_state_name(t->outcome.state), t->outcome.detail ? ": " : "",
                t->outcome.detail ? t->outcome.detail : "", t->forget_wanted ? " (forgotten)" : "");
    if (t->forget_wanted)
        go(t);
    else
        report_finished(t);
}

void runner_fail(struct attempt *t, enum fg_reason reason, const char *sentence)
{
    pull_stop(t);
    t->ending.failed = reason;
    free(t->ending.failure);
    t->ending.failure = fg_strdup(sentence);
    finish(t);
}

static void finish_killed(struct attempt *t)
{
    pull_stop(t);
    snprintf(t->ending.stopped, sizeof t->ending.stopped, "%s", fg_reason_name(t->kill_reason));
    finish(t);
}

void runner_uploaded(struct attempt *t) { finish(t); }

void runner_ended(struct attempt *t)
{
    report_last_usage(t);
    release_vgpu(t);
    /* Without its supervisor nobody has waited for what was left of it: it is not over before its cgroup is empty. Rare,
     * and a matter of a few ms, so the loop may wait. */
    for (int i = 0; i < 100 && t->vgpu && !t->ending.status; i++) {
        usleep(2000);
        release_vgpu(t);
    }
    outputs_collect(t);
}

/* --- the way there --- */

static void launch(struct attempt *t)
{
    struct fg_error err;
    if (t->agent->stopping)
        return;                          /* the next agent starts it */
    if (t->kill_wanted) {
        finish_killed(t);
        return;
    }
    t->pull_ns = agent_now(t->agent) - t->made_ns;
    bool waited = t->waits;
    t->waits = false;
    if (launch_start(t, &err) == 0)
        return;
    if (err.code == FG_E_UNAVAILABLE && t->limits.borrowed) {
        parking_tick(t->agent);          /* the server hears of the owner first, or it would lend the place again */
        t->phase = PHASE_PLACE;
        release_vgpu(t);
        runner_fail(t, FG_REASON_PREEMPTED, "the place it was to borrow is wanted back by its owner");
        return;
    }
    if (err.code == FG_E_UNAVAILABLE) {  /* until its startup limit, which the server keeps */
        if (!waited)
            fg_log_info("%s waits: %s", t->name, err.text);
        release_vgpu(t);
        t->phase = PHASE_PLACE;
        t->waits = true;
        return;
    }
    runner_fail(t, err.code == FG_E_INVALID ? FG_REASON_INVALID : FG_REASON_INTERNAL, err.text);
}

struct step { struct attempt *t; int rc; struct fg_error err; };

static void place_run(void *arg)
{
    struct step *s = arg;
    s->rc = workdir_place(s->t->agent, s->t, &s->err);
}

static void place_done(void *arg)
{
    struct step *s = arg;
    struct attempt *t = s->t;
    struct fg_error err = s->err;
    int rc = s->rc;
    free(s);
    t->busy = false;
    if (t->agent->stopping)
        return;
    if (rc != 0)
        runner_fail(t, err.code == FG_E_INVALID ? FG_REASON_INVALID : FG_REASON_INTERNAL, err.text);
    else
        launch(t);
}

static void start_step(struct attempt *t, void (*run)(void *), void (*done)(void *))
{
    struct step *s = fg_alloc(sizeof *s);
    s->t = t;
    t->busy = true;
    job_start(t->agent, run, done, s);
}

void runner_pulled(struct attempt *t)
{
    if (t->agent->stopping)
        return;
    t->phase = PHASE_PLACE;
    if (t->manifest || t->weights || t->wants.count)
        start_step(t, place_run, place_done);
    else
        launch(t);
}

static void make_run(void *arg)
{
    struct step *s = arg;
    s->rc = attempt_make_folder(s->t, &s->err);
}

static void make_done(void *arg)
{
    struct step *s = arg;
    struct attempt *t = s->t;
    struct fg_error err = s->err;
    int rc = s->rc;
    free(s);
    t->busy = false;
    if (t->agent->stopping)
        return;
    if (rc != 0) {
        runner_fail(t, FG_REASON_INTERNAL, err.text);
    } else if (t->kill_wanted) {
        finish_killed(t);
    } else {
        t->phase = PHASE_PULL;
        pull_begin(t);
    }
}

static void make(struct attempt *t)
{
    t->phase = PHASE_MAKE;
    t->made_ns = agent_now(t->agent);
    const json_t *command = json_object_get(t->spec, "command"), *program = json_array_get(command, 0);
    t->ending.model = !fg_streq(fg_json_str(t->spec, "task_type", "command"), "command");
    free(t->ending.program);
    t->ending.program = fg_strdup(t->ending.model ? "worker" : json_is_string(program) ? json_string_value(program) : "?");
    start_step(t, make_run, make_done);
}

void runner_start(struct agent *a, const struct fg_msg_start *msg)
{
    if (a->stopping || attempt_find(a, msg->task, msg->attempt))
        return;
    struct attempt *t = attempt_create(a, msg->task, msg->attempt);
    t->tenant = msg->tenant;
    t->epoch = msg->lease.epoch;
    t->limits = (struct fg_vgpu_limits){msg->lease.memory_bytes, msg->lease.share_permille, msg->lease.share_permille,
                                         msg->lease.borrowed, msg->lease.cpus_milli, msg->lease.host_bytes};
    snprintf(t->device, sizeof t->device, "%s", msg->device_name);
    t->spec = json_incref(msg->spec);
    t->log_known = true;                 /* the server has nothing of it yet */
    make(t);
}

void runner_kill(struct agent *a, const struct fg_msg_ref *ref)
{
    struct attempt *t = attempt_find(a, ref->task, ref->attempt);
    if (!t || t->phase > PHASE_RUN)
        return;
    t->kill_wanted = true;
    t->kill_reason = ref->reason;
    if (t->phase == PHASE_RUN)
        launch_stop(t, fg_reason_name(ref->reason), NULL);
    else if (!t->busy)
        finish_killed(t);
}

/* The vGPU changes under the running task, one that is being stopped, too: what it had may be promised to another.
 * What the device cannot give leaves all as it was. */
void runner_resize(struct agent *a, const struct fg_msg_resize *msg)
{
    struct fg_error err;
    struct attempt *t = attempt_find(a, msg->task, msg->attempt);
    if (!t || t->phase != PHASE_RUN || (t->limits.memory_bytes == msg->memory_bytes && t->limits.share_permille == msg->share_permille))
        return;
    const struct backend *b = devices_backend(a, t->device);
    struct fg_vgpu_limits limits = t->limits;
    limits.memory_bytes = msg->memory_bytes;
    limits.share_permille = msg->share_permille;
    if (b->ops->resize(b->state, t->device, t->name, &limits, &err) != 0) {
        fg_log_warn("%s keeps its size: %s", t->name, err.text);
        return;
    }
    t->limits = limits;
    if (attempt_record(t, &err) != 0)
        fg_log_warn("%s: keep its new size: %s", t->name, err.text);
    fg_log_info("%s has %llu MiB and %u permille of %s now", t->name, (unsigned long long)(limits.memory_bytes >> 20), limits.share_permille,
                t->device);
}

void runner_forget(struct agent *a, const struct fg_msg_ref *ref)
{
    struct attempt *t = attempt_find(a, ref->task, ref->attempt);
    if (!t)
        return;
    t->forget_wanted = true;
    if (t->phase == PHASE_DONE)
        go(t);
    else if (t->phase <= PHASE_RUN)
        runner_kill(a, ref);
    else if (!t->busy)
        finish(t);
}

/* --- after a restart --- */

/* What launch wrote about the phases before it. */
static void recall_pull(struct attempt *t)
{
    FG_AUTO_FREE char *path = attempt_path(t, "launch");
    FG_AUTO_STR struct fg_str text = {0};
    const char *at = fg_read_file(path, 16 << 20, &text, NULL) == 0 ? memmem(text.data, text.len, "pull_ns=", 8) : NULL;
    t->pull_ns = at ? strtoll(at + 8, NULL, 10) : 0;
}

static bool ran(const struct attempt *t)
{
    FG_AUTO_FREE char *path = attempt_path(t, "run.json");
    return access(path, F_OK) == 0;
}

void runner_adopt(struct attempt *t)
{
    struct agent *a = t->agent;
    t->ending.model = !fg_streq(fg_json_str(t->spec, "task_type", "command"), "command");
    const json_t *program = json_array_get(json_object_get(t->spec, "command"), 0);
    t->ending.program = fg_strdup(json_is_string(program) ? json_string_value(program) : "worker");
    recall_pull(t);
    if (!t->ending.rebooted && launch_adopt(t)) {
        fg_log_info("%s goes on: found again", t->name);
        return;
    }
    launch_adopt(t);
    if (t->ending.status || t->ending.rebooted || ran(t)) {
        runner_ended(t);
        return;
    }
    /* It was taken but its program never began: from the start, with nothing left of the first try. */
    static const char *const made[] = {"work", "out", "launch", "kill", "why", "counters"};
    const struct backend *b = devices_backend(a, t->device);
    b->ops->kill(b->state, t->device, t->name, NULL);
    for (size_t i = 0; i < FG_COUNT(made); i++) {
        FG_AUTO_FREE char *path = attempt_path(t, made[i]);
        fg_remove_tree(path, NULL);
    }
    make(t);
}

/* --- each second --- */

static void tick_one(struct attempt *t)
{
    struct agent *a = t->agent;
    if (t->phase == PHASE_RUN && t->pidfd < 0 && !launch_adopt(t)) {
        runner_ended(t);                 /* found alive at the restart, gone before it could be watched */
    } else if (t->phase == PHASE_RUN) {
        launch_event(t, "run.json");     /* should its event have been lost */
        report_usage(t);
        logship_some(t);
    } else if ((t->phase == PHASE_PULL || t->waits) && a->lease_deadline && agent_now(a) > a->lease_deadline) {
        runner_fail(t, FG_REASON_NODE_LOST, "its machine lost the server for longer than the lease");
    } else if (t->waits) {
        launch(t);
    } else if (t->phase == PHASE_UPLOAD) {
        outputs_tick(t);
    } else if (t->phase == PHASE_DONE && t->forget_wanted) {
        go(t);
    } else if (t->phase == PHASE_DONE && t->vgpu) {
        release_vgpu(t);
    }
}

void runner_tick(struct agent *a)
{
    for (size_t i = a->attempts.count; i-- > 0;)       /* one may leave the list: the last takes its place */
        if (i < a->attempts.count)
            tick_one(a->attempts.items[i]);
    report_again(a, agent_now(a) - a->heartbeat_ns);
}
