/* parse.c - a plan file: YAML to an instance. Every value is checked where it stands, so an error has a line and a remedy. */
#include <stdio.h>
#include <string.h>

#include "base/str.h"
#include "base/units.h"
#include "plan/instance/field.h"

static int read_word(struct reader *r, const yaml_node_t *n, const struct field *f, void *obj, struct fg_names *names)
{
    if (field_want_scalar(r, n, f) < 0)
        return -1;
    *(uint32_t *)((char *)obj + f->at) = fg_names_add(names, scalar(n), NULL);
    return 0;
}
#define WORD(which) \
    static int read_##which(struct reader *r, const yaml_node_t *n, const struct field *f, void *obj) { return read_word(r, n, f, obj, &r->in.which##s); }
WORD(kind) WORD(tenant) WORD(type) WORD(group) WORD(gang)

static int read_choice(struct reader *r, const yaml_node_t *n, const struct field *f, const char *const *names, size_t count, unsigned *ret)
{
    if (field_want_scalar(r, n, f) < 0)
        return -1;
    for (size_t x = 0; x < count; x++)
        if (fg_streq(scalar(n), names[x])) {
            *ret = (unsigned)x;
            return 0;
        }
    return field_fail(r, n, f, "has a value that is not known");
}
static int read_isolation(struct reader *r, const yaml_node_t *n, const struct field *f, void *obj)
{
    static const char *const names[] = {"shared", "tenant", "alone"};
    unsigned v = 0;
    if (read_choice(r, n, f, names, 3, &v) < 0)
        return -1;
    ((struct fg_instance_task *)obj)->isolation = (enum fg_isolation)v;
    return 0;
}
static int read_model(struct reader *r, const yaml_node_t *n, const struct field *f, void *obj)
{
    static const char *const names[] = {"written", "fixed", "work"};
    unsigned v = 0;
    if (read_choice(r, n, f, names, 3, &v) < 0)
        return -1;
    r->in.cost_model = (enum fg_cost_model)v;
    return 0;
}
static int read_run(struct reader *r, const yaml_node_t *n, const struct field *f, void *obj)
{
    static const char *const names[] = {"in_turn", "at_once"};
    unsigned v = 0;
    if (read_choice(r, n, f, names, 2, &v) < 0)
        return -1;
    r->in.at_once = v == 1;
    return 0;
}
static int put_off(struct reader *r, const yaml_node_t *n, bool times)
{
    fg_vec_push(&r->pending, (struct pending){(uint32_t)r->in.tasks.count, 1, (int)(n - r->doc.nodes.start) + 1, times});
    return 0;
}
static int read_kinds(struct reader *r, const yaml_node_t *n, const struct field *f, void *obj)
{
    if (n->type != YAML_SEQUENCE_NODE || n->data.sequence.items.start == n->data.sequence.items.top)
        return field_fail(r, n, f, "should be a list of kinds");
    return put_off(r, n, false);
}
static int read_times(struct reader *r, const yaml_node_t *n, const struct field *f, void *obj)
{
    if (n->type != YAML_MAPPING_NODE || n->data.mapping.pairs.start == n->data.mapping.pairs.top)
        return field_fail(r, n, f, "should be a mapping of kinds to times");
    return put_off(r, n, true);
}

