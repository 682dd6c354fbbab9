/* checkpoint.c - see checkpoint.h. */
#include "device/checkpoint.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/mem.h"
#include "base/vec.h"

#define PROBE_MS 10000

struct words { char **items; size_t count, cap; };

static void fini(struct words *w)
{
    for (size_t i = 0; i < w->count; i++)
        free(w->items[i]);
    fg_vec_fini(w);
}

/* With no signal mask of ours and no descriptor but the pipe. */
static int spawn(struct fg_checkpoint *c, struct words *argv, struct fg_error *err)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attr;
    sigset_t none;
    int ends[2];
    if (pipe2(ends, O_CLOEXEC | O_NONBLOCK) != 0)
        return fg_fail(err, FG_E_INTERNAL, "start %s: %m", argv->items[0]);
    sigemptyset(&none);
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
    posix_spawn_file_actions_adddup2(&actions, ends[1], 1);
    posix_spawn_file_actions_addopen(&actions, 2, "/dev/null", O_WRONLY, 0);
    posix_spawnattr_init(&attr);
    posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attr, &none);
    fg_vec_push(argv, (char *)NULL);
    int rc = posix_spawn(&c->child, argv->items[0], &actions, &attr, argv->items, environ);
    posix_spawnattr_destroy(&attr);
    posix_spawn_file_actions_destroy(&actions);
    close(ends[1]);
    c->said_fd = ends[0];
    c->said[0] = '\0';
    if (rc == 0)
        return 0;
    close(ends[0]);
    c->child = 0;
    errno = rc;
    return fg_fail(err, FG_E_INTERNAL, "start %s: %m", argv->items[0]);
}

int fg_checkpoint_start(struct fg_checkpoint *c, const struct fg_checkpoint_job *job, struct fg_error *err)
{
    struct words argv = {0};
    fg_vec_push(&argv, fg_strdup(job->program));
    fg_vec_push(&argv, fg_strdup(job->driver));
    fg_vec_push(&argv, fg_strdup(job->restore ? "restore" : "park"));
    fg_vec_push(&argv, job->restore ? fg_strdup(job->pairs ? job->pairs : "-") : fg_asprintf("%u", job->lock_ms));
    for (size_t i = 0; i < job->count && i < FG_CHECKPOINT_PIDS; i++)
        fg_vec_push(&argv, fg_asprintf("%d", (int)job->pids[i]));
    int rc = spawn(c, &argv, err);
    fini(&argv);
    return rc;
}

static void hear(struct fg_checkpoint *c)
{
    size_t have = strlen(c->said);
    ssize_t n = read(c->said_fd, c->said + have, sizeof c->said - 1 - have);
    c->said[have + (n > 0 ? (size_t)n : 0)] = '\0';
    c->said[strcspn(c->said, "\n")] = '\0';
    close(c->said_fd);
    c->child = 0;
}

static enum fg_reclaim_reply meaning(struct fg_checkpoint *c, int status)
{
    int code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
    if (code == 0)
        return FG_REPLY_DONE;
    if (code > FG_CHECKPOINT_EXIT + FG_REPLY_DONE && code < FG_CHECKPOINT_EXIT + FG_REPLY_LOST)
        return (enum fg_reclaim_reply)(code - FG_CHECKPOINT_EXIT);
    if (WIFSIGNALED(status))
        snprintf(c->said, sizeof c->said, "the driver crashed: signal %d", WTERMSIG(status));
    return FG_REPLY_LOST;
}

enum fg_reclaim_reply fg_checkpoint_reply(struct fg_checkpoint *c)
{
    int status;
    if (!c->child || waitpid(c->child, &status, WNOHANG) != c->child)
        return FG_REPLY_NONE;
    hear(c);
    return meaning(c, status);
}

void fg_checkpoint_abandon(struct fg_checkpoint *c)
{
    if (!c->child)
        return;
    kill(c->child, SIGKILL);
    while (waitpid(c->child, NULL, 0) < 0 && errno == EINTR)
        ;
    hear(c);
}

int fg_checkpoint_probe(const char *program, const char *driver, bool *ret_moves, struct fg_error *err)
{
    struct fg_checkpoint c = {0};
    struct words argv = {0};
    enum fg_reclaim_reply reply = FG_REPLY_NONE;
    fg_vec_push(&argv, fg_strdup(program));
    fg_vec_push(&argv, fg_strdup(driver));
    fg_vec_push(&argv, fg_strdup("probe"));
    int rc = spawn(&c, &argv, err);
    fini(&argv);
    for (int ms = 0; rc == 0 && ms < PROBE_MS && !(reply = fg_checkpoint_reply(&c)); ms += 10)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    fg_checkpoint_abandon(&c);
    if (rc != 0)
        return -1;
    if (reply != FG_REPLY_DONE)
        return fg_fail(err, FG_E_UNSUPPORTED, "%s", *c.said ? c.said : "the driver did not answer");
    *ret_moves = strstr(c.said, "moves") != NULL;
    return 0;
}
