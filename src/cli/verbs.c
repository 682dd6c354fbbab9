/* verbs.c - what fgpu can do, in the order in which help and manual show it. */
#include <string.h>

#include "cli/cli.h"

/* clang-format off */
#define VERB_LIST(X)                                                                                                   \
    X(up) X(down) X(doctor) X(serve) X(agent) X(run) X(submit) X(quote) X(ps) X(get) X(wait) X(result) X(logs) X(why)  \
    X(events) X(cancel) X(hold) X(release) X(retry) X(devices_list) X(devices_drain) X(devices_resume) X(nodes_list) X(nodes_drain) X(nodes_resume)  \
    X(models_list) X(models_import) X(usage)       \
    X(slice_run) X(slice_ls) X(slice_set) X(slice_arbiter) X(metrics) X(plan) X(simulate) X(keys_list) X(keys_create) X(keys_revoke)  \
    X(tenants_list) X(tenants_set) X(prices_list) X(prices_set)                                                        \
    X(completion) X(help) X(version)
#define GROUP(...) (const struct cli_verb *const[]){__VA_ARGS__, NULL}
/* clang-format on */
#define X(name) extern const struct cli_verb cli_verb_##name;
VERB_LIST(X)
#undef X

#define V(name) &cli_verb_##name
const struct cli_group cli_groups[] = {
    {"Start and check", GROUP(V(up), V(down), V(doctor), V(serve), V(agent))},
    {"Without a server", GROUP(V(slice_run), V(slice_ls), V(slice_set))},
    {"Run tasks", GROUP(V(run), V(submit), V(quote))},
    {"Follow tasks", GROUP(V(ps), V(get), V(wait), V(result), V(logs), V(why), V(events))},
    {"Change tasks", GROUP(V(cancel), V(hold), V(release), V(retry))},
    {"Look at the system", GROUP(V(devices_list), V(nodes_list), V(models_list), V(models_import), V(usage), V(metrics))},
    {"Take machines out of use", GROUP(V(nodes_drain), V(nodes_resume), V(devices_drain), V(devices_resume))},
    {"Plan", GROUP(V(plan), V(simulate))},
    {"Keys, tenants and prices",
     GROUP(V(keys_list), V(keys_create), V(keys_revoke), V(tenants_list), V(tenants_set), V(prices_list), V(prices_set))},
    {"Other", GROUP(V(completion), V(help), V(version))},
    {NULL},
};

const struct cli_verb *cli_verb_at(size_t i)
{
    for (const struct cli_group *g = cli_groups; g->title; g++)
        for (const struct cli_verb *const *v = g->verbs; *v; v++)
            if (i-- == 0)
                return *v;
    return NULL;
}

static const struct cli_verb *find_name(const char *name)
{
    const struct cli_verb *v;
    if (fg_streq(name, cli_verb_slice_arbiter.name)) /* not for people: in no group */
        return &cli_verb_slice_arbiter;
    for (size_t i = 0; (v = cli_verb_at(i)); i++)
        if (fg_streq(v->name, name))
            return v;
    return NULL;
}

/* The first verb of the family that word names: `fgpu models` is `fgpu models list`. */
static const struct cli_verb *find_family(const char *word)
{
    const struct cli_verb *v;
    size_t n = strlen(word);
    for (size_t i = 0; (v = cli_verb_at(i)); i++)
        if (strncmp(v->name, word, n) == 0 && v->name[n] == ' ')
            return v;
    return NULL;
}

static const struct cli_verb *fail_unknown(const char *name, const char *family, struct fg_error *err)
{
    const char *names[64];
    size_t n = 0;
    for (const struct cli_verb *v; n < FG_COUNT(names) && (v = cli_verb_at(n)); n++)
        names[n] = v->name;
    const char *nearest = fg_nearest(name, names, n);
    fg_fail(err, FG_E_INVALID, "unknown verb '%s'", name);
    if (nearest)
        fg_fail_hint(err, "Did you mean 'fgpu %s'?", nearest);
    else
        fg_fail_hint(err, "'fgpu help%s%s' lists the verbs.", family ? " " : "", family ? family : "");
    return NULL;
}

const struct cli_verb *cli_verb_find(char **words, size_t *ret_used, struct fg_error *err)
{
    const struct cli_verb *family = find_family(words[0]);
    *ret_used = 1;
    if (!family) {
        const struct cli_verb *v = find_name(words[0]);
        return v ? v : fail_unknown(words[0], NULL, err);
    }
    if (!words[1] || words[1][0] == '-')
        return family;
    FG_AUTO_FREE char *both = fg_asprintf("%s %s", words[0], words[1]);
    *ret_used = 2;
    const struct cli_verb *v = find_name(both);
    return v ? v : fail_unknown(both, words[0], err);
}
