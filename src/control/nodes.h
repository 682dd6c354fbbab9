/* nodes.h - the agents' end of the server: a unix socket on which they connect, and what is said there (wire/agent_proto.h). */
#pragma once
#include "control/server.h"
#include "wire/agent_proto.h"

/* Listen on the socket (mode 0600; peers must have our uid or be root). */
int fg_nodes_start(struct fg_server *s, struct fg_error *err);
void fg_nodes_stop(struct fg_server *s);         /* closes all; NULL nodes is fine */
void fg_nodes_destroy(struct fg_server *s);      /* after the loop has closed the handles */
/* Close every connection, so that the agents come back with a hello. */
void fg_nodes_drop_all(struct fg_server *s);
/* Number of the node's connection, never reused; 0: it has none. */
uint64_t fg_nodes_connection(struct fg_server *s, fg_id node);
/* Do what the core decided, now that it is on disk, through that connection. When it is gone the node's next hello decides. */
void fg_nodes_perform(struct fg_server *s, const struct fg_action *action, uint64_t connection);
/* Each second: close agents that went silent, ask again for log pieces that could not be written. */
void fg_nodes_tick(struct fg_server *s, int64_t now_ns);

/* --- between nodes.c, node_messages.c and node_blobs.c --- */
struct fg_upload;
struct fg_agent {                        /* one agent's connection */
    struct fg_link link;
    uv_pipe_t pipe;
    struct fg_server *server;
    fg_id node;                          /* NONE before its hello */
    uint64_t number;                     /* of the connection */
    int64_t seen_ns;
    struct fg_str in, out;
    bool writing, closing;
    struct fg_link uploads;
    int jobs;                            /* on the pool, with a pointer to this */
    bool closed;
};
struct fg_nodes { uint64_t connections; uv_pipe_t listener; struct fg_link agents; char *path; };
void fg_agent_send(struct fg_agent *agent, const struct fg_msg *msg);
void fg_agent_close(struct fg_agent *agent, const char *why);    /* why NULL: nothing to log */
void fg_agent_job_done(struct fg_agent *agent);  /* a pool job that held it ended */
struct fg_agent *fg_agent_of(struct fg_server *s, fg_id node);   /* NULL: not connected */
/* -1: the agent broke the protocol; close it. */
int fg_agent_message(struct fg_agent *agent, struct fg_msg *msg, struct fg_error *err);
int fg_agent_blob_get(struct fg_agent *agent, const struct fg_msg_blob *msg, struct fg_error *err);
int fg_agent_blob_put(struct fg_agent *agent, const struct fg_msg *msg, struct fg_error *err);
void fg_agent_uploads_drop(struct fg_agent *agent);
