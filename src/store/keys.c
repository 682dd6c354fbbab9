/* keys.c - keys, tenants: rare, so each is its own transaction that the loop thread waits for. And who owns a blob. */
#include <stdio.h>
#include "store/internal.h"
#include "base/io.h"
#include "base/log.h"

/* --- keys --- */

static int add_key(struct fg_store *store, struct fg_db *db, void *arg, struct fg_error *err)
{
    const struct fg_store_key *key = arg;
    sqlite3_stmt *stmt = fg_db_stmt(db, FG_SQL_KEY_ADD, err);
    if (!stmt)
        return -1;
    fg_db_bind_id(db, stmt, 1, key->id);
    fg_db_bind_id(db, stmt, 2, key->tenant);
    fg_db_bind_text(stmt, 3, key->hash);
    fg_db_bind_text(stmt, 4, key->scopes);
    fg_db_bind_text(stmt, 5, key->name);
    sqlite3_bind_int64(stmt, 6, key->created_ns);
    sqlite3_bind_int64(stmt, 7, key->expires_ns);
    sqlite3_bind_int64(stmt, 8, key->revoked_ns);
    return fg_db_step(db, FG_SQL_KEY_ADD, err);
}

int fg_store_key_add(struct fg_store *store, const struct fg_store_key *key, struct fg_error *err)
{
    return fg_store_call(store, add_key, (void *)key, err);
}

static void read_key(sqlite3_stmt *stmt, struct fg_store_key *ret)
{
    *ret = (struct fg_store_key){
        .id = fg_db_column_id(stmt, 0),
        .tenant = fg_db_column_id(stmt, 1),
        .created_ns = sqlite3_column_int64(stmt, 5),
        .expires_ns = sqlite3_column_int64(stmt, 6),
        .revoked_ns = sqlite3_column_int64(stmt, 7),
    };
    snprintf(ret->hash, sizeof ret->hash, "%s", fg_db_column_text(stmt, 2));
    snprintf(ret->scopes, sizeof ret->scopes, "%s", fg_db_column_text(stmt, 3));
    snprintf(ret->name, sizeof ret->name, "%s", fg_db_column_text(stmt, 4));
}

static int no_key(fg_id id, struct fg_error *err)
{
    char text[FG_ID_TEXT];
    return fg_fail(err, FG_E_NOT_FOUND, "no key %s", fg_id_format(text, "key", id));
}

int fg_store_key_get(struct fg_store *store, fg_id id, struct fg_store_key *ret, struct fg_error *err)
{
    struct fg_db *db = &store->reader;
    sqlite3_stmt *stmt = fg_db_stmt(db, FG_SQL_KEY_GET, err);
    if (!stmt)
        return -1;
    fg_db_bind_id(db, stmt, 1, id);
    int rc = fg_db_step(db, FG_SQL_KEY_GET, err);
    if (rc <= 0)
        return rc < 0 ? -1 : no_key(id, err);
    read_key(stmt, ret);
    fg_db_reset(db, FG_SQL_KEY_GET);
    return 0;
}

struct revocation { fg_id id; int64_t now_ns; };

static int revoke_key(struct fg_store *store, struct fg_db *db, void *arg, struct fg_error *err)
{
    const struct revocation *what = arg;
    sqlite3_stmt *stmt = fg_db_stmt(db, FG_SQL_KEY_REVOKE, err);
    if (!stmt)
        return -1;
    fg_db_bind_id(db, stmt, 1, what->id);
    sqlite3_bind_int64(stmt, 2, what->now_ns);
    if (fg_db_step(db, FG_SQL_KEY_REVOKE, err) < 0)
        return -1;
    return sqlite3_changes(db->handle) ? 0 : no_key(what->id, err);
}

int fg_store_key_revoke(struct fg_store *store, fg_id id, int64_t now_ns, struct fg_error *err)
{
    struct revocation what = { id, now_ns };
    return fg_store_call(store, revoke_key, &what, err);
}

int fg_store_key_list(struct fg_store *store, fg_id tenant, void (*fn)(void *arg, const struct fg_store_key *key), void *arg, struct fg_error *err)
{
    struct fg_db *db = &store->reader;
    sqlite3_stmt *stmt = fg_db_stmt(db, FG_SQL_KEY_LIST, err);
    if (!stmt)
        return -1;
    fg_db_bind_id(db, stmt, 1, tenant);
    int rc;
    while ((rc = fg_db_step(db, FG_SQL_KEY_LIST, err)) == 1) {
        struct fg_store_key key;
        read_key(stmt, &key);
        fn(arg, &key);
    }
    return rc;
}

/* --- tenants --- */

/* 1 found, 0 not, -1 with *err. */
static int find_tenant(struct fg_db *db, const char *name, fg_id *ret, struct fg_error *err)
{
    sqlite3_stmt *stmt = fg_db_stmt(db, FG_SQL_TENANT_GET, err);
    if (!stmt)
        return -1;
    fg_db_bind_text(stmt, 1, name);
    int rc = fg_db_step(db, FG_SQL_TENANT_GET, err);
    if (rc == 1) {
        *ret = fg_db_column_id(stmt, 0);
        fg_db_reset(db, FG_SQL_TENANT_GET);
    }
    return rc;
}

struct tenant_add { const char *name; fg_id id; };

static int add_tenant(struct fg_store *store, struct fg_db *db, void *arg, struct fg_error *err)
{
    const struct tenant_add *what = arg;
    sqlite3_stmt *stmt = fg_db_stmt(db, FG_SQL_TENANT_ADD, err);
    if (!stmt)
        return -1;
    fg_db_bind_text(stmt, 1, what->name);
    fg_db_bind_id(db, stmt, 2, what->id);
    return fg_db_step(db, FG_SQL_TENANT_ADD, err);
}

int fg_store_tenant_ensure(struct fg_store *store, const char *name, fg_id fresh_id, fg_id *ret, struct fg_error *err)
{
    int rc = find_tenant(&store->reader, name, ret, err);
    if (rc != 0)
        return rc < 0 ? -1 : 0;
    struct tenant_add what = { name, fresh_id };
    if (fg_store_call(store, add_tenant, &what, err) < 0)
        return -1;
    *ret = fresh_id;
    return 0;
}

/* --- blobs --- */

bool fg_store_blob_owned(struct fg_store *store, const char *sha256, fg_id tenant, uint64_t *ret_size)
{
    struct fg_db *db = &store->reader;
    struct fg_error err;
    sqlite3_stmt *stmt = fg_db_stmt(db, FG_SQL_BLOB_OWNED, &err);
    int rc = -1;
    if (stmt) {
        fg_db_bind_text(stmt, 1, sha256);
        fg_db_bind_id(db, stmt, 2, tenant);
        rc = fg_db_step(db, FG_SQL_BLOB_OWNED, &err);
    }
    if (rc < 0)
        fg_log_error("look up a blob: %s", err.text);
    if (rc != 1)
        return false;
    if (ret_size)
        *ret_size = (uint64_t)sqlite3_column_int64(stmt, 0);
    fg_db_reset(db, FG_SQL_BLOB_OWNED);
    return true;
}
