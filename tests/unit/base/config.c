/* Settings: flag > environment > file > default, and every mistake names its line. */
#include <sys/stat.h>

#include "base/config.h"
#include "base/io.h"
#include "base/mem.h"
#include "unit.h"

static struct fg_error err;
static char root[4096];

static const char *const variables[] = {"FGPU_CONFIG",   "FGPU_LISTEN",
                                        "FGPU_LEASE_S",  "FGPU_PRICE_CPU_USD_PER_HOUR",
                                        "FGPU_DATA_DIR", "FGPU_MAX_BODY_BYTES"};

/* Each test starts in an empty home with no variable set. */
static int enter(void **state)
{
    for (size_t i = 0; i < FG_COUNT(variables); i++)
        unsetenv(variables[i]);
    unit_folder(root, sizeof root);
    setenv("HOME", root, 1);
    unsetenv("XDG_CONFIG_HOME");
    return chdir(root);
}

static int leave(void **state) { return chdir("/") < 0 ? -1 : fg_remove_tree(root, &err); }

static void put(const char *path, const char *text)
{
    assert_ok(fg_write_file_atomic(path, text, strlen(text), 0600, &err), err);
}

static struct fg_config *load(const char *file, const char *flag)
{
    struct fg_config *c = NULL;
    assert_ok(fg_config_load(file, &flag, flag != NULL, &c, &err), err);
    return c;
}

static void refuse_file(const char *text, enum fg_error_code code, const char *why, const char *pointer)
{
    struct fg_config *c = NULL;
    put("c.yaml", text);
    assert_fails(fg_config_load("c.yaml", NULL, 0, &c, &err), err, code);
    assert_null(c);
    assert_has(err.text, why);
    assert_string_equal(err.pointer, pointer);
}

static void without_anything_the_table_decides(void **state)
{
    struct fg_config *c = load(NULL, NULL);
    assert_string_equal(fg_config_str(c, "listen"), "127.0.0.1:8470");
    assert_int_equal(fg_config_int(c, "max_body_bytes"), 1 << 20);
    assert_int_equal(fg_config_int(c, "lease_s"), 300);
    assert_int_equal(fg_config_int(c, "price.cpu_usd_per_hour"), 50000000); /* 0.05 dollars */
    assert_string_equal(fg_config_str(c, "lease_s"), "300");
    assert_string_equal(fg_config_origin(c, "listen"), "default");
    fg_config_destroy(c);
    fg_config_destroy(NULL);
}

static void flag_beats_environment_beats_file_beats_default(void **state)
{
    put("c.yaml", "# comment\nlease_s: 10\n");
    struct fg_config *c = load("c.yaml", NULL);
    assert_int_equal(fg_config_int(c, "lease_s"), 10);
    assert_string_equal(fg_config_origin(c, "lease_s"), "c.yaml:2");
    fg_config_destroy(c);
    setenv("FGPU_LEASE_S", "20", 1);
    c = load("c.yaml", NULL);
    assert_int_equal(fg_config_int(c, "lease_s"), 20);
    assert_string_equal(fg_config_origin(c, "lease_s"), "FGPU_LEASE_S");
    fg_config_destroy(c);
    c = load("c.yaml", "lease_s=30");
    assert_int_equal(fg_config_int(c, "lease_s"), 30);
    assert_string_equal(fg_config_origin(c, "lease_s"), "flag");
    fg_config_destroy(c);
}

static void the_file_is_the_named_one_or_the_variables_or_the_users(void **state)
{
    assert_ok(fg_mkdir_p(".config/fastgpu", 0700, &err), err);
    put(".config/fastgpu/config.yaml", "lease_s: 11\n");
    put("env.yaml", "lease_s: 12\n");
    put("named.yaml", "lease_s: 13\n");
    struct fg_config *c = load(NULL, NULL);
    assert_int_equal(fg_config_int(c, "lease_s"), 11);
    assert_has(fg_config_origin(c, "lease_s"), "/.config/fastgpu/config.yaml:1");
    fg_config_destroy(c);
    setenv("FGPU_CONFIG", "env.yaml", 1);
    c = load(NULL, NULL);
    assert_int_equal(fg_config_int(c, "lease_s"), 12);
    fg_config_destroy(c);
    c = load("named.yaml", NULL);
    assert_int_equal(fg_config_int(c, "lease_s"), 13);
    fg_config_destroy(c);
}

