/* nodes.c - agents' connections: accept, check who it is, frames in, frames out, drop the silent. What a message means is
 * in node_messages.c. */
#include "control/nodes.h"
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "base/io.h"
#include "base/log.h"
#include "base/units.h"
#include "control/log_files.h"

#define READ_CHUNK (256u << 10)
#define OUT_MAX (64u << 20)              /* an agent that reads nothing any more is dropped */

struct fg_agent *fg_agent_of(struct fg_server *s, fg_id node)
{
    fg_list_each(l, &s->nodes->agents) {
        struct fg_agent *agent = fg_link_of(l, struct fg_agent, link);
        if (!agent->closing && fg_id_eq(agent->node, node))
            return agent;
    }
    return NULL;
}

uint64_t fg_nodes_connection(struct fg_server *s, fg_id node)
{
    struct fg_agent *agent = s->nodes ? fg_agent_of(s, node) : NULL;
    return agent ? agent->number : 0;
}

/* --- closing --- */

static void agent_free(struct fg_agent *agent)
{
    if (!agent->closed || agent->jobs)
        return;
    fg_agent_uploads_drop(agent);
    fg_link_leave(&agent->link);
    fg_str_fini(&agent->in);
    fg_str_fini(&agent->out);
    free(agent);
}

static void on_closed(uv_handle_t *handle)
{
    struct fg_agent *agent = handle->data;
    agent->closed = true;
    agent_free(agent);
}

void fg_agent_job_done(struct fg_agent *agent)
{
    agent->jobs--;
    agent_free(agent);
}

void fg_agent_close(struct fg_agent *agent, const char *why)
{
    if (agent->closing)
        return;
    struct fg_server *s = agent->server;
    char id[FG_ID_TEXT];
    if (why)
        fg_log_warn("agent %s: %s; connection closed", fg_id_format(id, "nod", agent->node), why);
    agent->closing = true;
    uv_close((uv_handle_t *)&agent->pipe, on_closed);
    if (fg_id_is_none(agent->node) || !s->core)
        return;
    struct fg_error err;
    struct fg_input in = {.kind = FG_IN_NODE_GONE, .node = {agent->node}};
    if (fg_turn_input(s, &in, &err))
        fg_log_warn("agent %s: gone: %s", fg_id_format(id, "nod", agent->node), err.text);
}

/* --- out: one write is under way at a time, what comes meanwhile goes together with the next --- */

struct write_job { uv_write_t req; struct fg_agent *agent; char *data; };
static void agent_flush(struct fg_agent *agent);

static void on_written(uv_write_t *req, int status)
{
    struct write_job *job = fg_link_of(req, struct write_job, req);
    struct fg_agent *agent = job->agent;
    free(job->data);
    free(job);
    agent->writing = false;
    if (status < 0)
        fg_agent_close(agent, status == UV_ECANCELED || status == UV_EPIPE ? NULL : uv_strerror(status));
    else
        agent_flush(agent);
}

static void agent_flush(struct fg_agent *agent)
{
    if (agent->writing || agent->closing || !agent->out.len)
        return;
    struct write_job *job = fg_alloc(sizeof *job);
    job->agent = agent;
    size_t n = agent->out.len;
    job->data = fg_str_take(&agent->out);
    uv_buf_t buf = uv_buf_init(job->data, (unsigned)n);
    agent->writing = true;
    int status = uv_write(&job->req, (uv_stream_t *)&agent->pipe, &buf, 1, on_written);
    if (status < 0) {
        agent->writing = false;
        free(job->data);
        free(job);
        fg_agent_close(agent, uv_strerror(status));
    }
}

void fg_agent_send(struct fg_agent *agent, const struct fg_msg *msg)
{
    if (agent->closing)
        return;
    fg_msg_encode(msg, &agent->out);
    if (agent->out.len > OUT_MAX)
        fg_agent_close(agent, "it does not read what it is sent");
    else
        agent_flush(agent);
}

/* --- in --- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct fg_agent *agent = handle->data;
    *buf = uv_buf_init(fg_str_reserve(&agent->in, READ_CHUNK), READ_CHUNK);
}

static int take_frame(struct fg_agent *agent, const struct fg_frame *frame, struct fg_error *err)
{
    struct fg_msg msg = {0};
    if (fg_msg_decode(frame, &msg, err))
        return -1;
    int rc = fg_agent_message(agent, &msg, err);
    fg_msg_fini(&msg);
    return rc;
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct fg_agent *agent = stream->data;
    if (n < 0) {
        fg_agent_close(agent, n == UV_EOF || n == UV_ECONNRESET ? NULL : uv_strerror((int)n));
        return;
    }
    agent->in.len += (size_t)n;
    agent->seen_ns = fg_server_now(agent->server);
    size_t off = 0;
    while (!agent->closing) {
        struct fg_frame frame = {0};
        struct fg_error err = {0};
        size_t used = 0;
        int rc = fg_frame_decode(agent->in.data + off, agent->in.len - off, &frame, &used, &err);
        if (rc == 0)
            break;
        if (rc > 0)
            rc = take_frame(agent, &frame, &err);
        json_decref(frame.header);
        if (rc < 0)
            fg_agent_close(agent, err.text);
        off += used;
    }
    agent->in.len -= off;
    memmove(agent->in.data, agent->in.data + off, agent->in.len);
    if (!agent->in.len && agent->in.cap > 4 * READ_CHUNK)
        fg_str_fini(&agent->in);
}

/* The kernel says whose process it is: ours, or root's (an agent that needs root for limits). */
static int check_peer(uv_pipe_t *pipe, struct fg_error *err)
{
    uv_os_fd_t fd;
    struct ucred peer;
    socklen_t len = sizeof peer;
    if (uv_fileno((uv_handle_t *)pipe, &fd) || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len))
        return fg_fail(err, FG_E_IO, "its identity cannot be read: %m");
    if (peer.uid != geteuid() && peer.uid != 0)
        return fg_fail(err, FG_E_FORBIDDEN, "uid %u may not be an agent", (unsigned)peer.uid);
    return 0;
}

