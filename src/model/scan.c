/* scan.c - small JSON objects in one pass. */
#include "model/scan.h"

#include <string.h>

#define DEPTH_MAX 4

struct cursor { struct fg_scan *scan; char *at; int depth; };

static void skip_blank(struct cursor *c)
{
    while (*c->at == ' ' || *c->at == '\n' || *c->at == '\t' || *c->at == '\r')
        c->at++;
}

static bool take(struct cursor *c, char wanted)
{
    skip_blank(c);
    if (*c->at != wanted)
        return false;
    c->at++;
    return true;
}

static char unescaped(char c)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    const char *found = c ? strchr(from, c) : NULL;
    return found ? to[found - from] : 0;
}

/* After its opening quote. It is shorter without escapes, so it is written over itself. */
static bool read_string(struct cursor *c, const char **ret, uint32_t *ret_len)
{
    char *out = c->at;
    *ret = out;
    for (; *c->at != '"'; c->at++) {
        char one = *c->at;
        if (one == '\\')
            one = unescaped(*++c->at);
        else if ((unsigned char)one < 0x20 || (unsigned char)one >= 0x7f)
            return false;
        if (!one)
            return false;
        *out++ = one;
    }
    *ret_len = (uint32_t)(out - *ret);
    c->at++;
    *out = 0;
    return true;
}

static bool read_integer(struct cursor *c, int64_t *ret)
{
    bool negative = *c->at == '-';
    int digits = 0;
    c->at += negative;
    for (*ret = 0; *c->at >= '0' && *c->at <= '9'; c->at++) {
        if ((digits == 1 && *ret == 0) || ++digits > 18)     /* a leading zero */
            return false;
        *ret = *ret * 10 + (*c->at - '0');
    }
    *ret = negative ? -*ret : *ret;
    return digits > 0 && *c->at != '.' && *c->at != 'e' && *c->at != 'E';
}

static bool read_word(struct cursor *c, const char *word, size_t len)
{
    if (strncmp(c->at, word, len) != 0)
        return false;
    c->at += len;
    return true;
}

static bool read_object(struct cursor *c);

static bool read_value(struct cursor *c, struct fg_scan_member *m)
{
    skip_blank(c);
    switch (*c->at) {
    case '"':
        c->at++;
        m->type = FG_SCAN_STRING;
        return read_string(c, &m->text, &m->len);
    case '{':
        m->type = FG_SCAN_OBJECT;
        return read_object(c);
    case 't':
    case 'f':
        m->type = FG_SCAN_BOOLEAN;
        m->number = *c->at == 't';
        return m->number ? read_word(c, "true", 4) : read_word(c, "false", 5);
    default:
        m->type = FG_SCAN_INTEGER;
        return read_integer(c, &m->number);
    }
}

static bool read_object(struct cursor *c)
{
    struct fg_scan *s = c->scan;
    uint32_t first = s->count, len;
    if (++c->depth > DEPTH_MAX || !take(c, '{'))
        return false;
    for (bool more = !take(c, '}'); more;) {
        if (s->count == FG_SCAN_MEMBERS)
            return false;
        struct fg_scan_member *m = &s->members[s->count];
        const char *key;
        if (!take(c, '"') || !read_string(c, &key, &len) || strlen(key) != len || fg_scan_find(s, first, s->count, key) || !take(c, ':'))
            return false;
        *m = (struct fg_scan_member){.key = key};
        s->count++;
        if (!read_value(c, m))
            return false;
        m->end = s->count;
        more = take(c, ',');
        if (!more && !take(c, '}'))
            return false;
    }
    c->depth--;
    return true;
}

bool fg_scan(struct fg_scan *s, const char *json, size_t len)
{
    if (len >= sizeof s->text)
        return false;
    memcpy(s->text, json, len);
    s->text[len] = 0;                    /* no value goes on over it */
    s->count = 0;
    struct cursor c = {s, s->text, 0};
    if (!read_object(&c))
        return false;
    skip_blank(&c);
    return c.at == s->text + len;
}

const struct fg_scan_member *fg_scan_find(const struct fg_scan *s, uint32_t first, uint32_t end, const char *key)
{
    for (uint32_t i = first; i < end; i = s->members[i].end)
        if (s->members[i].key[0] == key[0] && strcmp(s->members[i].key, key) == 0)
            return &s->members[i];
    return NULL;
}