static void a_named_file_must_be_there(void **state)
{
    struct fg_config *c = NULL;
    assert_fails(fg_config_load("none.yaml", NULL, 0, &c, &err), err, FG_E_NOT_FOUND);
    assert_has(err.text, "none.yaml");
    setenv("FGPU_CONFIG", "gone.yaml", 1);
    assert_fails(fg_config_load(NULL, NULL, 0, &c, &err), err, FG_E_NOT_FOUND);
    assert_null(c);
    assert_int_equal(fg_config_load(NULL, NULL, 0, &c, NULL), -1); /* without an error structure as well */
}

static void nested_and_dotted_keys_are_the_same(void **state)
{
    static const char *const texts[] = {"price:\n  cpu_usd_per_hour: 0.123456789\n",
                                        "price.cpu_usd_per_hour: 0.123456789\n",
                                        "{price: {cpu_usd_per_hour: '0.123456789'}}"};
    for (size_t i = 0; i < FG_COUNT(texts); i++) {
        put("c.yaml", texts[i]);
        struct fg_config *c = load("c.yaml", NULL);
        assert_int_equal(fg_config_int(c, "price.cpu_usd_per_hour"), 123456789);
        assert_string_equal(fg_config_origin(c, "price.cpu_usd_per_hour"), i == 0 ? "c.yaml:2" : "c.yaml:1");
        fg_config_destroy(c);
    }
    setenv("FGPU_PRICE_CPU_USD_PER_HOUR", "2", 1);
    struct fg_config *c = load("c.yaml", NULL);
    assert_int_equal(fg_config_int(c, "price.cpu_usd_per_hour"), 2 * INT64_C(1000000000));
    fg_config_destroy(c);
}

static void empty_files_are_fine(void **state)
{
    static const char *const texts[] = {"", "# only a comment\n", "---\n", "{}\n"};
    for (size_t i = 0; i < FG_COUNT(texts); i++) {
        put("c.yaml", texts[i]);
        fg_config_destroy(load("c.yaml", NULL));
    }
}

static void an_unknown_key_names_its_line_and_the_nearest(void **state)
{
    refuse_file("lease_s: 5\n\nlistn: x\n", FG_E_INVALID, "c.yaml:3: unknown key 'listn'", "c.yaml:3");
    assert_has(err.hint, "'listen'");
    refuse_file("prise:\n  cpu_usd_per_hour: 1\n", FG_E_INVALID, "'prise.cpu_usd_per_hour'", "c.yaml:2");
    assert_has(err.hint, "'price.cpu_usd_per_hour'");
    refuse_file("colour_of_the_machine: red\n", FG_E_INVALID, "unknown key", "c.yaml:1");
    assert_string_equal(err.hint, "");
}

static void a_duplicate_key_names_both_lines(void **state)
{
    refuse_file("listen: a\nlease_s: 5\nlisten: b\n", FG_E_MALFORMED,
                "c.yaml:3: duplicate key 'listen', first on line 1", "c.yaml:3");
    refuse_file("price: {cpu_usd_per_hour: 1}\nprice.cpu_usd_per_hour: 1\n", FG_E_MALFORMED, "duplicate", "c.yaml:2");
}

static void a_value_out_of_range_is_refused_in_every_layer(void **state)
{
    struct fg_config *c = NULL;
    refuse_file("lease_s: 4\n", FG_E_INVALID, "c.yaml:1: lease_s: 4 is not within 5 to 86400", "c.yaml:1");
    refuse_file("max_body_bytes: 65MiB\n", FG_E_INVALID, "max_body_bytes", "c.yaml:1");
    refuse_file("lease_s: soon\n", FG_E_INVALID, "lease_s: 'soon'", "c.yaml:1");
    refuse_file("lease_s:\n", FG_E_INVALID, "lease_s", "c.yaml:1");
    const char *flag = "lease_s=86401";
    assert_fails(fg_config_load(NULL, &flag, 1, &c, &err), err, FG_E_INVALID);
    assert_string_equal(err.pointer, "flag");
    setenv("FGPU_LEASE_S", "-1", 1);
    assert_fails(fg_config_load(NULL, NULL, 0, &c, &err), err, FG_E_INVALID);
    assert_string_equal(err.pointer, "FGPU_LEASE_S");
    flag = "lease_s=50"; /* hides the variable, which is wrong all the same */
    assert_fails(fg_config_load(NULL, &flag, 1, &c, &err), err, FG_E_INVALID);
}

