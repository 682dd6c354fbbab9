/* http_target.c - see http_target.h. */
#include "wire/http_target.h"

#include <string.h>
#include <strings.h>

#include "base/mem.h"
#include "base/str.h"

static int hex(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Decode raw[n] at *out, which moves behind the NUL; the decoded text is never longer. forbidden: one more byte not allowed. */
static const char *decode(const char *raw, size_t n, bool plus_is_space, char forbidden, char **out, struct fg_error *err)
{
    char *start = *out, *p = start;
    for (size_t i = 0; i < n; i++) {
        int c = (unsigned char)raw[i];
        if (c == '+' && plus_is_space) {
            c = ' ';
        } else if (c == '%') {
            int high = i + 2 < n ? hex(raw[i + 1]) : -1, low = high >= 0 ? hex(raw[i + 2]) : -1;
            if (low < 0) {
                fg_fail(err, FG_E_MALFORMED, "the request target has a %% that is not followed by two hex digits");
                return NULL;
            }
            c = high << 4 | low;
            i += 2;
        }
        if (c < 0x20 || c == 0x7f || (forbidden != '\0' && c == forbidden)) {
            fg_fail(err, FG_E_MALFORMED, "the request target holds the byte 0x%02x, which is not allowed there", c);
            return NULL;
        }
        *p++ = (char)c;
    }
    if (!fg_utf8_valid(start, (size_t)(p - start))) {
        fg_fail(err, FG_E_MALFORMED, "the request target is not UTF-8");
        return NULL;
    }
    *p++ = '\0';
    *out = p;
    return start;
}

static int parse_path(const char *path, size_t n, struct fg_target *t, char **out, struct fg_error *err)
{
    if (n == 0 || path[0] != '/')
        return fg_fail(err, FG_E_MALFORMED, "the request target must start with '/'");
    const char *p = path + 1, *end = path + n;
    if (p == end)
        return 0;
    for (;;) {
        const char *slash = memchr(p, '/', (size_t)(end - p));
        const char *stop = slash != NULL ? slash : end;
        if (t->segment_count == FG_TARGET_SEGMENTS) {
            t->segment_count++;                  /* too deep: matches nothing */
            return 0;
        }
        const char *segment = decode(p, (size_t)(stop - p), false, '/', out, err);
        if (segment == NULL)
            return -1;
        t->segments[t->segment_count++] = segment;
        if (slash == NULL)
            return 0;
        p = slash + 1;
    }
}

static int parse_query(const char *p, struct fg_target *t, char **out, struct fg_error *err)
{
    while (*p != '\0') {
        size_t n = strcspn(p, "&");
        if (n > 0) {
            const char *eq = memchr(p, '=', n);
            size_t name_len = eq != NULL ? (size_t)(eq - p) : n;
            if (t->query_count == FG_TARGET_QUERY)
                return fg_fail(err, FG_E_MALFORMED, "more than %d query parameters", FG_TARGET_QUERY);
            const char *name = decode(p, name_len, true, '\0', out, err);
            /* Without '=' the value is the name's own end, so that every value has its own address (see check). */
            const char *value = name == NULL ? NULL : eq == NULL ? name + strlen(name) : decode(eq + 1, n - name_len - 1, true, '\0', out, err);
            if (value == NULL)
                return -1;
            t->query[t->query_count].name = name;
            t->query[t->query_count++].value = value;
        }
        p += n;
        if (*p == '&')
            p++;
    }
    return 0;
}

/* RFC 9112 3.2.2: servers take the absolute form too; the authority says nothing to us. */
static const char *skip_authority(const char *raw)
{
    size_t scheme = strncasecmp(raw, "http://", 7) == 0 ? 7 : strncasecmp(raw, "https://", 8) == 0 ? 8 : 0;
    if (scheme == 0)
        return raw;
    raw += scheme;
    return raw + strcspn(raw, "/?");
}

int fg_target_parse(const char *raw, struct fg_target *ret, struct fg_error *err)
{
    *ret = (struct fg_target){0};
    raw = skip_authority(raw);
    size_t path_len = strcspn(raw, "?");
    /* Each decoded piece takes at most its raw bytes and one NUL, for which its delimiter makes room. */
    char *out = ret->text = fg_alloc(strlen(raw) + 2);
    if (parse_path(raw, path_len, ret, &out, err) < 0 ||
        (raw[path_len] == '?' && parse_query(raw + path_len + 1, ret, &out, err) < 0)) {
        fg_target_fini(ret);
        return -1;
    }
    return 0;
}

void fg_target_fini(struct fg_target *target)
{
    if (target == NULL)
        return;
    free(target->text);
    *target = (struct fg_target){0};
}

/* The segment of target that pattern's {name} stands at, when all of pattern matches; with name NULL: pattern itself. */
static const char *match(const struct fg_target *t, const char *pattern, const char *name)
{
    const char *found = name == NULL ? pattern : NULL;
    size_t i = 0;
    const char *p = pattern + 1;
    for (; *p != '\0'; i++) {
        size_t n = strcspn(p, "/");
        if (i >= t->segment_count || i >= FG_TARGET_SEGMENTS)
            return NULL;
        if (p[0] == '{' && p[n - 1] == '}') {
            if (t->segments[i][0] == '\0')
                return NULL;
            if (name != NULL && strlen(name) == n - 2 && memcmp(name, p + 1, n - 2) == 0)
                found = t->segments[i];
        } else if (strncmp(t->segments[i], p, n) != 0 || t->segments[i][n] != '\0') {
            return NULL;
        }
        p += n;
        if (*p == '/')
            p++;
    }
    return i == t->segment_count ? found : NULL;
}

bool fg_target_match(const struct fg_target *target, const char *pattern)
{
    return match(target, pattern, NULL) != NULL;
}

const char *fg_target_param(const struct fg_target *target, const char *pattern, const char *name)
{
    return match(target, pattern, name);
}

const char *fg_target_query(const struct fg_target *target, const char *name)
{
    for (size_t i = 0; i < target->query_count; i++)
        if (strcmp(target->query[i].name, name) == 0)
            return target->query[i].value;
    return NULL;
}

static bool is_listed(const char *allowed, const char *name)
{
    size_t len = strlen(name);
    for (const char *p = allowed; *p != '\0'; p += *p == '|') {
        size_t n = strcspn(p, "|");
        if (n == len && memcmp(p, name, n) == 0)
            return true;
        p += n;
    }
    return false;
}

static int fail_unknown(const char *allowed, const char *name, struct fg_error *err)
{
    FG_AUTO_FREE char *copy = fg_strdup(allowed);
    const char *names[FG_TARGET_QUERY];
    size_t n = 0;
    char *rest = NULL;
    for (char *p = strtok_r(copy, "|", &rest); p != NULL && n < FG_COUNT(names); p = strtok_r(NULL, "|", &rest))
        names[n++] = p;
    fg_fail(err, FG_E_INVALID, "unknown query parameter '%.60s'", name);
    fg_fail_at(err, "?%.60s", name);
    const char *near = fg_nearest(name, names, n);
    if (near != NULL)
        return fg_fail_hint(err, "did you mean '%s'?", near);
    return n > 0 ? fg_fail_hint(err, "it takes %s", allowed) : fg_fail_hint(err, "it takes no query parameters");
}

int fg_target_check_query(const struct fg_target *target, const char *allowed, struct fg_error *err)
{
    for (size_t i = 0; i < target->query_count; i++) {
        const char *name = target->query[i].name;
        if (!is_listed(allowed, name))
            return fail_unknown(allowed, name, err);
        if (fg_target_query(target, name) != target->query[i].value) {
            fg_fail(err, FG_E_INVALID, "query parameter '%s' is given twice", name);
            return fg_fail_at(err, "?%s", name);
        }
    }
    return 0;
}
