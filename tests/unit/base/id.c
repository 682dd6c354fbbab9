/* Ids are ULIDs: ordered, unique, one spelling. */
#include "base/id.h"
#include "unit.h"

#define MS INT64_C(1000000)

/* The example of github.com/ulid/spec: time 01AN4Z07BY = 1465824320894 ms. */
static void an_id_reads_as_the_specification_says(void **state)
{
    fg_id id;
    char buf[FG_ID_TEXT];
    assert_true(fg_id_parse("tsk_01AN4Z07BY79KA1307SR9X4MV3", "tsk", &id));
    assert_int_equal(id.hi >> 16, INT64_C(1465824320894));
    assert_string_equal(fg_id_format(buf, "tsk", id), "tsk_01AN4Z07BY79KA1307SR9X4MV3");
}

static void every_id_survives_its_text(void **state)
{
    const fg_id ids[] = {{0, 0}, {UINT64_MAX, UINT64_MAX}, {1, 0}, {0, 1}, {UINT64_C(1) << 63, 1}};
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++) {
        char buf[FG_ID_TEXT];
        fg_id back;
        assert_int_equal(strlen(fg_id_format(buf, "nod", ids[i])), 30);
        assert_true(fg_id_parse(buf, "nod", &back));
        assert_true(fg_id_eq(back, ids[i]));
    }
}

static void ids_of_one_millisecond_are_successors(void **state)
{
    struct fg_id_gen gen = {0};
    fg_id a = fg_id_new(&gen, 5 * MS), b = fg_id_new(&gen, 5 * MS + 999999);
    assert_int_equal(a.hi >> 16, 5);
    assert_int_equal(fg_id_cmp(a, b), -1);
    assert_true(b.lo == a.lo + 1);
}

static void ids_are_ordered_even_when_time_runs_back(void **state)
{
    struct fg_id_gen gen = {0};
    fg_id last = fg_id_new(&gen, 1000 * MS);
    char before[FG_ID_TEXT], after[FG_ID_TEXT];
    for (int i = 0; i < 2000; i++) {
        fg_id id = fg_id_new(&gen, (i % 7 + 990) * MS + i * MS);
        assert_int_equal(fg_id_cmp(last, id), -1);
        fg_id_format(before, "tsk", last);
        fg_id_format(after, "tsk", id);
        assert_true(strcmp(before, after) < 0); /* the text sorts as the number does */
        last = id;
    }
}

static void the_successor_carries_into_the_upper_half(void **state)
{
    struct fg_id_gen gen = {.last = {(UINT64_C(9) << 16) | 3, UINT64_MAX}};
    fg_id id = fg_id_new(&gen, 9 * MS);
    assert_true(id.hi == ((UINT64_C(9) << 16) | 4) && id.lo == 0);
}

static void two_generators_do_not_meet(void **state)
{
    struct fg_id_gen a = {0}, b = {0};
    assert_false(fg_id_eq(fg_id_new(&a, MS), fg_id_new(&b, MS)));
    assert_false(fg_id_is_none(a.last));
    assert_true(fg_id_is_none(FG_ID_NONE));
}

static void what_is_not_an_id_is_refused(void **state)
{
    static const char *const bad[] = {
        "",
        "tsk",
        "tsk_",
        "tsk_01AN4Z07BY79KA1307SR9X4MV",   /* 25 letters */
        "tsk_01AN4Z07BY79KA1307SR9X4MV33", /* 27 */
        "nod_01AN4Z07BY79KA1307SR9X4MV3",
        "tsk-01AN4Z07BY79KA1307SR9X4MV3",
        "TSK_01AN4Z07BY79KA1307SR9X4MV3",
        "tsk_81AN4Z07BY79KA1307SR9X4MV3", /* more than 128 bits */
        "tsk_01AN4Z07BY79KA1307SR9X4MVU",
        "tsk_O1AN4Z07BY79KA1307SR9X4MV3", /* the letter O is not read as 0 */
        "tsk_01AN4Z07BY79KA1307SR9X4M 3",
    };
    fg_id id = {1, 2};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_false(fg_id_parse(bad[i], "tsk", &id));
    assert_false(fg_id_parse(NULL, "tsk", &id));
    assert_true(id.hi == 1 && id.lo == 2);
}

static void letters_of_either_case_are_one_id(void **state)
{
    fg_id a, b;
    assert_true(fg_id_parse("tsk_01an4z07by79ka1307sr9x4mv3", "tsk", &a));
    assert_true(fg_id_parse("tsk_01AN4Z07BY79KA1307SR9X4MV3", "tsk", &b));
    assert_true(fg_id_eq(a, b));
}

/* 4096 successors in 256 buckets: 16 each on average; with a good hash none has more than 3 times that. */
static void successors_spread_over_buckets(void **state)
{
    int buckets[256] = {0}, most = 0;
    for (uint64_t i = 0; i < 4096; i++) {
        int n = ++buckets[fg_id_hash((fg_id){77, i}) & 255];
        most = n > most ? n : most;
    }
    assert_true(most <= 48);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_id_reads_as_the_specification_says),
        cmocka_unit_test(every_id_survives_its_text),
        cmocka_unit_test(ids_of_one_millisecond_are_successors),
        cmocka_unit_test(ids_are_ordered_even_when_time_runs_back),
        cmocka_unit_test(the_successor_carries_into_the_upper_half),
        cmocka_unit_test(two_generators_do_not_meet),
        cmocka_unit_test(what_is_not_an_id_is_refused),
        cmocka_unit_test(letters_of_either_case_are_one_id),
        cmocka_unit_test(successors_spread_over_buckets),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
