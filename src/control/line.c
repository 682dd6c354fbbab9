/* line.c - the lines of the queue: tasks of one tenant and priority that ask the same.
 *
 *   account --lines[priority]--> treap of lines by their first task --root--> treap of tasks by (deadline, id)
 *
 * Both are treaps whose heap goes by a hash, so that a shape follows from the set alone and no order of inserts can
 * unbalance it; subtree sizes give places. All steps O(log n). Lines are found by a hash of what they ask. */
#include <string.h>

#include "control/core_private.h"

struct fg_order entry_order(const struct entry *e)
{
    int64_t deadline = FG_NO_DEADLINE, after = e->t.spec.limits.deadline_ns;
    if (after > 0 && __builtin_add_overflow(e->t.submitted_ns, after, &deadline))
        deadline = FG_NO_DEADLINE;
    return (struct fg_order){deadline, e->t.id};
}

static int entry_cmp(const struct entry *e, const struct fg_order *key)
{
    struct fg_order own = entry_order(e);
    return fg_order_cmp(&own, key);
}

/* --- tasks of a line --- */

static uint32_t size_of(const struct entry *e) { return e ? e->size : 0; }
static void resize(struct entry *e) { e->size = 1 + size_of(e->left) + size_of(e->right); }

static void split(struct entry *root, const struct fg_order *key, struct entry **ret_less, struct entry **ret_more)
{
    if (!root) {
        *ret_less = *ret_more = NULL;
    } else if (entry_cmp(root, key) < 0) {
        split(root->right, key, &root->right, ret_more);
        resize(*ret_less = root);
    } else {
        split(root->left, key, ret_less, &root->left);
        resize(*ret_more = root);
    }
}

static struct entry *merge(struct entry *less, struct entry *more)
{
    if (!less || !more)
        return less ? less : more;
    if (fg_id_hash(less->t.id) > fg_id_hash(more->t.id)) {
        less->right = merge(less->right, more);
        resize(less);
        return less;
    }
    more->left = merge(less, more->left);
    resize(more);
    return more;
}

static struct entry *insert(struct entry *root, struct entry *e, const struct fg_order *key)
{
    if (!root || fg_id_hash(e->t.id) > fg_id_hash(root->t.id)) {
        split(root, key, &e->left, &e->right);
        resize(e);
        return e;
    }
    if (entry_cmp(root, key) > 0)
        root->left = insert(root->left, e, key);
    else
        root->right = insert(root->right, e, key);
    resize(root);
    return root;
}

static struct entry *cut(struct entry *root, struct entry *e, const struct fg_order *key)
{
    core_assert(root);
    if (root == e)
        return merge(e->left, e->right);
    if (entry_cmp(root, key) > 0)
        root->left = cut(root->left, e, key);
    else
        root->right = cut(root->right, e, key);
    resize(root);
    return root;
}

struct entry *line_first(const struct line *l)
{
    struct entry *e = l->root;
    while (e && e->left)
        e = e->left;
    return e;
}

struct entry *line_after(const struct line *l, const struct fg_order *key)
{
    struct entry *found = NULL;
    for (struct entry *e = l->root; e;) {
        bool later = entry_cmp(e, key) > 0;
        found = later ? e : found;
        e = later ? e->left : e->right;
    }
    return found;
}

size_t line_before(const struct line *l, const struct fg_order *key)
{
    size_t n = 0;
    for (const struct entry *e = l->root; e;) {
        bool before = entry_cmp(e, key) < 0;
        n += before ? 1 + size_of(e->left) : 0;
        e = before ? e->right : e->left;
    }
    return n;
}

size_t line_size(const struct line *l) { return size_of(l->root); }

/* Before its first start a gang is all of its array; what is queued again later joins those that run. */
bool line_ready(const struct line *l)
{
    const struct entry *e = l->root;
    return fg_id_is_none(l->gang) || line_size(l) == e->t.spec.array_size || line_first(l)->t.attempt > 1;
}

/* --- lines of a tenant --- */

static void line_split(struct line *root, const struct fg_order *key, struct line **ret_less, struct line **ret_more)
{
    if (!root) {
        *ret_less = *ret_more = NULL;
    } else if (fg_order_cmp(&root->head, key) < 0) {
        line_split(root->right, key, &root->right, ret_more);
        *ret_less = root;
    } else {
        line_split(root->left, key, ret_less, &root->left);
        *ret_more = root;
    }
}

static struct line *line_merge(struct line *less, struct line *more)
{
    if (!less || !more)
        return less ? less : more;
    if (less->hash > more->hash) {
        less->right = line_merge(less->right, more);
        return less;
    }
    more->left = line_merge(less, more->left);
    return more;
}

static struct line *line_insert(struct line *root, struct line *l)
{
    if (!root || l->hash > root->hash) {
        line_split(root, &l->head, &l->left, &l->right);
        return l;
    }
    if (fg_order_cmp(&root->head, &l->head) > 0)
        root->left = line_insert(root->left, l);
    else
        root->right = line_insert(root->right, l);
    return root;
}

static struct line *line_cut(struct line *root, struct line *l)
{
    core_assert(root);
    if (root == l)
        return line_merge(l->left, l->right);
    if (fg_order_cmp(&root->head, &l->head) > 0)
        root->left = line_cut(root->left, l);
    else
        root->right = line_cut(root->right, l);
    return root;
}

struct line *account_line_after(const struct account *a, int priority, const struct fg_order *key)
{
    struct line *found = NULL;
    for (struct line *l = a->lines[priority]; l;) {
        bool later = !key || fg_order_cmp(&l->head, key) > 0;
        found = later ? l : found;
        l = later ? l->left : l->right;
    }
    return found;
}

/* --- finding --- */

