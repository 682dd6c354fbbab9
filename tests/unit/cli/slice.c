/* What slices and their arbiter say to each other arrives whole, or as an error. */
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/slice.h"
#include "cli/slice_devices.h"
#include "unit.h"

static int ends[2];
static struct fg_error err;

static int make_ends(void **state)
{
    memset(&err, 0, sizeof err);
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends);
}

static int close_ends(void **state)
{
    for (int i = 0; i < 2; i++)
        if (ends[i] >= 0)
            close(ends[i]);
    return 0;
}

static bool same_file(int a, int b)
{
    struct stat x, y;
    return fstat(a, &x) == 0 && fstat(b, &y) == 0 && x.st_ino == y.st_ino && x.st_dev == y.st_dev;
}

static void a_message_and_its_two_files_arrive(void **state)
{
    FG_AUTO_FD int null = open("/dev/null", O_RDONLY | O_CLOEXEC), zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
    FG_AUTO_JSON json_t *said = json_pack("{s:s}", "op", "list");
    FG_AUTO_JSON json_t *heard = NULL;
    struct slice_files files;
    assert_int_equal(slice_send(ends[0], said, &(struct slice_files){null, zero, -1}, &err), 0);
    assert_int_equal(slice_receive(ends[1], 1000, &heard, &files, &err), 0);
    assert_true(json_equal(said, heard));
    assert_true(same_file(files.limits, null) && same_file(files.counters, zero));
    assert_true(fcntl(files.limits, F_GETFD) & FD_CLOEXEC);
    close(files.limits);
    close(files.counters);
}

static void a_message_without_files_says_so(void **state)
{
    FG_AUTO_JSON json_t *said = json_object();
    FG_AUTO_JSON json_t *heard = NULL;
    struct slice_files files = {7, 7, 7};
    assert_int_equal(slice_send(ends[0], said, NULL, &err), 0);
    assert_int_equal(slice_receive(ends[1], 1000, &heard, &files, &err), 0);
    assert_int_equal(files.limits, -1);
    assert_int_equal(files.counters, -1);
}

static void an_error_arrives_as_the_error_it_was(void **state)
{
    struct fg_error cause = {0};
    json_t *heard = NULL;
    fg_fail(&cause, FG_E_CONFLICT, "the device is full");
    fg_fail_hint(&cause, "Wait.");
    FG_AUTO_JSON json_t *said = slice_error(&cause);
    assert_int_equal(slice_send(ends[0], said, NULL, &err), 0);
    assert_int_equal(slice_receive(ends[1], 1000, &heard, NULL, &err), -1);
    assert_int_equal(err.code, FG_E_CONFLICT);
    assert_string_equal(err.text, "the device is full");
    assert_string_equal(err.hint, "Wait.");
    assert_null(heard);
}

static void what_is_no_message_is_refused(void **state)
{
    static const char *const bad[] = {"{", "[]", "7", "{\"a\":1}x", "\xff\xfe"};
    for (size_t i = 0; i < FG_COUNT(bad); i++) {
        json_t *heard = NULL;
        assert_int_equal(write(ends[0], bad[i], strlen(bad[i])), strlen(bad[i]));
        assert_int_equal(slice_receive(ends[1], 1000, &heard, NULL, &err), -1);
        assert_int_equal(err.code, FG_E_MALFORMED);
    }
}

static void a_message_that_is_too_long_is_refused(void **state)
{
    FG_AUTO_FREE char *text = fg_alloc(SLICE_PACKET + 2);
    json_t *heard = NULL;
    memset(text, ' ', SLICE_PACKET + 1);
    memcpy(text, "{}", 2);
    assert_int_equal(write(ends[0], text, SLICE_PACKET + 1), SLICE_PACKET + 1);
    assert_int_equal(slice_receive(ends[1], 1000, &heard, NULL, &err), -1);
    assert_int_equal(err.code, FG_E_MALFORMED);
}

static void silence_and_a_closed_end_are_told_apart(void **state)
{
    json_t *heard = NULL;
    assert_int_equal(slice_receive(ends[1], 10, &heard, NULL, &err), -1);
    assert_int_equal(err.code, FG_E_TIMEOUT);
    close(fg_take_fd(ends[0]));
    assert_int_equal(slice_receive(ends[1], 1000, &heard, NULL, &err), -1);
    assert_int_equal(err.code, FG_E_UNREACHABLE);
}

static const char *found(const char *word)
{
    static const struct slice_devices list = {.count = 4, .items = {
        {.name = "GPU-7f3a", .kind = "NVIDIA H200"}, {.name = "opencl0", .kind = "Card 10"},
        {.name = "opencl1", .kind = "Card 20"}, {.name = "opencl2", .kind = "Card 21"}}};
    const struct slice_device *device = slice_device_find(&list, word, &err);
    return device ? device->name : NULL;
}

static void a_device_is_named_by_number_name_uuid_or_kind(void **state)
{
    assert_string_equal(found("1"), "opencl0");
    assert_string_equal(found("opencl2"), "opencl2");
    assert_string_equal(found("gpu-7f"), "GPU-7f3a");
    assert_string_equal(found("Card 21"), "opencl2");
    assert_string_equal(found("card 10"), "opencl0");
    assert_null(found("card"));
    assert_int_equal(err.code, FG_E_INVALID);
    assert_null(found("4"));
    assert_int_equal(err.code, FG_E_NOT_FOUND);
    assert_non_null(strstr(err.hint, "opencl1 (Card 20)"));
    assert_null(found(""));
    assert_null(found("99999999999999999999"));
}

static void modes_have_names(void **state)
{
    for (int mode = 0; mode < 3; mode++)
        assert_int_equal(slice_mode_by_name(slice_mode_name(mode)), mode);
    assert_int_equal(slice_mode_by_name("greedy"), -1);
    assert_int_equal(slice_mode_by_name(""), -1);
    assert_string_equal(slice_mode_name(-1), "?");
    assert_string_equal(slice_mode_name(3), "?");
}

#define WITH_ENDS(f) cmocka_unit_test_setup_teardown(f, make_ends, close_ends)
int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_ENDS(a_message_and_its_two_files_arrive),
        WITH_ENDS(a_message_without_files_says_so),
        WITH_ENDS(an_error_arrives_as_the_error_it_was),
        WITH_ENDS(what_is_no_message_is_refused),
        WITH_ENDS(a_message_that_is_too_long_is_refused),
        WITH_ENDS(silence_and_a_closed_end_are_told_apart),
        cmocka_unit_test(a_device_is_named_by_number_name_uuid_or_kind),
        cmocka_unit_test(modes_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
