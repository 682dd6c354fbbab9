/* options.c - long options with "=" or the next word, grouped letters, names between them. */
#include "cli/options.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"

const struct cli_option cli_global_options[] = {
    {"json", 0, CLI_FLAG, NULL, "Print the server's JSON; of lists one object a line."},
    {"quiet", 'q', CLI_FLAG, NULL, "Print ids and results only."},
    {"url", 0, CLI_TEXT, "URL", "The server. Default: $FGPU_URL, the credentials file, or http://127.0.0.1:8470."},
    {"key-file", 0, CLI_PATH, "FILE",
     "File whose first line is the API key. Default: $FGPU_API_KEY or the credentials file."},
    {"config", 0, CLI_PATH, "FILE", "Settings file. Default: $FGPU_CONFIG or config.yaml in the configuration folder."},
    {"no-color", 0, CLI_FLAG, NULL, "Never colour what is printed; the same as setting $NO_COLOR."},
    {"help", 'h', CLI_FLAG, NULL, "Explain the verb."},
    {NULL},
};

static const struct cli_option *find_in(const struct cli_option *table, const char *name, size_t n, char letter)
{
    for (; table && table->name; table++)
        if (letter ? table->letter == letter : strlen(table->name) == n && strncmp(table->name, name, n) == 0)
            return table;
    return NULL;
}

static const struct cli_option *find(const struct cli_args *a, const char *name, size_t n, char letter)
{
    const struct cli_option *own = find_in(a->own, name, n, letter);
    return own ? own : find_in(cli_global_options, name, n, letter);
}

static int fail_unknown(const struct cli_args *a, const char *word, struct fg_error *err)
{
    const char *names[64];
    size_t n = 0;
    const struct cli_option *tables[] = {a->own, cli_global_options};
    for (size_t i = 0; i < FG_COUNT(tables); i++)
        for (const struct cli_option *o = tables[i]; o && o->name && n < FG_COUNT(names); o++)
            names[n++] = o->name;
    FG_AUTO_FREE char *name = fg_strndup(word + 2, strcspn(word + 2, "="));
    const char *nearest = word[1] == '-' ? fg_nearest(name, names, n) : NULL;
    fg_fail(err, FG_E_INVALID, "unknown option '%s'", word);
    return nearest ? fg_fail_hint(err, "Did you mean --%s?", nearest) : fg_fail_hint(err, "--help lists the options.");
}

static bool is_choice(const char *choices, const char *value)
{
    size_t n = strlen(value);
    for (const char *p = choices; n > 0 && p; p = strchr(p, '|') ? strchr(p, '|') + 1 : NULL)
        if (strncmp(p, value, n) == 0 && (p[n] == '|' || p[n] == 0))
            return true;
    return false;
}

static int check_value(const struct cli_option *o, const char *value, struct fg_error *err)
{
    uint64_t bytes;
    int64_t number;
    uint32_t permille;
    switch (o->type) {
    case CLI_INTEGER:
        return fg_parse_int(value, 0, INT32_MAX, &number, err);
    case CLI_BYTES:
        return fg_parse_bytes(value, &bytes, err);
    case CLI_DURATION:
        return fg_parse_duration(value, &number, err);
    case CLI_SHARE:
        return fg_parse_share(value, &permille, err);
    case CLI_MONEY:
        return fg_parse_money(value, &number, err);
    case CLI_CHOICE:
        return is_choice(o->metavar, value) ? 0 : fg_fail(err, FG_E_INVALID, "'%s' is none of %s", value, o->metavar);
    default:
        return 0;
    }
}

static int give(struct cli_args *a, const struct cli_option *o, const char *value, struct fg_error *err)
{
    if (value && check_value(o, value, err) < 0) {
        fg_fail_prefix(err, "--%s", o->name);
        return fg_fail_at(err, "--%s", o->name);
    }
    fg_vec_push(&a->given, ((struct cli_given){o, value}));
    return 0;
}

