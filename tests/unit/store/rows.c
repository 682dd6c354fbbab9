/* rows.c - what goes in comes out: tasks, events, documents, keys, sums; each reader sees only its own. */
#include "store_unit.h"

static void a_task_is_read_back_as_written_with_its_spec(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    struct fg_store_batch *batch = fg_store_batch_create();
    struct fg_store_task *task = put_task(batch, task_id(7), alice, 0);
    task->spec = fg_strdup("{\"a\":1}");
    task->name = fg_strdup("nightly");
    task->cost_nanousd = 12;
    commit_ok(&u, batch);
    FG_AUTO_STR struct fg_str out = {0};
    struct fg_error err;
    assert_ok(fg_store_task_get(u.store, task_id(7), print_task, &out, &err), err);
    assert_string_equal(fg_str_cstr(&out), "7:s0:{\"a\":1}");
    assert_fails(fg_store_task_get(u.store, task_id(8), print_task, &out, &err), err, FG_E_NOT_FOUND);
    unit_end(&u);
}

static void a_later_row_changes_the_task_and_keeps_its_spec(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    struct fg_store_batch *batch = fg_store_batch_create();
    put_task(batch, task_id(1), alice, 0)->spec = fg_strdup("S");
    commit_ok(&u, batch);
    batch = fg_store_batch_create();
    put_task(batch, task_id(1), alice, 2);
    commit_ok(&u, batch);
    assert_live(&u, "1:s2:S");
    unit_end(&u);
}

static void a_task_first_written_without_a_spec_can_get_one_later(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    struct fg_store_batch *batch = fg_store_batch_create();
    put_task(batch, task_id(1), alice, 0);
    put_task(batch, task_id(2), alice, 0)->spec = fg_strdup("other");
    put_task(batch, task_id(1), alice, 1)->spec = fg_strdup("S");
    commit_ok(&u, batch);
    assert_live(&u, "1:s1:S 2:s0:other");
    unit_end(&u);
}

/* Ids that differ in the high and the low half, and in bytes above 0x7f: memcmp order must be id order. */
static void live_tasks_are_loaded_oldest_first_and_settled_ones_are_not(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    struct fg_store_batch *batch = fg_store_batch_create();
    put_task(batch, (fg_id){2, 5}, alice, 0);
    put_task(batch, (fg_id){1, 0x8000000000000004}, alice, 0);
    put_task(batch, (fg_id){1, 3}, bob, 3);
    put_task(batch, (fg_id){0xff00000000000000, 6}, bob, 3);
    put_task(batch, (fg_id){1, 9}, bob, 3)->settled = true;
    commit_ok(&u, batch);
    assert_live(&u, "3:s3 4:s0 5:s0 6:s3");
    batch = fg_store_batch_create();
    put_task(batch, (fg_id){1, 3}, bob, 3)->settled = true;
    commit_ok(&u, batch);
    assert_live(&u, "4:s0 5:s0 6:s3");
    unit_end(&u);
}

static void list_is(struct unit_store *u, struct fg_store_list what, const char *want)
{
    FG_AUTO_STR struct fg_str out = {0};
    struct fg_error err;
    assert_ok(fg_store_task_list(u->store, &what, print_task, &out, &err), err);
    assert_string_equal(fg_str_cstr(&out), want);
}

