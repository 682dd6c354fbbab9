/* node_blobs.c - agents fetch inputs and weights, and bring outputs. One piece per blob_get, so that the agent sets the
 * pace; an upload's pieces come in order and are synced on the pool. */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include "base/io.h"
#include "control/nodes.h"
#include "store/blob.h"

#define PIECE (512u << 10)

static void answer(struct fg_agent *agent, enum fg_msg_kind kind, const char *sha256, const char *error)
{
    struct fg_msg msg = {.kind = kind};
    snprintf(msg.blob.sha256, sizeof msg.blob.sha256, "%s", sha256);
    snprintf(msg.blob.error, sizeof msg.blob.error, "%.199s", error ? error : "");
    fg_agent_send(agent, &msg);
}

int fg_agent_blob_get(struct fg_agent *agent, const struct fg_msg_blob *get, struct fg_error *err)
{
    FG_AUTO_FD int fd = -1;
    FG_AUTO_FREE char *piece = NULL;
    struct fg_error why;
    struct fg_msg msg = {.kind = FG_MSG_BLOB, .blob = {.offset = get->offset}};
    if (!fg_is_sha256(get->sha256))
        return fg_fail(err, FG_E_MALFORMED, "blob_get: sha256 is not one");
    memcpy(msg.blob.sha256, get->sha256, sizeof msg.blob.sha256);
    if (fg_blob_open(agent->server->blob_dir, get->sha256, &fd, &msg.blob.size, &why)) {
        answer(agent, FG_MSG_BLOB, get->sha256, why.text);
        return 0;
    }
    piece = fg_alloc(PIECE);
    ssize_t n = pread(fd, piece, PIECE, (off_t)get->offset);
    if (n < 0) {
        answer(agent, FG_MSG_BLOB, get->sha256, strerror(errno));
        return 0;
    }
    msg.payload = piece;
    msg.payload_len = (size_t)n;
    fg_agent_send(agent, &msg);
    return 0;
}

/* --- uploads --- */

struct fg_upload {
    struct fg_link link;                 /* in its agent's uploads; out of it while the pool has it */
    uv_work_t work;
    struct fg_agent *agent;
    struct fg_blob_writer *writer;
    char sha256[65];
    uint64_t at, size;
    struct fg_error err;
    bool failed;
};

static void upload_free(struct fg_upload *up)
{
    fg_link_leave(&up->link);
    fg_blob_abort(up->writer);
    free(up);
}

void fg_agent_uploads_drop(struct fg_agent *agent)
{
    fg_list_each(l, &agent->uploads)
        upload_free(fg_link_of(l, struct fg_upload, link));
}

static struct fg_upload *upload_find(struct fg_agent *agent, const char *sha256)
{
    fg_list_each(l, &agent->uploads) {
        struct fg_upload *up = fg_link_of(l, struct fg_upload, link);
        if (!strcmp(up->sha256, sha256))
            return up;
    }
    return NULL;
}

static void upload_sync(uv_work_t *work)
{
    struct fg_upload *up = fg_link_of(work, struct fg_upload, work);
    char sha256[65];
    uint64_t size;
    up->failed = fg_blob_finish(fg_take_ptr(up->writer), sha256, &size, &up->err) != 0;
}

static void upload_done(uv_work_t *work, int status)
{
    struct fg_upload *up = fg_link_of(work, struct fg_upload, work);
    struct fg_agent *agent = up->agent;
    answer(agent, FG_MSG_BLOB_OK, up->sha256, up->failed ? up->err.text : status ? "the server stops" : NULL);
    upload_free(up);
    fg_agent_job_done(agent);
}

static struct fg_upload *upload_begin(struct fg_agent *agent, const struct fg_msg_blob *put, struct fg_error *err)
{
    struct fg_upload *up = fg_alloc(sizeof *up);
    up->agent = agent;
    up->size = put->size;
    memcpy(up->sha256, put->sha256, sizeof up->sha256);
    if (fg_blob_begin(agent->server->blob_dir, put->sha256, &up->writer, err)) {
        free(up);
        return NULL;
    }
    fg_list_push(&agent->uploads, &up->link);
    return up;
}

/* Outputs are taken even when little disk is left (min_free_bytes keeps room for what runs); a full disk is told. */
int fg_agent_blob_put(struct fg_agent *agent, const struct fg_msg *msg, struct fg_error *err)
{
    const struct fg_msg_blob *put = &msg->blob;
    if (!fg_is_sha256(put->sha256))
        return fg_fail(err, FG_E_MALFORMED, "blob_put: sha256 is not one");
    struct fg_error why;
    struct fg_upload *up = upload_find(agent, put->sha256);
    if (up && put->offset == 0 && up->at) {      /* it starts over */
        upload_free(up);
        up = NULL;
    }
    if (!up && put->offset)
        return 0;                        /* the rest of an upload that failed: it was told with the first error */
    if (!up && !(up = upload_begin(agent, put, &why))) {
        answer(agent, FG_MSG_BLOB_OK, put->sha256, why.text);
        return 0;
    }
    bool fits = put->offset == up->at && up->at + msg->payload_len <= up->size;
    if (!fits)
        fg_fail(&why, FG_E_MALFORMED, "a piece at %llu where %llu of %llu are here", (unsigned long long)put->offset,
                (unsigned long long)up->at, (unsigned long long)up->size);
    if (!fits || fg_blob_append(up->writer, msg->payload, msg->payload_len, &why)) {
        answer(agent, FG_MSG_BLOB_OK, put->sha256, why.text);
        upload_free(up);
        return 0;
    }
    up->at += msg->payload_len;
    if (up->at < up->size)
        return 0;
    fg_link_leave(&up->link);
    agent->jobs++;
    uv_queue_work(&agent->server->loop, &up->work, upload_sync, upload_done);
    return 0;
}