/* There is no core while the store takes no writes: the sign of life renews its leases, so that its attempts go on for
 * however long the disk is full; then it comes back. Nothing is lost by that: after a load every lease begins anew. */
static void say_wait(struct fg_agent *agent)
{
    struct fg_msg msg = {.kind = FG_MSG_ALIVE};
    fg_agent_send(agent, &msg);
    fg_agent_close(agent, NULL);
}

static void on_connect(uv_stream_t *listener, int status)
{
    struct fg_server *s = listener->data;
    if (status < 0) {
        fg_log_warn("agent socket: %s", uv_strerror(status));
        return;
    }
    struct fg_agent *agent = fg_alloc(sizeof *agent);
    agent->server = s;
    agent->number = ++s->nodes->connections;
    agent->seen_ns = fg_server_now(s);
    fg_list_init(&agent->uploads);
    uv_pipe_init(&s->loop, &agent->pipe, 0);
    agent->pipe.data = agent;
    fg_list_push(&s->nodes->agents, &agent->link);
    struct fg_error err;
    if (uv_accept(listener, (uv_stream_t *)&agent->pipe))
        fg_agent_close(agent, "it could not be accepted");
    else if (check_peer(&agent->pipe, &err))
        fg_agent_close(agent, err.text);
    else if (!s->core)
        say_wait(agent);
    else
        uv_read_start((uv_stream_t *)&agent->pipe, on_alloc, on_read);
}

/* --- the whole --- */

static int listen_at(struct fg_server *s, const char *path, struct fg_error *err)
{
    struct sockaddr_un { sa_family_t family; char path[108]; } limit;
    if (strlen(path) >= sizeof limit.path) {
        fg_fail(err, FG_E_INVALID, "agent socket '%s': the path is too long (%zu bytes at most)", path, sizeof limit.path - 1);
        return fg_fail_hint(err, "set agent_socket to a shorter path");
    }
    unlink(path);                        /* ours alone: the data folder is locked */
    uv_pipe_init(&s->loop, &s->nodes->listener, 0);
    s->nodes->listener.data = s;
    mode_t before = umask(0177);
    int rc = uv_pipe_bind(&s->nodes->listener, path);
    umask(before);
    if (!rc)
        rc = uv_listen((uv_stream_t *)&s->nodes->listener, 128, on_connect);
    return rc ? fg_fail(err, FG_E_IO, "agent socket '%s': %s", path, uv_strerror(rc)) : 0;
}

int fg_nodes_start(struct fg_server *s, struct fg_error *err)
{
    s->nodes = fg_alloc(sizeof *s->nodes);
    fg_list_init(&s->nodes->agents);
    const char *path = fg_config_str(s->config, "agent_socket");
    s->nodes->path = path && *path ? fg_strdup(path) : fg_path_join(s->data_dir, "agent.sock");
    return listen_at(s, s->nodes->path, err);
}

void fg_nodes_drop_all(struct fg_server *s)
{
    if (!s->nodes)
        return;
    fg_logs_reconnected(s->logs);
    fg_list_each(l, &s->nodes->agents)
        fg_agent_close(fg_link_of(l, struct fg_agent, link), NULL);
}

void fg_nodes_stop(struct fg_server *s)
{
    if (!s->nodes)
        return;
    if (s->nodes->listener.data && !uv_is_closing((uv_handle_t *)&s->nodes->listener))
        uv_close((uv_handle_t *)&s->nodes->listener, NULL);
    if (s->nodes->path)
        unlink(s->nodes->path);
    fg_nodes_drop_all(s);
}

void fg_nodes_destroy(struct fg_server *s)
{
    if (s->nodes)
        free(s->nodes->path);
    free(fg_take_ptr(s->nodes));
}

/* A stopped agent keeps its socket open and says nothing: without this it would be given tasks that it never starts. */
static void close_silent(struct fg_server *s, int64_t now_ns)
{
    int64_t limit = (3 * fg_config_int(s->config, "heartbeat_s") + 1) * FG_NS_PER_S;
    fg_list_each(l, &s->nodes->agents) {
        struct fg_agent *agent = fg_link_of(l, struct fg_agent, link);
        if (!agent->closing && now_ns - agent->seen_ns > limit)
            fg_agent_close(agent, "no heartbeat");
    }
}

static void ask_log(void *arg, fg_id task, uint32_t attempt, uint64_t offset)
{
    struct fg_server *s = arg;
    const struct fg_task *t = s->core ? fg_core_task(s->core, task) : NULL;
    struct fg_agent *agent = t ? fg_agent_of(s, t->lease.node) : NULL;
    if (!agent)
        return;
    struct fg_msg msg = {.kind = FG_MSG_LOG_AT, .ref = {.task = task, .attempt = attempt, .offset = offset}};
    fg_agent_send(agent, &msg);
}

void fg_nodes_tick(struct fg_server *s, int64_t now_ns)
{
    close_silent(s, now_ns);
    fg_logs_retry(s->logs, now_ns, ask_log, s);
    fg_logs_sweep(s->logs, now_ns);
}
