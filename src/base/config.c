/* config.c - four layers are laid over each other, weakest first: defaults, file, environment, flags. Every layer is
 * checked in full, so a wrong line in the file is found even while a flag hides it. */
#include "base/config.h"

#include <ctype.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <yaml.h>

#include "api_config.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/units.h"

enum setting_type { FG_SETTING_STRING, FG_SETTING_PATH, FG_SETTING_INTEGER, FG_SETTING_BYTES, FG_SETTING_MONEY };

static const struct setting {
    const char *key;
    enum setting_type type;
    const char *fallback;
    int64_t min, max; /* both 0: no bounds */
} settings[] = {
#define X(key, type, fallback, min, max, doc) {key, type, fallback, min, max},
    FG_SETTING_LIST(X)
#undef X
};
#define SETTING_COUNT FG_COUNT(settings)

struct value {
    char *text;
    int64_t number; /* of the types that are numbers */
    char *origin;
};

struct fg_config {
    struct value values[SETTING_COUNT];
};

static int find_key(const char *key)
{
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (fg_streq(settings[i].key, key))
            return (int)i;
    return -1;
}

static int parse_number(const struct setting *s, const char *text, int64_t *ret, struct fg_error *err)
{
    if (s->type == FG_SETTING_MONEY)
        return fg_parse_money(text, ret, err);
    if (s->type == FG_SETTING_INTEGER)
        return fg_parse_int(text, INT64_MIN, INT64_MAX, ret, err);
    uint64_t bytes;
    if (fg_parse_bytes(text, &bytes, err) < 0)
        return -1;
    *ret = bytes > INT64_MAX ? INT64_MAX : (int64_t)bytes;
    return 0;
}

static int check_value(const struct setting *s, const char *text, int64_t *ret, struct fg_error *err)
{
    if (s->type == FG_SETTING_STRING || s->type == FG_SETTING_PATH)
        return 0;
    if (parse_number(s, text, ret, err) < 0)
        return -1;
    if ((s->min != 0 || s->max != 0) && (*ret < s->min || *ret > s->max))
        return fg_fail(err, FG_E_INVALID, "%s is not within %lld to %lld", text, (long long)s->min, (long long)s->max);
    return 0;
}

/* A path that starts with "~/" means the user's home in every layer, as the shell does it for flags only. */
static char *expand(const struct setting *s, const char *text)
{
    const char *home = getenv("HOME");
    bool tilde = s->type == FG_SETTING_PATH && fg_starts_with(text, "~/") && home;
    return tilde ? fg_path_join(home, text + 2) : fg_strdup(text);
}

/* origin is copied; on failure the old value stays and the error says where the bad one came from. */
static int set_value(struct fg_config *c, int i, const char *text, const char *origin, struct fg_error *err)
{
    int64_t number = 0;
    if (check_value(&settings[i], text, &number, err) < 0) {
        fg_fail_prefix(err, "%s: %s", origin, settings[i].key);
        return fg_fail_at(err, "%s", origin);
    }
    struct value *v = &c->values[i];
    char *fresh = expand(&settings[i], text);
    free(v->text);
    free(v->origin);
    *v = (struct value){.text = fresh, .number = number, .origin = fg_strdup(origin)};
    return 0;
}

static int fail_unknown(const char *key, const char *origin, struct fg_error *err)
{
    const char *keys[SETTING_COUNT];
    for (size_t i = 0; i < SETTING_COUNT; i++)
        keys[i] = settings[i].key;
    const char *nearest = fg_nearest(key, keys, SETTING_COUNT);
    fg_fail(err, FG_E_INVALID, "%s: unknown key '%s'", origin, key);
    fg_fail_at(err, "%s", origin);
    return nearest ? fg_fail_hint(err, "Did you mean '%s'?", nearest) : -1;
}

/* The file: mappings whose leaves are scalars; "price: {cpu_usd_per_hour: 1}" and "price.cpu_usd_per_hour: 1" say
 * the same. Nothing else of YAML is taken: a list, an anchor or a second document is a mistake here. */
struct reader {
    yaml_parser_t parser;
    const char *file;
    struct fg_config *config;
    size_t line_of[SETTING_COUNT]; /* where the key stood, 0 while it has not come */
};
#define MAX_NESTING 8

static int fail_line(const struct reader *r, size_t line, struct fg_error *err, const char *what)
{
    fg_fail(err, FG_E_MALFORMED, "%s:%zu: %s", r->file, line, what);
    return fg_fail_at(err, "%s:%zu", r->file, line);
}

