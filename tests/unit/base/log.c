/* A log line is one line, whatever is in it, and no key gets into it. */
#include <errno.h>

#include "base/log.h"
#include "base/mem.h"
#include "unit.h"

/* Everything that reached stderr since the last call. */
static char seen[8192];
static FILE *sink;
static int real_stderr;

static int redirect(void **state)
{
    sink = tmpfile();
    real_stderr = dup(STDERR_FILENO);
    return sink && dup2(fileno(sink), STDERR_FILENO) >= 0 ? 0 : -1;
}

static int restore(void **state)
{
    fclose(sink);
    return dup2(real_stderr, STDERR_FILENO) < 0 || close(real_stderr) < 0 ? -1 : 0;
}

static const char *written(void)
{
    ssize_t n = pread(fileno(sink), seen, sizeof seen - 1, 0);
    seen[n > 0 ? n : 0] = 0;
    if (ftruncate(fileno(sink), 0) < 0 || lseek(STDERR_FILENO, 0, SEEK_SET) < 0)
        fail();
    return seen;
}

static void a_line_has_time_level_area_and_text(void **state)
{
    fg_log_setup("agent", FG_LOG_INFO);
    fg_log_warn("device %d is lost", 3);
    const char *line = written();
    assert_int_equal(line[4], '-');
    assert_int_equal(line[23], 'Z');
    assert_string_equal(line + 24, " warn  agent: device 3 is lost\n");
}

static void lower_levels_are_silent(void **state)
{
    fg_log_setup("agent", FG_LOG_WARN);
    fg_log_info("x");
    fg_log_debug("x");
    assert_string_equal(written(), "");
    fg_log_error("y");
    assert_has(written(), "error agent: y\n");
}

static void control_bytes_cannot_forge_a_line(void **state)
{
    fg_log_setup("agent", FG_LOG_INFO);
    fg_log_info("a\nb\tc\rd\x1b[31me\x7f\xc2\x9b!");
    assert_has(written(), "agent: a\\nb\\tc\\rd\\x1b[31me\\x7f\\xc2\\x9b!\n");
}

static void text_in_utf8_stays_and_other_bytes_are_shown(void **state)
{
    fg_log_info("caf\xc3\xa9 \xff\xc3");
    assert_has(written(), "caf\xc3\xa9 \\xff\\xc3\n");
}

static void keys_are_redacted_wherever_they_stand(void **state)
{
    fg_log_info("key=fgpu_s3cret-AB_c, again fgpu_x; the command is fgpu, its folder fgpu_.");
    const char *line = written();
    assert_has(line, "key=fgpu_***, again fgpu_***; the command is fgpu, its folder fgpu_.\n");
    assert_null(strstr(line, "s3cret"));
}

static void a_long_text_is_whole_and_errno_survives(void **state)
{
    char text[5001];
    memset(text, 'a', 5000);
    text[5000] = 0;
    errno = ENOENT;
    fg_log_info("%s %m", text);
    assert_int_equal(errno, ENOENT);
    assert_has(written(), "aaa No such file or directory\n");
    assert_true(strlen(seen) > 5000);
}

static void levels_have_names(void **state)
{
    assert_int_equal(fg_log_level_by_name("error"), FG_LOG_ERROR);
    assert_int_equal(fg_log_level_by_name("debug"), FG_LOG_DEBUG);
    assert_int_equal(fg_log_level_by_name("loud"), -1);
    assert_int_equal(fg_log_level_by_name(NULL), -1);
}

#define HERE(test) cmocka_unit_test_setup_teardown(test, redirect, restore)

int main(void)
{
    const struct CMUnitTest tests[] = {
        HERE(a_line_has_time_level_area_and_text),
        HERE(lower_levels_are_silent),
        HERE(control_bytes_cannot_forge_a_line),
        HERE(text_in_utf8_stays_and_other_bytes_are_shown),
        HERE(keys_are_redacted_wherever_they_stand),
        HERE(a_long_text_is_whole_and_errno_survives),
        HERE(levels_have_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
