/* auth.c - check keys, make keys, keep the owner's credentials file. */
#include "control/auth.h"
#include <sodium.h>
#include <string.h>
#include <sys/stat.h>
#include "base/io.h"
#include "base/log.h"
#include "base/units.h"

#define CACHE_SLOTS 512
#define PEER_SLOTS 1024
#define FAILURES_PER_MINUTE 20
#define SECRET_HEX 64

/* Keys seen valid, so that a request costs a hash and no read. One slot for each hash value: a collision only means a read. */
struct cached { fg_id id, tenant; char hash[65]; uint32_t scopes; int64_t expires_ns, revoked_ns; };
struct peer { char address[48]; int64_t since_ns; int failures; };
struct fg_auth { struct cached keys[CACHE_SLOTS]; struct peer peers[PEER_SLOTS]; };

struct fg_auth *fg_auth_create(void) { return fg_alloc(sizeof(struct fg_auth)); }

void fg_auth_destroy(struct fg_auth *auth)
{
    if (auth)
        sodium_memzero(auth, sizeof *auth);
    free(auth);
}

static const char *const scope_names[] = {
#define X(NAME, text) text,
    FG_SCOPE_LIST(X)
#undef X
};

uint32_t fg_scope_by_name(const char *name)
{
    if (!strcmp(name, "*"))
        return FG_SCOPE_ALL;
    for (uint32_t i = 0; i < FG_SCOPE_COUNT; i++)
        if (!strcmp(name, scope_names[i]))
            return 1u << i;
    return 0;
}

/* "a b,c" -> bits; what is unknown (a newer server's) gives nothing. */
static uint32_t scopes_parse(const char *text)
{
    uint32_t bits = 0;
    FG_AUTO_FREE char *copy = fg_strdup(text);
    char *rest = copy;
    for (char *name; (name = strsep(&rest, " ,"));)
        bits |= fg_scope_by_name(name);
    return bits;
}

bool fg_call_rules_all(const struct fg_call *call)
{
    return call->scopes == FG_SCOPE_ALL && fg_id_eq(call->tenant, call->server->default_tenant);
}

/* --- checking --- */

/* Splits fgpu_<ULID>_<hex>; false when it is not of that form. */
static bool key_parse(const char *text, fg_id *ret_id, const char **ret_secret)
{
    char id[FG_ID_TEXT];
    if (strlen(text) != 5 + 26 + 1 + SECRET_HEX || strncmp(text, "fgpu_", 5) || text[31] != '_')
        return false;
    snprintf(id, sizeof id, "key_%.26s", text + 5);
    *ret_secret = text + 32;
    return fg_id_parse(id, "key", ret_id) && fg_is_sha256(*ret_secret);
}

static const char *presented(struct fg_http_request *req)
{
    const char *header = fg_http_header(req, "Authorization");
    if (header && !strncasecmp(header, "Bearer ", 7)) {
        header += 7;
        return header + strspn(header, " ");
    }
    return fg_http_header(req, "X-Api-Key");
}

static const struct cached *lookup(struct fg_server *s, fg_id id)
{
    struct cached *slot = &s->auth->keys[fg_id_hash(id) % CACHE_SLOTS];
    if (fg_id_eq(slot->id, id))
        return slot;
    struct fg_store_key key;
    if (fg_store_key_get(s->store, id, &key, NULL))
        return NULL;
    *slot = (struct cached){.id = id, .tenant = key.tenant, .scopes = scopes_parse(key.scopes),
                            .expires_ns = key.expires_ns, .revoked_ns = key.revoked_ns};
    memcpy(slot->hash, key.hash, sizeof slot->hash);
    return slot;
}

void fg_auth_forget(struct fg_server *s, fg_id key)
{
    struct cached *slot = &s->auth->keys[fg_id_hash(key) % CACHE_SLOTS];
    if (fg_id_eq(slot->id, key))
        *slot = (struct cached){0};
}

/* NULL with *ret_why: what the text is not. The hash is compared for unknown ids too, so that time tells nothing. */
static const struct cached *verify(struct fg_server *s, const char *text, const char **ret_why)
{
    static const char nobody[65] = "0000000000000000000000000000000000000000000000000000000000000000";
    fg_id id;
    const char *secret;
    char hash[65];
    if (!key_parse(text, &id, &secret)) {
        *ret_why = "the key has not the form of one";
        return NULL;
    }
    fg_sha256_hex(secret, SECRET_HEX, hash);
    const struct cached *key = lookup(s, id);
    bool same = sodium_memcmp(hash, key ? key->hash : nobody, 64) == 0;
    int64_t now = fg_server_now(s);
    if (!key || !same)
        *ret_why = "the key is not known here";
    else if (key->revoked_ns)
        *ret_why = "the key was revoked";
    else if (key->expires_ns && key->expires_ns <= now)
        *ret_why = "the key has expired";
    else
        return key;
    return NULL;
}

/* Failures of the peer in this minute, this one included. Valid keys pass whatever their neighbours on the address do. */
static int count_failure(struct fg_server *s, const char *address)
{
    uint64_t hash = 1469598103934665603u;
    for (const char *p = address; *p; p++)
        hash = (hash ^ (unsigned char)*p) * 1099511628211u;
    struct peer *peer = &s->auth->peers[hash % PEER_SLOTS];
    int64_t now = fg_server_now(s);
    if (strcmp(peer->address, address) || now - peer->since_ns >= 60 * FG_NS_PER_S) {
        snprintf(peer->address, sizeof peer->address, "%s", address);
        peer->since_ns = now;
        peer->failures = 0;
    }
    return ++peer->failures;
}

