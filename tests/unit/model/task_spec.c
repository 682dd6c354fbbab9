/* Which submits are taken, what becomes of them, and how the others are told what is wrong and where. */
#include "base/json.h"
#include "base/mem.h"
#include "base/units.h"
#include "model/task_spec.h"
#include "random.h"
#include "unit.h"

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
#define COMMAND "\"task_type\":\"command\",\"command\":[\"true\"]"
#define IMAGE "\"task_type\":\"image_classification\",\"model_name\":\"resnet50\""

static int parse(const char *text, struct fg_spec *spec, struct fg_error *err)
{
    *err = (struct fg_error){0};
    FG_AUTO_JSON json_t *object = fg_json_parse(text, strlen(text), err);
    if (!object)
        fail_msg("the test's own JSON: %s: %s", err->text, text);
    return fg_task_spec_parse(object, spec, err);
}

static void assert_refused(const char *text, const char *pointer, const char *part)
{
    struct fg_spec spec = {.retries = 77};
    struct fg_error err;
    if (parse(text, &spec, &err) == 0)
        fail_msg("taken, and should not be: %s", text);
    assert_string_equal(fg_error_info(err.code)->name, "invalid");
    assert_string_equal(err.pointer, pointer);
    if (!strstr(err.text, part) && !strstr(err.hint, part))
        fail_msg("'%s' is neither in '%s' nor in '%s'", part, err.text, err.hint);
    assert_int_equal(spec.retries, 77);
}

static struct fg_spec accepted(const char *text)
{
    struct fg_spec spec;
    struct fg_error err;
    if (parse(text, &spec, &err) < 0)
        fail_msg("%s: %s: %s", text, err.pointer, err.text);
    return spec;
}

static void a_full_spec_is_stored_where_it_belongs(void **state)
{
    struct fg_spec s = accepted("{\"task_type\":\"command\",\"command\":[\"/usr/bin/python3\",\"-u\",\"src/train.py\",\"--lr\",\"1\"],"
                                "\"env\":{\"A_1\":\"x\"},\"workdir\":\"blob:" HEX64 "\",\"outputs\":[\"out/*.csv\",\"..a\"],\"name\":\"n\","
                                "\"labels\":{\"team\":\"vision\"},\"class\":\"batch\",\"resources\":{\"memory\":\"1.5GiB\",\"share\":\"12.5%\","
                                "\"device_kind\":\"cpu\"},\"limits\":{\"queue\":\"5m\",\"startup\":1.5,\"run\":3600,\"max_cost\":\"0.50\"},"
                                "\"priority\":\"high\",\"retries\":3,\"retry_on\":[\"oom\",\"error\"],\"hold\":true}");
    assert_int_equal(s.type, FG_TASK_COMMAND);
    assert_int_equal(s.class, FG_CLASS_BATCH);
    assert_int_equal(s.priority, FG_PRIORITY_HIGH);
    assert_int_equal(s.need.memory_bytes, UINT64_C(1610612736));
    assert_int_equal(s.need.share_permille, 125);
    assert_string_equal(s.need.device_kind, "cpu");
    assert_int_equal(s.limits.queue_ns, 300 * FG_NS_PER_S);
    assert_int_equal(s.limits.startup_ns, 1500000000);
    assert_int_equal(s.limits.run_ns, 3600 * FG_NS_PER_S);
    assert_int_equal(s.limits.max_cost_nanousd, 500000000);
    assert_int_equal(s.retries, 3);
    assert_int_equal(s.retry_on, FG_RETRY_OOM | FG_RETRY_ERROR);
    assert_true(s.hold);
    assert_string_equal(s.name, "n");
    assert_null(s.model);
    assert_string_equal(s.program, "python3 train.py");
    fg_spec_fini(&s);
}

