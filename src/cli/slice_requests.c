/* slice_requests.c - what the arbiter is asked: open, adopt, set, list; and its refusals, in the words of the command
 * line. */
#include <pwd.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/units.h"
#include "cli/slice_arbiter.h"
#include "vgpu/claims.h"

#define LEAVE_MS 2000 /* how long a refusal waits for processes that are just ending */

struct slice *slice_by_id(struct arbiter *a, const char *id)
{
    for (size_t i = 0; i < a->slices.count; i++)
        if (fg_streq(a->slices.items[i].id, id))
            return &a->slices.items[i];
    return NULL;
}

static const struct slice_device *device_of(const struct arbiter *a, const char *name)
{
    for (size_t i = 0; i < a->found.count; i++)
        if (fg_streq(a->found.items[i].name, name))
            return &a->found.items[i];
    return &a->found.items[0];
}

/* --- what is free --- */

struct room {
    uint64_t memory_bytes;
    uint32_t share_permille;
    unsigned others;
    bool alone;                 /* one of them holds the device alone */
    struct fg_claim_sum claims; /* of other arbiters; counted in the figures above */
};

static struct room room_on(struct arbiter *a, const char *device, const char *except)
{
    struct room room = {.memory_bytes = device_of(a, device)->memory_bytes, .share_permille = 1000};
    for (size_t i = 0; i < a->slices.count; i++) {
        struct fg_lease_stats stats;
        if (fg_streq(a->slices.items[i].id, except) ||
            fg_vgpu_server_stats(a->server, a->slices.items[i].id, &stats, NULL) < 0 ||
            !fg_streq(stats.spec.device, device))
            continue;
        room.others++;
        room.alone |= stats.spec.mode == FG_SHARE_EXCLUSIVE;
        room.memory_bytes -= FG_MIN(room.memory_bytes, stats.spec.memory_bytes);
        room.share_permille -= FG_MIN(room.share_permille, stats.spec.share_permille);
    }
    fg_vgpu_server_others(a->server, device, &room.claims, NULL);
    room.others += room.claims.all.leases;
    room.alone |= room.claims.all.alone;
    room.memory_bytes -= FG_MIN(room.memory_bytes, room.claims.all.memory_bytes);
    room.share_permille -= FG_MIN(room.share_permille, room.claims.all.share_permille);
    return room;
}

/* " Of that, other users hold 2 GiB and 40 %, alice most." */
static void say_others(const struct fg_claim_sum *claims, char *buf, size_t size)
{
    char memory[32], number[16];
    const struct passwd *user = getpwuid(claims->most);
    snprintf(number, sizeof number, "%u", (unsigned)claims->most);
    snprintf(buf, size, " Other arbiters hold %s and %g %% of it, most that of user %s.",
             fg_format_bytes(memory, sizeof memory, claims->all.memory_bytes), claims->all.share_permille / 10.0,
             user ? user->pw_name : number);
}

/* The engine's refusal in the units of the command line, and what would be granted. */
static int explain(struct arbiter *a, const struct fg_lease_spec *spec, struct fg_error *err)
{
    char want[32], has[32];
    const struct slice_device *device = device_of(a, spec->device);
    struct room room = room_on(a, spec->device, spec->id);
    fg_format_bytes(want, sizeof want, spec->memory_bytes);
    if (spec->memory_bytes > device->memory_bytes) {
        fg_format_bytes(has, sizeof has, device->memory_bytes);
        return fg_fail(err, FG_E_INVALID, "%s is more than %s (%s) has: %s", want, device->name, device->kind, has);
    }
    if (err->code != FG_E_CONFLICT)
        return -1;
    fg_format_bytes(has, sizeof has, room.memory_bytes);
    if (room.alone)
        fg_fail(err, FG_E_CONFLICT, "%s is held by a slice alone", device->name);
    else if (room.others && spec->mode == FG_SHARE_EXCLUSIVE)
        fg_fail(err, FG_E_CONFLICT, "%s cannot be held alone: other slices on it: %u", device->name, room.others);
    else if (spec->memory_bytes > room.memory_bytes)
        fg_fail(err, FG_E_CONFLICT, "%s has not enough memory left for %s: %s is free", device->name, want, has);
    else if (spec->share_permille > room.share_permille)
        fg_fail(err, FG_E_CONFLICT, "%s has not enough share left for %g %%: %g %% is free", device->name,
                spec->share_permille / 10.0, room.share_permille / 10.0);
    char theirs[200] = "";
    if (room.claims.holders)
        say_others(&room.claims, theirs, sizeof theirs);
    return fg_fail_hint(err, "Free on %s: %s and %g %%. 'fgpu slice ls' shows who holds the rest.%s", device->name, has,
                        room.share_permille / 10.0, theirs);
}

