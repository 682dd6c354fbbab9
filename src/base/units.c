/* units.c - numbers with units.
 *
 * All parsers share one reader of decimals, which keeps the digits as an integer and counts those behind the point:
 * "12.50" is 1250 with 2 decimals. value = digits * unit / 10^decimals, in 128 bits, so nothing passes through a float.
 */
#include "base/units.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/mem.h"

typedef unsigned __int128 u128;

struct decimal {
    u128 digits;       /* < 2^76: times the largest unit, a day in ns (< 2^47), it stays below 2^127 */
    unsigned decimals; /* <= 24: 10^24 < 2^80 */
    const char *rest;  /* what follows: the unit */
};

struct unit {
    const char *name;
    int64_t size;
};

static bool is_digit(char c) { return c >= '0' && c <= '9'; }

/* Digits, and after a point at least one more; no sign, no exponent. False when text does not start like that. */
static bool read_decimal(const char *text, struct decimal *d)
{
    *d = (struct decimal){0};
    bool point = false;
    const char *p = text;
    for (; is_digit(*p) || (*p == '.' && !point && p > text && is_digit(p[1])); p++) {
        if (*p == '.') {
            point = true;
            continue;
        }
        if (d->digits >> 72 || d->decimals == 24)
            return false;
        d->digits = d->digits * 10 + (u128)(*p - '0');
        d->decimals += point;
    }
    d->rest = p;
    return p > text;
}

/* digits * unit / 10^decimals. *exact tells whether anything was cut; what is cut is rounded half up. */
static u128 scale(const struct decimal *d, int64_t unit, bool *exact)
{
    u128 divisor = 1, product = d->digits * (u128)unit;
    for (unsigned i = 0; i < d->decimals; i++)
        divisor *= 10;
    u128 cut = product % divisor;
    *exact = cut == 0;
    return product / divisor + (cut >= divisor - cut && cut > 0);
}

static const struct unit *find_unit(const char *name, const struct unit *units, size_t n)
{
    if (name[0] == ' ' && name[1]) /* "1.5 GiB", as we print it */
        name++;
    for (size_t i = 0; i < n; i++)
        if (strcmp(units[i].name, name) == 0)
            return &units[i];
    return NULL;
}

int fg_parse_bytes(const char *text, uint64_t *ret_bytes, struct fg_error *err)
{
    static const struct unit units[] = {
        {"", 1},
        {"B", 1},
        {"kB", 1000},
        {"KB", 1000},
        {"MB", 1000000},
        {"GB", 1000000000},
        {"TB", INT64_C(1000000000000)},
        {"KiB", INT64_C(1) << 10},
        {"MiB", INT64_C(1) << 20},
        {"GiB", INT64_C(1) << 30},
        {"TiB", INT64_C(1) << 40},
        {"K", INT64_C(1) << 10},
        {"M", INT64_C(1) << 20},
        {"G", INT64_C(1) << 30},
        {"T", INT64_C(1) << 40},
    };
    struct decimal d;
    bool exact;
    const struct unit *unit = read_decimal(text, &d) ? find_unit(d.rest, units, FG_COUNT(units)) : NULL;
    if (!unit || (unit->size == 1 && d.decimals > 0)) {
        fg_fail(err, FG_E_INVALID, "'%s' is not a size in bytes", text);
        return fg_fail_hint(err, "Write a number with B, kB, MB, GB, TB, KiB, MiB, GiB or TiB, e.g. 512MiB or 1.5GiB.");
    }
    u128 bytes = scale(&d, unit->size, &exact);
    if (bytes > UINT64_MAX)
        return fg_fail(err, FG_E_INVALID, "'%s' is more than 64 bits of bytes", text);
    *ret_bytes = (uint64_t)bytes;
    return 0;
}

int fg_parse_duration(const char *text, int64_t *ret_ns, struct fg_error *err)
{
    static const struct unit units[] = {
        {"", FG_NS_PER_S},
        {"ns", 1},
        {"us", 1000},
        {"ms", 1000000},
        {"s", FG_NS_PER_S},
        {"m", 60 * FG_NS_PER_S},
        {"h", 3600 * FG_NS_PER_S},
        {"d", 86400 * FG_NS_PER_S},
    };
    struct decimal d;
    bool exact;
    const struct unit *unit = read_decimal(text, &d) ? find_unit(d.rest, units, FG_COUNT(units)) : NULL;
    if (!unit) {
        fg_fail(err, FG_E_INVALID, "'%s' is not a duration", text);
        return fg_fail_hint(err,
                            "Write a number with ns, us, ms, s, m, h or d, e.g. 90s or 1.5h; without a unit, seconds.");
    }
    u128 ns = scale(&d, unit->size, &exact);
    if (ns == 0)
        return fg_fail(err, FG_E_INVALID, "the duration '%s' is zero; it must be longer", text);
    if (ns > INT64_MAX)
        return fg_fail(err, FG_E_INVALID, "the duration '%s' is longer than 292 years", text);
    *ret_ns = (int64_t)ns;
    return 0;
}

int fg_parse_share(const char *text, uint32_t *ret_permille, struct fg_error *err)
{
    struct decimal d;
    bool exact;
    if (!read_decimal(text, &d) || (*d.rest && strcmp(d.rest, "%") != 0)) {
        fg_fail(err, FG_E_INVALID, "'%s' is not a share", text);
        return fg_fail_hint(err, "Write percent of a device, 0.1 to 100, e.g. 50 or 12.5%%.");
    }
    u128 permille = scale(&d, 10, &exact);
    if (!exact)
        return fg_fail(err, FG_E_INVALID, "the share '%s' is finer than 0.1 percent", text);
    if (permille < 1 || permille > 1000)
        return fg_fail(err, FG_E_INVALID, "the share '%s' is not within 0.1 to 100 percent", text);
    *ret_permille = (uint32_t)permille;
    return 0;
}

