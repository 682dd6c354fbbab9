/* Classes by numbered rules, top to bottom; the one that decided is kept. */
#include "base/units.h"
#include "plan/classify.h"
#include "unit.h"

#define GIB (UINT64_C(1) << 30)
#define S FG_NS_PER_S

static void check(const struct fg_spec *spec, int64_t expected_ns, uint64_t largest, enum fg_class class, enum fg_class_rule rule)
{
    enum fg_class_rule decided = 0;
    assert_int_equal(fg_classify(spec, expected_ns, largest, &decided), class);
    assert_int_equal(decided, rule);
}

static struct fg_spec command(void)
{
    struct fg_spec s;
    fg_spec_defaults(&s);
    return s;
}

static void what_the_task_asks_comes_first(void **state)
{
    struct fg_spec s = command();
    s.class = FG_CLASS_TRAINING;
    s.need.share_permille = 1000;
    check(&s, S, GIB, FG_CLASS_TRAINING, FG_CLASS_RULE_ASKED);
}

static void half_a_device_is_large(void **state)
{
    struct fg_spec s = command();
    s.need.memory_bytes = 2 * GIB;
    check(&s, 0, 4 * GIB, FG_CLASS_LARGE, FG_CLASS_RULE_WHOLE_DEVICE);
    check(&s, 0, 4 * GIB + 1, FG_CLASS_BATCH, FG_CLASS_RULE_DEFAULT);
    check(&s, 0, 0, FG_CLASS_BATCH, FG_CLASS_RULE_DEFAULT); /* no device: nothing to compare with */
    s.need = (struct fg_need){.share_permille = 500};
    check(&s, 0, 4 * GIB, FG_CLASS_LARGE, FG_CLASS_RULE_WHOLE_DEVICE);
    s.need.share_permille = 499;
    check(&s, 0, 4 * GIB, FG_CLASS_BATCH, FG_CLASS_RULE_DEFAULT);
}

static void a_model_task_is_interactive_however_long(void **state)
{
    struct fg_spec s = command();
    s.type = FG_TASK_IMAGE_CLASSIFICATION;
    check(&s, 7200 * S, 4 * GIB, FG_CLASS_INTERACTIVE, FG_CLASS_RULE_INFERENCE);
}

static void history_and_limits_tell_long_from_short(void **state)
{
    struct fg_spec s = command();
    check(&s, 3601 * S, 0, FG_CLASS_TRAINING, FG_CLASS_RULE_LONG);
    check(&s, 3600 * S, 0, FG_CLASS_BATCH, FG_CLASS_RULE_DEFAULT);
    check(&s, 59 * S, 0, FG_CLASS_INTERACTIVE, FG_CLASS_RULE_SHORT);
    check(&s, 60 * S, 0, FG_CLASS_BATCH, FG_CLASS_RULE_DEFAULT);
    s.limits.run_ns = 7200 * S;
    check(&s, 0, 0, FG_CLASS_TRAINING, FG_CLASS_RULE_LONG);
    check(&s, 600 * S, 0, FG_CLASS_BATCH, FG_CLASS_RULE_DEFAULT); /* it is known to be shorter than it may be */
    s.limits.run_ns = 30 * S;
    check(&s, 0, 0, FG_CLASS_INTERACTIVE, FG_CLASS_RULE_SHORT);
    check(&s, 7200 * S, 0, FG_CLASS_INTERACTIVE, FG_CLASS_RULE_SHORT); /* it will be stopped after 30 s */
}

/* Every task has the table's day as its limit; that must not make every task a training. */
static void the_default_run_limit_says_nothing(void **state)
{
    struct fg_spec s = command();
    assert_true(s.limits.run_ns > 3600 * S);
    check(&s, 0, 4 * GIB, FG_CLASS_BATCH, FG_CLASS_RULE_DEFAULT);
}

static void every_rule_has_its_words(void **state)
{
    for (int rule = FG_CLASS_RULE_ASKED; rule <= FG_CLASS_RULE_DEFAULT; rule++)
        assert_true(strlen(fg_class_rule_text((enum fg_class_rule)rule)) > 5);
    assert_string_equal(fg_class_rule_text((enum fg_class_rule)99), "?");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_task_asks_comes_first),
        cmocka_unit_test(half_a_device_is_large),
        cmocka_unit_test(a_model_task_is_interactive_however_long),
        cmocka_unit_test(history_and_limits_tell_long_from_short),
        cmocka_unit_test(the_default_run_limit_says_nothing),
        cmocka_unit_test(every_rule_has_its_words),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