/* The defaults of the table, of fg_spec_defaults and of the macros are the same. */
static void what_is_not_given_has_the_tables_default(void **state)
{
    struct fg_spec s = accepted("{" COMMAND "}"), d;
    fg_spec_defaults(&d);
    assert_int_equal(s.class, FG_CLASS_AUTO);
    assert_int_equal(s.retry_on, FG_RETRY_INFRA);
    assert_int_equal(s.need.memory_bytes, 0);
    assert_int_equal(s.need.share_permille, 0);
    assert_true(s.limits.startup_ns == d.limits.startup_ns && s.limits.run_ns == d.limits.run_ns && s.priority == d.priority);
    for (size_t i = 0; i < fg_task_field_count; i++) {
        const struct fg_task_field *f = &fg_task_fields[i];
        if (strcmp(f->path, "limits.startup") == 0)
            assert_true(strtoll(f->fallback, NULL, 10) * FG_NS_PER_S == d.limits.startup_ns);
        else if (strcmp(f->path, "limits.run") == 0)
            assert_true(strtoll(f->fallback, NULL, 10) * FG_NS_PER_S == d.limits.run_ns);
        else if (strcmp(f->path, "priority") == 0)
            assert_string_equal(f->fallback, fg_priority_name(d.priority));
        else if (f->fallback[0])
            assert_true(strcmp(f->fallback, "0") == 0 || strcmp(f->fallback, "false") == 0);
    }
    fg_spec_fini(&s);
}

static void every_task_type_of_the_table_has_its_number(void **state)
{
    size_t n = 1;
    for (const char *c = fg_task_fields[0].choices; *c; c++)
        n += *c == '|';
    assert_string_equal(fg_task_fields[0].path, "task_type");
    assert_int_equal(n, FG_TASK_TYPE_COUNT);
    for (int i = 0; i < FG_TASK_TYPE_COUNT; i++)
        assert_has(fg_task_fields[0].choices, fg_task_type_name((enum fg_task_type)i));
}

static void the_kept_text_is_canonical(void **state)
{
    struct fg_spec a = accepted(" { \"name\" : \"\\u0061\", \"command\":[\"true\"],\n \"task_type\":\"command\"}");
    assert_string_equal(a.json, "{\"command\":[\"true\"],\"name\":\"a\",\"task_type\":\"command\"}");
    struct fg_spec b = accepted(a.json);
    assert_string_equal(a.json, b.json);
    fg_spec_fini(&a);
    fg_spec_fini(&b);
}

static void an_unknown_field_names_the_nearest(void **state)
{
    assert_refused("{\"task_type\":\"command\",\"comand\":[\"x\"]}", "/comand", "Did you mean 'command'?");
    assert_refused("{" COMMAND ",\"resources\":{\"memroy\":1}}", "/resources/memroy", "Did you mean 'memory'?");
    assert_refused("{" COMMAND ",\"resource\":{}}", "/resource", "Did you mean 'resources'?");
    assert_refused("{" COMMAND ",\"memory\":1}", "/memory", "resources");
    assert_refused("{" COMMAND ",\"resources.memory\":1}", "/resources.memory", "unknown field");
    assert_refused("{" COMMAND ",\"zzzzqqqq\":1}", "/zzzzqqqq", "fields");
    assert_refused("{" COMMAND ",\"a/b~c\":1}", "/a~1b~0c", "unknown field 'a/b~c'");
    assert_refused("{" COMMAND ",\"\":1}", "/", "unknown field");
}

static void wrong_types_say_what_is_wanted(void **state)
{
    assert_refused("[]", "", "must be an object, not an array");
    assert_refused("{\"task_type\":5}", "/task_type", "task_type: must be a string, not an integer");
    assert_refused("{" COMMAND ",\"name\":null}", "/name", "not null");
    assert_refused("{" COMMAND ",\"resources\":5}", "/resources", "must be an object");
    assert_refused("{" COMMAND ",\"resources\":{\"memory\":[]}}", "/resources/memory", "512MiB");
    assert_refused("{" COMMAND ",\"resources\":{\"memory\":1.5}}", "/resources/memory", "a number of bytes");
    assert_refused("{" COMMAND ",\"retries\":1.5}", "/retries", "a whole number");
    assert_refused("{" COMMAND ",\"retries\":\"1\"}", "/retries", "a whole number");
    assert_refused("{" COMMAND ",\"hold\":1}", "/hold", "true or false");
    assert_refused("{" COMMAND ",\"limits\":{\"max_cost\":1.5}}", "/limits/max_cost", "\"0.50\"");
    assert_refused("{" COMMAND ",\"limits\":{\"run\":true}}", "/limits/run", "a number of seconds");
    assert_refused("{" COMMAND ",\"env\":[]}", "/env", "an object of strings");
    assert_refused("{" COMMAND ",\"env\":{\"A\":1}}", "/env/A", "quotes");
    assert_refused("{\"task_type\":\"command\",\"command\":\"rm -r x\"}", "/command", "sh");
    assert_refused("{\"task_type\":\"command\",\"command\":[\"a\",2]}", "/command/1", "must be a string");
}

