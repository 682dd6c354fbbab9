/* log_routes.c - what a task printed, from its attempts' log files, as text, as JSON lines, or as a stream that goes on.
 *
 * Every record has one number for its place over all attempts, the id of streams and of `after`:
 *
 *     id = (attempt - 1) << 40 | byte offset of the record's end in the attempt's file
 *
 * so that for the first attempt it is the plain offset, and a stream that was cut goes on without a hole or a repeat, also
 * over a retry. Text is the program's bytes as they are. */
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include "base/units.h"
#include "control/json_out.h"
#include "control/keep.h"
#include "control/log_files.h"
#include "control/routes.h"
#include "control/stream.h"
#include "wire/logfile.h"

#define ATTEMPT_SHIFT 40
#define PIECE (256u << 10)               /* at least one whole record: 65,552 bytes */

enum format { TEXT, LINES, SSE };

struct log_stream {
    struct fg_stream base;
    fg_id task;
    enum format format;
    unsigned sources;                    /* bit for each fg_log_source */
    uint32_t attempt;
    bool one_attempt;                    /* asked for: does not move on to the next */
    bool follow, ended;
    int fd;                              /* of the attempt's file; -1: not there yet */
    uint64_t offset;                     /* next record */
    size_t skip;                         /* bytes of the first record's data that a tail leaves out */
};

/* --- records to bytes --- */

static const char *source_name(enum fg_log_source source)
{
    return source == FG_LOG_STDOUT ? "stdout" : source == FG_LOG_STDERR ? "stderr" : "system";
}

static uint64_t record_id(const struct log_stream *st, uint64_t end)
{
    return (uint64_t)(st->attempt - 1) << ATTEMPT_SHIFT | end;
}

/* "line" where the bytes are text; "base64" where they are not, be it only because a record ends within a character, or
 * hold a NUL, which strict readers of JSON refuse. */
static void put_bytes(struct fg_str *out, const char *bytes, size_t n)
{
    if (fg_utf8_valid(bytes, n) && !memchr(bytes, 0, n)) {
        fg_str_adds(out, ",\"line\":");
        fg_json_quote(out, bytes, n);
        return;
    }
    size_t room = sodium_base64_ENCODED_LEN(n, sodium_base64_VARIANT_ORIGINAL);
    fg_str_adds(out, ",\"base64\":\"");
    sodium_bin2base64(fg_str_reserve(out, room), room, (const unsigned char *)bytes, n, sodium_base64_VARIANT_ORIGINAL);
    out->len += room - 1;                /* room counts a NUL */
    fg_str_adds(out, "\"");
}

static void put_record(struct fg_str *out, const struct log_stream *st, const struct fg_log_record *rec, uint64_t end)
{
    const char *bytes = rec->data + st->skip;
    size_t n = rec->len - st->skip;
    if (st->format == TEXT) {
        fg_str_add(out, bytes, n);
        return;
    }
    FG_AUTO_STR struct fg_str data = {0};
    fg_out_open(&data, NULL, '{');
    if (st->format == LINES)
        fg_out_int(&data, "id", (int64_t)record_id(st, end));
    fg_out_time(&data, "t", rec->time_ns);
    fg_out_text(&data, "src", source_name(rec->source));
    fg_out_int(&data, "attempt", st->attempt);
    put_bytes(&data, bytes, n);
    fg_out_close(&data, '}');
    if (st->format == SSE)
        fg_str_addf(out, "id: %llu\nevent: log\ndata: ", (unsigned long long)record_id(st, end));
    fg_str_add(out, data.data, data.len);
    fg_str_adds(out, st->format == SSE ? "\n\n" : "\n");
}

/* Read and tell one piece of the file. False: nothing more is there now. */
static bool tell_piece(struct log_stream *st)
{
    static char piece[PIECE];            /* the loop's thread alone comes here */
    if (st->fd < 0) {
        FG_AUTO_FREE char *path = fg_log_path(st->base.call->server->logs, st->task, st->attempt);
        st->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    }
    ssize_t n = st->fd < 0 ? 0 : pread(st->fd, piece, PIECE, (off_t)st->offset);
    FG_AUTO_STR struct fg_str out = {0};
    size_t used = 0;
    while (n > 0 && used < (size_t)n) {
        struct fg_log_record rec;
        long size = fg_log_record_decode(piece + used, (size_t)n - used, &rec);
        if (size < 0)
            st->ended = true;            /* no record: the file was damaged; what came before was told */
        if (size <= 0)
            break;
        used += (size_t)size;
        if (st->sources & 1u << rec.source)
            put_record(&out, st, &rec, st->offset + used);
        st->skip = 0;
    }
    st->offset += used;
    if (out.len)
        fg_http_stream_write(st->base.call->req, out.data, out.len);
    return used > 0;
}

/* --- going on --- */

static void next_attempt(struct log_stream *st)
{
    if (st->fd >= 0)
        close(st->fd);
    st->fd = -1;
    st->offset = 0;
    st->attempt++;
}