#define T(member) offsetof(struct fg_instance_task, member)
#define V(member) offsetof(struct fg_instance_vgpu, member)
#define I(member) offsetof(struct fg_instance, member)
static const struct field task_fields[] = {
    {"id", field_id, T(id), "Give every task a name of its own, e.g. id: train-1."},
    {"memory", field_bytes, T(memory_bytes), "Write a size, e.g. memory: 4GB."},
    {"time", field_time, T(time_ns), "Write how long it runs, e.g. time: 90m; or times: or work: in its place."},
    {"times", read_times, 0, "Write e.g. times: {a100: 1h, t4: 3h}."},
    {"work", field_positive, T(work_gflop), "Write Gflop, e.g. work: 360000, or with a unit: 360 Tflop."},
    {"share", field_share, T(share_permille), "Write percent of a vGPU's compute, 0.1 to 100, e.g. share: 25."},
    {"deadline", field_time, T(deadline_ns), "Write by when it should have ended, from the start of the plan, e.g. deadline: 8h."},
    {"budget", field_money, T(budget_nanousd), "Write US dollars, e.g. budget: 2.50."},
    {"group", read_group, T(group), "Write a name; tasks of one group are planned all or none."},
    {"gang", read_gang, T(gang), "Write a name; tasks of one gang are planned all or none and start together."},
    {"kinds", read_kinds, 0, "Write e.g. kinds: [a100, t4]."},
    {"tenant", read_tenant, T(tenant), "Write a name."},
    {"type", read_type, T(type), "Write a name; interference is told by type."},
    {"isolation", read_isolation, T(isolation), "Write shared, tenant (only beside the same tenant) or alone."},
    {"spot", field_flag, T(spot), "Write spot: true where the task may be interrupted and start again."},
    {"count", field_count, T(count), "Write how many such tasks there are, 1 to 1000000."},
};
static const struct field vgpu_fields[] = {
    {"id", field_id, V(id), "Give every vGPU a name of its own, e.g. id: gpu-1."},
    {"memory", field_bytes, V(memory_bytes), "Write a size, e.g. memory: 16GB."},
    {"gflops", field_positive, V(gflops), "Write a speed in Gflop/s, e.g. gflops: 200."},
    {"kind", read_kind, V(kind), "Write a name; tasks choose kinds by it."},
    {"price", field_money, V(price_nanousd_per_h), "Write US dollars per hour, e.g. price: 0.40."},
    {"spot", field_money, V(spot_nanousd_per_h), "Write US dollars per hour, e.g. spot: 0.12."},
    {"interruptions", field_number, V(interruptions_per_h), "Write how often an hour spot is taken back, e.g. interruptions: 0.05."},
    {"capacity", field_count, V(capacity), "Write how many tasks it runs at a time, e.g. capacity: 4."},
    {"count", field_count, V(count), "Write how many such vGPUs there are."},
};
static const struct field pair_fields[] = {
    {"types", NULL, 0, "Write two types, e.g. types: [bert, resnet]."},
    {"slowdown", field_factor, offsetof(struct fg_slowdown, factor), "Write how many times longer one takes beside the other, e.g. slowdown: 1.3."},
};

static const struct field top_fields[9];

static yaml_node_t *node_at(struct reader *r, int index) { return yaml_document_get_node(&r->doc, index); }

static void hint_keys(struct reader *r, const char *const *names, size_t n)
{
    FG_AUTO_STR struct fg_str list = {0};
    for (size_t x = 0; x < n; x++)
        fg_str_addf(&list, "%s%s", x ? ", " : "", names[x]);
    fg_fail_hint(r->err, "Known here: %s.", fg_str_cstr(&list));
}

static const struct field *find_field(struct reader *r, const struct field *fields, size_t n, const yaml_node_t *key, const char *where)
{
    const char *names[32];
    for (size_t x = 0; x < n; x++) {
        names[x] = fields[x].name;
        if (key->type == YAML_SCALAR_NODE && fg_streq(scalar(key), names[x]))
            return &fields[x];
    }
    const char *word = key->type == YAML_SCALAR_NODE ? scalar(key) : "", *nearest = fg_nearest(word, names, n);
    fg_fail(r->err, FG_E_INVALID, "line %u: unknown key '%.40s' in %s", line_of(key), word, where);
    if (nearest)
        fg_fail_hint(r->err, "Did you mean '%s'?", nearest);
    else if (fg_streq(word, "<<"))
        fg_fail_hint(r->err, "Keys are not merged here: write them out, or give one line a count.");
    else
        hint_keys(r, names, n);
    return NULL;
}