static void values_out_of_range_name_the_range(void **state)
{
    assert_refused("{" COMMAND ",\"resources\":{\"share\":0}}", "/resources/share", "within 0.1 and 100");
    assert_refused("{" COMMAND ",\"resources\":{\"share\":100.1}}", "/resources/share", "within 0.1 and 100");
    assert_refused("{" COMMAND ",\"resources\":{\"share\":0.09}}", "/resources/share", "within 0.1 and 100");
    assert_refused("{" COMMAND ",\"resources\":{\"share\":-1e300}}", "/resources/share", "within 0.1 and 100");
    assert_refused("{" COMMAND ",\"resources\":{\"share\":\"101\"}}", "/resources/share", "101");
    assert_refused("{" COMMAND ",\"resources\":{\"share\":50,\"share_max\":49.9}}", "/resources/share_max", "less than the share");
    assert_refused("{" COMMAND ",\"resources\":{\"share_max\":101}}", "/resources/share_max", "within 0.1 and 100");
    assert_refused("{" COMMAND ",\"resources\":{\"memory\":1048575}}", "/resources/memory", "within 1 MiB and 1 PiB");
    assert_refused("{" COMMAND ",\"resources\":{\"memory\":-1}}", "/resources/memory", "within");
    assert_refused("{" COMMAND ",\"resources\":{\"memory\":\"2000TiB\"}}", "/resources/memory", "within");
    assert_refused("{" COMMAND ",\"resources\":{\"memory\":1e300}}", "/resources/memory", "a number of bytes");
    assert_refused("{" COMMAND ",\"retries\":101}", "/retries", "within 0 and 100");
    assert_refused("{" COMMAND ",\"limits\":{\"run\":0}}", "/limits/run", "within");
    assert_refused("{" COMMAND ",\"limits\":{\"run\":31536001}}", "/limits/run", "within");
    assert_refused("{" COMMAND ",\"limits\":{\"run\":9223372036854775807}}", "/limits/run", "within");
    assert_refused("{" COMMAND ",\"limits\":{\"run\":\"500ms\"}}", "/limits/run", "within");
    assert_refused("{" COMMAND ",\"limits\":{\"run\":\"soon\"}}", "/limits/run", "not a duration");
    assert_refused("{" COMMAND ",\"limits\":{\"max_cost\":\"0\"}}", "/limits/max_cost", "more than 0");
    assert_refused("{" COMMAND ",\"limits\":{\"max_cost\":\"-1\"}}", "/limits/max_cost", "-1");
    assert_refused("{" COMMAND ",\"class\":\"batches\"}", "/class", "Did you mean 'batch'?");
    assert_refused("{" COMMAND ",\"priority\":\"\"}", "/priority", "low");
    assert_refused("{" COMMAND ",\"retry_on\":[\"infra\",\"oops\"]}", "/retry_on/1", "infra, oom, error");
    assert_refused("{" COMMAND ",\"retry_on\":[\"oom\",\"oom\",\"oom\",\"oom\"]}", "/retry_on", "at most 3");
    assert_refused("{" COMMAND ",\"name\":\"\"}", "/name", "empty");
    assert_refused("{" COMMAND ",\"name\":\"a\\nb\"}", "/name", "control");
}

