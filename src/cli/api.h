/* api.h - every request that fgpu makes: address, key and retries in one place, over wire/client.h. */
#pragma once
#include <signal.h>
#include "cli/cli.h"
#include "wire/client.h"

struct cli_api;
void cli_api_destroy(struct cli_api *api);
/* Where requests go, without a slash at the end; from flags, environment and the credentials file. */
int cli_api_url(struct cli *cli, const char **ret, struct fg_error *err);
const char *cli_api_key(struct cli *cli);                          /* NULL: none is known; after cli_api_url */
const char *cli_api_key_origin(struct cli *cli);                   /* "/home/me/.config/fastgpu/credentials" */
/* Read the credentials anew and use another address than theirs: for `up`, which knows better. */
int cli_api_use(struct cli *cli, const char *url, struct fg_error *err);

struct fg_client *cli_api_client(struct cli *cli);                 /* after cli_api_url */

struct cli_request {
    const char *method, *path;           /* path with its query */
    const json_t *body;                  /* NULL: none */
    const char *idempotency_key;         /* then a lost connection or a retryable answer is tried again */
    const char *accept;                  /* NULL: application/json */
    int64_t timeout_ms;                  /* 0: 60 s */
    const volatile sig_atomic_t *stop;   /* give up once it is set; may be NULL */
};
/* -1 for no answer and for every status from 400 on: *err is the server's own. The answer is to be finished in either case. */
int cli_send(struct cli *cli, const struct cli_request *req, struct fg_client_answer *ret, struct fg_error *err);
/* The answer as JSON; ret may be NULL. */
int cli_call(struct cli *cli, const struct cli_request *req, json_t **ret, struct fg_error *err);
int cli_get(struct cli *cli, const char *path, json_t **ret, struct fg_error *err);
int cli_post(struct cli *cli, const char *path, const json_t *body, json_t **ret, struct fg_error *err);

/* Server-sent events from the start on, over as many connections and restarts of the server as it takes, until fn returns
 * 1 (then 0) or -1. A server that stays away for a minute is FG_E_UNREACHABLE. Once *stop is set, 0. */
int cli_follow(struct cli *cli, const char *path, int (*fn)(void *arg, const struct fg_sse_event *ev, struct fg_error *err),
               void *arg, const volatile sig_atomic_t *stop, struct fg_error *err);

/* --- blobs.c --- */
/* Hash a file, upload it unless the server has it. */
int cli_blob_put_file(struct cli *cli, const char *path, char ret_sha256[65], uint64_t *ret_size, struct fg_error *err);
int cli_blob_put_bytes(struct cli *cli, const void *data, size_t n, char ret_sha256[65], struct fg_error *err);
int cli_blob_get(struct cli *cli, const char *sha256, int fd, struct fg_error *err);

/* "&" or "?" and key=value, percent-encoded, appended to a path; nothing for a NULL value. */
void cli_query(struct fg_str *path, const char *key, const char *value);
