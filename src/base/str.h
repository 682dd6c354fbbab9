/* str.h - a growable byte string; always NUL terminated, may hold NULs. Zero-initialised is empty and valid. */
#pragma once
#include <stdbool.h>
#include <stdarg.h>
#include <stddef.h>

struct fg_str {
    char *data;      /* NULL while empty */
    size_t len, cap;
};
void fg_str_fini(struct fg_str *s);              /* frees and empties; also as FG_AUTO_STR */
void fg_str_clear(struct fg_str *s);             /* keeps the memory */
void fg_str_add(struct fg_str *s, const void *bytes, size_t n);
void fg_str_adds(struct fg_str *s, const char *text);
void fg_str_addf(struct fg_str *s, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void fg_str_addv(struct fg_str *s, const char *fmt, va_list ap);
char *fg_str_reserve(struct fg_str *s, size_t n); /* room for n more bytes; returns where they go; add to len yourself */
char *fg_str_take(struct fg_str *s);             /* the bytes, the caller's to free; never NULL */
const char *fg_str_cstr(const struct fg_str *s); /* "" while empty */
#define FG_AUTO_STR __attribute__((cleanup(fg_str_fini)))

bool fg_streq(const char *a, const char *b);     /* NULL equals only NULL */
bool fg_starts_with(const char *s, const char *prefix);
bool fg_utf8_valid(const char *s, size_t n);     /* RFC 3629; no surrogates, no overlong forms */
size_t fg_utf8_step(const char *s, size_t n);    /* bytes of the character at s, 0 when it is not a whole valid one */
/* The candidate nearest to word by edit distance, or NULL when none is near (distance > 1 + len/3). */
const char *fg_nearest(const char *word, const char *const *candidates, size_t n);