static int fail_twice(struct reader *r, const yaml_node_t *key, const struct field *f)
{
    fg_fail(r->err, FG_E_INVALID, "line %u: %s is there twice", line_of(key), f->name);
    return fg_fail_hint(r->err, "Keep one of them.");
}

/* Each key of a mapping at most once, each by its field. */
static int read_mapping(struct reader *r, const yaml_node_t *map, const struct field *fields, size_t n, const char *where, void *obj)
{
    uint32_t seen = 0;
    if (map->type != YAML_MAPPING_NODE) {
        fg_fail(r->err, FG_E_MALFORMED, "line %u: %s should be a mapping of keys to values", line_of(map), where);
        return fg_fail_hint(r->err, fields == top_fields ? "A plan file has the lists tasks: and vgpus:; see examples/three-tasks.yaml."
                                                         : "Write e.g. - {id: a, memory: 4GB, time: 1h}.");
    }
    for (yaml_node_pair_t *p = map->data.mapping.pairs.start; p < map->data.mapping.pairs.top; p++) {
        const yaml_node_t *key = node_at(r, p->key);
        const struct field *f = find_field(r, fields, n, key, where);
        if (!f)
            return -1;
        uint32_t bit = 1u << (f - fields);
        if (seen & bit)
            return fail_twice(r, key, f);
        seen |= bit;
        if (f->read && f->read(r, node_at(r, p->value), f, obj) < 0)
            return -1;
    }
    return 0;
}

/* An id that another has is an error that names both lines. */
static int take_id(struct reader *r, const char *id, uint32_t line)
{
    bool fresh;
    uint32_t number = fg_names_add(&r->ids, id, &fresh);
    if (!fresh) {
        fg_fail(r->err, FG_E_INVALID, "line %u: the id '%s' is already that of line %u", line, id, r->id_lines.items[number]);
        return fg_fail_hint(r->err, "Give each its own id; 'count: N' makes N alike.");
    }
    while (r->id_lines.count <= number)
        fg_vec_push(&r->id_lines, 0u);
    r->id_lines.items[number] = line;
    return 0;
}

static int fail_at(struct reader *r, uint32_t line, const char *what, const char *hint)
{
    fg_fail(r->err, FG_E_INVALID, "line %u: %s", line, what);
    return fg_fail_hint(r->err, "%s", hint);
}

static int check_task(struct reader *r, const struct fg_instance_task *t, bool has_times)
{
    if (!t->id)
        return fail_at(r, t->line, "a task without id", "Add e.g. id: train-1.");
    if (!t->memory_bytes)
        return fail_at(r, t->line, "a task without memory", "Add e.g. memory: 4GB.");
    if ((t->time_ns != 0) + (t->work_gflop > 0) + has_times != 1)
        return fail_at(r, t->line, "a task needs exactly one of time, times and work", "Add e.g. time: 1h, or work: 360000 (Gflop).");
    if (t->gang && t->group)
        return fail_at(r, t->line, "a task has both group and gang", "Keep gang: it is a group that also starts together.");
    return t->isolation == FG_TENANT_ONLY && !t->tenant
        ? fail_at(r, t->line, "isolation: tenant without a tenant", "Add e.g. tenant: alice, or write isolation: alone.") : 0;
}

static int read_task(struct reader *r, const yaml_node_t *n)
{
    struct fg_instance_task t = {.line = line_of(n), .share_permille = 1000, .budget_nanousd = -1, .count = 1};
    size_t first = r->pending.count;
    bool has_times = false;
    int rc = read_mapping(r, n, task_fields, FG_COUNT(task_fields), "a task", &t);
    for (size_t x = first; x < r->pending.count; x++)
        has_times |= r->pending.items[x].times, r->pending.items[x].count = t.count;
    if (rc == 0)
        rc = check_task(r, &t, has_times);
    if (rc == 0 && r->in.tasks.count + t.count > FG_INSTANCE_TASKS_MOST)
        rc = fail_at(r, t.line, "more than 1000000 tasks", "Split the file.");
    for (uint32_t x = 0; rc == 0 && x < t.count; x++) {
        struct fg_instance_task copy = t;
        copy.id = t.count == 1 ? fg_strdup(t.id) : fg_asprintf("%s-%u", t.id, x + 1);
        rc = take_id(r, copy.id, t.line);
        fg_vec_push(&r->in.tasks, copy);
    }
    free(t.id);
    return rc;
}

