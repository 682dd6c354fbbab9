/* mem.c - allocation that succeeds or ends the process, and the growth of vec.h. */
#include "base/mem.h"
#include "base/vec.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* No log, no stdio: both may allocate. */
static _Noreturn void out_of_memory(void)
{
    static const char text[] = "fastgpu: out of memory\n";
    if (write(STDERR_FILENO, text, sizeof text - 1) < 0) {
        /* Nobody is left to tell. */
    }
    abort();
}

void *fg_alloc(size_t size)
{
    void *p = calloc(1, size ? size : 1);
    if (!p)
        out_of_memory();
    return p;
}

void *fg_realloc(void *p, size_t count, size_t size)
{
    size_t bytes;
    if (__builtin_mul_overflow(count, size, &bytes))
        out_of_memory();
    p = realloc(p, bytes ? bytes : 1); /* realloc(p, 0) would free it */
    if (!p)
        out_of_memory();
    return p;
}

char *fg_strdup(const char *s) { return s ? fg_strndup(s, strlen(s)) : NULL; }

char *fg_strndup(const char *s, size_t n)
{
    n = strnlen(s, n);
    char *copy = fg_alloc(n + 1);
    memcpy(copy, s, n);
    return copy;
}

char *fg_asprintf(const char *fmt, ...)
{
    char *text;
    va_list ap;
    va_start(ap, fmt);
    int n = vasprintf(&text, fmt, ap);
    va_end(ap);
    if (n < 0)
        out_of_memory();
    return text;
}

/* items_ptr is the address of a T *, whatever T is; copied as bytes so that no two pointer types alias. */
void fg_vec_grow(void *items_ptr, size_t *cap, size_t want, size_t item_size)
{
    size_t grown = *cap > SIZE_MAX / 2 ? want : FG_MAX(*cap * 2, 8);
    size_t new_cap = FG_MAX(grown, want);
    void *items;
    memcpy(&items, items_ptr, sizeof items);
    items = fg_realloc(items, new_cap, item_size);
    memcpy(items_ptr, &items, sizeof items);
    *cap = new_cap;
}
