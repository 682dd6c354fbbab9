/* help.c - --help of fgpu and of each verb, from the tables. */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli/cli.h"

#define INDENT 26
#define WIDTH  100

/* Words of text from column INDENT to WIDTH; the cursor stands at column at. */
static void add_wrapped(struct fg_str *out, const char *text, size_t indent, size_t at)
{
    bool first = true;
    for (const char *p = text; *p;) {
        size_t n = strcspn(p, " \n");
        if (!first && at + 1 + n > WIDTH) {
            fg_str_addf(out, "\n%*s", (int)indent, "");
            at = indent;
            first = true;
        }
        fg_str_addf(out, "%s%.*s", first ? "" : " ", (int)n, p);
        at += n + !first;
        first = false;
        p += n;
        if (*p == '\n') {
            fg_str_addf(out, "\n%*s", (int)indent, "");
            at = indent;
            first = true;
        }
        p += *p != 0;
    }
    fg_str_adds(out, "\n");
}

static void add_entry(struct fg_str *out, const char *left, const char *doc)
{
    size_t n = strlen(left) + 2;
    fg_str_addf(out, "  %s", left);
    if (n + 2 > INDENT) {
        fg_str_adds(out, "\n");
        n = 0;
    }
    fg_str_addf(out, "%*s", (int)(INDENT - n), "");
    add_wrapped(out, doc, INDENT, INDENT);
}

static void add_options(struct fg_str *out, const char *title, const struct cli_option *o)
{
    if (!o || !o->name)
        return;
    fg_str_addf(out, "\n%s:\n", title);
    for (; o->name; o++) {
        FG_AUTO_STR struct fg_str left = {0};
        if (o->letter)
            fg_str_addf(&left, "-%c, ", o->letter);
        fg_str_addf(&left, "--%s%s%s", o->name, o->metavar ? " " : "", o->metavar ? o->metavar : "");
        add_entry(out, fg_str_cstr(&left), o->doc);
    }
}

static void add_usage(struct fg_str *out, const struct cli_verb *v)
{
    const char *head = "usage:";
    for (const char *p = v->usage;; p++) {
        size_t n = strcspn(p, "\n");
        fg_str_addf(out, "%s fgpu %s%s%.*s\n", head, v->name, n > 0 ? " " : "", (int)n, p);
        head = "      ";
        p += n;
        if (!*p)
            break;
    }
}

void cli_help_verb(const struct cli_verb *verb, struct fg_str *out)
{
    fg_str_addf(out, "fgpu %s - %s\n\n", verb->name, verb->summary);
    add_usage(out, verb);
    if (verb->text) {
        fg_str_adds(out, "\n");
        add_wrapped(out, verb->text, 0, 0);
    }
    add_options(out, "Options", verb->options);
    add_options(out, "Options of every verb", cli_global_options);
}

void cli_help_all(struct fg_str *out)
{
    fg_str_adds(out,
                "fgpu - run deep-learning tasks in slices of this machine's GPUs\n\nusage: fgpu VERB [options] ...\n");
    for (const struct cli_group *g = cli_groups; g->title; g++) {
        fg_str_addf(out, "\n%s:\n", g->title);
        for (const struct cli_verb *const *v = g->verbs; *v; v++)
            add_entry(out, (*v)->name, (*v)->summary);
    }
    fg_str_adds(out, "\nA task is named by its id, the beginning of one, or 'last' for the newest.\n"
                     "'fgpu help VERB' explains a verb, 'man fgpu' all of them. First steps:\n\n"
                     "  fgpu up --detach\n"
                     "  fgpu run --mem 1GB --share 50 -- python3 -c 'print(6 * 7)'\n"
                     "  fgpu run efficientnet_lite0 photo.jpg\n");
}

static int list_family(const char *word, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str out = {0};
    const struct cli_verb *v;
    size_t n = strlen(word);
    for (size_t i = 0; (v = cli_verb_at(i)); i++) {
        if (strncmp(v->name, word, n) == 0 && v->name[n] == ' ') {
            fg_str_adds(&out, out.len > 0 ? "\n" : "");
            cli_help_verb(v, &out);
        }
    }
    return cli_put(&out, err);
}

static const struct cli_option help_options[] = {
    {"man", 0, CLI_FLAG, NULL, "Print the manual page, docs/man/fgpu.1, in mdoc."},
    {NULL},
};

static int run_help(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str out = {0};
    if (cli_flag(args, "man")) {
        cli_man(&out);
        return cli_put(&out, err);
    }
    if (args->names.count == 0) {
        cli_help_all(&out);
        return cli_put(&out, err);
    }
    char *words[] = {(char *)args->names.items[0], args->names.count > 1 ? (char *)args->names.items[1] : NULL, NULL};
    size_t used;
    const struct cli_verb *verb = cli_verb_find(words, &used, err);
    if (!verb)
        return -1;
    if (!words[1] && strchr(verb->name, ' '))
        return list_family(words[0], err);
    cli_help_verb(verb, &out);
    return cli_put(&out, err);
}

const struct cli_verb cli_verb_help = {
    "help", "[VERB]", "explain a verb, or list them all", NULL, help_options, 0, 2, false, run_help,
};