/* Tasks 1..9: odd ones alice's, even ones bob's; state = number % 3; 3, 5 and 8 are called "night". */
static void lists_are_newest_first_by_tenant_state_name_and_cursor(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    struct fg_store_batch *batch = fg_store_batch_create();
    for (unsigned n = 1; n <= 9; n++) {
        struct fg_store_task *task = put_task(batch, task_id(n), n % 2 ? alice : bob, (int)n % 3);
        task->spec = fg_strdup("S");
        task->name = n == 3 || n == 5 || n == 8 ? fg_strdup("night") : NULL;
    }
    commit_ok(&u, batch);
    list_is(&u, (struct fg_store_list){ .tenant = alice, .state = -1, .limit = 100 }, "9:s0 7:s1 5:s2 3:s0 1:s1");
    list_is(&u, (struct fg_store_list){ .tenant = alice, .state = -1, .limit = 2 }, "9:s0 7:s1");
    list_is(&u, (struct fg_store_list){ .tenant = alice, .state = -1, .limit = 2, .before = task_id(7) }, "5:s2 3:s0");
    list_is(&u, (struct fg_store_list){ .tenant = alice, .state = 1, .limit = SIZE_MAX }, "7:s1 1:s1");
    list_is(&u, (struct fg_store_list){ .tenant = alice, .state = 1, .limit = 9, .before = task_id(7) }, "1:s1");
    list_is(&u, (struct fg_store_list){ .tenant = alice, .state = 4, .limit = 9 }, "");
    list_is(&u, (struct fg_store_list){ .tenant = alice, .state = -1, .limit = 9, .name = "night" }, "5:s2 3:s0");
    list_is(&u, (struct fg_store_list){ .tenant = alice, .state = 0, .limit = 9, .name = "night" }, "3:s0");
    list_is(&u, (struct fg_store_list){ .tenant = bob, .state = -1, .limit = 9, .name = "night" }, "8:s2");
    list_is(&u, (struct fg_store_list){ .tenant = {9, 9}, .state = -1, .limit = 9 }, "");
    list_is(&u, (struct fg_store_list){ .state = -1, .limit = 3 }, "9:s0 8:s2 7:s1");
    list_is(&u, (struct fg_store_list){ .state = 2, .limit = 3, .name = "night" }, "8:s2 5:s2");
    list_is(&u, (struct fg_store_list){ .tenant = alice, .state = -1, .limit = 0 }, "");
    unit_end(&u);
}

static void the_log_is_read_by_tenant_and_task_after_a_position(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    uint64_t seq;
    int64_t time_ns;
    struct fg_error err;
    assert_ok(fg_store_last(u.store, &seq, &time_ns, &err), err);
    assert_true(seq == 0 && time_ns == 0);
    struct fg_store_batch *batch = fg_store_batch_create();
    put_event(batch, 1, task_id(1), alice, "a");
    put_event(batch, 2, task_id(2), bob, "b");
    put_event(batch, 3, FG_ID_NONE, FG_ID_NONE, "node");
    put_event(batch, 4, task_id(1), alice, "c");
    put_event(batch, 5, task_id(3), alice, "d");
    commit_ok(&u, batch);
    assert_events(&u, FG_ID_NONE, FG_ID_NONE, 0, SIZE_MAX, "1:a 2:b 3:node 4:c 5:d");
    assert_events(&u, FG_ID_NONE, FG_ID_NONE, 2, 2, "3:node 4:c");
    assert_events(&u, alice, FG_ID_NONE, 0, 100, "1:a 4:c 5:d");
    assert_events(&u, alice, FG_ID_NONE, 1, 1, "4:c");
    assert_events(&u, alice, task_id(1), 0, 100, "1:a 4:c");
    assert_events(&u, FG_ID_NONE, task_id(1), 1, 100, "4:c");
    assert_events(&u, bob, task_id(1), 0, 100, "");
    assert_events(&u, alice, FG_ID_NONE, UINT64_MAX, 100, "");
    assert_ok(fg_store_last(u.store, &seq, &time_ns, &err), err);
    assert_true(seq == 5 && time_ns == 5 * SECOND);
    unit_end(&u);
}

static int refuse_second(void *arg, const struct fg_store_event *ev, struct fg_error *err)
{
    return ev->seq == 2 ? fg_fail(err, FG_E_CONFLICT, "not this one") : 0;
}

static void a_reader_that_refuses_stops_the_read_and_the_next_one_works(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    struct fg_store_batch *batch = fg_store_batch_create();
    for (uint64_t seq = 1; seq <= 3; seq++)
        put_event(batch, seq, task_id(1), alice, "x");
    commit_ok(&u, batch);
    struct fg_error err;
    assert_fails(fg_store_events(u.store, FG_ID_NONE, FG_ID_NONE, 0, 9, refuse_second, NULL, &err), err, FG_E_CONFLICT);
    assert_events(&u, FG_ID_NONE, FG_ID_NONE, 2, 9, "3:x");
    unit_end(&u);
}

