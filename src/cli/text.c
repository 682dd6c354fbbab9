/* text.c - escaping of control bytes. Terminals obey what they are sent: a task's output or name may not move the
 * cursor, set the title or answer questions on behalf of whoever reads it. */
#include "cli/text.h"

#include <string.h>

/* C2 80..9F are the control characters of Latin-1, which some terminals obey. */
static bool is_control(const char *s, size_t step)
{
    unsigned char c = (unsigned char)s[0];
    return c < 0x20 || c == 0x7f || (step == 2 && c == 0xc2 && (unsigned char)s[1] < 0xa0);
}

static void add_escaped(struct fg_str *out, const char *s, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (s[i] == '\n' || s[i] == '\t')
            fg_str_adds(out, s[i] == '\n' ? "\\n" : "\\t");
        else
            fg_str_addf(out, "\\x%02x", (unsigned char)s[i]);
    }
}

void cli_clean(struct fg_str *out, const char *s, size_t n)
{
    for (size_t i = 0; i < n;) {
        size_t step = fg_utf8_step(s + i, n - i);
        if (step > 0 && !is_control(s + i, step))
            fg_str_add(out, s + i, step);
        else
            add_escaped(out, s + i, step > 0 ? step : 1);
        i += step > 0 ? step : 1;
    }
}

/* How many bytes the UTF-8 character that begins with c has; 1 for what begins none. */
static size_t expected_length(unsigned char c) { return c < 0xc2 ? 1 : c < 0xe0 ? 2 : c < 0xf0 ? 3 : c < 0xf5 ? 4 : 1; }

/* Held bytes that may still become a character wait; all else goes out. */
static void settle_plain(struct cli_filter *f, struct fg_str *out)
{
    size_t step = fg_utf8_step(f->held, f->held_len);
    unsigned char c = (unsigned char)f->held[0];
    if (step == 0 && f->held_len < expected_length(c) && f->held_len < 4)
        return;
    if (step == 0) { /* the first byte was no character; the rest starts anew */
        add_escaped(out, f->held, 1);
        memmove(f->held, f->held + 1, --f->held_len);
        if (f->held_len > 0)
            settle_plain(f, out);
        return;
    }
    if (c == '\n' || c == '\t' || c == '\r' || !is_control(f->held, step))
        fg_str_add(out, f->held, step);
    else
        add_escaped(out, f->held, step);
    memmove(f->held, f->held + step, f->held_len -= step);
}

static void end_csi(struct cli_filter *f, char last, struct fg_str *out)
{
    if (last == 'm' && f->color && f->held_len < sizeof f->held) {
        fg_str_add(out, f->held, f->held_len);
        f->tinted = true;
    }
    f->held_len = 0;
    f->state = CLI_PLAIN;
}

static void filter_byte(struct cli_filter *f, char byte, struct fg_str *out)
{
    unsigned char c = (unsigned char)byte;
    switch (f->state) {
    case CLI_PLAIN:
        if (c == 0x1b) {
            add_escaped(out, f->held, f->held_len);
            f->held[0] = byte;
            f->held_len = 1;
            f->state = CLI_ESC;
            return;
        }
        f->held[f->held_len++] = byte;
        settle_plain(f, out);
        return;
    case CLI_ESC: /* [ begins CSI; ] P X ^ _ begin strings; anything else is a sequence of two bytes */
        f->held[1] = byte;
        f->held_len = c == '[' ? 2 : 0;
        f->state = c == '[' ? CLI_CSI : strchr("]PX^_", c) && c ? CLI_STRING : c == 0x1b ? CLI_ESC : CLI_PLAIN;
        return;
    case CLI_CSI:
        if (f->held_len < sizeof f->held)
            f->held[f->held_len++] = byte;
        if (c >= 0x40 && c <= 0x7e)
            end_csi(f, byte, out);
        else if (c < 0x20 || c > 0x7e) { /* broken off */
            f->held_len = 0;
            f->state = c == 0x1b ? CLI_ESC : CLI_PLAIN;
        }
        return;
    case CLI_STRING: /* ended by BEL or ESC \; a newline ends it too, so that a stray one does not swallow the rest */
        f->state = c == 0x1b ? CLI_STRING_ESC : c == 0x07 || c == '\n' ? CLI_PLAIN : CLI_STRING;
        return;
    case CLI_STRING_ESC:
        f->state = c == '\\' || c == '\n' ? CLI_PLAIN : CLI_STRING;
        return;
    }
}

void cli_filter(struct cli_filter *f, const char *s, size_t n, struct fg_str *out)
{
    for (size_t i = 0; i < n; i++)
        filter_byte(f, s[i], out);
}

void cli_filter_end(struct cli_filter *f, struct fg_str *out)
{
    if (f->state == CLI_PLAIN)
        add_escaped(out, f->held, f->held_len);
    if (f->tinted)
        fg_str_adds(out, "\033[0m");
    f->held_len = 0;
    f->state = CLI_PLAIN;
    f->tinted = false;
}
