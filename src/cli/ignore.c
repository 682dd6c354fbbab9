/* ignore.c - globs over paths, matched with backtracking: patterns are short and the user's own. */
#include "cli/ignore.h"

#include <string.h>

#include "base/str.h"

/* [..] at g over the character c: its end, or NULL when it is not closed and so a plain bracket. */
static const char *match_bracket(const char *g, char c, bool *hit)
{
    const char *p = g + 1;
    bool negated = *p == '!' || *p == '^', found = false;
    p += negated;
    for (bool first = true; *p && (*p != ']' || first); first = false) {
        if (p[1] == '-' && p[2] && p[2] != ']') {
            found |= c >= p[0] && c <= p[2];
            p += 3;
        } else {
            found |= c == *p++;
        }
    }
    *hit = found != negated && c != '/';
    return *p == ']' ? p + 1 : NULL;
}

/* Two stars: any number of whole folders before "/", else anything. */
static bool match_stars(const char *g, const char *s)
{
    bool folders = g[2] == '/';
    const char *rest = g + (folders ? 3 : 2);
    for (;; s++) {
        if (cli_glob(rest, s))
            return true;
        s = folders ? strchr(s, '/') : s;
        if (!s || !*s)
            return false;
    }
}

bool cli_glob(const char *g, const char *s)
{
    for (;; g++, s++) {
        if (g[0] == '*' && g[1] == '*')
            return match_stars(g, s);
        if (*g == '*') {
            for (;; s++) {
                if (cli_glob(g + 1, s))
                    return true;
                if (!*s || *s == '/')
                    return false;
            }
        }
        if (!*g || !*s)
            return !*g && !*s;
        bool hit;
        const char *end = *g == '[' ? match_bracket(g, *s, &hit) : NULL;
        if (end) {
            if (!hit)
                return false;
            g = end - 1;
            continue;
        }
        if (*g == '?' && *s != '/')
            continue;
        g += *g == '\\' && g[1];
        if (*g != *s)
            return false;
    }
}

static void add_line(struct cli_ignore *ig, const char *line, size_t n)
{
    while (n > 0 && (line[n - 1] == '\r' || line[n - 1] == ' ' || line[n - 1] == '\t') &&
           !(n > 1 && line[n - 2] == '\\'))
        n--;
    if (n == 0 || line[0] == '#')
        return;
    bool keeps = line[0] == '!', folders = false;
    line += keeps;
    n -= keeps;
    for (; n > 0 && line[n - 1] == '/'; n--)
        folders = true;
    if (n == 0)
        return;
    bool anchored = memchr(line, '/', n) != NULL;
    for (; n > 0 && *line == '/'; n--)
        line++;
    fg_vec_push(&ig->rules, ((struct cli_ignore_rule){fg_strndup(line, n), keeps, folders, anchored}));
}

void cli_ignore_init(struct cli_ignore *ig)
{
    *ig = (struct cli_ignore){0};
    add_line(ig, ".git/", 5);
}

void cli_ignore_add(struct cli_ignore *ig, const char *text, size_t n)
{
    while (n > 0) {
        const char *end = memchr(text, '\n', n);
        size_t len = end ? (size_t)(end - text) : n, step = len + (end != NULL);
        add_line(ig, text, len);
        text += step;
        n -= step;
    }
}

void cli_ignore_fini(struct cli_ignore *ig)
{
    for (size_t i = 0; i < ig->rules.count; i++)
        free(ig->rules.items[i].glob);
    fg_vec_fini(&ig->rules);
}

static bool rule_matches(const struct cli_ignore_rule *rule, const char *path)
{
    if (rule->anchored)
        return cli_glob(rule->glob, path);
    const char *name = strrchr(path, '/');
    return cli_glob(rule->glob, name ? name + 1 : path);
}

bool cli_ignore_drops(const struct cli_ignore *ig, const char *path, bool is_folder)
{
    for (size_t i = ig->rules.count; i-- > 0;) {
        const struct cli_ignore_rule *rule = &ig->rules.items[i];
        if ((is_folder || !rule->folders_only) && rule_matches(rule, path))
            return !rule->keeps;
    }
    return false;
}