static void documents_are_replaced_and_deleted_by_key(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    struct fg_store_batch *batch = fg_store_batch_create();
    put_aux(batch, "node:2", "B");
    put_aux(batch, "core", "1");
    put_aux(batch, "node:1", "A");
    put_aux(batch, "core", "2");
    put_aux(batch, "node:2", NULL);
    put_aux(batch, "never:there", NULL);
    commit_ok(&u, batch);
    FG_AUTO_STR struct fg_str out = {0};
    struct fg_error err;
    assert_ok(fg_store_load_aux(u.store, print_aux, &out, &err), err);
    assert_string_equal(fg_str_cstr(&out), "core=2 node:1=A");
    unit_end(&u);
}

static void add_keyed(struct fg_store_batch *batch, uint64_t n, const char *key, int64_t submitted_ns)
{
    struct fg_store_task *task = put_task(batch, task_id(n), alice, 0);
    task->spec = fg_strdup("S");
    task->submitted_ns = submitted_ns;
    task->idempotency_key = fg_strdup(key);
    task->idempotency_body = fg_strdup("hash");
}

static void an_idempotency_key_finds_its_task_for_its_tenant_only(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    struct fg_store_batch *batch = fg_store_batch_create();
    add_keyed(batch, 4, "k", 5);
    commit_ok(&u, batch);
    fg_id task;
    char body[65];
    assert_true(fg_store_idempotent(u.store, alice, "k", &task, body));
    assert_true(fg_id_eq(task, task_id(4)));
    assert_string_equal(body, "hash");
    assert_false(fg_store_idempotent(u.store, bob, "k", &task, body));
    assert_false(fg_store_idempotent(u.store, alice, "K", &task, body));
    unit_end(&u);
}

/* The log's newest event is at 30 h: a key of hour 5 is 25 h old, one of hour 7 is 23 h old. Upkeep runs after one idle second. */
static void idempotency_keys_are_forgotten_after_a_day_of_the_logs_time(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    struct fg_store_batch *batch = fg_store_batch_create();
    add_keyed(batch, 1, "old", 5 * HOUR);
    add_keyed(batch, 2, "young", 7 * HOUR);
    fg_vec_push(&batch->events, (struct fg_store_event){ .seq = 1, .time_ns = 30 * HOUR, .body = fg_strdup("{}") });
    commit_ok(&u, batch);
    fg_id task;
    char body[65];
    for (int i = 0; i < 1200 && fg_store_idempotent(u.store, alice, "old", &task, body); i++)
        usleep(50000);
    assert_false(fg_store_idempotent(u.store, alice, "old", &task, body));
    assert_true(fg_store_idempotent(u.store, alice, "young", &task, body));
    assert_events(&u, FG_ID_NONE, FG_ID_NONE, 0, 9, "1:{}");
    unit_end(&u);
}

static void print_sum(void *arg, const struct fg_store_sum *sum)
{
    fg_str_addf(arg, "[t%d s%d %s %d x %d r%d d%d]", sum->type, sum->state, sum->model, (int)sum->tasks, (int)sum->cost_nanousd,
                (int)sum->run_ns, (int)sum->device_ns);
}

static void usage_is(struct unit_store *u, fg_id tenant, int64_t from_ns, int64_t to_ns, const char *want)
{
    FG_AUTO_STR struct fg_str out = {0};
    struct fg_error err;
    assert_ok(fg_store_usage(u->store, tenant, from_ns, to_ns, print_sum, &out, &err), err);
    assert_string_equal(fg_str_cstr(&out), want);
}

