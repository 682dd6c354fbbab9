/* classify.h - what class of work a task is, by numbered rules tried in order; the first that fits decides. Pure. Any thread. */
#pragma once
#include "model/task.h"

enum fg_class_rule {
    FG_CLASS_RULE_ASKED = 1,             /* 1 the spec names it */
    FG_CLASS_RULE_WHOLE_DEVICE,          /* 2 needs at least half of the largest device: large */
    FG_CLASS_RULE_INFERENCE,             /* 3 a model task: interactive */
    FG_CLASS_RULE_LONG,                  /* 4 history or run limit says over an hour: training */
    FG_CLASS_RULE_SHORT,                 /* 5 history or run limit says under a minute: interactive */
    FG_CLASS_RULE_DEFAULT                /* 6 batch */
};
/* expected_ns 0: unknown. largest_memory_bytes: of the largest device now, 0: none. */
enum fg_class fg_classify(const struct fg_spec *spec, int64_t expected_ns, uint64_t largest_memory_bytes, enum fg_class_rule *ret_rule);
const char *fg_class_rule_text(enum fg_class_rule rule);