static void ends_of_ranges_are_in_them(void **state)
{
    struct fg_spec s = accepted("{" COMMAND ",\"resources\":{\"share\":25,\"share_max\":\"25%\"}}");
    assert_int_equal(s.need.share_max_permille, 250);
    fg_spec_fini(&s);
    s = accepted("{" COMMAND ",\"resources\":{\"share\":0.1,\"memory\":1048576},\"limits\":{\"run\":31536000,\"queue\":1}}");
    assert_int_equal(s.need.share_permille, 1);
    fg_spec_fini(&s);
    s = accepted("{" COMMAND ",\"resources\":{\"share\":100,\"memory\":1e9}}");
    assert_int_equal(s.need.share_permille, 1000);
    assert_int_equal(s.need.memory_bytes, 1000000000);
    fg_spec_fini(&s);
}

static void each_type_says_what_it_lacks(void **state)
{
    assert_refused("{}", "/task_type", "'task_type' is missing");
    assert_refused("{\"task_type\":\"imge_classification\"}", "/task_type", "Did you mean 'image_classification'?");
    assert_refused("{\"task_type\":\"command\"}", "/command", "train.py");
    assert_refused("{\"task_type\":\"command\",\"command\":[]}", "/command", "must name a program");
    assert_refused("{\"task_type\":\"command\",\"command\":[\"\"]}", "/command/0", "empty");
    assert_refused("{\"task_type\":\"image_classification\",\"input_data\":\"blob:" HEX64 "\"}", "/model_name", "image_classification");
    assert_refused("{" IMAGE "}", "/input_data", "'input_data' is missing");
    assert_refused("{" IMAGE ",\"input_data\":\"blob:" HEX64 "\",\"command\":[\"x\"]}", "/command", "only for");
}

static void a_path_where_a_blob_belongs_is_refused_with_the_way_out(void **state)
{
    assert_refused("{" IMAGE ",\"input_data\":\"path/to/image.jpg\"}", "/input_data", "POST /v1/blobs");
    assert_refused("{" IMAGE ",\"input_data\":\"/etc/passwd\"}", "/input_data", "POST /v1/blobs");
    assert_refused("{" IMAGE ",\"input_data\":\"blob:abc\"}", "/input_data", "64 lower-case hex");
    assert_refused("{" IMAGE ",\"input_data\":\"blob:" HEX64 "0\"}", "/input_data", "64 lower-case hex");
    assert_refused("{" IMAGE ",\"input_data\":\"BLOB:" HEX64 "\"}", "/input_data", "blob");
    assert_refused("{" IMAGE ",\"input_data\":{\"image\":\"x.jpg\"}}", "/input_data/image", "POST /v1/blobs");
    assert_refused("{" IMAGE ",\"input_data\":{\"imge\":\"blob:" HEX64 "\"}}", "/input_data/imge", "Did you mean 'image'?");
    assert_refused("{" IMAGE ",\"input_data\":{}}", "/input_data", "image");
    assert_refused("{" IMAGE ",\"input_data\":7}", "/input_data", "blob");
    assert_refused("{" COMMAND ",\"workdir\":\".\"}", "/workdir", "POST /v1/blobs");
    assert_refused("{" COMMAND ",\"workdir\":{\"image\":\"blob:" HEX64 "\"}}", "/workdir", "blob");
    struct fg_spec s = accepted("{" IMAGE ",\"input_data\":{\"image\":\"blob:" HEX64 "\"}}");
    assert_int_equal(s.type, FG_TASK_IMAGE_CLASSIFICATION);
    assert_string_equal(s.model, "resnet50");
    fg_spec_fini(&s);
}

static void outputs_stay_below_the_working_directory(void **state)
{
    static const char *const bad[] = {"/etc/passwd", "..", "../x", "a/../b", "a/..", ""};
    for (size_t i = 0; i < FG_COUNT(bad); i++) {
        FG_AUTO_FREE char *text = fg_asprintf("{" COMMAND ",\"outputs\":[\"ok\",\"%s\"]}", bad[i]);
        assert_refused(text, "/outputs/1", "without '..'");
    }
}

