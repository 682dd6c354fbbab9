/* log.c - a log line is formatted whole and written with one call, so lines of threads do not mix. */
#include "base/log.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"

static const char *const level_names[] = {"error", "warn", "info", "debug"};

static struct fg_clock clock_;
static pthread_once_t clock_once = PTHREAD_ONCE_INIT;
static char area_[32] = "fastgpu";
static _Atomic int level_ = FG_LOG_INFO;

static void start_clock(void) { fg_clock_init_real(&clock_); }

/* Called once, before there are threads: area_ is not guarded. */
void fg_log_setup(const char *area, enum fg_log_level level)
{
    snprintf(area_, sizeof area_, "%s", area);
    level_ = level;
}

int fg_log_level_by_name(const char *name)
{
    for (size_t i = 0; i < FG_COUNT(level_names); i++)
        if (fg_streq(name, level_names[i]))
            return (int)i;
    return -1;
}

static bool is_key_letter(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || c == '-';
}

/* The length of the key at s, or 0. Its letters are all redacted, its prefix stays so that a reader sees what was
 * there. */
static size_t key_length(const char *s)
{
    size_t n = 5;
    if (!fg_starts_with(s, "fgpu_"))
        return 0;
    while (is_key_letter(s[n]))
        n++;
    return n > 5 ? n : 0;
}

/* One character of text to out, escaped when it could end the line, move the cursor or is no character at all.
 * C2 80..9F are the control characters of Latin-1, which some terminals obey. Returns the bytes used. */
static size_t add_character(struct fg_str *out, const char *s)
{
    size_t step = fg_utf8_step(s, strlen(s));
    unsigned char c = (unsigned char)*s;
    bool control = c < 0x20 || c == 0x7f || (c == 0xc2 && step == 2 && (unsigned char)s[1] < 0xa0);
    if (step > 0 && !control) {
        fg_str_add(out, s, step);
        return step;
    }
    if (c == '\n' || c == '\t' || c == '\r')
        fg_str_addf(out, "\\%c", c == '\n' ? 'n' : c == '\t' ? 't' : 'r');
    else
        fg_str_addf(out, "\\x%02x", c);
    return 1;
}

static void add_clean(struct fg_str *out, const char *text)
{
    for (const char *p = text; *p;) {
        size_t key = key_length(p);
        if (key > 0)
            fg_str_adds(out, "fgpu_***");
        p += key > 0 ? key : add_character(out, p);
    }
}

void fg_log_at(enum fg_log_level level, const char *fmt, ...)
{
    if ((int)level > level_)
        return;
    int saved = errno; /* %m in fmt, and what the caller reads after us */
    FG_AUTO_STR struct fg_str text = {0}, line = {0};
    char when[40];
    va_list ap;
    va_start(ap, fmt);
    fg_str_addv(&text, fmt, ap);
    va_end(ap);
    pthread_once(&clock_once, start_clock);
    fg_str_addf(&line, "%s %-5s %s: ", fg_format_time(when, sizeof when, fg_now(&clock_)), level_names[level], area_);
    add_clean(&line, text.data);
    fg_str_add(&line, "\n", 1);
    (void)fg_write_all(STDERR_FILENO, line.data, line.len); /* a log that cannot be written has nowhere to say so */
    errno = saved;
}
