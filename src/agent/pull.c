/* pull.c - blobs from the server into DATA/agent/cache/SHA256: piece by piece over the connection, hashed while they come,
 * synced and renamed on the pool. A blob that several attempts want comes once. */
#include <errno.h>
#include <fcntl.h>
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/internal.h"
#include "agent/job.h"
#include "base/io.h"
#include "base/json.h"
#include "base/log.h"

#define AT_ONCE 16                       /* fetches of one attempt */
#define MANIFEST_MAX (16u << 20)

struct fetch {
    char sha256[65];
    char *part;
    int fd;
    uint64_t at;
    crypto_hash_sha256_state hash;
    struct agent *agent;
    bool ending;                         /* a job has it */
    struct fg_error err;
};

char *pull_cached(const struct agent *a, const char *sha256) { return fg_path_join(a->set.cache, sha256); }

static bool is_cached(const struct agent *a, const char *sha256)
{
    FG_AUTO_FREE char *path = pull_cached(a, sha256);
    return access(path, R_OK) == 0;
}

static struct fetch *find(struct agent *a, const char *sha256)
{
    for (size_t i = 0; i < a->fetches.count; i++)
        if (strcmp(a->fetches.items[i]->sha256, sha256) == 0)
            return a->fetches.items[i];
    return NULL;
}

static void drop(struct fetch *f)
{
    struct agent *a = f->agent;
    for (size_t i = 0; i < a->fetches.count; i++)
        if (a->fetches.items[i] == f)
            a->fetches.items[i] = a->fetches.items[--a->fetches.count];
    if (f->fd >= 0)
        close(f->fd);
    unlink(f->part);
    free(f->part);
    free(f);
}

void pull_drop_all(struct agent *a)
{
    while (a->fetches.count)
        drop(a->fetches.items[0]);
    fg_vec_fini(&a->fetches);
}

static void ask(const struct fetch *f)
{
    struct fg_msg msg = {.kind = FG_MSG_BLOB_GET, .blob = {.offset = f->at}};
    memcpy(msg.blob.sha256, f->sha256, sizeof msg.blob.sha256);
    link_send(f->agent, &msg);
}

void pull_reconnected(struct agent *a)
{
    for (size_t i = 0; i < a->fetches.count; i++)
        if (!a->fetches.items[i]->ending)
            ask(a->fetches.items[i]);
}

static int begin_fetch(struct agent *a, const char *sha256, struct fg_error *err)
{
    if (find(a, sha256))
        return 0;
    FG_AUTO_FREE char *part = fg_asprintf("%s/.%s.part", a->set.cache, sha256);
    int fd = open(part, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || fchmod(fd, 0644) != 0) /* tasks read weights as users of their own; the folder around it is closed */
        return fg_fail(err, FG_E_IO, "write '%s': %m", part);
    struct fetch *f = fg_alloc(sizeof *f);
    *f = (struct fetch){.part = fg_take_ptr(part), .fd = fd, .agent = a};
    snprintf(f->sha256, sizeof f->sha256, "%s", sha256);
    crypto_hash_sha256_init(&f->hash);
    fg_vec_push(&a->fetches, f);
    ask(f);
    return 0;
}

/* --- one attempt's list --- */

static void want(struct attempt *t, const char *sha256)
{
    for (size_t i = 0; i < t->wants.count; i++)
        if (strcmp(t->wants.items[i], sha256) == 0)
            return;
    fg_vec_push(&t->wants, fg_strdup(sha256));
}

/* The digest in a "blob:SHA256" member; NULL when it is not there. */
static const char *blob_member(const json_t *obj, const char *key)
{
    const char *text = fg_json_str(obj, key, NULL);
    if (text && fg_starts_with(text, "blob:"))
        text += 5;
    return text && fg_is_sha256(text) ? text : NULL;
}

const char *pull_input(const json_t *spec)
{
    const json_t *input = json_object_get(spec, "input_data");
    return json_is_object(input) ? blob_member(input, "image") : blob_member(spec, "input_data");
}

static int load_manifest(struct attempt *t, const char *sha256, struct fg_error *err)
{
    FG_AUTO_FREE char *path = pull_cached(t->agent, sha256);
    FG_AUTO_STR struct fg_str text = {0};
    if (fg_read_file(path, MANIFEST_MAX, &text, err) != 0)
        return -1;
    t->manifest = fg_json_parse(fg_str_cstr(&text), text.len, err);
    return t->manifest ? workdir_wants(t->manifest, t, err) : -1;
}

