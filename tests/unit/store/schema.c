/* schema.c - opening: what is made, what is refused, and that no statement on a hot path walks a whole table. */
#include "store_unit.h"
#include <sys/stat.h>
#include "store/sql.h"

static void sql(const char *path, const char *text)
{
    sqlite3 *db;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, text, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", text, sqlite3_errmsg(db));
    sqlite3_close(db);
}

static void a_new_store_is_private_and_uses_the_write_ahead_log(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    FG_AUTO_FREE char *wal = fg_asprintf("%s-wal", u.path);
    struct stat st;
    struct fg_error err;
    int version = 0;
    assert_int_equal(stat(u.path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(wal, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_ok(fg_store_check(u.path, &version, &err), err);
    assert_int_equal(version, 1);
    unit_end(&u);
}

static void a_newer_schema_is_refused_by_name_and_left_alone(void **state)
{
    struct unit_store u;
    struct fg_error err;
    unit_begin(&u);
    unit_close(&u);
    sql(u.path, "PRAGMA user_version = 9");
    assert_fails(fg_store_open(u.path, &u.store, &err), err, FG_E_UNSUPPORTED);
    assert_has(err.text, "schema 9");
    assert_has(err.text, "up to 1");
    assert_has(err.hint, "newer");
    assert_fails(fg_store_check(u.path, NULL, &err), err, FG_E_UNSUPPORTED);
    sql(u.path, "PRAGMA user_version = 1");
    unit_open(&u);
    unit_end(&u);
}

static void another_programs_database_is_refused_and_left_alone(void **state)
{
    struct unit_store u;
    struct fg_error err;
    unit_folder(u.folder, sizeof u.folder);
    snprintf(u.path, sizeof u.path, "%s/other.db", u.folder);
    sql(u.path, "CREATE TABLE theirs(x); INSERT INTO theirs VALUES(1)");
    assert_fails(fg_store_open(u.path, &u.store, &err), err, FG_E_INVALID);
    sql(u.path, "UPDATE theirs SET x = 2");
    snprintf(u.path, sizeof u.path, "%s/text.db", u.folder);
    FILE *text = fopen(u.path, "w");
    fprintf(text, "not a database at all, but long enough to have a header of a hundred bytes, which is what is looked at first of all\n");
    fclose(text);
    assert_fails(fg_store_open(u.path, &u.store, &err), err, FG_E_IO);
    assert_has(err.text, "text.db");
    assert_fails(fg_store_check(u.path, NULL, &err), err, FG_E_IO);
    snprintf(u.path, sizeof u.path, "%s/none/fgpu.db", u.folder);
    assert_fails(fg_store_open(u.path, &u.store, &err), err, FG_E_IO);
    assert_fails(fg_store_check(u.path, NULL, &err), err, FG_E_NOT_FOUND);
    assert_ok(fg_remove_tree(u.folder, &err), err);
}

static void a_second_process_is_refused_while_one_has_the_store(void **state)
{
    struct unit_store u;
    struct fg_store *second;
    struct fg_error err;
    unit_begin(&u);
    assert_fails(fg_store_open(u.path, &second, &err), err, FG_E_CONFLICT);
    assert_has(err.hint, "another fgpu");
    unit_close(&u);
    unit_open(&u);
    unit_end(&u);
}

static void a_damaged_file_is_found_by_check(void **state)
{
    struct unit_store u;
    struct fg_error err;
    unit_begin(&u);
    struct fg_store_batch *batch = fg_store_batch_create();
    for (uint64_t n = 1; n <= 500; n++)
        put_task(batch, task_id(n), alice, 0)->spec = fg_strdup("a spec of some length, so that there are many pages");
    commit_ok(&u, batch);
    unit_close(&u);
    FILE *file = fopen(u.path, "r+");
    fseek(file, 8192 * 5 + 3, SEEK_SET);
    for (int i = 0; i < 8000; i++)
        fputc(0x5a, file);
    fclose(file);
    assert_fails(fg_store_check(u.path, NULL, &err), err, FG_E_IO);
    assert_has(err.hint, "backup");
    assert_ok(fg_remove_tree(u.folder, &err), err);
}

/* The whole table may be read only where all of it is wanted (documents, keys), or where its start is and a LIMIT stands. */
static bool may_scan(enum fg_sql sql, const char *detail)
{
    switch (sql) {
    case FG_SQL_AUX_ALL: case FG_SQL_KEY_LIST: case FG_SQL_PROBE_DELETE: case FG_SQL_USAGE_ALL: return true;
    case FG_SQL_LAST_EVENT: case FG_SQL_IDEMPOTENCY_OLDEST: case FG_SQL_IDEMPOTENCY_EXPIRE: return strstr(fg_sql_text[sql], "LIMIT") != NULL;
    case FG_SQL_LIVE: return strstr(detail, "USING INDEX task_live") != NULL;   /* a partial index: holds the live ones only */
    default: return false;
    }
}

static bool may_sort(enum fg_sql sql)
{
    return sql == FG_SQL_USAGE || sql == FG_SQL_USAGE_ALL;
}

static void no_statement_walks_or_sorts_a_whole_table(void **state)
{
    struct unit_store u;
    struct fg_db db;
    struct fg_error err;
    unit_begin(&u);
    assert_ok(fg_db_open(&db, u.path, SQLITE_OPEN_READWRITE, &err), err);
    for (enum fg_sql i = 0; i < FG_SQL_COUNT; i++) {
        FG_AUTO_FREE char *text = fg_asprintf("EXPLAIN QUERY PLAN %s", fg_sql_text[i]);
        sqlite3_stmt *stmt;
        if (sqlite3_prepare_v2(db.handle, text, -1, &stmt, NULL) != SQLITE_OK)
            fail_msg("%s: %s", fg_sql_text[i], sqlite3_errmsg(db.handle));
        while (sqlite3_step(stmt) == SQLITE_ROW) {
            const char *detail = (const char *)sqlite3_column_text(stmt, 3);
            if ((!strncmp(detail, "SCAN", 4) && !may_scan(i, detail)) || (strstr(detail, "TEMP B-TREE") && !may_sort(i)))
                fail_msg("%s: %s", fg_sql_text[i], detail);
        }
        sqlite3_finalize(stmt);
    }
    fg_db_close(&db);
    unit_end(&u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_new_store_is_private_and_uses_the_write_ahead_log),
        cmocka_unit_test(a_newer_schema_is_refused_by_name_and_left_alone),
        cmocka_unit_test(another_programs_database_is_refused_and_left_alone),
        cmocka_unit_test(a_second_process_is_refused_while_one_has_the_store),
        cmocka_unit_test(a_damaged_file_is_found_by_check),
        cmocka_unit_test(no_statement_walks_or_sorts_a_whole_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
