/* snapshot.c - list a folder, hash and upload it. One file after another: reading them is what takes the time. */
#include "cli/snapshot.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/api.h"
#include "base/units.h"
#include "cli/ignore.h"

struct scan {
    const char *root;
    char *real_root; /* with a slash at its end */
    struct cli_ignore ignore;
    size_t max_files;
    uint64_t max_bytes;
    struct cli_folder *out;
};

static int fail_hint_ignore(const struct scan *s, struct fg_error *err)
{
    return fg_fail_hint(err, "Name it in %s/.fgpuignore, or copy what it points to.", s->root);
}

/* Links to plain files inside the folder count as those files; all others are refused, never followed silently. */
static int check_link(const struct scan *s, const char *path, const char *full, struct stat *st, struct fg_error *err)
{
    FG_AUTO_FREE char *target = realpath(full, NULL);
    if (!target) {
        fg_fail(err, FG_E_INVALID, "'%s' is a link to nothing", path);
        return fail_hint_ignore(s, err);
    }
    if (!fg_starts_with(target, s->real_root)) {
        fg_fail(err, FG_E_INVALID, "'%s' is a link that leads out of the folder", path);
        return fail_hint_ignore(s, err);
    }
    if (stat(target, st) < 0)
        return fg_fail(err, FG_E_IO, "'%s': %m", path);
    if (!S_ISDIR(st->st_mode))
        return 0;
    fg_fail(err, FG_E_INVALID, "'%s' is a link to a folder; a snapshot holds plain files and folders", path);
    return fail_hint_ignore(s, err);
}

static int add_file(struct scan *s, const char *path, const struct stat *st, struct fg_error *err)
{
    char size[32];
    struct cli_folder *f = s->out;
    f->bytes += (uint64_t)st->st_size;
    if (s->max_files > 0 && f->files.count >= s->max_files)
        return fg_fail(err, FG_E_TOO_LARGE, "'%s' has more than %zu files", s->root, s->max_files);
    if (s->max_bytes > 0 && f->bytes > s->max_bytes)
        return fg_fail(err, FG_E_TOO_LARGE, "'%s' has more than %s; '%s' is where it went over", s->root,
                       fg_format_bytes(size, sizeof size, s->max_bytes), path);
    fg_vec_push(&f->files, ((struct cli_file){fg_strdup(path), (uint64_t)st->st_size, st->st_mode & 0777}));
    return 0;
}

static int scan_folder(struct scan *s, const char *folder, size_t *ret_kept, struct fg_error *err);

/* One entry; *kept is raised when it is in the snapshot. */
static int scan_entry(struct scan *s, const char *folder, const char *name, size_t *kept, struct fg_error *err)
{
    FG_AUTO_FREE char *path = *folder ? fg_asprintf("%s/%s", folder, name) : fg_strdup(name);
    FG_AUTO_FREE char *full = fg_path_join(s->root, path);
    struct stat st;
    if (lstat(full, &st) < 0)
        return fg_fail(err, FG_E_IO, "'%s': %m", full);
    if (cli_ignore_drops(&s->ignore, path, S_ISDIR(st.st_mode)))
        return 0;
    if (!fg_utf8_valid(path, strlen(path)))
        return fg_fail(err, FG_E_INVALID, "the name '%s' is not UTF-8", path);
    if (S_ISLNK(st.st_mode) && check_link(s, path, full, &st, err) < 0)
        return -1;
    if (S_ISDIR(st.st_mode)) {
        size_t below = 0;
        *kept += 1;
        if (scan_folder(s, path, &below, err) < 0)
            return -1;
        if (below == 0)
            fg_vec_push(&s->out->dirs, fg_strdup(path));
        return 0;
    }
    if (!S_ISREG(st.st_mode)) /* sockets, pipes, devices: nothing that could be copied */
        return 0;
    *kept += 1;
    return add_file(s, path, &st, err);
}

