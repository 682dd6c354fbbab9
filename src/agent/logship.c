/* logship.c - an attempt's log file to the server, byte for byte, from where the server's copy ends. Pieces go out as the
 * file grows; when the socket is slow they wait in the file, not in memory. */
#include <fcntl.h>
#include <sys/stat.h>

#include "agent/internal.h"

static uint64_t size_of(struct attempt *t)
{
    struct stat st;
    if (t->log_fd < 0) {
        FG_AUTO_FREE char *path = attempt_path(t, "log");
        t->log_fd = open(path, O_RDONLY | O_CLOEXEC);
    }
    return t->log_fd >= 0 && fstat(t->log_fd, &st) == 0 ? (uint64_t)st.st_size : 0;
}

void logship_some(struct attempt *t)
{
    struct agent *a = t->agent;
    if (!a->link.welcomed || !t->log_known)
        return;
    uint64_t size = size_of(t);
    while (t->log_sent < size && link_pending(a) < SEND_WINDOW && a->link.open) {
        static char piece[PIECE_BYTES];
        ssize_t n = pread(t->log_fd, piece, FG_MIN(sizeof piece, size - t->log_sent), (off_t)t->log_sent);
        if (n <= 0)
            return;
        struct fg_msg msg = {.kind = FG_MSG_LOG, .ref = {.task = t->task, .attempt = t->number, .offset = t->log_sent},
                             .payload = piece, .payload_len = (size_t)n};
        t->log_sent += (uint64_t)n;
        link_send(a, &msg);
    }
}

void logship_all(struct agent *a)
{
    for (size_t i = 0; i < a->attempts.count; i++)
        if (a->attempts.items[i]->phase >= PHASE_RUN && a->attempts.items[i]->phase < PHASE_GONE)
            logship_some(a->attempts.items[i]);
}

/* All of it is on its way, or the server does not want it. */
bool logship_complete(struct attempt *t) { return !t->log_known || t->log_sent >= size_of(t); }

void logship_at(struct agent *a, const struct fg_msg_ref *ref)
{
    struct attempt *t = attempt_find(a, ref->task, ref->attempt);
    if (!t)
        return;
    t->log_sent = ref->offset;
    t->log_known = true;
    logship_some(t);
}