/* The next event, which the caller deletes. */
static int next_event(struct reader *r, yaml_event_t *event, struct fg_error *err)
{
    if (yaml_parser_parse(&r->parser, event))
        return 0;
    const char *problem = r->parser.problem ? r->parser.problem : "not YAML";
    size_t line = r->parser.problem_mark.line + 1;
    return fail_line(r, line, err, problem);
}

static int read_scalar(struct reader *r, const char *key, const char *text, size_t line, struct fg_error *err)
{
    FG_AUTO_FREE char *origin = fg_asprintf("%s:%zu", r->file, line);
    int i = find_key(key);
    if (i < 0)
        return fail_unknown(key, origin, err);
    if (r->line_of[i] > 0) {
        fg_fail(err, FG_E_MALFORMED, "%s: duplicate key '%s', first on line %zu", origin, key, r->line_of[i]);
        return fg_fail_at(err, "%s", origin);
    }
    r->line_of[i] = line;
    return set_value(r->config, i, text, origin, err);
}

static int read_mapping(struct reader *r, const char *prefix, int depth, struct fg_error *err);

/* The value of key is a scalar or a mapping. line is the key's: a block's value may start further down. */
static int read_value(struct reader *r, const char *key, size_t line, int depth, struct fg_error *err)
{
    yaml_event_t event;
    if (next_event(r, &event, err) < 0)
        return -1;
    int rc;
    if (event.type == YAML_SCALAR_EVENT && strlen((char *)event.data.scalar.value) != event.data.scalar.length)
        rc = fail_line(r, line, err, "the value holds a NUL");
    else if (event.type == YAML_SCALAR_EVENT)
        rc = read_scalar(r, key, (char *)event.data.scalar.value, line, err);
    else if (event.type == YAML_MAPPING_START_EVENT)
        rc = read_mapping(r, key, depth + 1, err);
    else
        rc = fail_line(r, line, err, "a value is a text, a number or a mapping, not a list or an alias");
    yaml_event_delete(&event);
    return rc;
}

/* One "key: value"; *end is set when the mapping ends instead. */
static int read_pair(struct reader *r, const char *prefix, int depth, bool *end, struct fg_error *err)
{
    yaml_event_t event;
    if (next_event(r, &event, err) < 0)
        return -1;
    int rc = 0;
    size_t line = event.start_mark.line + 1;
    *end = event.type == YAML_MAPPING_END_EVENT;
    if (event.type == YAML_SCALAR_EVENT) {
        FG_AUTO_FREE char *key = fg_asprintf("%s%s%s", prefix, *prefix ? "." : "", (char *)event.data.scalar.value);
        rc = read_value(r, key, line, depth, err);
    } else if (!*end) {
        rc = fail_line(r, line, err, "a key must be a word");
    }
    yaml_event_delete(&event);
    return rc;
}

/* After its start, up to its end. */
static int read_mapping(struct reader *r, const char *prefix, int depth, struct fg_error *err)
{
    bool end = false;
    if (depth > MAX_NESTING)
        return fail_line(r, r->parser.mark.line + 1, err, "mappings are nested too deep");
    while (!end)
        if (read_pair(r, prefix, depth, &end, err) < 0)
            return -1;
    return 0;
}

/* An empty file, or one of comments only, is a stream without a document. */
static int read_document(struct reader *r, struct fg_error *err)
{
    bool seen = false;
    for (;;) {
        yaml_event_t event;
        if (next_event(r, &event, err) < 0)
            return -1;
        yaml_event_type_t type = event.type;
        size_t line = event.start_mark.line + 1;
        bool empty = type == YAML_SCALAR_EVENT && event.data.scalar.length == 0;
        yaml_event_delete(&event);
        if (type == YAML_STREAM_END_EVENT)
            return 0;
        if (type == YAML_DOCUMENT_START_EVENT && seen)
            return fail_line(r, line, err, "a second document; one is expected");
        seen |= type == YAML_DOCUMENT_START_EVENT;
        if (type == YAML_MAPPING_START_EVENT && read_mapping(r, "", 0, err) < 0)
            return -1;
        if (type == YAML_SEQUENCE_START_EVENT || type == YAML_ALIAS_EVENT || (type == YAML_SCALAR_EVENT && !empty))
            return fail_line(r, line, err, "lines of the form 'key: value' are expected");
    }
}