/* Refused while somebody is just leaving: ask again. */
static void soften(const struct arbiter *a, struct fg_error *err)
{
    for (size_t i = 0; i < a->slices.count && err->code == FG_E_CONFLICT; i++)
        if (a->slices.items[i].left_ms && slice_now_ms() - a->slices.items[i].left_ms < LEAVE_MS)
            err->code = FG_E_UNAVAILABLE;
}

/* --- requests --- */

static json_t *show(struct arbiter *a, const struct slice *slice)
{
    struct fg_lease_stats s;
    if (fg_vgpu_server_stats(a->server, slice->id, &s, NULL) < 0)
        return json_object();
    json_t *j =
        json_pack("{s:s, s:s, s:s, s:I, s:I, s:I, s:I, s:i, s:s}", "id", slice->id, "device", s.spec.device, "kind",
                  device_of(a, s.spec.device)->kind, "memory_bytes", (json_int_t)s.spec.memory_bytes, "used_bytes",
                  (json_int_t)s.used_bytes, "peak_bytes", (json_int_t)s.peak_bytes, "denied", (json_int_t)s.denied,
                  "share_permille", (int)s.spec.share_permille, "mode", slice_mode_name((int)s.spec.mode));
    json_t *more =
        json_pack("{s:i, s:i, s:i, s:I, s:I, s:I, s:I, s:I, s:i, s:b, s:s, s:s*}", "processes", (int)s.processes,
                  "waiting", (int)s.waiting, "inflight", (int)s.inflight, "device_ns", (json_int_t)s.device_ns,
                  "throttle_ns", (json_int_t)s.throttle_ns, "submitted", (json_int_t)s.submitted, "ungated",
                  (json_int_t)s.ungated, "age_ns", (json_int_t)(slice_now_ms() - slice->began_ms) * 1000000, "pid",
                  (int)slice->pid, "corrupt", s.corrupt, "level",
                  slice->audited && !slice->left_ms ? "audited" : "cooperative", "command", slice->command);
    json_object_update(j, more);
    json_decref(more);
    return j;
}

static void add_slice(struct arbiter *a, struct conn *conn, const char *id, const json_t *request)
{
    struct slice *slice = fg_vec_add(&a->slices);
    snprintf(slice->id, sizeof slice->id, "%s", id);
    snprintf(conn->id, sizeof conn->id, "%s", id);
    slice->command = fg_strdup(fg_json_str(request, "command", ""));
    slice->pid = conn->pid;
    slice->audited = fg_json_bool(request, "audited", false);
    slice->began_ms = slice_now_ms() - fg_json_int(request, "age_ms", 0);
}

static bool in_grace(const struct arbiter *a, struct fg_error *err)
{
    return slice_now_ms() < a->grace_ms &&
           fg_fail(err, FG_E_UNAVAILABLE, "the slices of an arbiter that died are being taken over");
}

/* The devices to try, best first: GPUs before other kinds, which are not mixed; of one kind the one with most memory
 * free. */
static size_t choices(struct arbiter *a, const struct slice_device **ret)
{
    enum fg_opencl_type best = FG_OPENCL_OTHER;
    size_t n = 0;
    for (size_t i = 0; i < a->found.count; i++)
        best = FG_MAX(best, a->found.items[i].type);
    for (size_t i = 0; i < a->found.count; i++) {
        const struct slice_device *device = &a->found.items[i];
        if (device->type != best)
            continue;
        size_t at = n++;
        uint64_t room = room_on(a, device->name, NULL).memory_bytes;
        for (; at > 0 && room_on(a, ret[at - 1]->name, NULL).memory_bytes < room; at--)
            ret[at] = ret[at - 1];
        ret[at] = device;
    }
    return n;
}

