/* choose.c - the best device for a task by the numbered rules, and the two next best. */
#include "model/price.h"
#include "plan/place_private.h"

static bool in_time(const struct round *r, const struct fg_plan_task *t, const struct offer *o)
{
    return t->deadline_ns == 0 || o->time_ns <= t->deadline_ns - r->snap->now_ns;
}

/* What others lose where it is placed there. */
static int64_t lost(const struct round *r, const struct fg_plan_task *t, const struct room *room)
{
    const struct fg_plan_device *like = &r->rooms->models.items[room->model].like;
    struct fg_ask ask = fg_ask_of(like, &t->need);
    return fg_market_lost(r->rooms->market, room->model, 1000 - room->used_permille,
                          fg_price_permille(ask.memory_bytes, like->memory_bytes, ask.share_permille));
}

/* Where both stand in one list of the packer: which is first. */
static bool are_ranked(const struct round *r, size_t a, size_t b, bool *ret_first)
{
    uint32_t at_a = r->ranked_count, at_b = r->ranked_count;
    for (uint32_t i = 0; i < r->ranked_count; i++) {
        at_a = r->ranked[i].room == a ? i : at_a;
        at_b = r->ranked[i].room == b ? i : at_b;
    }
    *ret_first = at_a < at_b;
    return at_a < r->ranked_count && at_b < r->ranked_count && r->ranked[at_a].list == r->ranked[at_b].list;
}

/* The rules, in order: the first that tells a from b decides, and *rule says which. True: a is better. */
static bool is_better(const struct round *r, const struct group *g, const struct fg_plan_task *t, size_t a, size_t b, enum fg_rule *rule)
{
    const struct offer *x = offer_of(r, g, a), *y = offer_of(r, g, b);
    const struct room *of_a = room_at(r, a), *of_b = room_at(r, b);
    if (in_time(r, t, x) != in_time(r, t, y))
        return *rule = FG_RULE_DEADLINE, in_time(r, t, x);
    if (x->weighed != y->weighed)
        return *rule = FG_RULE_LEAST_COST, x->weighed < y->weighed;
    if (x->time_ns != y->time_ns)
        return *rule = FG_RULE_FINISH_FIRST, x->time_ns < y->time_ns;
    bool first;
    if (r->ranked_count && are_ranked(r, a, b, &first))
        return *rule = FG_RULE_VALUE, first;
    if (r->rooms->market) {
        int64_t lost_a = lost(r, t, of_a), lost_b = lost(r, t, of_b);
        if (lost_a != lost_b)
            return *rule = FG_RULE_VALUE, lost_a < lost_b;
    }
    if (of_a->used_permille != of_b->used_permille)
        return *rule = FG_RULE_PACK, of_a->used_permille > of_b->used_permille;
    return *rule = FG_RULE_INDEX, of_a->id < of_b->id;
}

fg_id round_group_of(const struct fg_plan_task *t) { return fg_id_is_none(t->group) ? t->id : t->group; }

bool round_has_room(const struct round *r, size_t device, const struct fg_need *need)
{
    const struct room *room = room_at(r, device);
    struct fg_ask ask = fg_ask_of(&r->rooms->models.items[room->model].like, need);
    return room->usable && room_fits(r->rooms, room, &ask);
}

/* Full devices are asked only by what needs nothing of one of both. */
static bool may_be_in(int tree, const struct fg_need *need) { return tree != ROOM_FULL || !need->memory_bytes || !need->share_permille; }

/* Where all machines are in the packer it knows. */
static bool knows_all(const struct round *r, const struct fg_need *need)
{
    return r->rooms->pack && !r->rooms->unpacked && fg_asks_host(need) && r->rooms->models.count <= FG_PACK_KINDS_MAX;
}

bool round_any_room(const struct round *r, const struct fg_need *need)
{
    uint32_t found;
    uint64_t kinds = 0;
    bool known = knows_all(r, need);
    for (size_t m = 0; m < r->rooms->models.count; m++) {
        if (known && !r->rooms->models.items[m].like.is_host) {
            kinds |= fg_could_hold(&r->rooms->models.items[m].like, need) ? UINT64_C(1) << m : 0;
            continue;
        }
        struct fg_ask ask = fg_ask_of(&r->rooms->models.items[m].like, need);
        for (int tree = 0; tree < ROOM_TREES && fg_could_hold(&r->rooms->models.items[m].like, need); tree++)
            if (may_be_in(tree, need) && rooms_first(r->rooms, (uint32_t)m, tree, &ask, &found, 1))
                return true;
    }
    if (kinds && rooms_pack_first(r->rooms, need, kinds, &found, 1))
        return true;
    for (size_t k = 0; k < r->held.count; k++)
        if (round_has_room(r, r->held.items[k], need) && fg_could_hold(&r->snap->devices[r->held.items[k]], need))
            return true;
    return false;
}

static void consider(const struct round *r, const struct group *g, const struct fg_plan_task *t, size_t i, struct choice *c)
{
    enum fg_rule rule;
    if (c->best == SIZE_MAX || is_better(r, g, t, i, c->best, &rule)) {
        c->third = c->second;
        c->second = c->best;
        c->best = i;
    } else if (c->second == SIZE_MAX || is_better(r, g, t, i, c->second, &rule)) {
        c->third = c->second;
        c->second = i;
    } else if (c->third == SIZE_MAX || is_better(r, g, t, i, c->third, &rule)) {
        c->third = i;
    }
}