static const char *name_of(const struct fg_spec *spec) { return spec->model ? spec->model : spec->program; }
static fg_id gang_id(const struct fg_spec *spec) { return spec->gang ? spec->array : FG_ID_NONE; }

static uint64_t fold(uint64_t h, uint64_t v)
{
    h = (h ^ v) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 32;
}

static uint64_t hash_of(fg_id tenant, enum fg_class class, const struct fg_spec *spec)
{
    fg_id gang = gang_id(spec);
    uint64_t h = fold(fold(fg_id_hash(tenant), spec->priority * 64u + spec->type * 8u + class), spec->spot);
    h = fold(fold(fold(h, spec->need.memory_bytes), spec->need.share_permille), (uint64_t)spec->limits.run_ns);
    h = fg_asks_host(&spec->need) ? fold(fold(h, spec->need.cpus_milli), spec->need.host_bytes) : h;
    h = fg_id_is_none(gang) ? h : fold(h, fg_id_hash(gang));
    for (const char *c = name_of(spec); c && *c; c++)
        h = (h ^ (unsigned char)*c) * 0x100000001b3u;
    for (const char *c = spec->need.device_kind; *c; c++)
        h = (h ^ (unsigned char)*c) * 0x100000001b3u;
    return fold(h, 1);
}

static bool is_line_of(const struct line *l, const struct account *a, enum fg_class class, const struct fg_spec *spec)
{
    return l->account == a && l->priority == spec->priority && l->type == spec->type && l->class == class && l->spot == spec->spot &&
           l->run_ns == spec->limits.run_ns && l->asked.memory_bytes == spec->need.memory_bytes &&
           l->asked.share_permille == spec->need.share_permille && strcmp(l->asked.device_kind, spec->need.device_kind) == 0 &&
           l->asked.cpus_milli == spec->need.cpus_milli && l->asked.host_bytes == spec->need.host_bytes &&
           fg_streq(l->name ? l->name : "", name_of(spec) ? name_of(spec) : "") && fg_id_eq(l->gang, gang_id(spec));
}

static void grow_slots(struct fg_core *core)
{
    struct line **old = core->line_slots;
    size_t old_count = core->line_slot_count;
    core->line_slot_count = old_count ? old_count * 2 : 64;
    core->line_slots = fg_alloc(core->line_slot_count * sizeof *core->line_slots);
    for (size_t i = 0; i < old_count; i++)
        for (struct line *l = old[i], *next; l; l = next) {
            struct line **slot = &core->line_slots[l->hash & (core->line_slot_count - 1)];
            next = l->next;
            l->next = *slot;
            *slot = l;
        }
    free(old);
}

struct line *line_of(struct fg_core *core, const struct entry *e)
{
    const struct fg_spec *spec = &e->t.spec;
    struct account *a = account_of(core, e->t.tenant);
    uint64_t hash = hash_of(e->t.tenant, e->t.class, spec);
    if (core->line_count >= core->line_slot_count)
        grow_slots(core);
    struct line **slot = &core->line_slots[hash & (core->line_slot_count - 1)];
    for (struct line *l = *slot; l; l = l->next)
        if (l->hash == hash && is_line_of(l, a, e->t.class, spec))
            return l;
    struct line *l = fg_alloc(sizeof *l);
    *l = (struct line){.account = a, .next = *slot, .hash = hash, .priority = spec->priority, .type = spec->type, .class = e->t.class,
                       .spot = spec->spot, .name = fg_strdup(name_of(spec)), .asked = spec->need, .run_ns = spec->limits.run_ns,
                       .gang = gang_id(spec)};
    core->line_count++;
    return *slot = l;
}

static void forget(struct fg_core *core, struct line *l)
{
    struct line **at = &core->line_slots[l->hash & (core->line_slot_count - 1)];
    while (*at != l)
        at = &(*at)->next;
    *at = l->next;
    core->line_count--;
    free(l->name);
    free(l);
}

/* The line stands in its tenant's treap by its first task: when that changes, it moves. */
static void line_place(struct line *l)
{
    struct line **root = &l->account->lines[l->priority];
    l->head = entry_order(line_first(l));
    l->left = l->right = NULL;
    *root = line_insert(*root, l);
}

void line_add(struct fg_core *core, struct line *l, struct entry *e)
{
    struct account *a = l->account;
    struct fg_order key = entry_order(e);
    core_assert(!e->line && e->size == 0);
    bool first = !l->root, leads = first || fg_order_cmp(&key, &l->head) < 0;
    if (leads && !first)
        a->lines[l->priority] = line_cut(a->lines[l->priority], l);
    l->root = insert(l->root, e, &key);
    e->line = l;
    if (leads)
        line_place(l);
    a->line_count[l->priority] += first;
    a->waiting[l->priority]++;
    core->waiting++;
}

void line_remove(struct fg_core *core, struct line *l, struct entry *e)
{
    struct account *a = l->account;
    struct fg_order key = entry_order(e);
    bool leads = fg_id_eq(key.id, l->head.id);
    if (leads)
        a->lines[l->priority] = line_cut(a->lines[l->priority], l);
    l->root = cut(l->root, e, &key);
    e->left = e->right = NULL;
    e->line = NULL;
    e->size = 0;
    a->waiting[l->priority]--;
    core->waiting--;
    if (!l->root) {
        a->line_count[l->priority]--;
        forget(core, l);
    } else if (leads) {
        line_place(l);
    }
}

void lines_fini(struct fg_core *core)
{
    for (size_t i = 0; i < core->line_slot_count; i++)
        for (struct line *l = core->line_slots[i], *next; l; l = next) {
            next = l->next;
            free(l->name);
            free(l);
        }
    free(core->line_slots);
}
