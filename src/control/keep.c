/* keep.c - a round over DATA/logs, some files a second, so that a folder of a million holds nobody up. A file goes when the store
 * says that its task is settled and ended long enough ago; what the store does not know is not ours. */
#include "control/keep.h"

#include <dirent.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/units.h"
#include "control/log_files.h"

enum { LOOKS = 200, DELETIONS = 20, PAUSE_S = 3600 }; /* the first two: in a second */
#define DAY_NS (24 * 3600 * FG_NS_PER_S)

struct fg_keep {
    int64_t days;
    DIR *dir;                            /* of the round under way */
    int pause_s;                         /* until the next one */
    size_t deleted;                      /* in this round */
};

struct fg_keep *fg_keep_create(const struct fg_config *config)
{
    struct fg_keep *keep = fg_alloc(sizeof *keep);
    keep->days = fg_config_int(config, "keep_logs_days");
    return keep;
}

void fg_keep_destroy(struct fg_keep *keep)
{
    if (keep && keep->dir)
        closedir(keep->dir);
    free(keep);
}

int64_t fg_keep_days(const struct fg_server *s) { return s->keep->days; }

static bool is_over(const struct fg_keep *keep, const struct fg_task *task, int64_t now_ns)
{
    return keep->days && task->settled && task->finished_ns && now_ns - task->finished_ns > keep->days * DAY_NS;
}

bool fg_keep_is_over(struct fg_server *s, const struct fg_task *task) { return is_over(s->keep, task, fg_server_now(s)); }

/* TASK.ATTEMPT.log and nothing else. */
static bool read_name(const char *name, fg_id *ret_task, uint32_t *ret_attempt)
{
    char id[FG_ID_TEXT], again[FG_ID_TEXT + 20];
    const char *dot = strchr(name, '.');
    if (!dot || (size_t)(dot - name) >= sizeof id)
        return false;
    snprintf(id, sizeof id, "%.*s", (int)(dot - name), name);
    *ret_attempt = (uint32_t)strtoul(dot + 1, NULL, 10);
    snprintf(again, sizeof again, "%s.%u.log", id, *ret_attempt);
    return strcmp(name, again) == 0 && fg_id_parse(id, "tsk", ret_task);
}

/* Whether the file was deleted. Who printed not long ago has not ended long ago: that spares most files the question. */
static bool look(struct fg_server *s, const char *name, int64_t now_ns)
{
    struct fg_keep *keep = s->keep;
    struct fg_found found;
    struct stat st;
    uint32_t attempt;
    fg_id task;
    if (!read_name(name, &task, &attempt) || fstatat(dirfd(keep->dir), name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
        now_ns - st.st_mtim.tv_sec * FG_NS_PER_S <= keep->days * DAY_NS || fg_find_task(s, task, FG_ID_NONE, &found, NULL))
        return false;
    bool over = is_over(keep, found.task, now_ns);
    fg_found_fini(&found);
    if (!over)
        return false;
    fg_log_close(s->logs, task, attempt);
    if (unlinkat(dirfd(keep->dir), name, 0) == 0)
        return true;
    fg_log_warn("delete the old log %s: %m", name);
    return false;
}

static bool round_begins(struct fg_server *s)
{
    struct fg_keep *keep = s->keep;
    if (keep->dir)
        return true;
    if (keep->pause_s-- > 0)
        return false;
    keep->pause_s = PAUSE_S;
    keep->deleted = 0;
    keep->dir = opendir(s->log_dir);
    if (!keep->dir)
        fg_log_warn("look for old logs in '%s': %m", s->log_dir);
    return keep->dir != NULL;
}

static void round_ends(struct fg_keep *keep)
{
    closedir(keep->dir);
    keep->dir = NULL;
    if (keep->deleted)
        fg_log_info("deleted %zu log(s) of tasks that ended more than %lld day(s) ago", keep->deleted, (long long)keep->days);
}

void fg_keep_tick(struct fg_server *s, int64_t now_ns)
{
    struct fg_keep *keep = s->keep;
    if (!keep->days || !s->core || !round_begins(s))
        return;
    for (int looks = 0, gone = 0; looks < LOOKS && gone < DELETIONS; looks++) {
        const struct dirent *entry = readdir(keep->dir);
        if (!entry) {
            round_ends(keep);
            return;
        }
        bool deleted = look(s, entry->d_name, now_ns);
        gone += deleted;
        keep->deleted += deleted;
    }
}