/* The fullest of one model. */
static void look_at(const struct round *r, const struct group *g, const struct fg_plan_task *t, uint32_t model, struct choice *c)
{
    uint32_t found[3];
    struct fg_ask ask = fg_ask_of(&r->rooms->models.items[model].like, &t->need);
    for (int tree = 0; tree < ROOM_TREES; tree++) {
        if (!may_be_in(tree, &t->need))
            continue;
        size_t n = rooms_first(r->rooms, model, tree, &ask, found, FG_COUNT(found));
        for (size_t i = 0; i < n; i++)
            consider(r, g, t, found[i], c);
    }
}

/* No device of the model, nor of those after it, is among the first three. */
static bool is_beaten(const struct round *r, const struct group *g, const struct fg_plan_task *t, uint32_t model, const struct choice *c)
{
    if (c->third == SIZE_MAX)
        return false;
    const struct offer *x = offer_of(r, g, c->third), *y = &r->offers.items[g->offers + model];
    return in_time(r, t, x) > in_time(r, t, y) || (in_time(r, t, x) == in_time(r, t, y) &&
           (x->weighed < y->weighed || (x->weighed == y->weighed && x->time_ns < y->time_ns)));
}

static bool take_ranked(struct round *r, const struct group *g, const struct fg_plan_task *t, uint64_t kinds, struct choice *c)
{
    uint32_t found[3];
    size_t n = rooms_pack_first(r->rooms, &t->need, kinds, found, FG_COUNT(found));
    r->ranked_lists++;
    for (size_t i = 0; i < n && r->ranked_count < FG_COUNT(r->ranked); i++) {
        r->ranked[r->ranked_count].room = found[i];
        r->ranked[r->ranked_count++].list = r->ranked_lists;
        consider(r, g, t, found[i], c);
    }
    return n > 0;
}

/* All models from the k-th of the order on that cost it the same: of the machines in the packer where least value is lost. What is in
 * none, or what it refuses by rounding, is found in the order of rooms. Returns how many models these are. */
static size_t look_at_equals(struct round *r, const struct group *g, const struct fg_plan_task *t, size_t k, struct choice *c)
{
    const uint32_t *order = &r->orders.items[g->order];
    const struct offer *like = &r->offers.items[g->offers + order[k]];
    uint64_t kinds = 0;
    bool on = false, beside;
    size_t n = 0;
    for (; k + n < g->order_count; n++) {
        const struct offer *o = &r->offers.items[g->offers + order[k + n]];
        bool is_host = r->rooms->models.items[order[k + n]].like.is_host;
        if (o->weighed != like->weighed || o->time_ns != like->time_ns)
            break;
        if (!round_on_side(r, is_host, &t->need))
            continue;
        on = on || is_host;
        kinds |= !is_host && order[k + n] < FG_PACK_KINDS_MAX ? UINT64_C(1) << order[k + n] : 0;
    }
    beside = kinds && take_ranked(r, g, t, kinds, c);
    on = on && take_ranked(r, g, t, 0, c);
    for (size_t i = k; i < k + n; i++) {
        bool is_host = r->rooms->models.items[order[i]].like.is_host;
        if (round_on_side(r, is_host, &t->need) && (is_host ? !on : !beside && !knows_all(r, &t->need)))
            look_at(r, g, t, order[i], c);
    }
    return n;
}

/* Models in the order of what they cost it, those that end in time before those that do not. What is held for others
 * depends on the task and is looked at one by one. */
struct choice round_choose(struct round *r, const struct group *g, const struct fg_plan_task *t)
{
    struct choice c = {SIZE_MAX, SIZE_MAX, SIZE_MAX, FG_RULE_ONLY_FIT};
    for (size_t k = 0; k < r->held.count; k++) {
        size_t i = r->held.items[k];
        if (offer_of(r, g, i)->cost >= 0 && round_on_side(r, r->snap->devices[i].is_host, &t->need) && round_has_room(r, i, &t->need) && round_may_use(r, i, t, offer_of(r, g, i)))
            consider(r, g, t, i, &c);
    }
    bool packed = r->rooms->pack && fg_asks_host(&t->need);
    r->ranked_count = 0;
    for (int late = 0; late < (t->deadline_ns ? 2 : 1); late++)
        for (size_t k = 0, n = 1; k < g->order_count; k += n) {
            n = 1;
            uint32_t model = r->orders.items[g->order + k];
            if (in_time(r, t, &r->offers.items[g->offers + model]) == (late == 1) ||
                (!packed && !round_on_side(r, r->rooms->models.items[model].like.is_host, &t->need)))
                continue;
            if (is_beaten(r, g, t, model, &c))
                break;
            if (packed)
                n = look_at_equals(r, g, t, k, &c);
            else
                look_at(r, g, t, model, &c);
        }
    if (c.second != SIZE_MAX)
        is_better(r, g, t, c.best, c.second, &c.rule);
    return c;
}