/* Finished at 10, 20, 30 (alice) and 20 (bob), costs 1, 2, 4, 8, run ten and device a hundred times that; one of alice's still runs. */
static void usage_sums_what_ended_in_the_span_by_type_state_and_model(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    struct fg_store_batch *batch = fg_store_batch_create();
    for (unsigned n = 0; n < 5; n++) {
        struct fg_store_task *task = put_task(batch, task_id(n + 1), n == 3 ? bob : alice, n == 4 ? 2 : 3);
        task->finished_ns = n == 4 ? 0 : n == 3 ? 20 : 10 * (n + 1);
        task->cost_nanousd = 1 << n;
        task->run_ns = 10 << n;
        task->device_ns = 100 << n;
        task->model = n == 2 ? fg_strdup("resnet50") : NULL;
    }
    commit_ok(&u, batch);
    usage_is(&u, alice, 0, INT64_MAX, "[t1 s3  2 x 3 r30 d300][t1 s3 resnet50 1 x 4 r40 d400]");
    usage_is(&u, alice, 10, 20, "[t1 s3  1 x 1 r10 d100]");
    usage_is(&u, alice, 11, 31, "[t1 s3  1 x 2 r20 d200][t1 s3 resnet50 1 x 4 r40 d400]");
    usage_is(&u, bob, 0, 100, "[t1 s3  1 x 8 r80 d800]");
    usage_is(&u, FG_ID_NONE, 20, 30, "[t1 s3  2 x 10 r100 d1000]");
    unit_end(&u);
}

static void own(struct unit_store *u, const char *sha256, fg_id tenant, uint64_t size)
{
    struct fg_store_batch *batch = fg_store_batch_create();
    struct fg_store_own *own = fg_vec_add(&batch->owns);
    *own = (struct fg_store_own){ .tenant = tenant, .size = size, .time_ns = 1 };
    memcpy(own->sha256, sha256, sizeof own->sha256);
    commit_ok(u, batch);
}

static void a_blob_belongs_to_each_tenant_that_uploaded_it_and_saying_so_again_changes_nothing(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    char sha256[65];
    uint64_t size;
    fg_sha256_hex("x", 1, sha256);
    assert_false(fg_store_blob_owned(u.store, sha256, alice, &size));
    for (unsigned n = 0; n < 2; n++) {
        own(&u, sha256, alice, 7 + n);
        assert_true(fg_store_blob_owned(u.store, sha256, alice, &size));
        assert_int_equal(size, 7);
    }
    assert_false(fg_store_blob_owned(u.store, sha256, bob, &size));
    own(&u, sha256, bob, 7);
    assert_true(fg_store_blob_owned(u.store, sha256, bob, NULL));
    unit_end(&u);
}

static void print_key(void *arg, const struct fg_store_key *key)
{
    fg_str_addf(arg, "[%s %s %s %s %d]", key->name, key->hash, key->scopes, key->tenant.lo == alice.lo ? "alice" : "bob", (int)key->revoked_ns);
}

static void keys_are_added_found_revoked_once_and_listed_by_tenant(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    struct fg_error err;
    struct fg_store_key a = { .id = {5, 1}, .tenant = alice, .hash = "h1", .scopes = "tasks:read", .name = "ci", .created_ns = 1, .expires_ns = 9 };
    struct fg_store_key b = { .id = {5, 2}, .tenant = bob, .hash = "h2", .scopes = "*", .name = "bob's" }, got;
    assert_ok(fg_store_key_add(u.store, &a, &err), err);
    assert_ok(fg_store_key_add(u.store, &b, &err), err);
    assert_ok(fg_store_key_get(u.store, a.id, &got, &err), err);
    assert_memory_equal(&got, &a, sizeof a);
    assert_fails(fg_store_key_get(u.store, (fg_id){5, 3}, &got, &err), err, FG_E_NOT_FOUND);
    assert_ok(fg_store_key_revoke(u.store, a.id, 77, &err), err);
    assert_ok(fg_store_key_revoke(u.store, a.id, 88, &err), err);
    assert_fails(fg_store_key_revoke(u.store, (fg_id){5, 3}, 77, &err), err, FG_E_NOT_FOUND);
    FG_AUTO_STR struct fg_str out = {0};
    assert_ok(fg_store_key_list(u.store, FG_ID_NONE, print_key, &out, &err), err);
    assert_string_equal(fg_str_cstr(&out), "[ci h1 tasks:read alice 77][bob's h2 * bob 0]");
    fg_str_clear(&out);
    assert_ok(fg_store_key_list(u.store, bob, print_key, &out, &err), err);
    assert_string_equal(fg_str_cstr(&out), "[bob's h2 * bob 0]");
    assert_fails(fg_store_key_add(u.store, &a, &err), err, FG_E_INTERNAL);   /* twice: refused, and its transaction is gone */
    commit_ok(&u, fg_store_batch_create());
    a.id.lo = 9;
    assert_ok(fg_store_key_add(u.store, &a, &err), err);
    unit_end(&u);
}

