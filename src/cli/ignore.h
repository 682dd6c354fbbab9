/* ignore.h - which files of a folder are not uploaded: .fgpuignore, in the language of .gitignore; the Python SDK reads it alike.
 *
 * A line is a glob: * and ? stay within a name, ** crosses folders, [ab] is one of; a trailing / means folders only; a /
 * elsewhere ties it to the top; ! takes a file back; # is a comment. The last line that matches decides. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include "base/vec.h"

struct cli_ignore_rule { char *glob; bool keeps, folders_only, anchored; };
struct cli_ignore { FG_VEC(struct cli_ignore_rule) rules; };
void cli_ignore_init(struct cli_ignore *ig);     /* with the rule ".git/" */
void cli_ignore_add(struct cli_ignore *ig, const char *text, size_t n);   /* lines */
void cli_ignore_fini(struct cli_ignore *ig);
/* Whether path (relative, with /) is left out. Folders above it are the caller's to ask first. */
bool cli_ignore_drops(const struct cli_ignore *ig, const char *path, bool is_folder);
bool cli_glob(const char *glob, const char *path);