static int check_vgpu(struct reader *r, const struct fg_instance_vgpu *v)
{
    if (!v->id)
        return fail_at(r, v->line, "a vGPU without id", "Add e.g. id: gpu-1.");
    if (!v->memory_bytes)
        return fail_at(r, v->line, "a vGPU without memory", "Add e.g. memory: 16GB.");
    if (v->price_nanousd_per_h < 0)
        return fail_at(r, v->line, "a vGPU without price", "Add US dollars per hour, e.g. price: 0.40 (0 if it costs nothing).");
    return v->interruptions_per_h > 1000 ? fail_at(r, v->line, "more than 1000 interruptions an hour", "It is a rate per hour.") : 0;
}

static int read_vgpu(struct reader *r, const yaml_node_t *n)
{
    struct fg_instance_vgpu v = {.line = line_of(n), .price_nanousd_per_h = -1, .spot_nanousd_per_h = -1, .capacity = 1, .count = 1};
    int rc = read_mapping(r, n, vgpu_fields, FG_COUNT(vgpu_fields), "a vGPU", &v);
    if (rc == 0)
        rc = check_vgpu(r, &v);
    if (rc == 0 && r->in.vgpus.count + v.count > FG_INSTANCE_VGPUS_MOST)
        rc = fail_at(r, v.line, "more than 100000 vGPUs", "Split the file.");
    for (uint32_t x = 0; rc == 0 && x < v.count; x++) {
        struct fg_instance_vgpu copy = v;
        copy.id = v.count == 1 ? fg_strdup(v.id) : fg_asprintf("%s-%u", v.id, x + 1);
        if (!copy.kind)                                  /* a vGPU without a kind is one of its own */
            copy.kind = fg_names_add(&r->in.kinds, v.id, NULL);
        rc = take_id(r, copy.id, v.line);
        fg_vec_push(&r->in.vgpus, copy);
    }
    free(v.id);
    return rc;
}

static int read_interference(struct reader *r, const yaml_node_t *n)
{
    struct fg_slowdown s = {0};
    if (read_mapping(r, n, pair_fields, FG_COUNT(pair_fields), "an interference", &s) < 0)
        return -1;
    uint32_t *type[2] = {&s.a, &s.b};
    size_t found = 0;
    for (yaml_node_pair_t *p = n->data.mapping.pairs.start; p < n->data.mapping.pairs.top; p++) {
        const yaml_node_t *list = node_at(r, p->value);
        if (!fg_streq(scalar(node_at(r, p->key)), "types") || list->type != YAML_SEQUENCE_NODE)
            continue;
        for (yaml_node_item_t *x = list->data.sequence.items.start; x < list->data.sequence.items.top && found < 3; x++, found++)
            if (found < 2 && node_at(r, *x)->type == YAML_SCALAR_NODE)
                *type[found] = fg_names_add(&r->in.types, scalar(node_at(r, *x)), NULL);
    }
    if (found != 2 || !s.a || !s.b || s.factor < 1)
        return fail_at(r, line_of(n), "an interference needs two types and a slowdown", "Write e.g. - {types: [bert, resnet], slowdown: 1.3}.");
    for (size_t x = 0; x < r->in.slowdowns.count; x++) {
        const struct fg_slowdown *o = &r->in.slowdowns.items[x];
        if ((o->a == s.a && o->b == s.b) || (o->a == s.b && o->b == s.a))
            return fail_at(r, line_of(n), "the slowdown of these two types is there twice", "Keep one of the lines: it goes for both.");
    }
    fg_vec_push(&r->in.slowdowns, s);
    return 0;
}