static void a_tenant_keeps_its_first_id(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    struct fg_error err;
    fg_id got;
    assert_ok(fg_store_tenant_ensure(u.store, "default", alice, &got, &err), err);
    assert_true(fg_id_eq(got, alice));
    assert_ok(fg_store_tenant_ensure(u.store, "default", bob, &got, &err), err);
    assert_true(fg_id_eq(got, alice));
    assert_ok(fg_store_tenant_ensure(u.store, "Default", bob, &got, &err), err);
    assert_true(fg_id_eq(got, bob));
    unit_end(&u);
}

/* A name is data: quotes, wildcards and SQL in it are found as they are and change nothing. */
static void hostile_text_is_only_text(void **state)
{
    static const char evil[] = "'; DROP TABLE task; -- %_\"\xc3\xa9";
    struct unit_store u;
    unit_begin(&u);
    struct fg_store_batch *batch = fg_store_batch_create();
    put_task(batch, task_id(1), alice, 0)->name = fg_strdup(evil);
    put_task(batch, task_id(2), alice, 0)->name = fg_strdup("%");
    put_aux(batch, evil, evil);
    commit_ok(&u, batch);
    list_is(&u, (struct fg_store_list){ .tenant = alice, .state = -1, .limit = 9, .name = evil }, "1:s0");
    list_is(&u, (struct fg_store_list){ .tenant = alice, .state = -1, .limit = 9, .name = "%" }, "2:s0");
    fg_id task;
    char body[65];
    assert_false(fg_store_idempotent(u.store, alice, evil, &task, body));
    unit_end(&u);
}

/* 3 MiB: far over a page, in every column that may be large. */
static void large_documents_are_whole_after_a_restart(void **state)
{
    struct unit_store u;
    unit_begin(&u);
    size_t n = 3 << 20;
    char *large = fg_alloc(n + 1);
    for (size_t i = 0; i < n; i++)
        large[i] = (char)('a' + i % 23);
    struct fg_store_batch *batch = fg_store_batch_create();
    put_event(batch, 1, task_id(1), alice, large);
    put_task(batch, task_id(1), alice, 0)->spec = fg_strdup(large);
    put_aux(batch, "core", large);
    commit_ok(&u, batch);
    unit_close(&u);
    unit_open(&u);
    FG_AUTO_FREE char *want = fg_asprintf("1:s0:%s", large);
    assert_live(&u, want);
    FG_AUTO_FREE char *event = fg_asprintf("1:%s", large);
    assert_events(&u, alice, task_id(1), 0, 1, event);
    free(large);
    unit_end(&u);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_task_is_read_back_as_written_with_its_spec),
        cmocka_unit_test(a_later_row_changes_the_task_and_keeps_its_spec),
        cmocka_unit_test(a_task_first_written_without_a_spec_can_get_one_later),
        cmocka_unit_test(live_tasks_are_loaded_oldest_first_and_settled_ones_are_not),
        cmocka_unit_test(lists_are_newest_first_by_tenant_state_name_and_cursor),
        cmocka_unit_test(the_log_is_read_by_tenant_and_task_after_a_position),
        cmocka_unit_test(a_reader_that_refuses_stops_the_read_and_the_next_one_works),
        cmocka_unit_test(documents_are_replaced_and_deleted_by_key),
        cmocka_unit_test(an_idempotency_key_finds_its_task_for_its_tenant_only),
        cmocka_unit_test(idempotency_keys_are_forgotten_after_a_day_of_the_logs_time),
        cmocka_unit_test(a_blob_belongs_to_each_tenant_that_uploaded_it_and_saying_so_again_changes_nothing),
        cmocka_unit_test(usage_sums_what_ended_in_the_span_by_type_state_and_model),
        cmocka_unit_test(keys_are_added_found_revoked_once_and_listed_by_tenant),
        cmocka_unit_test(a_tenant_keeps_its_first_id),
        cmocka_unit_test(hostile_text_is_only_text),
        cmocka_unit_test(large_documents_are_whole_after_a_restart),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