static bool claimed(struct arbiter *a, const char *device)
{
    struct fg_claim_sum claims;
    return fg_vgpu_server_others(a->server, device, &claims, NULL) == 0 && claims.holders > 0;
}

static void step_aside(void)
{
    nanosleep(&(struct timespec){0, 2000000 + (long)(((uint64_t)fg_boot_ns() ^ (uint64_t)getpid()) * 2654435761u % 30000000)}, NULL);
}

/* Named after the slice's process; not by the engine's numbers, which a later arbiter would give again. */
static int open_on(struct arbiter *a, struct fg_lease_spec *spec, pid_t pid, struct fg_error *err)
{
    snprintf(spec->id, sizeof spec->id, "s%d", (int)pid);
    for (int n = 2; slice_by_id(a, spec->id); n++)
        snprintf(spec->id, sizeof spec->id, "s%d-%d", (int)pid, n);
    return fg_vgpu_server_open(a->server, spec, NULL, err) < 0 ? explain(a, spec, err) : 0;
}

static void give_files(struct arbiter *a, const char *id, struct slice_files *ret)
{
    fg_vgpu_server_fds(a->server, id, &ret->limits, &ret->counters, NULL);
    ret->claim = fg_vgpu_server_claims_fd(a->server);
}

static int do_open(struct arbiter *a, struct conn *conn, const json_t *request, json_t **ret,
                   struct slice_files *ret_files, struct fg_error *err)
{
    const char *word = fg_json_str(request, "device", "");
    const struct slice_device *tried[FG_COUNT(a->found.items)];
    size_t n = 1;
    struct fg_lease_spec spec = {.memory_bytes = (uint64_t)fg_json_int(request, "memory_bytes", 0),
                                 .share_permille = (uint32_t)fg_json_int(request, "share_permille", 0),
                                 .mode =
                                     (enum fg_share_mode)slice_mode_by_name(fg_json_str(request, "mode", "weighted")),
                                 .flags = (fg_json_bool(request, "fail_closed", false) ? FG_LIMIT_FAIL_CLOSED : 0) |
                                          (fg_json_bool(request, "latency", false) ? FG_LIMIT_LATENCY : 0)};
    if (in_grace(a, err) || (*word && !(tried[0] = slice_device_find(&a->found, word, err))))
        return -1;
    if (!*word)
        n = choices(a, tried);
    int rc = -1;
    for (size_t i = 0; i < n && rc < 0; i++) {
        struct fg_error why = {0};
        snprintf(spec.device, sizeof spec.device, "%s", tried[i]->name);
        rc = open_on(a, &spec, conn->pid, &why);
        if (rc < 0 && claimed(a, tried[i]->name)) { /* two who ask at once may both be refused: once more, at another time */
            step_aside();
            rc = open_on(a, &spec, conn->pid, &why);
        }
        if (rc < 0 && i == 0)
            *err = why;
    }
    if (rc < 0) {
        soften(a, err);
        return -1;
    }
    add_slice(a, conn, spec.id, request);
    give_files(a, spec.id, ret_files);
    *ret = show(a, slice_by_id(a, spec.id));
    return 0;
}

static int do_adopt(struct arbiter *a, struct conn *conn, const json_t *request, const struct slice_files *files,
                    json_t **ret, struct slice_files *ret_files, struct fg_error *err)
{
    char id[64];
    if (files->limits < 0)
        return fg_fail(err, FG_E_INVALID, "the files of the lease are missing");
    if (fg_vgpu_server_adopt(a->server, files->limits, files->counters, id, err) < 0)
        return -1;
    add_slice(a, conn, id, request);
    if (slice_now_ms() < a->grace_ms) /* more are likely to come */
        a->grace_ms = FG_MIN(slice_now_ms() + SLICE_GRACE_MS, a->grace_end_ms);
    give_files(a, id, ret_files);
    *ret = show(a, slice_by_id(a, id));
    return 0;
}