static int scan_folder(struct scan *s, const char *folder, size_t *ret_kept, struct fg_error *err)
{
    FG_AUTO_FREE char *full = *folder ? fg_path_join(s->root, folder) : fg_strdup(s->root);
    DIR *dir = opendir(full);
    if (!dir)
        return fg_fail(err, FG_E_INVALID, "folder '%s': %m", full);
    int rc = 0;
    for (struct dirent *e; rc == 0 && (e = readdir(dir));)
        if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
            rc = scan_entry(s, folder, e->d_name, ret_kept, err);
    closedir(dir);
    return rc;
}

static int by_path(const void *a, const void *b)
{
    return strcmp(((const struct cli_file *)a)->path, ((const struct cli_file *)b)->path);
}
static int by_name(const void *a, const void *b) { return strcmp(*(char *const *)a, *(char *const *)b); }

static int read_ignore(struct scan *s, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str text = {0};
    FG_AUTO_FREE char *path = fg_path_join(s->root, ".fgpuignore");
    struct fg_error e = {0};
    cli_ignore_init(&s->ignore);
    if (fg_read_file(path, 1 << 20, &text, &e) == 0)
        cli_ignore_add(&s->ignore, fg_str_cstr(&text), text.len);
    else if (e.code != FG_E_NOT_FOUND)
        return fg_fail(err, FG_E_INVALID, "%s", e.text);
    return 0;
}

int cli_folder_scan(const char *root, size_t max_files, uint64_t max_bytes, struct cli_folder *ret,
                    struct fg_error *err)
{
    struct cli_folder out = {0};
    struct scan s = {.root = root, .max_files = max_files, .max_bytes = max_bytes, .out = &out};
    FG_AUTO_FREE char *real = realpath(root, NULL);
    if (!real)
        return fg_fail(err, FG_E_INVALID, "folder '%s': %m", root);
    s.real_root = fg_asprintf("%s/", fg_streq(real, "/") ? "" : real);
    size_t kept = 0;
    int rc = read_ignore(&s, err) < 0 ? -1 : scan_folder(&s, "", &kept, err);
    cli_ignore_fini(&s.ignore);
    free(s.real_root);
    if (rc < 0) {
        cli_folder_fini(&out);
        return -1;
    }
    if (out.files.count > 0)
        qsort(out.files.items, out.files.count, sizeof *out.files.items, by_path);
    if (out.dirs.count > 0)
        qsort(out.dirs.items, out.dirs.count, sizeof *out.dirs.items, by_name);
    *ret = out;
    return 0;
}

void cli_folder_fini(struct cli_folder *folder)
{
    for (size_t i = 0; i < folder->files.count; i++)
        free(folder->files.items[i].path);
    for (size_t i = 0; i < folder->dirs.count; i++)
        free(folder->dirs.items[i]);
    fg_vec_fini(&folder->files);
    fg_vec_fini(&folder->dirs);
}

/* The size in the manifest is that of the bytes that were hashed, should the file have grown since it was listed. */
static int upload_one(struct cli *cli, const char *root, const struct cli_file *file, json_t *rows,
                      struct fg_error *err)
{
    char sha256[65];
    uint64_t size;
    FG_AUTO_FREE char *full = fg_path_join(root, file->path);
    if (cli_blob_put_file(cli, full, sha256, &size, err) < 0)
        return -1;
    FG_AUTO_FREE char *blob = fg_asprintf("blob:%s", sha256);
    json_array_append_new(rows, json_pack("{s:s, s:s, s:i, s:I}", "path", file->path, "blob", blob, "mode",
                                          (int)file->mode, "size", (json_int_t)size));
    return 0;
}

int cli_folder_upload(struct cli *cli, const char *root, const struct cli_folder *folder, char ret_sha256[65],
                      struct fg_error *err)
{
    FG_AUTO_JSON json_t *manifest = json_pack("{s:[], s:[]}", "files", "dirs");
    FG_AUTO_STR struct fg_str text = {0};
    for (size_t i = 0; i < folder->files.count; i++)
        if (upload_one(cli, root, &folder->files.items[i], json_object_get(manifest, "files"), err) < 0)
            return -1;
    for (size_t i = 0; i < folder->dirs.count; i++)
        json_array_append_new(json_object_get(manifest, "dirs"), json_string(folder->dirs.items[i]));
    fg_json_dump(manifest, &text);
    return cli_blob_put_bytes(cli, text.data, text.len, ret_sha256, err);
}