static int fail_missing(const struct cli_option *o, struct fg_error *err)
{
    fg_fail(err, FG_E_INVALID, "--%s needs a value: --%s %s", o->name, o->name, o->metavar);
    return fg_fail_at(err, "--%s", o->name);
}

/* "--name", "--name=value" or "--name" "value"; *used is set when the next word was the value. */
static int parse_long(struct cli_args *a, const char *word, const char *next, bool *used, struct fg_error *err)
{
    size_t n = strcspn(word + 2, "=");
    const char *value = word[2 + n] == '=' ? word + 2 + n + 1 : NULL;
    const struct cli_option *o = find(a, word + 2, n, 0);
    if (!o)
        return fail_unknown(a, word, err);
    if (o->type == CLI_FLAG && value) {
        fg_fail(err, FG_E_INVALID, "--%s takes no value", o->name);
        return fg_fail_at(err, "--%s", o->name);
    }
    if (o->type != CLI_FLAG && !value) {
        *used = true;
        value = next;
        if (!value)
            return fail_missing(o, err);
    }
    return give(a, o, value, err);
}

/* "-q", "-aw", "-n5" or "-n" "5". */
static int parse_letters(struct cli_args *a, const char *word, const char *next, bool *used, struct fg_error *err)
{
    for (const char *p = word + 1; *p; p++) {
        const struct cli_option *o = find(a, NULL, 0, *p);
        if (!o)
            return fail_unknown(a, word, err);
        if (o->type != CLI_FLAG) {
            *used = p[1] == 0;
            const char *value = p[1] ? p + 1 : next;
            return value ? give(a, o, value, err) : fail_missing(o, err);
        }
        if (give(a, o, NULL, err) < 0)
            return -1;
    }
    return 0;
}

int cli_parse(const struct cli_option *own, char **argv, struct cli_args *ret_args, struct fg_error *err)
{
    struct cli_args *a = ret_args;
    *a = (struct cli_args){.own = own};
    for (; *argv; argv++) {
        const char *word = *argv;
        bool used = false;
        if (fg_streq(word, "--")) {
            a->dashes = true;
            a->command = argv + 1;
            while (a->command[a->command_count])
                a->command_count++;
            return 0;
        }
        int rc = 0;
        if (fg_starts_with(word, "--"))
            rc = parse_long(a, word, argv[1], &used, err);
        else if (word[0] == '-' && word[1])
            rc = parse_letters(a, word, argv[1], &used, err);
        else
            fg_vec_push(&a->names, word);
        if (rc < 0)
            return -1;
        argv += used;
    }
    return 0;
}

void cli_args_fini(struct cli_args *args)
{
    fg_vec_fini(&args->given);
    fg_vec_fini(&args->names);
}

static const struct cli_option *option_of(const struct cli_args *a, const char *name)
{
    const struct cli_option *o = find(a, name, strlen(name), 0);
    if (!o) {
        fprintf(stderr, "fgpu: option '%s' is in no table\n", name);
        abort();
    }
    return o;
}

bool cli_flag(const struct cli_args *args, const char *name)
{
    const struct cli_option *o = option_of(args, name);
    for (size_t i = 0; i < args->given.count; i++)
        if (args->given.items[i].option == o)
            return true;
    return false;
}

const char *cli_text(const struct cli_args *args, const char *name)
{
    const char *last = NULL, *value;
    size_t at = 0;
    while ((value = cli_each(args, name, &at)))
        last = value;
    return last;
}

long cli_integer(const struct cli_args *args, const char *name, long fallback)
{
    const char *text = cli_text(args, name);
    return text ? strtol(text, NULL, 10) : fallback;
}

const char *cli_each(const struct cli_args *args, const char *name, size_t *at)
{
    const struct cli_option *o = option_of(args, name);
    while (*at < args->given.count) {
        const struct cli_given *g = &args->given.items[(*at)++];
        if (g->option == o)
            return g->value;
    }
    return NULL;
}
