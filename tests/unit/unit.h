/* unit.h - cmocka and what several unit tests share. A test's name is a claim: what holds when it passes. */
#pragma once
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/error.h"

/* The text has the part, or the test stops and shows both. */
#define assert_has(text, part)                                                                                         \
    do {                                                                                                               \
        const char *text_ = (text), *part_ = (part);                                                                   \
        if (!strstr(text_, part_))                                                                                     \
            fail_msg("'%s' does not have '%s'", text_, part_);                                                         \
    } while (0)

/* A call that should have worked: on -1 the test stops with the error's text. */
#define assert_ok(call, err)                                                                                           \
    do {                                                                                                               \
        if ((call) != 0)                                                                                               \
            fail_msg("%s: %s", #call, (err).text);                                                                     \
    } while (0)

#define assert_fails(call, err, want)                                                                                  \
    do {                                                                                                               \
        (err) = (struct fg_error){0};                                                                                  \
        assert_int_equal((call), -1);                                                                                  \
        assert_string_equal(fg_error_info((err).code)->name, fg_error_info(want)->name);                               \
    } while (0)

/* A fresh folder below $TMPDIR or /tmp in buf[n]; the test removes it. */
static inline char *unit_folder(char *buf, size_t n)
{
    const char *tmp = getenv("TMPDIR");
    snprintf(buf, n, "%s/fastgpu-unit-XXXXXX", tmp && *tmp ? tmp : "/tmp");
    if (!mkdtemp(buf))
        fail_msg("mkdtemp %s: %m", buf);
    return buf;
}
