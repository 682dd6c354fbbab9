/* id.c - ULIDs.
 *
 *     hi                                              lo
 *     | 48 bits: milliseconds since 1970 | 16 random | 64 random |
 *
 * As text: 26 letters of 5 bits, the first of which carries only 3. */
#include "base/id.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

static const char letters[] = "0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/* An id that somebody can guess or that comes twice is worse than no process: without the kernel's bits we stop. */
static void random_bytes(void *buf, size_t n)
{
    ssize_t got;
    do
        got = getrandom(buf, n, 0);
    while (got < 0 && errno == EINTR);
    if (got != (ssize_t)n)
        abort();
}

/* Within the millisecond of the last id, or when time ran back, the successor: ordered, and no system call.
 * Should 80 bits run over, the carry moves the millisecond on, which keeps the order. */
fg_id fg_id_new(struct fg_id_gen *gen, int64_t now_ns)
{
    uint64_t ms = now_ns > 0 ? (uint64_t)now_ns / 1000000 : 0;
    fg_id id = gen->last;
    if (!fg_id_is_none(id) && ms <= id.hi >> 16) {
        id.lo++;
        id.hi += id.lo == 0;
    } else {
        random_bytes(&id, sizeof id);
        id.hi = ms << 16 | (id.hi & 0xffff);
    }
    gen->last = id;
    return id;
}

char *fg_id_format(char *buf, const char *prefix, fg_id id)
{
    size_t n = strlen(prefix);
    assert(n + 1 + 26 < FG_ID_TEXT);
    memcpy(buf, prefix, n);
    buf[n++] = '_';
    for (int i = 25; i >= 0; i--) {
        buf[n + (size_t)i] = letters[id.lo & 31];
        id.lo = id.lo >> 5 | id.hi << 59;
        id.hi >>= 5;
    }
    buf[n + 26] = 0;
    return buf;
}

/* The value of a letter, or -1. I, L, O and U are not read as their look-alikes: one id, one spelling but for case. */
static int letter_value(char c)
{
    if (c >= 'a' && c <= 'z')
        c = (char)(c - 'a' + 'A');
    const char *at = c ? strchr(letters, c) : NULL;
    return at ? (int)(at - letters) : -1;
}

bool fg_id_parse(const char *text, const char *prefix, fg_id *ret)
{
    size_t n = strlen(prefix);
    if (!text || strncmp(text, prefix, n) != 0 || text[n] != '_' || strlen(text + n + 1) != 26)
        return false;
    fg_id id = FG_ID_NONE;
    for (const char *p = text + n + 1; *p; p++) {
        int value = letter_value(*p);
        if (value < 0 || id.hi >> 59) /* the next 5 bits would fall off the top */
            return false;
        id.hi = id.hi << 5 | id.lo >> 59;
        id.lo = id.lo << 5 | (uint64_t)value;
    }
    *ret = id;
    return true;
}

/* Neighbours within a millisecond differ only in the low bits; the multiplications spread them (murmur's finaliser). */
uint64_t fg_id_hash(fg_id id)
{
    uint64_t h = id.lo ^ (id.hi * UINT64_C(0x9e3779b97f4a7c15));
    h = (h ^ h >> 33) * UINT64_C(0xff51afd7ed558ccd);
    h = (h ^ h >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return h ^ h >> 33;
}
