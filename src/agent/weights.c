/* weights.c - a model's weights: an imported blob, or its public source, fetched once by curl and checked against its
 * digest. What cannot be fetched ends the attempt with `pulling` and the way to bring the file by hand. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "agent/internal.h"
#include "agent/job.h"
#include "base/io.h"
#include "base/json.h"
#include "base/log.h"

#define LARGEST "17179869184"            /* 16 GiB */

struct download {
    uv_process_t process;
    struct agent *agent;
    fg_id task;
    uint32_t number;
    char *part, *path, *digest, *reason;  /* digest: whole or the beginning of it */
};

static void fail(struct attempt *t, const char *why)
{
    const char *name = fg_json_str(json_object_get(t->spec, "model"), "name", "MODEL");
    FG_AUTO_FREE char *text = fg_asprintf("the weights of %s are not here: %s; bring them with 'fgpu models import %s FILE'", name, why, name);
    runner_fail(t, FG_REASON_PULLING, text);
}

static void forget(struct download *d)
{
    d->agent->jobs--;
    unlink(d->part);
    free(d->part);
    free(d->path);
    free(d->digest);
    free(d->reason);
    free(d);
}

static void check_run(void *arg)
{
    struct download *d = arg;
    char hex[65];
    uint64_t size;
    struct fg_error err;
    FG_AUTO_FD int fd = open(d->part, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fg_sha256_fd(fd, hex, &size, &err) != 0)
        d->reason = fg_asprintf("read the download: %s", strerror(errno));
    else if (!fg_starts_with(hex, d->digest))
        d->reason = fg_asprintf("the download has digest %.12s, not %.12s", hex, d->digest);
    else if (fchmod(fd, 0644) != 0 || fdatasync(fd) != 0 || rename(d->part, d->path) != 0)
        d->reason = fg_asprintf("keep the download: %s", strerror(errno));
}

static void check_done(void *arg)
{
    struct download *d = arg;
    struct attempt *t = attempt_find(d->agent, d->task, d->number);
    if (t && t->phase == PHASE_PULL && !d->agent->stopping) {
        if (d->reason)
            fail(t, d->reason);
        else
            runner_pulled(t);
    }
    forget(d);
}

static void on_closed(uv_handle_t *handle)
{
    struct download *d = handle->data;
    if (d->reason)
        check_done(d);
    else
        job_start(d->agent, check_run, check_done, d);
}

static void on_gone(uv_process_t *process, int64_t status, int sig)
{
    struct download *d = process->data;
    struct attempt *t = attempt_find(d->agent, d->task, d->number);
    if (t)
        t->curl_pid = 0;
    if (sig || status)
        d->reason = sig ? fg_strdup("the download was stopped") : fg_asprintf("curl could not fetch them (exit code %d)", (int)status);
    uv_close((uv_handle_t *)process, on_closed);
}

static int download(struct attempt *t, const char *url, const char *digest)
{
    struct download *d = fg_alloc(sizeof *d);
    d->agent = t->agent;
    d->agent->jobs++;                    /* the agent does not leave before it is forgotten */
    d->task = t->task;
    d->number = t->number;
    d->path = fg_strdup(t->weights);
    d->digest = fg_strdup(digest);
    d->part = fg_asprintf("%s/.%s.part", t->agent->set.cache, t->name);
    char *args[] = {"curl", "-fsSL", "--proto", "=https,http,file", "--max-filesize", LARGEST, "--connect-timeout", "20",
                    "-o", d->part, "--", (char *)url, NULL};
    uv_process_options_t options = {.exit_cb = on_gone, .file = "curl", .args = args};
    int rc = uv_spawn(&t->agent->loop, &d->process, &options);
    d->process.data = d;
    if (rc != 0) {
        d->reason = fg_asprintf("curl: %s", uv_strerror(rc));
        uv_close((uv_handle_t *)&d->process, on_closed);
        return 1;
    }
    t->curl_pid = d->process.pid;
    return 1;
}

int pull_weights(struct attempt *t)
{
    const json_t *model = json_object_get(t->spec, "model"), *source = json_object_get(model, "source");
    const char *blob = fg_json_str(model, "weights_blob", NULL);
    const char *url = fg_json_str(model, "source_url", fg_json_str(source, "url", NULL));
    const char *whole = fg_json_str(model, "sha256", fg_json_str(source, "sha256", NULL));
    const char *digest = whole ? whole : fg_json_str(model, "sha256_prefix", fg_json_str(source, "sha256_prefix", NULL));
    if (fg_streq(fg_json_str(t->spec, "task_type", "command"), "command"))
        return 0;
    if (blob) {
        t->weights = pull_cached(t->agent, fg_starts_with(blob, "blob:") ? blob + 5 : blob);
        return 0;
    }
    if (!url || !digest || strlen(digest) < 8) {
        fail(t, url ? "their source has no digest" : "the catalogue names no source to fetch them from");
        return -1;
    }
    char hex[65];
    fg_sha256_hex(url, strlen(url), hex);        /* a source whose digest is known in part is kept by its address */
    t->weights = whole && fg_is_sha256(whole) ? pull_cached(t->agent, whole) : fg_asprintf("%s/url-%s", t->agent->set.cache, hex);
    if (access(t->weights, R_OK) == 0)
        return 0;
    if (t->agent->set.offline) {
        fail(t, "this agent is set not to fetch (offline)");
        return -1;
    }
    return download(t, url, digest);
}
