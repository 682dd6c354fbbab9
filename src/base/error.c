/* error.c - the rows of api/errors.toml and the functions that fill an error. */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static const struct fg_error_info rows[FG_E_COUNT] = {
#define X(NAME, code, http, exit, retry, title) [FG_E_##NAME] = {code, http, exit, retry, title},
    FG_ERROR_LIST(X)
#undef X
};

/* FG_E_NONE has no row: an error that is reported but was never filled is a bug, and says so. */
const struct fg_error_info *fg_error_info(enum fg_error_code code)
{
    if ((int)code <= FG_E_NONE || code >= FG_E_COUNT)
        return &rows[FG_E_INTERNAL];
    return &rows[code];
}

enum fg_error_code fg_error_code_by_name(const char *name)
{
    for (int code = FG_E_NONE + 1; name && code < FG_E_COUNT; code++)
        if (strcmp(rows[code].name, name) == 0)
            return (enum fg_error_code)code;
    return FG_E_INTERNAL;
}

/* Copy what fits of text to dst[n]. A cut never leaves half a UTF-8 character: the text goes into JSON bodies. */
static void copy_cut(char *dst, size_t n, const char *text)
{
    size_t len = strlen(text);
    if (len >= n) {
        len = n - 1;
        while (len > 0 && ((unsigned char)text[len] & 0xc0) == 0x80)
            len--;
    }
    memcpy(dst, text, len);
    dst[len] = 0;
}

/* Every text is printed to a buffer of ours first, since arguments may point into the error itself.
 * +4 bytes, so that copy_cut sees the whole character at the cut. */
static void print_cut(char *dst, size_t n, const char *fmt, va_list ap)
{
    char buf[sizeof(((struct fg_error *)0)->text) + 4];
    vsnprintf(buf, sizeof buf, fmt, ap);
    copy_cut(dst, n, buf);
}

int fg_fail(struct fg_error *err, enum fg_error_code code, const char *fmt, ...)
{
    if (!err)
        return -1;
    va_list ap;
    va_start(ap, fmt);
    print_cut(err->text, sizeof err->text, fmt, ap);
    va_end(ap);
    err->code = code;
    err->pointer[0] = err->hint[0] = 0;
    return -1;
}

int fg_fail_at(struct fg_error *err, const char *pointer_fmt, ...)
{
    if (!err)
        return -1;
    va_list ap;
    va_start(ap, pointer_fmt);
    print_cut(err->pointer, sizeof err->pointer, pointer_fmt, ap);
    va_end(ap);
    return -1;
}

int fg_fail_hint(struct fg_error *err, const char *hint_fmt, ...)
{
    if (!err)
        return -1;
    va_list ap;
    va_start(ap, hint_fmt);
    print_cut(err->hint, sizeof err->hint, hint_fmt, ap);
    va_end(ap);
    return -1;
}

/* A prefix gets at most 160 bytes, so that it never pushes out the cause. */
int fg_fail_prefix(struct fg_error *err, const char *fmt, ...)
{
    if (!err)
        return -1;
    char prefix[160], whole[sizeof prefix + sizeof err->text + 2];
    va_list ap;
    va_start(ap, fmt);
    print_cut(prefix, sizeof prefix, fmt, ap);
    va_end(ap);
    snprintf(whole, sizeof whole, "%s: %s", prefix, err->text);
    copy_cut(err->text, sizeof err->text, whole);
    return -1;
}
