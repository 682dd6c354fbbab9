/* queue.c - waiting tasks, one treap per priority: ordered by id, a heap by a hash of the id, so its shape follows from
 * the set alone and no order of inserts can unbalance it. Subtree sizes give a task's place. All steps O(log n).
 *
 *            id 40 (hash 9)           left: smaller ids, right: larger; hashes fall on the way down
 *           /              \
 *     id 10 (hash 7)   id 90 (hash 3)   */
#include "control/core_private.h"

static uint32_t size_of(const struct entry *e) { return e ? e->size : 0; }
static void resize(struct entry *e) { e->size = 1 + size_of(e->left) + size_of(e->right); }

static void split(struct entry *root, fg_id id, struct entry **ret_less, struct entry **ret_more)
{
    if (!root) {
        *ret_less = *ret_more = NULL;
    } else if (fg_id_cmp(root->t.id, id) < 0) {
        split(root->right, id, &root->right, ret_more);
        resize(*ret_less = root);
    } else {
        split(root->left, id, ret_less, &root->left);
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

static struct entry *insert(struct entry *root, struct entry *e)
{
    if (!root || fg_id_hash(e->t.id) > fg_id_hash(root->t.id)) {
        split(root, e->t.id, &e->left, &e->right);
        resize(e);
        return e;
    }
    if (fg_id_cmp(e->t.id, root->t.id) < 0)
        root->left = insert(root->left, e);
    else
        root->right = insert(root->right, e);
    resize(root);
    return root;
}

static struct entry *cut(struct entry *root, struct entry *e)
{
    core_assert(root);
    if (root == e)
        return merge(e->left, e->right);
    if (fg_id_cmp(e->t.id, root->t.id) < 0)
        root->left = cut(root->left, e);
    else
        root->right = cut(root->right, e);
    resize(root);
    return root;
}

/* A task that enters behind the planning window changes nothing a planner could see. */
void queue_add(struct fg_core *core, struct entry *e)
{
    struct entry **root = &core->queue[e->t.spec.priority];
    core_assert(e->size == 0);
    *root = insert(*root, e);
    if (queue_size(core) <= core->config.window || queue_place(core, e) <= core->config.window)
        core->plan_due = true;
}

/* And one that leaves it lets another in. */
void queue_remove(struct fg_core *core, struct entry *e)
{
    struct entry **root = &core->queue[e->t.spec.priority];
    if (queue_size(core) > core->config.window && queue_place(core, e) <= core->config.window)
        core->plan_due = true;
    *root = cut(*root, e);
    e->left = e->right = NULL;
    e->size = 0;
}

size_t queue_size(const struct fg_core *core)
{
    size_t n = 0;
    for (int p = 0; p < FG_PRIORITY_COUNT; p++)
        n += size_of(core->queue[p]);
    return n;
}

size_t queue_place(const struct fg_core *core, const struct entry *e)
{
    if (!e->size)
        return 0;
    size_t before = 0;
    for (int p = FG_PRIORITY_COUNT - 1; p > (int)e->t.spec.priority; p--)
        before += size_of(core->queue[p]);
    for (const struct entry *at = core->queue[e->t.spec.priority]; at != e;) {
        core_assert(at);
        bool right = fg_id_cmp(at->t.id, e->t.id) < 0;
        before += right ? 1 + size_of(at->left) : 0;
        at = right ? at->right : at->left;
    }
    return before + size_of(e->left) + 1;
}

static size_t walk(struct entry *e, size_t n, void (*fn)(void *arg, struct entry *e), void *arg)
{
    if (!e || n == 0)
        return 0;
    size_t done = walk(e->left, n, fn, arg);
    if (done < n) {
        fn(arg, e);
        done++;
    }
    return done + walk(e->right, n - done, fn, arg);
}

void queue_head(const struct fg_core *core, size_t n, void (*fn)(void *arg, struct entry *e), void *arg)
{
    for (int p = FG_PRIORITY_COUNT - 1; p >= 0; p--)
        n -= walk(core->queue[p], n, fn, arg);
}