static void stream_end(struct log_stream *st, const struct fg_task *task)
{
    if (st->format == SSE) {
        FG_AUTO_STR struct fg_str out = {0};
        fg_str_adds(&out, "event: done\ndata: ");
        FG_AUTO_STR struct fg_str data = {0};
        fg_out_open(&data, NULL, '{');
        fg_out_text(&data, "state", task ? fg_state_name(task->state) : NULL);
        fg_out_text(&data, "reason", task && task->reason != FG_REASON_NONE ? fg_reason_name(task->reason) : NULL);
        fg_out_int(&data, "attempt", st->attempt);
        fg_out_close(&data, '}');
        fg_str_add(&out, data.data, data.len);
        fg_str_adds(&out, "\n\n");
        fg_http_stream_write(st->base.call->req, out.data, out.len);
    }
    st->ended = true;
    fg_http_stream_end(st->base.call->req);
}

/* All of the file was told. True: there is another attempt's to go on with. */
static bool at_the_end(struct log_stream *st)
{
    struct fg_server *s = st->base.call->server;
    struct fg_found found;
    bool gone = fg_find_task(s, st->task, st->base.call->tenant, &found, NULL) != 0;
    const struct fg_task *task = gone ? NULL : found.task;
    bool later = task && task->attempt > st->attempt;
    bool over = !task || (fg_state_is_terminal(task->state) && !fg_turn_pending(s, st->task)) || (later && st->one_attempt);
    bool more = later && !st->one_attempt;
    if (more)
        next_attempt(st);
    else if (over || !st->follow || st->ended)
        stream_end(st, task);
    fg_found_fini(&found);
    return more;
}

static void pump(struct log_stream *st)
{
    while (!st->ended && fg_http_stream_pending(st->base.call->req) < FG_STREAM_FULL)
        if (!tell_piece(st) && !at_the_end(st))
            return;
    if (st->ended)                       /* damaged */
        fg_http_stream_end(st->base.call->req);
}

static void on_drained(struct fg_http_request *req, void *arg)
{
    struct log_stream *st = arg;
    if (!st->ended)
        pump(st);
}

static void on_logged(struct fg_stream *base, fg_id task, uint32_t attempt)
{
    struct log_stream *st = fg_link_of(base, struct log_stream, base);
    if (!st->ended && attempt == st->attempt && fg_id_eq(task, st->task))
        pump(st);
}

/* Its end, or its return to the queue for another attempt. */
static void on_committed(struct fg_stream *base, const struct fg_store_batch *batch)
{
    struct log_stream *st = fg_link_of(base, struct log_stream, base);
    for (size_t i = 0; i < batch->events.count; i++) {
        const struct fg_store_event *ev = &batch->events.items[i];
        if ((ev->kind != FG_EV_TASK_FINISHED && ev->kind != FG_EV_TASK_QUEUED) || !fg_id_eq(ev->task, st->task))
            continue;
        if (!st->ended)
            pump(st);
        return;
    }
}

static void drop(void *state)
{
    struct log_stream *st = state;
    fg_link_leave(&st->base.link);
    if (st->fd >= 0)
        close(st->fd);
    free(st);
}

/* --- tail --- */

struct spot { uint64_t record; uint32_t len; };

/* Where the last n lines begin: over the records backwards, counting line ends. A log is at most log_limit_bytes long. */
static void seek_tail(struct log_stream *st, int64_t n)
{
    uint64_t size = fg_log_size(st->base.call->server->logs, st->task, st->attempt);
    FG_AUTO_FREE char *path = fg_log_path(st->base.call->server->logs, st->task, st->attempt);
    st->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (st->fd < 0 || !size)
        return;
    char *map = mmap(NULL, size, PROT_READ, MAP_SHARED, st->fd, 0);
    if (map == MAP_FAILED)
        return;
    FG_VEC(struct spot) spots = {0};
    uint64_t at = 0;
    struct fg_log_record rec;
    for (long len; at < size && (len = fg_log_record_decode(map + at, size - at, &rec)) > 0; at += (uint64_t)len)
        if (st->sources & 1u << rec.source)
            fg_vec_push(&spots, (struct spot){at, rec.len});
    int64_t ends = 0;
    bool last = true, found = n == 0;
    st->offset = n ? 0 : at;
    for (size_t i = spots.count; i-- > 0 && !found;) {
        const char *data = map + spots.items[i].record + FG_LOG_HEAD;
        for (size_t k = spots.items[i].len; k-- > 0 && !found; last = false) {
            if (data[k] != '\n' || last || ++ends < n)   /* the very last byte ends the last line, it begins none */
                continue;
            st->offset = spots.items[i].record;
            st->skip = k + 1;
            found = true;
        }
    }
    munmap(map, size);
    fg_vec_fini(&spots);
}

/* --- the request --- */

