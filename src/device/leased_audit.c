/* leased_audit.c - each process of a vGPU is looked at (look.h) and judged (judge.h); what is remembered from one look to the next. */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "device/leased.h"

#define MEMBERS_MAX 256

static int64_t boot_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_BOOTTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static struct fg_watched *watched_as(struct fg_leased *l, const char *name)
{
    for (size_t i = 0; i < l->watched.count; i++)
        if (strcmp(l->watched.items[i].name, name) == 0)
            return &l->watched.items[i];
    struct fg_watched *w = fg_vec_add(&l->watched);
    snprintf(w->name, sizeof w->name, "%s", name);
    return w;
}

/* What is remembered of a suspect; zeroed when it is none yet. */
static struct fg_suspect suspect_as(const struct fg_watched *w, pid_t pid)
{
    for (size_t i = 0; i < w->suspects.count; i++)
        if (w->suspects.items[i].pid == pid)
            return w->suspects.items[i];
    return (struct fg_suspect){0};
}

static bool is_member(const struct fg_lease_member *members, size_t count, pid_t pid)
{
    for (size_t i = 0; i < count; i++)
        if (members[i].pid == pid)
            return true;
    return false;
}

static uint64_t inode_of_counters(struct fg_leased *l, const char *name)
{
    struct stat st;
    FG_AUTO_FD int fd = fg_leases_counters(l->leases, name);
    return fd >= 0 && fstat(fd, &st) == 0 ? st.st_ino : 0;
}

/* Look twice before somebody is called an offender: between two reads it may have become another program. */
static enum fg_verdict judge(const struct fg_look_for *f, pid_t pid, bool member, int64_t now_ns, struct fg_suspect *odd, struct fg_look *look,
                             char *text)
{
    enum fg_verdict verdict = FG_OFFENDER;
    for (int i = 0; i < 2 && verdict == FG_OFFENDER; i++)
        verdict = fg_look_at(f, pid, look) ? fg_judge_process(look, pid, member, now_ns, odd, text) : FG_IN_ORDER;
    return verdict;
}

static int judge_books(struct fg_watched *w, const struct fg_lease_use *use, struct fg_truth *now, struct fg_vgpu_offence *ret)
{
    now->used_bytes = use->used_bytes;
    now->charged_ns = (uint64_t)use->device_ns;
    now->quota_bytes = use->memory_bytes;
    bool over = fg_judge_truth(&w->truth, now, ret->text), twice = over && w->told;
    w->told = over;
    if (!w->truth.known || (!over && now->at_ns - w->truth.at_ns >= INT64_C(1000000000)))
        w->truth = *now;
    return twice;
}

int fg_leased_audit(struct fg_leased *l, const char *name, const struct fg_look_for *for_what, const struct fg_truth *told, const int32_t *pids,
                    size_t count, struct fg_vgpu_offence *ret)
{
    struct fg_watched *w = watched_as(l, name);
    struct fg_look_for f = *for_what;
    struct fg_lease_use use;
    if (!l->can_look || !fg_leases_use(l->leases, name, &use))
        return 0;
    *ret = (struct fg_vgpu_offence){0};
    if (use.corrupt) {
        snprintf(ret->text, sizeof ret->text, "it wrote over the counters of its vGPU");
        return 1;
    }
    bool full = use.processes >= MEMBERS_MAX; /* more are refused by the front end: no suspects */
    f.counters_inode = inode_of_counters(l, name);
    struct fg_lease_member members[MEMBERS_MAX];
    size_t member_count = fg_leases_members(l->leases, name, members, MEMBERS_MAX);
    struct fg_truth truth = *told;
    struct fg_suspects odd = {0};
    enum fg_verdict verdict = FG_IN_ORDER;
    truth.at_ns = boot_ns();
    for (size_t i = 0; i < count && verdict != FG_OFFENDER; i++) {
        struct fg_look look = {.hidden = false};
        bool member = is_member(members, member_count, pids[i]);
        if (member && !f.nodes)
            continue;                    /* in the books, and nothing counts for it besides */
        struct fg_suspect suspect = full ? (struct fg_suspect){0} : suspect_as(w, pids[i]);
        verdict = judge(&f, pids[i], member, truth.at_ns, &suspect, &look, ret->text);
        ret->pid = pids[i];
        if (verdict == FG_SUSPECT)
            fg_vec_push(&odd, suspect);
        truth.known |= look.drm;
        truth.memory_bytes += look.drm_memory_bytes;
        truth.engine_ns += look.drm_engine_ns;
        truth.processes += look.drm;
    }
    fg_vec_fini(&w->suspects);
    w->suspects = odd;
    return verdict == FG_OFFENDER ? 1 : judge_books(w, &use, &truth, ret);
}

void fg_leased_audit_forget(struct fg_leased *l, const char *name)
{
    for (size_t i = 0; i < l->watched.count; i++)
        if (strcmp(l->watched.items[i].name, name) == 0) {
            fg_vec_fini(&l->watched.items[i].suspects);
            l->watched.items[i] = l->watched.items[--l->watched.count];
            return;
        }
}

void fg_leased_audit_fini(struct fg_leased *l)
{
    for (size_t i = 0; i < l->watched.count; i++)
        fg_vec_fini(&l->watched.items[i].suspects);
    fg_vec_fini(&l->watched);
}

bool fg_leased_is_member(struct fg_leased *l, const char *name, int32_t pid)
{
    struct fg_lease_member members[MEMBERS_MAX];
    return is_member(members, fg_leases_members(l->leases, name, members, MEMBERS_MAX), pid);
}
