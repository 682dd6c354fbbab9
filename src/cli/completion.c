/* completion.c - fgpu completion bash: a script made of the tables, so that it knows what this fgpu knows. */
#include <string.h>

#include "cli/cli.h"

static void add_words(struct fg_str *out, const struct cli_option *o)
{
    for (; o && o->name; o++) {
        if (o->letter)
            fg_str_addf(out, " -%c", o->letter);
        fg_str_addf(out, " --%s", o->name);
    }
}

/* First words, each once: families share theirs. */
static void add_first_words(struct fg_str *out)
{
    const struct cli_verb *v;
    const char *last = "";
    for (size_t i = 0; (v = cli_verb_at(i)); i++) {
        size_t n = strcspn(v->name, " ");
        if (strncmp(last, v->name, n) != 0 || last[n] != ' ')
            fg_str_addf(out, "%s%.*s", i > 0 ? " " : "", (int)n, v->name);
        last = v->name;
    }
}

static void add_seconds(struct fg_str *out)
{
    const struct cli_verb *v;
    for (size_t i = 0; (v = cli_verb_at(i)); i++) {
        const char *space = strchr(v->name, ' ');
        if (space)
            fg_str_addf(out, "        %.*s) seconds=\"$seconds %s\" ;;&\n", (int)(space - v->name), v->name, space + 1);
    }
}

static void add_value_cases(struct fg_str *out, const struct cli_verb *v)
{
    for (const struct cli_option *o = v->options; o && o->name; o++) {
        if (o->type == CLI_CHOICE) {
            FG_AUTO_FREE char *words = fg_strdup(o->metavar);
            for (char *p = words; *p; p++)
                *p = *p == '|' ? ' ' : *p;
            fg_str_addf(out, "        \"%s\":--%s) COMPREPLY=($(compgen -W '%s' -- \"$cur\")); return ;;\n", v->name,
                        o->name, words);
        } else if (o->type == CLI_PATH) {
            fg_str_addf(out, "        \"%s\":--%s) COMPREPLY=($(compgen -f -- \"$cur\")); return ;;\n", v->name,
                        o->name);
        } else if (o->type != CLI_FLAG) {
            fg_str_addf(out, "        \"%s\":--%s) return ;;\n", v->name, o->name);
        }
    }
}

void cli_completion_bash(struct fg_str *out)
{
    const struct cli_verb *v;
    fg_str_adds(out, "# bash completion of fgpu, printed by `fgpu completion bash`\n_fgpu()\n{\n"
                     "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb=${COMP_WORDS[1]} "
                     "seconds= words=\n"
                     "    if [ \"$COMP_CWORD\" -eq 1 ]; then\n        COMPREPLY=($(compgen -W '");
    add_first_words(out);
    fg_str_adds(out, "' -- \"$cur\"))\n        return\n    fi\n    case $verb in\n");
    add_seconds(out);
    fg_str_adds(
        out, "        *) ;;\n    esac\n    if [ -n \"$seconds\" ]; then\n        if [ \"$COMP_CWORD\" -eq 2 ]; then\n"
             "            COMPREPLY=($(compgen -W \"$seconds\" -- \"$cur\"))\n            return\n        fi\n"
             "        verb=\"$verb ${COMP_WORDS[2]}\"\n    fi\n    case $verb:$prev in\n");
    for (size_t i = 0; (v = cli_verb_at(i)); i++)
        add_value_cases(out, v);
    fg_str_adds(out, "    esac\n    case $verb in\n");
    for (size_t i = 0; (v = cli_verb_at(i)); i++) {
        fg_str_addf(out, "        \"%s\") words='", v->name);
        add_words(out, v->options);
        fg_str_addf(out, "'%s ;;\n",
                    strncmp(v->usage, "ID", 2) == 0 ? "; [[ $cur == -* ]] || words=\"last $(fgpu ps -aq 2>/dev/null)\""
                                                    : "");
    }
    fg_str_adds(out, "    esac\n    if [[ $cur == -* ]]; then\n        words=\"$words");
    add_words(out, cli_global_options);
    fg_str_adds(out, "\"\n    fi\n    COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n"
                     "    [[ ${#COMPREPLY[@]} -gt 0 || $cur == -* ]] || COMPREPLY=($(compgen -f -- \"$cur\"))\n}\n"
                     "complete -o filenames -F _fgpu fgpu\n");
}

static const struct cli_option no_options[] = {{NULL}};

static int run_completion(struct cli *cli, const struct cli_args *args, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str out = {0};
    if (!fg_streq(args->names.items[0], "bash"))
        return fg_fail(err, FG_E_INVALID, "there is no completion for '%s', only for bash", args->names.items[0]);
    cli_completion_bash(&out);
    return cli_put(&out, err);
}

const struct cli_verb cli_verb_completion = {
    "completion",
    "bash",
    "print the completion script of a shell",
    "Put  source <(fgpu completion bash)  into ~/.bashrc, or the output into a file of /etc/bash_completion.d.",
    no_options,
    1,
    1,
    false,
    run_completion,
};