static int do_set(struct arbiter *a, const json_t *request, json_t **ret, struct fg_error *err)
{
    struct fg_lease_stats stats;
    const char *id = fg_json_str(request, "id", "");
    FG_AUTO_FREE char *full = fg_asprintf("%s%s", *id >= '0' && *id <= '9' ? "s" : "", id);
    const struct slice *slice = slice_by_id(a, full);
    if (in_grace(a, err))
        return -1;
    if (!slice || fg_vgpu_server_stats(a->server, full, &stats, NULL) < 0) {
        fg_fail(err, FG_E_NOT_FOUND, "there is no slice '%s'", id);
        return fg_fail_hint(err, "'fgpu slice ls' lists them.");
    }
    struct fg_lease_spec spec = stats.spec;
    spec.memory_bytes = (uint64_t)fg_json_int(request, "memory_bytes", (int64_t)spec.memory_bytes);
    spec.share_permille = (uint32_t)fg_json_int(request, "share_permille", spec.share_permille);
    if (json_object_get(request, "mode"))
        spec.mode = (enum fg_share_mode)slice_mode_by_name(fg_json_str(request, "mode", ""));
    if (fg_vgpu_server_set(a->server, &spec, err) < 0) {
        explain(a, &spec, err);
        soften(a, err);
        return -1;
    }
    *ret = show(a, slice);
    return 0;
}

static int do_list(struct arbiter *a, const json_t *request, json_t **ret)
{
    json_t *slices = json_array(), *devices = json_array();
    size_t from = (size_t)FG_MAX(fg_json_int(request, "from", 0), 0);
    for (size_t i = from; i < a->slices.count && i < from + SLICE_PAGE; i++)
        json_array_append_new(slices, show(a, &a->slices.items[i]));
    for (size_t i = 0; i < a->found.count; i++) {
        const struct slice_device *d = &a->found.items[i];
        struct room room = room_on(a, d->name, NULL);
        json_array_append_new(
            devices, json_pack("{s:s, s:s, s:s, s:I, s:I, s:i}", "name", d->name, "kind", d->kind, "type",
                               fg_opencl_type_name(d->type), "memory_bytes", (json_int_t)d->memory_bytes, "free_bytes",
                               (json_int_t)room.memory_bytes, "free_permille", (int)room.share_permille));
    }
    *ret =
        json_pack("{s:o, s:o, s:b}", "slices", slices, "devices", devices, "more", from + SLICE_PAGE < a->slices.count);
    return 0;
}

static int do_show(struct arbiter *a, const struct conn *conn, json_t **ret, struct fg_error *err)
{
    const struct slice *slice = slice_by_id(a, conn->id);
    if (!slice)
        return fg_fail(err, FG_E_NOT_FOUND, "this connection has no slice");
    *ret = show(a, slice);
    return 0;
}

static int perform(struct arbiter *a, struct conn *conn, const json_t *request, const struct slice_files *files,
                   json_t **ret, struct slice_files *ret_files, struct fg_error *err)
{
    const char *op = fg_json_str(request, "op", "");
    if (*conn->id && (fg_streq(op, "open") || fg_streq(op, "adopt")))
        return fg_fail(err, FG_E_CONFLICT, "this connection has its slice already");
    if (fg_streq(op, "open"))
        return do_open(a, conn, request, ret, ret_files, err);
    if (fg_streq(op, "adopt"))
        return do_adopt(a, conn, request, files, ret, ret_files, err);
    if (fg_streq(op, "set"))
        return do_set(a, request, ret, err);
    if (fg_streq(op, "show"))
        return do_show(a, conn, ret, err);
    if (fg_streq(op, "list"))
        return do_list(a, request, ret);
    return fg_fail(err, FG_E_INVALID, "the slice arbiter does not know '%s'", op);
}

int slice_serve(struct arbiter *a, struct conn *conn)
{
    struct fg_error err = {0};
    struct slice_files files = SLICE_NO_FILES, out = SLICE_NO_FILES;
    FG_AUTO_JSON json_t *request = NULL;
    FG_AUTO_JSON json_t *answer = NULL;
    if (slice_receive(conn->fd, 0, &request, &files, &err) < 0)
        return err.code == FG_E_TIMEOUT ? 0 : -1;
    if (perform(a, conn, request, &files, &answer, &out, &err) < 0)
        answer = slice_error(&err);
    slice_close_files(&files);
    return slice_send(conn->fd, answer, &out, NULL);
}