static void names_of_variables_labels_and_models_are_checked(void **state)
{
    assert_refused("{" COMMAND ",\"env\":{\"1A\":\"x\"}}", "/env/1A", "environment");
    assert_refused("{" COMMAND ",\"env\":{\"A B\":\"x\"}}", "/env/A B", "environment");
    assert_refused("{" COMMAND ",\"env\":{\"\":\"x\"}}", "/env/", "environment");
    assert_refused("{" COMMAND ",\"labels\":{\"\":\"x\"}}", "/labels/", "1 to 63");
    assert_refused("{" COMMAND ",\"model_name\":\"../../etc\"}", "/model_name", "fgpu models");
    assert_refused("{" COMMAND ",\"model_name\":\"a b\"}", "/model_name", "fgpu models");
}

static void arguments_and_environment_are_bounded(void **state)
{
    for (int over = 0; over <= 1; over++) {
        FG_AUTO_STR struct fg_str text = {0};
        fg_str_adds(&text, "{\"task_type\":\"command\",\"command\":[\"a\",\"");
        memset(fg_str_reserve(&text, 140000), 'x', 140000);
        text.len += (128u << 10) - 3 + (unsigned)over; /* "a" and its NUL, and this one's NUL */
        fg_str_adds(&text, "\"]}");
        if (over)
            assert_refused(text.data, "/command", "131073 bytes");
        else {
            struct fg_spec s = accepted(text.data);
            fg_spec_fini(&s);
        }
    }
    FG_AUTO_STR struct fg_str many = {0};
    fg_str_adds(&many, "{" COMMAND ",\"env\":{\"A\":\"");
    memset(fg_str_reserve(&many, 140000), 'x', 140000);
    many.len += 131072;
    fg_str_adds(&many, "\"}}");
    assert_refused(many.data, "/env", "bytes");
}

static void a_command_is_known_by_its_program_and_script(void **state)
{
    static const struct { const char *command, *program; } cases[] = {
        {"[\"/usr/bin/nvidia-smi\",\"-L\"]", "nvidia-smi"},
        {"[\"./train\"]", "train"},
        {"[\"python3.11\",\"-u\",\"a/b.py\",\"x\"]", "python3.11 b.py"},
        {"[\"python3\",\"-m\",\"torch.distributed.run\",\"x.py\"]", "python3 -m torch.distributed.run"},
        {"[\"python3\",\"-c\",\"print(1)\"]", "python3 -c"},
        {"[\"bash\",\"-c\",\"echo hi\"]", "bash -c"},
        {"[\"sh\",\"run.sh\"]", "sh run.sh"},
        {"[\"python3\"]", "python3"},
        {"[\"python3\",\"-m\"]", "python3"},
        {"[\"/\"]", "/"},
    };
    for (size_t i = 0; i < FG_COUNT(cases); i++) {
        FG_AUTO_FREE char *text = fg_asprintf("{\"task_type\":\"command\",\"command\":%s}", cases[i].command);
        struct fg_spec s = accepted(text);
        assert_string_equal(s.program, cases[i].program);
        fg_spec_fini(&s);
    }
}

/* Cut at 60 bytes in the middle of a character would be invalid UTF-8 in every document that carries it. */
static void a_long_program_name_is_cut_between_characters(void **state)
{
    FG_AUTO_STR struct fg_str text = {0};
    fg_str_adds(&text, "{\"task_type\":\"command\",\"command\":[\"");
    for (int i = 0; i < 30; i++)
        fg_str_adds(&text, "漢");
    fg_str_adds(&text, "x\"]}");
    struct fg_spec s = accepted(text.data);
    assert_int_equal(strlen(s.program), 60);
    assert_true(fg_utf8_valid(s.program, strlen(s.program)));
    fg_spec_fini(&s);
}

