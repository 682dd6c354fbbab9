/* OpenCL devices are found, whatever their drivers do. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "device/opencl.h"
#include "unit.h"

static struct fg_opencl_list list;
static struct fg_error err;

static int listed(const char *mode)
{
    struct fg_opencl_probe probe = {.library = FAKE_OPENCL_PATH, .timeout_ms = strcmp(mode, "hang") == 0 ? 500 : 60000};
    setenv("FAKE_OPENCL", mode, 1);
    memset(&err, 0, sizeof err);
    return fg_opencl_list(&probe, &list, &err);
}

static void devices_are_numbered_over_all_platforms(void **state)
{
    assert_int_equal(listed(""), 0);
    assert_int_equal(list.count, 3);
    assert_string_equal(list.devices[0].name, "opencl0");
    assert_string_equal(list.devices[0].kind, "Card 10");
    assert_string_equal(list.devices[0].platform, "Fake");
    assert_int_equal(list.devices[0].type, FG_OPENCL_CPU);
    assert_int_equal(list.devices[0].units, 10);
    assert_int_equal(list.devices[0].memory_bytes, UINT64_C(10) << 30);
    assert_string_equal(list.devices[2].name, "opencl2");
    assert_string_equal(list.devices[2].kind, "Card 21");
    assert_int_equal(list.devices[2].type, FG_OPENCL_GPU);
    assert_string_equal(list.why, "");
}

static void a_device_in_use_leaves_the_names_of_others_as_they_are(void **state)
{
    assert_int_equal(listed("busy"), 0);
    assert_int_equal(list.count, 2);
    assert_string_equal(list.devices[1].name, "opencl2");
}

static void names_are_one_printable_line(void **state)
{
    assert_int_equal(listed("dirty"), 0);
    assert_string_equal(list.devices[0].kind, "[31mCard 10");
}

static void a_crash_is_an_error(void **state)
{
    assert_int_equal(listed("crash"), -1);
    assert_int_equal(err.code, FG_E_UNSUPPORTED);
    assert_has(err.text, "crashed");
    assert_int_equal(listed("exit"), -1);
    assert_has(err.text, "ended");
}

static void a_crash_keeps_what_was_found_before_it(void **state)
{
    assert_int_equal(listed("crash late"), 0);
    assert_int_equal(list.count, 1);
    assert_has(list.why, "crashed");
}

static void a_driver_that_hangs_is_given_up(void **state)
{
    assert_int_equal(listed("hang"), -1);
    assert_int_equal(err.code, FG_E_TIMEOUT);
}

static void no_device_names_the_packages(void **state)
{
    static const char *const modes[] = {"none", "empty"};
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(listed(modes[i]), -1);
        assert_int_equal(err.code, FG_E_UNSUPPORTED);
        assert_has(err.hint, "pocl-opencl-icd");
    }
}

static void no_loader_names_the_packages(void **state)
{
    struct fg_opencl_probe probe = {.library = "libNotThere.so.9"};
    assert_int_equal(fg_opencl_list(&probe, &list, &err), -1);
    assert_int_equal(err.code, FG_E_UNSUPPORTED);
    assert_has(err.text, "libNotThere");
    assert_has(err.hint, "ocl-icd-libopencl1");
    probe.library = "libc.so.6"; /* a library, but no loader */
    assert_int_equal(fg_opencl_list(&probe, &list, &err), -1);
    assert_has(err.text, "clGetDeviceIDs");
}

static void a_loader_that_counts_wrong_does_no_harm(void **state)
{
    assert_int_equal(listed("too many"), 0);
    assert_int_equal(list.count, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(devices_are_numbered_over_all_platforms),
        cmocka_unit_test(a_device_in_use_leaves_the_names_of_others_as_they_are),
        cmocka_unit_test(names_are_one_printable_line),
        cmocka_unit_test(a_crash_is_an_error),
        cmocka_unit_test(a_crash_keeps_what_was_found_before_it),
        cmocka_unit_test(a_driver_that_hangs_is_given_up),
        cmocka_unit_test(no_device_names_the_packages),
        cmocka_unit_test(no_loader_names_the_packages),
        cmocka_unit_test(a_loader_that_counts_wrong_does_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
