/* str.c - the growable string, UTF-8, and the nearest of a few words. */
#include "base/str.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/mem.h"

void fg_str_fini(struct fg_str *s)
{
    if (!s)
        return;
    free(s->data);
    *s = (struct fg_str){0};
}

void fg_str_clear(struct fg_str *s)
{
    s->len = 0;
    if (s->data)
        s->data[0] = 0;
}

/* One byte beyond cap is kept for the NUL. A want that no machine has is cut to one that fg_realloc refuses. */
char *fg_str_reserve(struct fg_str *s, size_t n)
{
    if (!s->data || s->cap - s->len < n) {
        size_t want = n > SIZE_MAX / 4 ? SIZE_MAX / 2 : s->len + n;
        s->cap = FG_MAX(FG_MAX(s->cap * 2, want), 31);
        s->data = fg_realloc(s->data, s->cap + 1, 1);
        s->data[s->len] = 0;
    }
    return s->data + s->len;
}

void fg_str_add(struct fg_str *s, const void *bytes, size_t n)
{
    if (n == 0)
        return;
    memcpy(fg_str_reserve(s, n), bytes, n);
    s->len += n;
    s->data[s->len] = 0;
}

void fg_str_adds(struct fg_str *s, const char *text) { fg_str_add(s, text, strlen(text)); }

void fg_str_addf(struct fg_str *s, const char *fmt, ...)
{
    va_list ap;
    va_start(ap, fmt);
    fg_str_addv(s, fmt, ap);
    va_end(ap);
}

void fg_str_addv(struct fg_str *s, const char *fmt, va_list ap)
{
    va_list again;
    va_copy(again, ap);
    char *at = fg_str_reserve(s, 0);
    int n = vsnprintf(at, s->cap - s->len + 1, fmt, ap);
    if (n > 0 && (size_t)n > s->cap - s->len) {
        at = fg_str_reserve(s, (size_t)n);
        vsnprintf(at, (size_t)n + 1, fmt, again);
    }
    va_end(again);
    if (n > 0)
        s->len += (size_t)n;
    s->data[s->len] = 0;
}

char *fg_str_take(struct fg_str *s)
{
    fg_str_reserve(s, 0);
    char *data = s->data;
    *s = (struct fg_str){0};
    return data;
}

const char *fg_str_cstr(const struct fg_str *s) { return s->data ? s->data : ""; }

bool fg_streq(const char *a, const char *b) { return a == b || (a && b && strcmp(a, b) == 0); }

bool fg_starts_with(const char *s, const char *prefix) { return strncmp(s, prefix, strlen(prefix)) == 0; }

/* The second byte's range carries all of RFC 3629's exceptions: E0 and F0 exclude the overlong forms,
 * ED the surrogates, F4 what lies beyond U+10FFFF. */
size_t fg_utf8_step(const char *s, size_t n)
{
    const unsigned char *u = (const unsigned char *)s;
    if (n == 0)
        return 0;
    if (u[0] < 0x80)
        return 1;
    size_t len = u[0] >= 0xf0 ? 4 : u[0] >= 0xe0 ? 3 : 2;
    if (u[0] < 0xc2 || u[0] > 0xf4 || n < len)
        return 0;
    unsigned char low = u[0] == 0xe0 ? 0xa0 : u[0] == 0xf0 ? 0x90 : 0x80;
    unsigned char high = u[0] == 0xed ? 0x9f : u[0] == 0xf4 ? 0x8f : 0xbf;
    if (u[1] < low || u[1] > high)
        return 0;
    for (size_t i = 2; i < len; i++)
        if ((u[i] & 0xc0) != 0x80)
            return 0;
    return len;
}

/* Most input is ASCII: eight bytes a step while no high bit is set. */
bool fg_utf8_valid(const char *s, size_t n)
{
    size_t i = 0;
    while (i < n) {
        uint64_t word;
        if (n - i >= sizeof word) {
            memcpy(&word, s + i, sizeof word);
            if (!(word & UINT64_C(0x8080808080808080))) {
                i += sizeof word;
                continue;
            }
        }
        size_t step = fg_utf8_step(s + i, n - i);
        if (step == 0)
            return false;
        i += step;
    }
    return true;
}

#define MAX_WORD 63 /* keys and names are shorter; what is longer has no near neighbour */

/* Levenshtein's distance, one row of the table at a time. Both words have at most MAX_WORD letters. */
static size_t distance(const char *a, size_t na, const char *b, size_t nb)
{
    uint8_t row[MAX_WORD + 1];
    for (size_t j = 0; j <= nb; j++)
        row[j] = (uint8_t)j;
    for (size_t i = 1; i <= na; i++) {
        uint8_t diagonal = row[0];
        row[0] = (uint8_t)i;
        for (size_t j = 1; j <= nb; j++) {
            uint8_t replace = (uint8_t)(diagonal + (a[i - 1] != b[j - 1]));
            uint8_t skip = (uint8_t)(FG_MIN(row[j], row[j - 1]) + 1);
            diagonal = row[j];
            row[j] = FG_MIN(replace, skip);
        }
    }
    return row[nb];
}

const char *fg_nearest(const char *word, const char *const *candidates, size_t n)
{
    size_t len = strlen(word), best = len / 3 + 2;
    const char *nearest = NULL;
    for (size_t i = 0; i < n && len <= MAX_WORD; i++) {
        size_t other = strlen(candidates[i]);
        size_t d = other <= MAX_WORD ? distance(word, len, candidates[i], other) : best;
        if (d < best) {
            best = d;
            nearest = candidates[i];
        }
    }
    return nearest;
}
