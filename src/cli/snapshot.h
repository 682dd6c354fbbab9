/* snapshot.h - a folder as it is now, uploaded by content: each file a blob, and a manifest that lists them, a blob too:
 *
 *   {"files": [{"path": "src/a.py", "blob": "blob:SHA256", "mode": 420, "size": 12}], "dirs": ["empty/folder"]}
 *
 * What the server has is not sent again, so a second submit of the same folder sends nothing. */
#pragma once
#include "cli/cli.h"

struct cli_file { char *path; uint64_t size; unsigned mode; };
struct cli_folder {
    FG_VEC(struct cli_file) files;       /* sorted by path */
    FG_VEC(char *) dirs;                 /* empty ones, sorted */
    uint64_t bytes;
};
/* List root less what .fgpuignore names. More than max_files or max_bytes is FG_E_TOO_LARGE; a link that leaves the
 * folder, or to a folder, FG_E_INVALID. 0: no limit. */
int cli_folder_scan(const char *root, size_t max_files, uint64_t max_bytes, struct cli_folder *ret, struct fg_error *err);
void cli_folder_fini(struct cli_folder *folder);
/* Upload what is missing and the manifest, whose hash is returned. */
int cli_folder_upload(struct cli *cli, const char *root, const struct cli_folder *folder, char ret_sha256[65], struct fg_error *err);