static int read_list(struct reader *r, const yaml_node_t *n, const struct field *f, int (*item)(struct reader *, const yaml_node_t *))
{
    if (n->type != YAML_SEQUENCE_NODE)
        return field_fail(r, n, f, "should be a list");
    for (yaml_node_item_t *x = n->data.sequence.items.start; x < n->data.sequence.items.top; x++)
        if (item(r, node_at(r, *x)) < 0)
            return -1;
    return 0;
}
/* A task and a vGPU may have the same id, whichever list comes first. */
static void forget_ids(struct reader *r)
{
    fg_names_fini(&r->ids);
    r->id_lines.count = 0;
}
static int read_tasks(struct reader *r, const yaml_node_t *n, const struct field *f, void *obj)
{
    forget_ids(r);
    return read_list(r, n, f, read_task);
}
static int read_vgpus(struct reader *r, const yaml_node_t *n, const struct field *f, void *obj)
{
    forget_ids(r);
    return read_list(r, n, f, read_vgpu);
}
static int read_slowdowns(struct reader *r, const yaml_node_t *n, const struct field *f, void *obj) { return read_list(r, n, f, read_interference); }
static const struct field top_fields[9] = {
    {"tasks", read_tasks, 0, "Write tasks: and below it lines like - {id: a, memory: 4GB, time: 1h}."},
    {"vgpus", read_vgpus, 0, "Write vgpus: and below it lines like - {id: v, memory: 8GB, gflops: 100, price: 0.40}."},
    {"cost_model", read_model, 0, "Write written (default), fixed (times are the same everywhere) or work (work divided by speed)."},
    {"reference_gflops", field_positive, I(reference_gflops), "Write the speed that times are for, e.g. reference_gflops: 100."},
    {"run", read_run, 0, "Write in_turn (default: a vGPU's tasks wait for each other) or at_once (everything starts now)."},
    {"horizon", field_time, I(horizon_ns), "Write by when everything must have ended, e.g. horizon: 24h."},
    {"budget", field_money, I(budget_nanousd), "Write US dollars for the whole plan, e.g. budget: 100."},
    {"interference", read_slowdowns, 0, "Write lines like - {types: [bert, resnet], slowdown: 1.3}."},
    {"slowdown", field_factor, I(slowdown), "Write how many times longer two tasks take beside each other where nothing else is told, e.g. 1.1."},
};

/* kinds: [..] and times: {..}, now that every vGPU is known. */
static int finish_pending(struct reader *r, const struct pending *p)
{
    static const struct field time_field = {"times", NULL, 0, NULL};
    struct fg_instance_task *t = &r->in.tasks.items[p->task];
    const yaml_node_t *n = node_at(r, p->node);
    size_t kinds = r->in.kinds.names.count;
    uint8_t *set = p->times ? NULL : fg_alloc(kinds + 1);
    int64_t *times = p->times ? fg_alloc((kinds + 1) * sizeof *times) : NULL;
    if (set) {
        fg_vec_push(&r->in.kind_sets, set);
        for (uint32_t x = 0; x < p->count; x++)
            t[x].kinds = (uint32_t)r->in.kind_sets.count;
        for (yaml_node_item_t *x = n->data.sequence.items.start; x < n->data.sequence.items.top; x++) {
            const yaml_node_t *name = node_at(r, *x);
            if (name->type != YAML_SCALAR_NODE)
                return fail_at(r, line_of(name), "kinds should be names", "Write e.g. kinds: [a100, t4].");
            set[fg_names_find(&r->in.kinds, scalar(name))] = 1;  /* a kind nobody has: entry 0, the task's own trouble */
        }
        return 0;
    }
    fg_vec_push(&r->in.times, times);
    for (uint32_t x = 0; x < p->count; x++)
        t[x].times = (uint32_t)r->in.times.count;
    for (yaml_node_pair_t *x = n->data.mapping.pairs.start; x < n->data.mapping.pairs.top; x++) {
        const yaml_node_t *name = node_at(r, x->key);
        int64_t v;
        if (name->type != YAML_SCALAR_NODE || field_time(r, node_at(r, x->value), &time_field, &v) < 0)
            return name->type == YAML_SCALAR_NODE ? -1 : fail_at(r, line_of(name), "times should go by kind", "Write e.g. times: {a100: 1h}.");
        uint32_t kind = fg_names_find(&r->in.kinds, scalar(name));   /* a kind nobody has: entry 0, which no vGPU looks at */
        if (kind && times[kind])
            return fail_at(r, line_of(name), "a kind has two times", "Keep one of them.");
        times[kind] = v;
    }
    return 0;
}

