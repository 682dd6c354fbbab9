/* fields.h - the members of the stored structs: X(KIND, key, member, default). Private to model; expanded by codec.h.
 * A key is forever: documents on disk have it. A new member needs a default that is true of old documents. */
#pragma once

#define FG_SPEC_FIELDS(X) \
    X(TYPE, "type", type, FG_TASK_COMMAND) \
    X(CLASS, "class", class, FG_CLASS_AUTO) \
    X(PRIORITY, "priority", priority, FG_PRIORITY_NORMAL) \
    X(U64, "memory", need.memory_bytes, 0) \
    X(U32, "share", need.share_permille, 0) \
    X(U32, "share_max", need.share_max_permille, 0) \
    X(CHARS, "device_kind", need.device_kind, ) \
    X(U32, "cpus", need.cpus_milli, 0) \
    X(U64, "host_memory", need.host_bytes, 0) \
    X(I64, "queue_limit", limits.queue_ns, 0) \
    X(I64, "startup_limit", limits.startup_ns, FG_DEFAULT_STARTUP_NS) \
    X(I64, "run_limit", limits.run_ns, FG_DEFAULT_RUN_NS) \
    X(I64, "max_cost", limits.max_cost_nanousd, 0) \
    X(U16, "retries", retries, 0) \
    X(U8, "retry_on", retry_on, FG_RETRY_INFRA) \
    X(I64, "deadline", limits.deadline_ns, 0) \
    X(BOOL, "hold", hold, false) \
    X(BOOL, "preemptible", preemptible, false) \
    X(BOOL, "spot", spot, false) \
    X(BOOL, "gang", gang, false) \
    X(TASK, "array", array, ) \
    X(U32, "array_index", array_index, 0) \
    X(U32, "array_size", array_size, 0) \
    X(TEXT, "name", name, ) \
    X(TEXT, "model", model, ) \
    X(TEXT, "program", program, )

#define FG_USAGE_FIELDS(X) \
    X(U32, "seq", seq, 0) \
    X(I64, "device_ns", device_ns, 0) \
    X(I64, "wall_ns", wall_ns, 0) \
    X(U64, "memory_peak", memory_peak_bytes, 0) \
    X(I64, "throttled_ns", throttled_ns, 0) \
    X(U64, "denied", denied, 0)

#define FG_OUTCOME_FIELDS(X) \
    X(STATE, "state", state, FG_STATE_QUEUED) \
    X(REASON, "reason", reason, FG_REASON_NONE) \
    X(INT, "exit_code", exit_code, 0) \
    X(INT, "signal", signal, 0) \
    X(I64, "pull_ns", pull_ns, 0) \
    X(I64, "load_ns", load_ns, 0) \
    X(I64, "run_ns", run_ns, 0) \
    X(TEXT, "detail", detail, ) \
    X(TEXT, "result", result, ) \
    X(TEXT, "outputs", outputs, ) \
    X(TEXT, "log_tail", log_tail, )

#define FG_LEASE_FIELDS(X) \
    X(U32, "device", device, 0) \
    X(NODE, "node", node, ) \
    X(U64, "epoch", epoch, 0) \
    X(U64, "memory", memory_bytes, 0) \
    X(U32, "share", share_permille, 0) \
    X(U32, "lent", lent_permille, 0) \
    X(I64, "resized", resized_ns, 0) \
    X(I64, "lent_us", lent_us, 0) \
    X(BOOL, "borrowed", borrowed, false) \
    X(U32, "parking", parking, 0) \
    X(U64, "parked_bytes", parked_bytes, 0) \
    X(I64, "parked", parked_ns, 0) \
    X(I64, "parked_us", parked_us, 0) \
    X(U32, "moving_to", moving_to, 0) \
    X(U32, "moved_from", moved_from, 0) \
    X(TASK, "moved_for", moved_for, ) \
    X(I64, "granted", granted_ns, 0) \
    X(I64, "deadline", deadline_ns, 0) \
    X(I64, "price_per_s", price_nanousd_per_s, 0) \
    X(U32, "host", host, 0) \
    X(U32, "cpus", cpus_milli, 0) \
    X(U64, "host_memory", host_bytes, 0) \
    X(U32, "host_permille", host_permille, 0) \
    X(I64, "host_price_per_s", host_price_nanousd_per_s, 0) \
    X(LEVEL, "memory_level", memory_level, FG_LEVEL_NONE) \
    X(LEVEL, "share_level", share_level, FG_LEVEL_NONE)

