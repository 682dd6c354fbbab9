/* field.h - a value of a plan file into a member of a struct, with its line and a remedy when it is wrong. */
#pragma once
#include <yaml.h>

#include "plan/instance/private.h"

struct pending { uint32_t task, count; int node; bool times; };
struct reader {
    yaml_document_t doc;
    struct fg_instance in;
    struct fg_names ids;                 /* of the tasks, then of the vGPUs */
    FG_VEC(uint32_t) id_lines;           /* by number in ids */
    /* kinds may be named before their vGPU: sets and times are filled when all are known */
    FG_VEC(struct pending) pending;
    struct fg_error *err;
};
struct field {
    const char *name;
    int (*read)(struct reader *r, const yaml_node_t *node, const struct field *f, void *obj);
    size_t at;                           /* offset of the member in obj */
    const char *remedy;                  /* NULL: the parser of the value has its own */
};

static inline uint32_t line_of(const yaml_node_t *n) { return (uint32_t)n->start_mark.line + 1; }
static inline const char *scalar(const yaml_node_t *n) { return (const char *)n->data.scalar.value; }

/* "line N: NAME what", and the field's remedy as hint. Returns -1. */
int field_fail(struct reader *r, const yaml_node_t *n, const struct field *f, const char *what);
int field_want_scalar(struct reader *r, const yaml_node_t *n, const struct field *f);
typedef int field_read(struct reader *r, const yaml_node_t *n, const struct field *f, void *obj);
field_read field_bytes, field_time, field_money, field_share, field_number, field_positive, field_factor, field_count, field_flag, field_id;