static int refuse(struct fg_call *call, const char *why, struct fg_error *err)
{
    const char *address = fg_http_peer(call->req);
    if (count_failure(call->server, address ? address : "") > FAILURES_PER_MINUTE) {
        fg_fail(err, FG_E_RATE_LIMITED, "too many requests without a valid key from this address");
        return fg_fail_hint(err, "wait a minute; %s", why);
    }
    fg_fail(err, FG_E_UNAUTHENTICATED, "%s", why);
    return fg_fail_hint(err, "send `Authorization: Bearer KEY`; `fgpu up` prints the owner's key, and keeps it in the credentials file");
}

int fg_auth_check(struct fg_call *call, const char *scope, struct fg_error *err)
{
    if (!*scope)
        return 0;
    const char *text = presented(call->req), *why = "no key was given";
    const struct cached *key = text ? verify(call->server, text, &why) : NULL;
    if (!key)
        return refuse(call, why, err);
    call->key = key->id;
    call->tenant = key->tenant;
    call->scopes = key->scopes;
    if (key->scopes & fg_scope_by_name(scope))
        return 0;
    fg_fail(err, FG_E_FORBIDDEN, "this key lacks the scope %s", scope);
    return fg_fail_hint(err, "use a key that has it: POST /v1/keys with \"scopes\": [\"%s\"]", scope);
}

/* --- making --- */

int fg_auth_mint(struct fg_server *s, const char *name, fg_id tenant, const char *scopes, int64_t expires_ns,
                 char ret_text[FG_KEY_TEXT], fg_id *ret_id, struct fg_error *err)
{
    unsigned char bits[32];
    char secret[SECRET_HEX + 1], id[FG_ID_TEXT];
    randombytes_buf(bits, sizeof bits);
    sodium_bin2hex(secret, sizeof secret, bits, sizeof bits);
    int64_t now = fg_server_now(s);
    struct fg_store_key key = {.id = fg_id_new(&s->ids, now), .tenant = tenant, .created_ns = now, .expires_ns = expires_ns};
    fg_sha256_hex(secret, SECRET_HEX, key.hash);
    snprintf(key.scopes, sizeof key.scopes, "%s", scopes);
    snprintf(key.name, sizeof key.name, "%s", name);
    int rc = fg_store_key_add(s->store, &key, err);
    if (!rc) {
        snprintf(ret_text, FG_KEY_TEXT, "fgpu_%s_%s", fg_id_format(id, "key", key.id) + 4, secret);
        *ret_id = key.id;
    }
    sodium_memzero(bits, sizeof bits);
    sodium_memzero(secret, sizeof secret);
    return rc;
}

/* --- the credentials file --- */

int fg_credentials_write(const char *url, const char *key, struct fg_error *err)
{
    FG_AUTO_FREE char *folder = fg_config_folder();
    FG_AUTO_FREE char *path = fg_path_join(folder, "credentials");
    FG_AUTO_FREE char *text = fg_asprintf("url: %s\nkey: %s\n", url, key);
    int rc = fg_mkdir_p(folder, 0700, err);
    if (!rc)
        rc = fg_write_file_atomic(path, text, strlen(text), 0600, err);
    sodium_memzero(text, strlen(text));
    return rc;
}

static void line_value(const char *text, const char *name, char *ret, size_t size)
{
    *ret = '\0';
    for (const char *p = text; p && *p; p = strchr(p, '\n'), p = p ? p + 1 : NULL) {
        if (!fg_starts_with(p, name))
            continue;
        p += strlen(name);
        p += strspn(p, " \t\"'");
        snprintf(ret, size, "%.*s", (int)strcspn(p, " \t\"'\r\n"), p);
        return;
    }
}

int fg_credentials_read(char *ret_url, size_t url_size, char ret_key[FG_KEY_TEXT], struct fg_error *err)
{
    FG_AUTO_FREE char *folder = fg_config_folder();
    FG_AUTO_FREE char *path = fg_path_join(folder, "credentials");
    FG_AUTO_STR struct fg_str text = {0};
    if (fg_read_file(path, 65536, &text, err))
        return -1;
    line_value(fg_str_cstr(&text), "url:", ret_url, url_size);
    line_value(fg_str_cstr(&text), "key:", ret_key, FG_KEY_TEXT);
    sodium_memzero(text.data, text.len);
    return 0;
}

static void see_key(void *arg, const struct fg_store_key *key)
{
    *(size_t *)arg += key != NULL;
}

/* Whoever may start the server on this data folder owns it: a lost credentials file is made anew. One that holds a key of
 * another server is left alone unless this server is new. */
int fg_auth_first_start(struct fg_server *s, struct fg_error *err)
{
    char url[300], text[FG_KEY_TEXT];
    const char *why;
    size_t keys = 0;
    fg_id id;
    if (fg_store_tenant_ensure(s->store, "default", fg_id_new(&s->ids, fg_server_now(s)), &s->default_tenant, err) ||
        fg_store_key_list(s->store, FG_ID_NONE, see_key, &keys, err))
        return -1;
    bool have = !fg_credentials_read(url, sizeof url, text, NULL);
    if (have && verify(s, text, &why))
        return strcmp(url, s->url) ? fg_credentials_write(s->url, text, err) : 0;
    if (have && keys) {
        fg_log_warn("the credentials file holds a key of another server; it is left as it is");
        return 0;
    }
    if (fg_auth_mint(s, "owner", s->default_tenant, "*", 0, text, &id, err))
        return -1;
    return fg_credentials_write(s->url, text, err);
}
