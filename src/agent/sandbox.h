/* sandbox.h - what a task sees: the system read-only, a /tmp and /run of its own, its folder at /work, what it gives back
 * at /out; no network, no other process, no way to more rights. Made by bubblewrap; this writes its arguments. */
#pragma once
#include "base/error.h"
#include "base/str.h"
#include "base/vec.h"

/* Append the options every sandbox has, NUL separated: namespaces, system folders that exist here. hide: folders that
 * must not show even when they lie below a system folder (data, config); NULL entries are skipped. */
void sandbox_base(struct fg_str *out, const char *const *hide, size_t n);
/* Options, NUL separated. */
void sandbox_bind(struct fg_str *out, bool writable, const char *from, const char *to);
void sandbox_env(struct fg_str *out, const char *name, const char *value);

/* The system calls no task may make, as a BPF program in a sealed memory file; the descriptor, or -1. */
int sandbox_filter(struct fg_error *err);