static void step(struct attempt *t)
{
    struct fg_error err;
    const char *manifest = blob_member(t->spec, "workdir");
    for (;;) {
        while (t->have < t->wants.count && is_cached(t->agent, t->wants.items[t->have]))
            t->have++;
        if (t->have < t->wants.count || !manifest || t->manifest)
            break;
        if (load_manifest(t, manifest, &err) != 0) {
            runner_fail(t, FG_REASON_INVALID, err.text);
            return;
        }
    }
    for (size_t i = t->have; i < t->wants.count && i < t->have + AT_ONCE; i++)
        if (!is_cached(t->agent, t->wants.items[i]) && begin_fetch(t->agent, t->wants.items[i], &err) != 0) {
            runner_fail(t, FG_REASON_PULLING, err.text);
            return;
        }
    if (t->have == t->wants.count && pull_weights(t) == 0)
        runner_pulled(t);
}

void pull_begin(struct attempt *t)
{
    const json_t *model = json_object_get(t->spec, "model");
    const char *first[] = {blob_member(t->spec, "workdir"), pull_input(t->spec), blob_member(model, "weights_blob")};
    for (size_t i = 0; i < FG_COUNT(first); i++)
        if (first[i])
            want(t, first[i]);
    step(t);
}

void pull_stop(struct attempt *t)
{
    if (t->curl_pid > 0)
        kill(t->curl_pid, SIGKILL);
    t->curl_pid = 0;
}

/* Go on, or fail, with all that wait for this blob. The list may change under us: start over after each. */
static void tell(struct agent *a, const char *sha256, const char *failure)
{
    for (size_t i = 0; i < a->attempts.count; i++) {
        struct attempt *t = a->attempts.items[i];
        bool wants = false;
        for (size_t j = t->have; j < t->wants.count && !wants; j++)
            wants = strcmp(t->wants.items[j], sha256) == 0;
        if (t->phase != PHASE_PULL || !wants)
            continue;
        const char *weights = blob_member(json_object_get(t->spec, "model"), "weights_blob");
        if (!failure)
            step(t);
        else
            runner_fail(t, fg_streq(weights, sha256) ? FG_REASON_PULLING : FG_REASON_INPUT_MISSING, failure);
    }
}

static void end_run(void *arg)
{
    struct fetch *f = arg;
    FG_AUTO_FREE char *path = pull_cached(f->agent, f->sha256);
    if (fdatasync(f->fd) != 0 || rename(f->part, path) != 0)
        fg_fail(&f->err, FG_E_IO, "keep blob %.12s: %m", f->sha256);
}

static void end_done(void *arg)
{
    struct fetch *f = arg;
    struct agent *a = f->agent;
    char sha256[65];
    struct fg_error err = f->err;
    memcpy(sha256, f->sha256, sizeof sha256);
    drop(f);
    tell(a, sha256, err.code != FG_E_NONE ? err.text : NULL);
}

static void fail_fetch(struct fetch *f, const char *why)
{
    struct agent *a = f->agent;
    char sha256[65];
    FG_AUTO_FREE char *text = fg_asprintf("blob %.12s: %s", f->sha256, why);
    memcpy(sha256, f->sha256, sizeof sha256);
    drop(f);
    tell(a, sha256, text);
}

void pull_blob(struct agent *a, const struct fg_msg *msg)
{
    struct fetch *f = find(a, msg->blob.sha256);
    unsigned char digest[crypto_hash_sha256_BYTES];
    char hex[65];
    if (!f || f->ending || (!*msg->blob.error && msg->blob.offset != f->at))
        return;                          /* asked for by an earlier connection */
    if (*msg->blob.error) {
        fail_fetch(f, msg->blob.error);
        return;
    }
    if (msg->payload_len > msg->blob.size - FG_MIN(f->at, msg->blob.size) || (!msg->payload_len && f->at < msg->blob.size)) {
        fail_fetch(f, "the server sent a piece that does not fit");
        return;
    }
    if (fg_write_all(f->fd, msg->payload, msg->payload_len) != 0) {
        fail_fetch(f, strerror(errno));
        return;
    }
    crypto_hash_sha256_update(&f->hash, (const unsigned char *)msg->payload, msg->payload_len);
    f->at += msg->payload_len;
    if (f->at < msg->blob.size) {
        ask(f);
        return;
    }
    crypto_hash_sha256_final(&f->hash, digest);
    sodium_bin2hex(hex, sizeof hex, digest, sizeof digest);
    if (strcmp(hex, f->sha256) != 0) {
        fail_fetch(f, "its bytes do not have that digest");
        return;
    }
    f->ending = true;
    job_start(a, end_run, end_done, f);
}
