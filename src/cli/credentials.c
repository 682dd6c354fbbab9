/* credentials.c - the file has two lines, `url: URL` and `key: KEY`; the server keeps it (control/auth.h). */
#include "cli/credentials.h"

#include <stdlib.h>
#include <string.h>

#include "base/config.h"
#include "base/io.h"
#include "base/mem.h"
#include "base/str.h"

#define DEFAULT_URL "http://127.0.0.1:8470"

/* The value of "name:" in text, or NULL; the caller's to free. */
static char *line_value(const char *text, const char *name)
{
    size_t n = strlen(name);
    for (const char *p = text; *p; p += strcspn(p, "\n"), p += *p == '\n') {
        if (strncmp(p, name, n) != 0 || p[n] != ':')
            continue;
        p += n + 1;
        p += strspn(p, " \t\"'");
        size_t len = strcspn(p, " \t\"'\r\n");
        return len > 0 ? fg_strndup(p, len) : NULL;
    }
    return NULL;
}

static int read_key_file(const char *path, struct cli_credentials *c, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str text = {0};
    if (fg_read_file(path, 65536, &text, err) < 0) {
        if (err)
            err->code = FG_E_INVALID; /* a wrong flag, not a missing task */
        return fg_fail_prefix(err, "--key-file");
    }
    const char *t = fg_str_cstr(&text);
    char *named = line_value(t, "key");
    t += strspn(t, " \t\r\n");
    c->key = named ? named : fg_strndup(t, strcspn(t, " \t\r\n"));
    c->key_origin = fg_strdup(path);
    return *c->key ? 0 : fg_fail(err, FG_E_INVALID, "--key-file: '%s' holds no key", path);
}

static void read_usual_file(struct cli_credentials *c)
{
    FG_AUTO_FREE char *folder = fg_config_folder(), *path = fg_path_join(folder, "credentials");
    FG_AUTO_STR struct fg_str text = {0};
    if (fg_read_file(path, 65536, &text, NULL) < 0)
        return;
    if (!c->url)
        c->url = line_value(fg_str_cstr(&text), "url");
    if (!c->key && (c->key = line_value(fg_str_cstr(&text), "key")))
        c->key_origin = fg_take_ptr(path);
}

static int check_url(struct cli_credentials *c, struct fg_error *err)
{
    size_t n = strlen(c->url);
    while (n > 0 && c->url[n - 1] == '/')
        c->url[--n] = 0;
    if (fg_starts_with(c->url, "http://") || fg_starts_with(c->url, "https://"))
        return 0;
    fg_fail(err, FG_E_INVALID, "'%s' is not an address of a server", c->url);
    return fg_fail_hint(err, "It looks like %s.", DEFAULT_URL);
}

int cli_credentials_find(const char *url, const char *key_file, struct cli_credentials *ret, struct fg_error *err)
{
    const char *env_url = getenv("FGPU_URL"), *env_key = getenv("FGPU_API_KEY");
    struct cli_credentials c = {0};
    c.url = fg_strdup(url ? url : env_url && *env_url ? env_url : NULL);
    int rc = key_file ? read_key_file(key_file, &c, err) : 0;
    if (rc == 0 && !c.key && env_key && *env_key) {
        c.key = fg_strdup(env_key);
        c.key_origin = fg_strdup("FGPU_API_KEY");
    }
    read_usual_file(&c);
    if (!c.url)
        c.url = fg_strdup(DEFAULT_URL);
    if (rc < 0 || check_url(&c, err) < 0) {
        cli_credentials_fini(&c);
        return -1;
    }
    *ret = c;
    return 0;
}

void cli_credentials_fini(struct cli_credentials *c)
{
    free(c->url);
    free(c->key);
    free(c->key_origin);
    *c = (struct cli_credentials){0};
}