static int read_sources(const char *text, enum format format, unsigned *ret, struct fg_error *err)
{
    const unsigned out = 1u << FG_LOG_STDOUT, errs = 1u << FG_LOG_STDERR, sys = 1u << FG_LOG_SYSTEM;
    *ret = format == TEXT ? out | errs : out | errs | sys;
    if (!text || !strcmp(text, "both"))
        return 0;
    *ret = !strcmp(text, "all") ? out | errs | sys : !strcmp(text, "stdout") ? out : !strcmp(text, "stderr") ? errs
           : !strcmp(text, "system") ? sys : 0;
    if (*ret)
        return 0;
    fg_fail(err, FG_E_INVALID, "'%.40s' is not a source", text);
    fg_fail_at(err, "?source");
    return fg_fail_hint(err, "stdout, stderr, system or all");
}

static int read_int(struct fg_http_request *req, const char *name, int64_t min, int64_t max, int64_t *ret, struct fg_error *err)
{
    const char *text = fg_http_query(req, name);
    if (!text || !fg_parse_int(text, min, max, ret, err))
        return 0;
    return fg_fail_at(err, "?%s", name);
}

static bool is_true(const char *text) { return text && (!*text || !strcmp(text, "true") || !strcmp(text, "1")); }

struct asked { int64_t attempt, tail, after; };

static int read_request(struct fg_call *call, const struct fg_task *task, struct log_stream *st, struct asked *asked, struct fg_error *err)
{
    struct fg_http_request *req = call->req;
    const char *last = fg_http_header(req, "Last-Event-ID"), *follow = fg_http_query(req, "follow");
    *asked = (struct asked){.attempt = 0, .tail = -1, .after = -1};
    st->format = fg_accepts(req, "text/event-stream") ? SSE : fg_accepts(req, "application/x-ndjson") ? LINES : TEXT;
    st->follow = follow ? is_true(follow) : st->format == SSE;
    if (read_sources(fg_http_query(req, "source"), st->format, &st->sources, err) ||
        read_int(req, "attempt", 1, UINT32_MAX, &asked->attempt, err) || read_int(req, "tail", 0, 1000000, &asked->tail, err) ||
        read_int(req, "after", 0, INT64_MAX, &asked->after, err))
        return -1;
    if (last && *last && fg_parse_int(last, 0, INT64_MAX, &asked->after, err))
        return fg_fail_at(err, "Last-Event-ID");
    if (asked->attempt > task->attempt) {
        fg_fail(err, FG_E_NOT_FOUND, "there is no attempt %lld; it has had %u", (long long)asked->attempt, task->attempt);
        return fg_fail_at(err, "?attempt");
    }
    return 0;
}

/* An empty answer would say that it printed nothing. */
static int check_kept(struct fg_call *call, const struct fg_task *task, uint32_t attempt, struct fg_error *err)
{
    FG_AUTO_FREE char *path = fg_log_path(call->server->logs, task->id, attempt);
    if (!fg_keep_is_over(call->server, task) || access(path, F_OK) == 0)
        return 0;
    fg_fail(err, FG_E_NOT_FOUND, "its output is not kept any longer");
    return fg_fail_hint(err, "the server deletes it %lld day(s) after a task's end: keep_logs_days", (long long)fg_keep_days(call->server));
}

static void set_start(struct log_stream *st, const struct fg_task *task, const struct asked *asked)
{
    st->attempt = asked->attempt ? (uint32_t)asked->attempt : task->attempt ? task->attempt : 1;
    st->one_attempt = asked->attempt != 0;
    if (asked->after >= 0) {
        uint32_t attempt = (uint32_t)(asked->after >> ATTEMPT_SHIFT) + 1;
        st->offset = (uint64_t)asked->after & ((UINT64_C(1) << ATTEMPT_SHIFT) - 1);
        st->attempt = FG_MIN(attempt, FG_MAX(task->attempt, 1u));
    } else if (asked->tail >= 0) {
        seek_tail(st, asked->tail);
    }
}

void fg_route_task_logs(struct fg_http_request *req, void *arg)
{
    struct fg_call *call = fg_call_of(req);
    static const char *const types[] = {"text/plain; charset=utf-8", "application/x-ndjson", "text/event-stream"};
    struct fg_error err;
    struct fg_found found;
    struct asked asked;
    if (fg_call_task(call, &found))
        return;
    struct log_stream *st = fg_alloc(sizeof *st);
    *st = (struct log_stream){.base = {.call = call, .committed = on_committed, .logged = on_logged}, .task = found.task->id, .fd = -1};
    call->state = st;
    call->drop = drop;
    int rc = read_request(call, found.task, st, &asked, &err);
    if (!rc) {
        set_start(st, found.task, &asked);
        rc = check_kept(call, found.task, st->attempt, &err);
    }
    fg_found_fini(&found);
    if (rc) {
        fg_answer_fail(call, &err);
        return;
    }
    st->base.sse = st->format == SSE;
    fg_stream_enter(call->server, &st->base);
    fg_http_stream_begin(req, 200, types[st->format], st->format == SSE ? "Cache-Control: no-store\nX-Accel-Buffering: no\n" : NULL, on_drained, st);
    if (st->format == SSE)
        fg_http_stream_write(req, "retry: 1000\n\n", 13);
    pump(st);
}
