/* auth.h - keys: who may do what. A key's text is fgpu_<ULID>_<64 hex digits of 256 random bits>; of the digits only the
 * SHA-256 is stored. */
#pragma once
#include "control/server.h"

/* Every scope there is; routes and keys name no other. */
#define FG_SCOPE_LIST(X) \
    X(TASKS_READ, "tasks:read") X(TASKS_WRITE, "tasks:write") X(BLOBS_READ, "blobs:read") X(BLOBS_WRITE, "blobs:write") \
    X(DEVICES_READ, "devices:read") X(MODELS_ADMIN, "models:admin") X(KEYS_ADMIN, "keys:admin") X(METRICS_READ, "metrics:read")
enum fg_scope_bit {
#define X(NAME, text) FG_SCOPE_BIT_##NAME,
    FG_SCOPE_LIST(X)
#undef X
    FG_SCOPE_COUNT
};
#define FG_SCOPE_ALL UINT32_MAX          /* "*" */

#define FG_KEY_TEXT 100                  /* room for a key's text */

struct fg_auth *fg_auth_create(void);
void fg_auth_destroy(struct fg_auth *auth);
/* The bit of a scope's name, FG_SCOPE_ALL for "*", 0 when unknown. */
uint32_t fg_scope_by_name(const char *name);
/* Whether the holder rules over all tenants: an unrestricted key of the first tenant. */
bool fg_call_rules_all(const struct fg_call *call);
/* Check the request's key against the scope a route needs ("" none) and fill the call. -1 FG_E_UNAUTHENTICATED,
 * FG_E_FORBIDDEN or FG_E_RATE_LIMITED. */
int fg_auth_check(struct fg_call *call, const char *scope, struct fg_error *err);
/* Make a key and store it; its text is told once, here. expires_ns 0: never. */
int fg_auth_mint(struct fg_server *s, const char *name, fg_id tenant, const char *scopes, int64_t expires_ns,
                 char ret_text[FG_KEY_TEXT], fg_id *ret_id, struct fg_error *err);
void fg_auth_forget(struct fg_server *s, fg_id key);     /* it was revoked: look it up anew */

/* The user's credentials file (fg_config_folder()/credentials, 0600): two lines, `url: URL` and `key: KEY`. */
int fg_credentials_write(const char *url, const char *key, struct fg_error *err);
/* FG_E_NOT_FOUND when there is none. */
int fg_credentials_read(char *ret_url, size_t url_size, char ret_key[FG_KEY_TEXT], struct fg_error *err);
/* At start: the first tenant, an owner key when the store has no key yet or the user has no credentials, and the url in
 * the credentials file kept true. */
int fg_auth_first_start(struct fg_server *s, struct fg_error *err);