static int read_yaml(struct fg_config *c, const char *file, const struct fg_str *text, struct fg_error *err)
{
    struct reader r = {.file = file, .config = c};
    if (!yaml_parser_initialize(&r.parser))
        return fg_fail(err, FG_E_NOMEM, "no memory for the YAML parser");
    yaml_parser_set_input_string(&r.parser, (const unsigned char *)fg_str_cstr(text), text->len);
    int rc = read_document(&r, err);
    yaml_parser_delete(&r.parser);
    return rc;
}

/* A file that was named must be there; the one in the user's folder may be missing. */
static int load_file(struct fg_config *c, const char *file, struct fg_error *err)
{
    const char *env = getenv("FGPU_CONFIG");
    FG_AUTO_FREE char *folder = fg_config_folder(), *usual = fg_path_join(folder, "config.yaml");
    FG_AUTO_STR struct fg_str text = {0};
    const char *path = file ? file : env && *env ? env : usual;
    struct fg_error e = {0};
    if (fg_read_file(path, 1 << 20, &text, &e) == 0)
        return read_yaml(c, path, &text, err);
    if (path == usual && e.code == FG_E_NOT_FOUND)
        return 0;
    if (err)
        *err = e;
    return fg_fail_prefix(err, "configuration");
}

/* FGPU_ and the key in upper case, with _ for the points. An empty variable counts as not set, as is usual. */
static int load_environment(struct fg_config *c, struct fg_error *err)
{
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        FG_AUTO_FREE char *name = fg_asprintf("FGPU_%s", settings[i].key);
        for (char *p = name; *p; p++)
            *p = *p == '.' ? '_' : (char)toupper((unsigned char)*p);
        const char *text = getenv(name);
        if (text && *text && set_value(c, (int)i, text, name, err) < 0)
            return -1;
    }
    return 0;
}

static int load_flag(struct fg_config *c, const char *flag, struct fg_error *err)
{
    const char *equals = strchr(flag, '=');
    if (!equals) {
        fg_fail(err, FG_E_INVALID, "flag: '%s' is not key=value", flag);
        return fg_fail_at(err, "flag");
    }
    FG_AUTO_FREE char *key = fg_strndup(flag, (size_t)(equals - flag));
    int i = find_key(key);
    return i < 0 ? fail_unknown(key, "flag", err) : set_value(c, i, equals + 1, "flag", err);
}

static int load_layers(struct fg_config *c, const char *file, const char *const *flags, size_t n, struct fg_error *err)
{
    for (size_t i = 0; i < SETTING_COUNT; i++)
        if (set_value(c, (int)i, settings[i].fallback, "default", err) < 0)
            return -1;
    if (load_file(c, file, err) < 0 || load_environment(c, err) < 0)
        return -1;
    for (size_t i = 0; i < n; i++)
        if (load_flag(c, flags[i], err) < 0)
            return -1;
    return 0;
}

int fg_config_load(const char *file, const char *const *flags, size_t n, struct fg_config **ret, struct fg_error *err)
{
    struct fg_config *c = fg_alloc(sizeof *c);
    if (load_layers(c, file, flags, n, err) < 0) {
        fg_config_destroy(c);
        return -1;
    }
    *ret = c;
    return 0;
}

void fg_config_destroy(struct fg_config *config)
{
    if (!config)
        return;
    for (size_t i = 0; i < SETTING_COUNT; i++) {
        free(config->values[i].text);
        free(config->values[i].origin);
    }
    free(config);
}

static const struct value *value_of(const struct fg_config *config, const char *key, bool number)
{
    int i = find_key(key);
    if (i < 0 || (number && settings[i].type < FG_SETTING_INTEGER)) {
        fprintf(stderr, "fastgpu: setting '%s' is not in api/config.toml%s\n", key, number ? " as a number" : "");
        abort();
    }
    return &config->values[i];
}

const char *fg_config_str(const struct fg_config *config, const char *key)
{
    return value_of(config, key, false)->text;
}

int64_t fg_config_int(const struct fg_config *config, const char *key) { return value_of(config, key, true)->number; }

const char *fg_config_origin(const struct fg_config *config, const char *key)
{
    return value_of(config, key, false)->origin;
}

/* The XDG specification tells to ignore a relative path. */
char *fg_config_folder(void)
{
    const char *xdg = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
    if (xdg && *xdg == '/')
        return fg_path_join(xdg, "fastgpu");
    if (!home || !*home) {
        const struct passwd *user = getpwuid(getuid());
        home = user ? user->pw_dir : "/";
    }
    return fg_path_join(home, ".config/fastgpu");
}