static int read_document(struct reader *r)
{
    yaml_node_t *root = yaml_document_get_root_node(&r->doc);
    if (!root) {
        fg_fail(r->err, FG_E_MALFORMED, "the file is empty");
        return fg_fail_hint(r->err, "A plan file has the lists tasks: and vgpus:; see examples/three-tasks.yaml.");
    }
    if (read_mapping(r, root, top_fields, FG_COUNT(top_fields), "the file", &r->in) < 0)
        return -1;
    if (r->in.tasks.count == 0 || r->in.vgpus.count == 0)
        return fail_at(r, line_of(root), r->in.tasks.count ? "there is no vGPU" : "there is no task",
                       "Add at least one line below tasks: and one below vgpus:.");
    for (size_t x = 0; x < r->pending.count; x++)
        if (finish_pending(r, &r->pending.items[x]) < 0)
            return -1;
    return fg_instance_model(&r->in, r->in.cost_model, r->err);
}

static int fail_yaml(const yaml_parser_t *parser, struct reader *r)
{
    fg_fail(r->err, FG_E_MALFORMED, "line %zu: %s", parser->problem_mark.line + 1, parser->problem ? parser->problem : "not YAML");
    return fg_fail_hint(r->err, "Check indentation, brackets and quotes there.");
}

/* Whether the stream has another document with something in it: none is read past the first, and none is dropped unsaid. */
static int want_end(yaml_parser_t *parser, struct reader *r)
{
    yaml_document_t more;
    if (!yaml_parser_load(parser, &more))
        return fail_yaml(parser, r);
    yaml_node_t *root = yaml_document_get_root_node(&more);
    uint32_t line = root ? line_of(root) : 0;
    yaml_document_delete(&more);
    return root ? fail_at(r, line, "a second document after ---", "A plan file is one document: join them, or take each on its own.") : 0;
}

int fg_instance_parse(const char *text, size_t length, struct fg_instance *ret, struct fg_error *err)
{
    yaml_parser_t parser;
    struct fg_error own = {0};
    struct reader r = {.in = {.slowdown = 1, .budget_nanousd = -1}, .err = err ? err : &own};
    if (!yaml_parser_initialize(&parser))
        return fg_fail(err, FG_E_NOMEM, "the YAML parser cannot start");
    yaml_parser_set_input_string(&parser, (const unsigned char *)text, length);
    int rc = -1;
    if (!yaml_parser_load(&parser, &r.doc)) {
        fail_yaml(&parser, &r);
    } else {
        rc = read_document(&r);
        rc = rc < 0 ? rc : want_end(&parser, &r);
        yaml_document_delete(&r.doc);
    }
    yaml_parser_delete(&parser);
    fg_names_fini(&r.ids);
    fg_vec_fini(&r.id_lines);
    fg_vec_fini(&r.pending);
    if (rc < 0)
        fg_instance_fini(&r.in);
    else
        *ret = r.in;
    return rc;
}
