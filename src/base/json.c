/* json.c - what jansson leaves open is checked in one pass before it: size of the nesting, UTF-8, NULs. jansson would
 * refuse most of it too, but at depth 2048 and with texts that do not tell a user where to look. */
#include "base/json.h"

#include <string.h>

#include "base/mem.h"

/* Columns count characters, as editors do; the byte offset counts from 0. */
static int fail_at_offset(struct fg_error *err, const char *text, size_t offset, const char *what)
{
    size_t line = 1, column = 1;
    for (size_t i = 0; i < offset; i++) {
        column += ((unsigned char)text[i] & 0xc0) != 0x80;
        if (text[i] == '\n') {
            line++;
            column = 1;
        }
    }
    return fg_fail(err, FG_E_MALFORMED, "line %zu, column %zu (byte %zu): %s", line, column, offset, what);
}

/* The offset behind the string that opens at i; len when it does not end. *nul is set to a \u0000 within, or left. */
static size_t skip_string(const char *text, size_t len, size_t i, size_t *nul)
{
    for (i++; i < len && text[i] != '"'; i++) {
        if (text[i] != '\\')
            continue;
        if (len - i >= 6 && memcmp(text + i, "\\u0000", 6) == 0 && *nul == SIZE_MAX)
            *nul = i;
        i++;
    }
    return i < len ? i + 1 : len;
}

/* Brackets outside strings, whether they match or not: jansson tells about those that do not. */
static int check_structure(const char *text, size_t len, struct fg_error *err)
{
    size_t nul = SIZE_MAX;
    int depth = 0;
    for (size_t i = 0; i < len;) {
        char c = text[i];
        if (c == '"') {
            i = skip_string(text, len, i, &nul);
            if (nul != SIZE_MAX)
                return fail_at_offset(err, text, nul, "a string holds \\u0000, which is not allowed here");
            continue;
        }
        if ((c == '{' || c == '[') && ++depth > FG_JSON_MAX_DEPTH)
            return fail_at_offset(err, text, i, "nested deeper than 64 levels");
        if ((c == '}' || c == ']') && depth > 0)
            depth--;
        if (c == 0)
            return fail_at_offset(err, text, i, "a NUL byte");
        i++;
    }
    return 0;
}

static int check_utf8(const char *text, size_t len, struct fg_error *err)
{
    if (fg_utf8_valid(text, len))
        return 0;
    size_t i = 0, step;
    while ((step = fg_utf8_step(text + i, len - i)) > 0)
        i += step;
    return fail_at_offset(err, text, i, "the text is not valid UTF-8");
}

static bool is_blank(const char *text, size_t len)
{
    size_t i = 0;
    while (i < len && strchr(" \t\r\n", text[i]) && text[i])
        i++;
    return i == len;
}

json_t *fg_json_parse(const char *text, size_t len, struct fg_error *err)
{
    json_error_t e;
    if (is_blank(text, len)) {
        fg_fail(err, FG_E_MALFORMED, "line 1, column 1: the text is empty; a JSON value is expected");
        return NULL;
    }
    if (check_utf8(text, len, err) < 0 || check_structure(text, len, err) < 0)
        return NULL;
    json_t *j = json_loadb(text, len, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY, &e);
    if (!j)
        fg_fail(err, FG_E_MALFORMED, "line %d, column %d: %s", e.line, FG_MAX(e.column, 1), e.text);
    return j;
}

static int add_chunk(const char *bytes, size_t n, void *out)
{
    fg_str_add(out, bytes, n);
    return 0;
}

void fg_json_dump(const json_t *j, struct fg_str *out)
{
    /* 15 digits give back what people wrote, 33.3; the 17 that tell all doubles apart would say 33.299999999999997. */
    json_dump_callback(j, add_chunk, out, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(15));
}

#define BYTES(c) (UINT64_C(0x0101010101010101) * (c))

/* How many bytes from s need no look at all: printable ASCII other than quote and backslash. Eight at a time;
 * each term sets the high bit of a byte that is < 0x20, a quote, a backslash, or not ASCII. A borrow can set the bit of
 * a byte above one that is rightly set, never of the lowest, and only the lowest is used. */
static size_t plain_run(const char *s, size_t n)
{
    size_t i = 0;
    for (uint64_t w; n - i >= sizeof w; i += sizeof w) {
        memcpy(&w, s + i, sizeof w);
        uint64_t quote = w ^ BYTES('"'), slash = w ^ BYTES('\\');
        uint64_t hit = ((w - BYTES(0x20)) | (quote - BYTES(1)) | (slash - BYTES(1)) | w) & BYTES(0x80);
        if (hit)
            return i + (size_t)__builtin_ctzll(hit) / 8; /* little-endian, as is every machine with our devices */
    }
    while (i < n && (unsigned char)s[i] >= 0x20 && (unsigned char)s[i] < 0x80 && s[i] != '"' && s[i] != '\\')
        i++;
    return i;
}
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "plain_run reads the lowest byte first");

static void quote_ascii(struct fg_str *out, unsigned char c)
{
    static const char short_names[] = "\bb\ff\nn\rr\tt\"\"\\\\";
    for (const char *p = short_names; *p; p += 2)
        if ((unsigned char)*p == c) {
            char pair[2] = {'\\', p[1]};
            fg_str_add(out, pair, 2);
            return;
        }
    fg_str_addf(out, "\\u%04x", c);
}

void fg_json_quote(struct fg_str *out, const char *s, size_t n)
{
    fg_str_reserve(out, n + 2);
    fg_str_add(out, "\"", 1);
    for (size_t i = 0; i < n;) {
        size_t run = plain_run(s + i, n - i);
        fg_str_add(out, s + i, run);
        i += run;
        if (i == n)
            break;
        size_t step = fg_utf8_step(s + i, n - i);
        if (step > 1)
            fg_str_add(out, s + i, step);
        else if (step == 1)
            quote_ascii(out, (unsigned char)s[i]);
        else
            fg_str_add(out, "\xef\xbf\xbd", 3); /* U+FFFD for each byte that is none */
        i += FG_MAX(step, 1);
    }
    fg_str_add(out, "\"", 1);
}

const char *fg_json_str(const json_t *obj, const char *key, const char *fallback)
{
    const char *value = json_string_value(json_object_get(obj, key));
    return value ? value : fallback;
}

int64_t fg_json_int(const json_t *obj, const char *key, int64_t fallback)
{
    const json_t *value = json_object_get(obj, key);
    return json_is_integer(value) ? json_integer_value(value) : fallback;
}

bool fg_json_bool(const json_t *obj, const char *key, bool fallback)
{
    const json_t *value = json_object_get(obj, key);
    return json_is_boolean(value) ? json_is_true(value) : fallback;
}