#define FG_PLACED_FIELDS(X) \
    X(U16, "rule", rule, 0) \
    X(I64, "expected_ns", expected_ns, 0) \
    X(I64, "expected_cost", expected_cost_nanousd, 0) \
    X(I64, "runner_up_cost", runner_up_cost_nanousd, 0) \
    X(I64, "third_cost", third_cost_nanousd, 0) \
    X(U32, "second_device", second_device, 0) \
    X(U32, "third_device", third_device, 0) \
    X(I64, "plan_cost", plan_cost_nanousd, 0) \
    X(I64, "plan_bound", plan_bound_nanousd, 0)

#define FG_TASK_FIELDS(X) \
    X(STATE, "state", state, FG_STATE_QUEUED) \
    X(REASON, "reason", reason, FG_REASON_NONE) \
    X(CLASS, "class", class, FG_CLASS_BATCH) \
    X(U16, "class_rule", class_rule, 0) \
    X(U32, "attempt", attempt, 0) \
    X(U16, "retries_left", retries_left, 0) \
    X(BOOL, "held", held, false) \
    X(BOOL, "cancel_requested", cancel_requested, false) \
    X(BOOL, "settled", settled, false) \
    X(BOOL, "lease_live", lease_live, false) \
    X(I64, "submitted", submitted_ns, 0) \
    X(I64, "queued", queued_ns, 0) \
    X(I64, "placed_at", placed_ns, 0) \
    X(I64, "started", started_ns, 0) \
    X(I64, "finished", finished_ns, 0) \
    X(I64, "cost", cost_nanousd, 0) \
    X(TEXT, "idempotency", idempotency, )

#define FG_NODE_FIELDS(X) \
    X(NODE, "id", id, ) \
    X(CHARS, "name", name, ) \
    X(CHARS, "boot_id", boot_id, ) \
    X(BOOL, "connected", connected, false) \
    X(BOOL, "lost", lost, false) \
    X(I64, "seen", seen_ns, 0)

#define FG_DEVICE_FIELDS(X) \
    X(U32, "id", id, 0) \
    X(NODE, "node", node, ) \
    X(CHARS, "name", name, ) \
    X(CHARS, "kind", kind, ) \
    X(CHARS, "backend", backend, ) \
    X(U64, "memory", memory_bytes, 0) \
    X(U32, "units", units, 0) \
    X(DOUBLE, "gflops", gflops, 0) \
    X(LEVEL, "memory_level", memory_level, FG_LEVEL_NONE) \
    X(LEVEL, "share_level", share_level, FG_LEVEL_NONE) \
    X(CHARS, "level_why", level_why, ) \
    X(BOOL, "healthy", healthy, true) \
    X(BOOL, "moves", moves, false)

#define FG_QUEUED_FIELDS(X) \
    X(REASON, "reason", reason, FG_REASON_NONE) \
    X(BOOL, "uses_retry", uses_retry, false) \
    X(I64, "cost", cost_nanousd, 0)
#define FG_CLASSIFIED_FIELDS(X) \
    X(CLASS, "class", class, FG_CLASS_BATCH) \
    X(U16, "rule", rule, 0)
#define FG_STARTED_FIELDS(X) X(I64, "pull_ns", pull_ns, 0)
#define FG_RELEASED_FIELDS(X) X(U64, "epoch", epoch, 0)
#define FG_RESIZED_FIELDS(X) X(U64, "epoch", epoch, 0) X(U32, "lent", lent_permille, 0)
#define FG_PARKED_FIELDS(X) X(U64, "epoch", epoch, 0) X(U32, "device", device, 0) X(U64, "bytes", bytes, 0) X(TASK, "for", whom, )
#define FG_SETTLED_FIELDS(X) \
    X(I64, "cost", cost_nanousd, 0) \
    X(TEXT, "lines", lines, )
#define FG_LOST_FIELDS(X) X(NODE, "node", node, )
#define FG_PRICED_FIELDS(X) \
    X(CHARS, "kind", kind, ) \
    X(I64, "per_s", nanousd_per_s, 0) \
    X(I64, "spot_per_s", spot_nanousd_per_s, 0) \
    X(BOOL, "unset", unset, false)
#define FG_DRAINED_FIELDS(X) \
    X(NODE, "node", node, ) \
    X(U32, "device", device, 0) \
    X(I64, "since", since_ns, 0) \
    X(CHARS, "reason", reason, ) \
    X(BOOL, "now", now, false)
#define FG_WEIGHTED_FIELDS(X) X(U32, "weight", weight, 1)
