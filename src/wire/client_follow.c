/* client_follow.c - an SSE stream that outlives its connections, see client.h. */
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "base/mem.h"
#include "wire/client.h"

enum { RETRY_MS = 300 };

static int64_t boot_ms(struct fg_clock *clock) { return fg_boot(clock) / 1000000; }

/* A line came, without its end; the parser wants it back. */
static int feed_line(void *arg, const char *line, size_t n, struct fg_error *err)
{
    int ret = fg_sse_feed(arg, line, n, err);
    return ret != 0 ? ret : fg_sse_feed(arg, "\n", 1, err);
}

static int follow_once(struct fg_client *client, const char *path, struct fg_sse *sse, int *ret_status, uint64_t *ret_taken, struct fg_error *err)
{
    FG_AUTO_FREE char *headers = sse->id.len > 0 ? fg_asprintf("Accept: text/event-stream\nLast-Event-ID: %s", sse->id.data)
                                                 : fg_strdup("Accept: text/event-stream");
    struct fg_client_request request = {.path = path, .headers = headers, .take = FG_TAKE_LINES, .line = feed_line, .line_arg = sse};
    struct fg_client_answer answer;
    int ret = fg_client_send(client, &request, &answer, err);
    *ret_status = answer.status;
    *ret_taken = answer.taken;
    fg_client_answer_fini(&answer);
    return ret;
}

int fg_client_follow(struct fg_client *client, const char *path, const char *last_id, int64_t patience_ms,
                     int (*fn)(void *arg, const struct fg_sse_event *event, struct fg_error *err), void *arg, struct fg_error *err)
{
    struct fg_error own;
    err = err != NULL ? err : &own;
    struct fg_clock clock;
    fg_clock_init_real(&clock);
    struct fg_sse sse;
    fg_sse_init(&sse, fn, arg);
    if (last_id != NULL) {
        fg_str_adds(&sse.id, last_id);
        fg_str_adds(&sse.next_id, last_id);
    }
    bool was_there = false;
    int64_t give_up_ms = 0;
    int ret;
    for (;;) {
        int status = 0;
        uint64_t taken = 0;
        ret = follow_once(client, path, &sse, &status, &taken, err);
        was_there |= status == 200;
        if (taken > 0 && status == 200)
            give_up_ms = 0;
        /* Only a connection that was lost, or a server that is not up again yet, is worth another try. */
        bool again = ret < 0 && was_there && (err->code == FG_E_UNREACHABLE || err->code == FG_E_UNAVAILABLE);
        if (again && give_up_ms == 0)
            give_up_ms = boot_ms(&clock) + patience_ms;
        if (!again || boot_ms(&clock) >= give_up_ms)
            break;
        fg_sse_cut(&sse);
        int64_t wait_ms = sse.retry_ms > 0 ? sse.retry_ms : RETRY_MS;
        nanosleep(&(struct timespec){.tv_sec = wait_ms / 1000, .tv_nsec = wait_ms % 1000 * 1000000}, NULL);
    }
    fg_sse_fini(&sse);
    return ret;
}