int fg_parse_money(const char *text, int64_t *ret_nanousd, struct fg_error *err)
{
    struct decimal d;
    bool exact;
    if (!read_decimal(text, &d) || *d.rest) {
        fg_fail(err, FG_E_INVALID, "'%s' is not an amount in US dollars", text);
        return fg_fail_hint(err, "Write digits and a point, no sign and no currency, e.g. 0.50.");
    }
    if (d.decimals > 9)
        return fg_fail(err, FG_E_INVALID, "the amount '%s' has more than 9 decimals", text);
    u128 nanousd = scale(&d, FG_NANOUSD_PER_USD, &exact);
    if (nanousd > INT64_MAX)
        return fg_fail(err, FG_E_INVALID, "the amount '%s' is more than 9223372036.854775807 dollars", text);
    *ret_nanousd = (int64_t)nanousd;
    return 0;
}

int fg_parse_int(const char *text, int64_t min, int64_t max, int64_t *ret, struct fg_error *err)
{
    /* strtoll would take leading space and '+'. */
    if (!is_digit(text[text[0] == '-']))
        return fg_fail(err, FG_E_INVALID, "'%s' is not a whole number", text);
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (*end)
        return fg_fail(err, FG_E_INVALID, "'%s' is not a whole number", text);
    if (errno == ERANGE || value < min || value > max)
        return fg_fail(err, FG_E_INVALID, "%s is not within %lld to %lld", text, (long long)min, (long long)max);
    *ret = value;
    return 0;
}

/* One decimal, rounded; 1023.96 KiB would round to "1024 KiB" and is shown as the next unit instead. */
char *fg_format_bytes(char *buf, size_t n, uint64_t bytes)
{
    static const char *const names[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t i = 0;
    u128 tenths = (u128)bytes * 10;
    while (tenths >= 10240 && i + 1 < FG_COUNT(names)) {
        i++;
        u128 unit = (u128)1 << (10 * i);
        tenths = ((u128)bytes * 10 + unit / 2) / unit;
    }
    unsigned long long whole = (unsigned long long)(tenths / 10), tenth = (unsigned long long)(tenths % 10);
    if (tenth)
        snprintf(buf, n, "%llu.%llu %s", whole, tenth, names[i]);
    else
        snprintf(buf, n, "%llu %s", whole, names[i]);
    return buf;
}

/* Below a minute: one decimal where it says something, cut and not rounded, so that 59.99 s is never "60 s". */
static void format_seconds(char *buf, size_t n, const char *sign, uint64_t ns)
{
    static const struct unit units[] = {{"s", FG_NS_PER_S}, {"ms", 1000000}, {"us", 1000}, {"ns", 1}};
    const struct unit *u = units;
    while (u->size > 1 && ns < (uint64_t)u->size)
        u++;
    unsigned long long whole = ns / (uint64_t)u->size, tenth = u->size > 1 ? ns / ((uint64_t)u->size / 10) % 10 : 0;
    if (tenth && whole < 100)
        snprintf(buf, n, "%s%llu.%llu %s", sign, whole, tenth, u->name);
    else
        snprintf(buf, n, "%s%llu %s", sign, whole, u->name);
}

char *fg_format_duration(char *buf, size_t n, int64_t ns)
{
    const char *sign = ns < 0 ? "-" : "";
    uint64_t size = ns < 0 ? 0 - (uint64_t)ns : (uint64_t)ns;
    unsigned long long s = size / (uint64_t)FG_NS_PER_S;
    if (s < 60)
        format_seconds(buf, n, sign, size);
    else if (s < 3600)
        snprintf(buf, n, "%s%llum%02llus", sign, s / 60, s % 60);
    else if (s < 86400)
        snprintf(buf, n, "%s%lluh%02llum", sign, s / 3600, s / 60 % 60);
    else
        snprintf(buf, n, "%s%llud%02lluh", sign, s / 86400, s / 3600 % 24);
    return buf;
}

char *fg_format_money(char *buf, size_t n, int64_t nanousd)
{
    char text[40];
    uint64_t size = nanousd < 0 ? 0 - (uint64_t)nanousd : (uint64_t)nanousd;
    uint64_t usd = (uint64_t)FG_NANOUSD_PER_USD;
    int len = snprintf(text, sizeof text, "%s%llu.%09llu", nanousd < 0 ? "-" : "", (unsigned long long)(size / usd),
                       (unsigned long long)(size % usd));
    for (int cut = 0; cut < 7 && text[len - 1] == '0'; cut++)
        text[--len] = 0;
    snprintf(buf, n, "%s", text);
    return buf;
}

char *fg_format_time(char *buf, size_t n, int64_t utc_ns)
{
    int64_t ns = utc_ns % FG_NS_PER_S;
    time_t s = (time_t)(utc_ns / FG_NS_PER_S);
    if (ns < 0) { /* before 1970 the second is the one below */
        ns += FG_NS_PER_S;
        s--;
    }
    struct tm tm;
    char text[40];
    gmtime_r(&s, &tm);
    strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S", &tm);
    snprintf(buf, n, "%s.%03dZ", text, (int)(ns / 1000000));
    return buf;
}

bool fg_mul_div(int64_t a, int64_t b, int64_t c, int64_t *ret)
{
    if (c <= 0)
        return false;
    __int128 product = (__int128)a * b, quotient = product / c, rest = product % c;
    if (rest < 0) { /* C cuts towards zero; half up needs the floor */
        rest += c;
        quotient--;
    }
    quotient += rest >= c - rest;
    if (quotient < INT64_MIN || quotient > INT64_MAX)
        return false;
    *ret = (int64_t)quotient;
    return true;
}
