/* classify.c - the rules of classify.h, top to bottom. */
#include "plan/classify.h"

#include "base/mem.h"
#include "base/units.h"

#define HOUR_NS (3600 * FG_NS_PER_S)
#define MINUTE_NS (60 * FG_NS_PER_S)

/* Half of the memory or half of the compute: two of these do not share a device with anything else. */
static bool needs_half(const struct fg_need *need, uint64_t largest_memory_bytes)
{
    return need->share_permille >= 500 ||
           (largest_memory_bytes > 0 && need->memory_bytes >= largest_memory_bytes / 2 + largest_memory_bytes % 2);
}

/* The default run limit is a safety net and says nothing of the task; one that was asked for does. What history says
 * comes before a limit over an hour, but not before one under a minute: the task will not outlive it. */
static bool is_long(const struct fg_spec *spec, int64_t expected_ns)
{
    if (expected_ns > 0)
        return expected_ns > HOUR_NS;
    return spec->limits.run_ns > HOUR_NS && spec->limits.run_ns != FG_DEFAULT_RUN_NS;
}

static bool is_short(const struct fg_spec *spec, int64_t expected_ns)
{
    return (expected_ns > 0 && expected_ns < MINUTE_NS) || (spec->limits.run_ns > 0 && spec->limits.run_ns < MINUTE_NS);
}

enum fg_class fg_classify(const struct fg_spec *spec, int64_t expected_ns, uint64_t largest_memory_bytes, enum fg_class_rule *ret_rule)
{
    if (spec->class != FG_CLASS_AUTO)
        return *ret_rule = FG_CLASS_RULE_ASKED, spec->class;
    if (needs_half(&spec->need, largest_memory_bytes))
        return *ret_rule = FG_CLASS_RULE_WHOLE_DEVICE, FG_CLASS_LARGE;
    if (spec->type != FG_TASK_COMMAND)
        return *ret_rule = FG_CLASS_RULE_INFERENCE, FG_CLASS_INTERACTIVE;
    if (is_long(spec, expected_ns) && !is_short(spec, expected_ns))
        return *ret_rule = FG_CLASS_RULE_LONG, FG_CLASS_TRAINING;
    if (is_short(spec, expected_ns))
        return *ret_rule = FG_CLASS_RULE_SHORT, FG_CLASS_INTERACTIVE;
    return *ret_rule = FG_CLASS_RULE_DEFAULT, FG_CLASS_BATCH;
}

const char *fg_class_rule_text(enum fg_class_rule rule)
{
    switch (rule) {
    case FG_CLASS_RULE_ASKED: return "the task names its class";
    case FG_CLASS_RULE_WHOLE_DEVICE: return "it needs at least half of the largest device";
    case FG_CLASS_RULE_INFERENCE: return "it asks a model";
    case FG_CLASS_RULE_LONG: return "its history or its run limit says over an hour";
    case FG_CLASS_RULE_SHORT: return "its history or its run limit says under a minute";
    case FG_CLASS_RULE_DEFAULT: return "no other rule fits";
    }
    return "?";
}