static json_t *random_value(struct rng *r, int depth)
{
    static const char *const strings[] = {"", "1GB", "50%", "5m", ("blob:" HEX64), "a.jpg", "batch", "infra", "command", "é\"\\", "-1", "1e9"};
    switch (rng_below(r, depth > 2 ? 6 : 8)) {
    case 0: return json_null();
    case 1: return json_boolean(rng_below(r, 2));
    case 2: return json_integer(rng_below(r, 2) ? rng_size(r) : -rng_size(r));
    case 3: return json_real((double)rng_size(r) * (rng_below(r, 2) ? 1e-6 : -1e300));
    case 4:
    case 5: return json_string(strings[rng_below(r, FG_COUNT(strings))]);
    case 6: {
        json_t *array = json_array();
        for (uint64_t n = rng_below(r, 5); n > 0; n--)
            json_array_append_new(array, random_value(r, depth + 1));
        return array;
    }
    default: {
        json_t *object = json_object();
        for (uint64_t n = rng_below(r, 4); n > 0; n--)
            json_object_set_new(object, strings[rng_below(r, FG_COUNT(strings))], random_value(r, depth + 1));
        return object;
    }
    }
}

static json_t *random_submit(struct rng *r)
{
    json_t *object = json_pack("{s:s, s:[s]}", "task_type", "command", "command", "true");
    for (uint64_t n = rng_below(r, 4); n > 0; n--) {
        const char *path = fg_task_fields[rng_below(r, fg_task_field_count)].path, *dot = strchr(path, '.');
        char group[32];
        snprintf(group, sizeof group, "%.*s", dot ? (int)(dot - path) : 0, path);
        json_t *inner = dot ? json_object_get(object, group) : object;
        if (!inner)
            json_object_set_new(object, group, inner = json_object());
        json_object_set_new(inner, dot ? dot + 1 : path, random_value(r, 0));
    }
    if (rng_below(r, 20) == 0)
        json_object_set_new(object, "x~/y", random_value(r, 0));
    return object;
}

/* Whatever is sent: a spec within its bounds that is taken again as it is, or an error that says what and where. */
static void any_object_is_taken_whole_or_refused_with_reason(void **state)
{
    struct rng r = rng_start(__func__);
    int taken = 0;
    for (int i = 0; i < 20000; i++) {
        FG_AUTO_JSON json_t *object = random_submit(&r);
        struct fg_spec spec;
        struct fg_error err = {0};
        if (fg_task_spec_parse(object, &spec, &err) < 0) {
            assert_int_equal(err.code, FG_E_INVALID);
            assert_true(err.text[0] && err.pointer[0] == '/');
            continue;
        }
        taken++;
        assert_true(spec.need.share_permille <= 1000 && spec.retries <= 100 && spec.limits.run_ns > 0);
        struct fg_spec again = accepted(spec.json);
        assert_string_equal(again.json, spec.json);
        assert_true(again.limits.run_ns == spec.limits.run_ns && again.need.memory_bytes == spec.need.memory_bytes);
        fg_spec_fini(&again);
        fg_spec_fini(&spec);
    }
    assert_true(taken > 1000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_spec_is_stored_where_it_belongs),
        cmocka_unit_test(what_is_not_given_has_the_tables_default),
        cmocka_unit_test(every_task_type_of_the_table_has_its_number),
        cmocka_unit_test(the_kept_text_is_canonical),
        cmocka_unit_test(an_unknown_field_names_the_nearest),
        cmocka_unit_test(wrong_types_say_what_is_wanted),
        cmocka_unit_test(values_out_of_range_name_the_range),
        cmocka_unit_test(ends_of_ranges_are_in_them),
        cmocka_unit_test(each_type_says_what_it_lacks),
        cmocka_unit_test(a_path_where_a_blob_belongs_is_refused_with_the_way_out),
        cmocka_unit_test(outputs_stay_below_the_working_directory),
        cmocka_unit_test(names_of_variables_labels_and_models_are_checked),
        cmocka_unit_test(arguments_and_environment_are_bounded),
        cmocka_unit_test(a_command_is_known_by_its_program_and_script),
        cmocka_unit_test(a_long_program_name_is_cut_between_characters),
        cmocka_unit_test(any_object_is_taken_whole_or_refused_with_reason),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