static void flags_are_key_equals_value(void **state)
{
    struct fg_config *c = NULL;
    const char *const bad[] = {"lease_s", "leas_s=5", "=5"};
    for (size_t i = 0; i < FG_COUNT(bad); i++)
        assert_fails(fg_config_load(NULL, &bad[i], 1, &c, &err), err, FG_E_INVALID);
    const char *const twice[] = {"listen=a=b", "listen=c=d"};
    assert_ok(fg_config_load(NULL, twice, 2, &c, &err), err);
    assert_string_equal(fg_config_str(c, "listen"), "c=d");
    fg_config_destroy(c);
}

static void an_empty_variable_counts_as_not_set(void **state)
{
    setenv("FGPU_LISTEN", "", 1);
    struct fg_config *c = load(NULL, NULL);
    assert_string_equal(fg_config_origin(c, "listen"), "default");
    fg_config_destroy(c);
}

static void yaml_that_is_no_settings_is_refused(void **state)
{
    refuse_file("- a\n", FG_E_MALFORMED, "key: value", "c.yaml:1");
    refuse_file("just text\n", FG_E_MALFORMED, "key: value", "c.yaml:1");
    refuse_file("listen: [a, b]\n", FG_E_MALFORMED, "not a list", "c.yaml:1");
    refuse_file("listen: &x a\ndata_dir: *x\n", FG_E_MALFORMED, "alias", "c.yaml:2");
    refuse_file("lease_s: 5\n---\nlease_s: 6\n", FG_E_MALFORMED, "second document", "c.yaml:2");
    refuse_file("lease_s: 5\n\tlisten: x\n", FG_E_MALFORMED, "c.yaml:2", "c.yaml:2");
    refuse_file("? [a]\n: b\n", FG_E_MALFORMED, "a key must be a word", "c.yaml:1");
    refuse_file("listen: \"a\\0b\"\n", FG_E_MALFORMED, "NUL", "c.yaml:1");
    refuse_file("a: {b: {c: {d: {e: {f: {g: {h: {i: {j: 1}}}}}}}}}\n", FG_E_MALFORMED, "nested too deep", "c.yaml:1");
}

static void a_path_may_start_at_home(void **state)
{
    put("c.yaml", "data_dir: ~/data\nlisten: ~/x\n");
    struct fg_config *c = load("c.yaml", NULL);
    FG_AUTO_FREE char *want = fg_path_join(root, "data");
    assert_string_equal(fg_config_str(c, "data_dir"), want);
    assert_string_equal(fg_config_str(c, "listen"), "~/x"); /* not a path */
    fg_config_destroy(c);
}

static void the_users_folder_follows_xdg(void **state)
{
    FG_AUTO_FREE char *usual = fg_config_folder(), *want = fg_path_join(root, ".config/fastgpu");
    assert_string_equal(usual, want);
    setenv("XDG_CONFIG_HOME", "/xdg", 1);
    FG_AUTO_FREE char *xdg = fg_config_folder();
    assert_string_equal(xdg, "/xdg/fastgpu");
    setenv("XDG_CONFIG_HOME", "relative", 1);
    FG_AUTO_FREE char *ignored = fg_config_folder();
    assert_string_equal(ignored, want);
}

#define HERE(test) cmocka_unit_test_setup_teardown(test, enter, leave)

int main(void)
{
    const struct CMUnitTest tests[] = {
        HERE(without_anything_the_table_decides),
        HERE(flag_beats_environment_beats_file_beats_default),
        HERE(the_file_is_the_named_one_or_the_variables_or_the_users),
        HERE(a_named_file_must_be_there),
        HERE(nested_and_dotted_keys_are_the_same),
        HERE(empty_files_are_fine),
        HERE(an_unknown_key_names_its_line_and_the_nearest),
        HERE(a_duplicate_key_names_both_lines),
        HERE(a_value_out_of_range_is_refused_in_every_layer),
        HERE(flags_are_key_equals_value),
        HERE(an_empty_variable_counts_as_not_set),
        HERE(yaml_that_is_no_settings_is_refused),
        HERE(a_path_may_start_at_home),
        HERE(the_users_folder_follows_xdg),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
