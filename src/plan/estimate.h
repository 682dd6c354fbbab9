/* estimate.h - how long a task will run and how much memory it takes, learnt from finished attempts. Not thread safe; pure otherwise.
 *
 * Levels, most exact first: (type, model or program, device kind, share bucket) -> (type, model or program, device kind)
 * -> (type, device kind) -> prior. A (type, model) never seen on the kind but on others is completed from those and from like
 * names (complete.h). Each level is shrunk to the next by n / (n + k). Times are modelled as log-normal:
 * p50 = exp(mu), p95 = exp(mu + 1.645 sigma), mean = exp(mu + sigma^2/2).
 * Time at a share not seen is scaled by 1/share from a share that was (compute-bound upper bound). */
#pragma once
#include "model/task.h"

struct fg_estimate {
    int64_t mean_ns, p50_ns, p95_ns;     /* run time */
    uint64_t memory_peak_bytes;          /* largest seen at the most exact level, 0: none */
    uint32_t samples;                    /* at the most exact level that has any */
    uint16_t confidence_permille;        /* 0: prior only */
};
struct fg_history;
struct fg_history *fg_history_create(void);
void fg_history_destroy(struct fg_history *h);
/* Learn from an attempt that ran to its own end (succeeded, or failed by user_error). Others teach nothing about time.
 * What succeeded teaches how much memory is enough; oom_host and oom_vram teach that it was too small. */
void fg_history_observe(struct fg_history *h, const struct fg_spec *spec, const char *device_kind, uint32_t share_permille,
                        const struct fg_outcome *outcome);
void fg_estimate(const struct fg_history *h, const struct fg_spec *spec, const char *device_kind, uint32_t share_permille,
                 struct fg_estimate *ret);
/* Slice size for what the spec leaves open: memory from past peaks + 25 %, not below the type's prior until there were five; share by class. */
void fg_propose_need(const struct fg_history *h, const struct fg_spec *spec, enum fg_class class, struct fg_need *ret);
/* Persistence: changed entries since the last call as (key, JSON) through fn, and one entry back. */
void fg_history_changes(struct fg_history *h, void (*fn)(void *arg, const char *key, const char *doc), void *arg);
int fg_history_load(struct fg_history *h, const char *key, const char *doc, struct fg_error *err);
