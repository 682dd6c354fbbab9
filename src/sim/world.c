/* world.c - time, chance and faults. */
#include "sim/sim_private.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* --- chance: splitmix64 --- */

static uint64_t next_random(struct world *w)
{
    uint64_t z = w->rng += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}
uint64_t rnd(struct world *w, uint64_t n) { return n ? next_random(w) % n : 0; }
bool chance(struct world *w, unsigned permille) { return rnd(w, 1000) < permille; }
int64_t between(struct world *w, int64_t lo, int64_t hi) { return lo + (int64_t)rnd(w, (uint64_t)(hi - lo + 1)); }

/* --- happenings --- */

static bool before(const struct happening *a, const struct happening *b)
{
    return a->at != b->at ? a->at < b->at : a->order < b->order;
}

void at(struct world *w, int64_t when, happening_fn *fn, int who, uint64_t what, void *data)
{
    struct happening h = {FG_MAX(when, w->now), w->order++, fn, who, what, data};
    fg_vec_push(&w->ahead, h);
    size_t i = w->ahead.count - 1;
    for (; i > 0 && before(&h, &w->ahead.items[(i - 1) / 2]); i = (i - 1) / 2)
        w->ahead.items[i] = w->ahead.items[(i - 1) / 2];
    w->ahead.items[i] = h;
}

static struct happening take_first(struct world *w)
{
    struct happening *heap = w->ahead.items, first = heap[0], last = heap[--w->ahead.count];
    size_t i = 0, n = w->ahead.count;
    for (size_t child; (child = 2 * i + 1) < n; i = child) {
        if (child + 1 < n && before(&heap[child + 1], &heap[child]))
            child++;
        if (!before(&heap[child], &last))
            break;
        heap[i] = heap[child];
    }
    heap[i] = last;
    return first;
}

/* --- words --- */

const char *short_id(fg_id id)
{
    static char text[4][24];
    static int turn;
    char *buf = text[turn++ & 3];
    snprintf(buf, sizeof text[0], "#%llu", (unsigned long long)id.lo);
    return buf;
}

void trace(const struct world *w, const char *fmt, ...)
{
    if (!w->options.trace)
        return;
    va_list ap;
    va_start(ap, fmt);
    fprintf(stderr, "%12.6f ", (double)w->now / 1e9);
    vfprintf(stderr, fmt, ap);
    fputc('\n', stderr);
    va_end(ap);
}

/* The first broken promise is the one to look at. */
void broken(struct world *w, const char *fmt, ...)
{
    char *text = w->result->failure;
    if (text[0])
        return;
    va_list ap;
    va_start(ap, fmt);
    int n = snprintf(text, sizeof w->result->failure, "at %.6f s: ", (double)w->now / 1e9);
    vsnprintf(text + n, sizeof w->result->failure - (size_t)n, fmt, ap);
    va_end(ap);
    trace(w, "BROKEN %s", text);
}

/* --- faults --- */

static void heal_link(struct world *w, int machine, uint64_t what, void *data)
{
    trace(w, "machine %d: reachable again", machine);
    w->machines[machine].link.cut = false;
}

static void free_disk(struct world *w, int who, uint64_t what, void *data)
{
    trace(w, "disk has room again");
    w->disk.full = false;
}

/* Mostly short, now and then longer than a lease. */
static int64_t outage(struct world *w)
{
    return chance(w, w->climate.long_outage) ? between(w, LEASE_NS, 4 * LEASE_NS) : between(w, 100 * MS, 8 * SEC);
}

static void fault(struct world *w, int who, uint64_t what, void *data)
{
    if (w->calm)
        return;
    int machine = (int)rnd(w, (uint64_t)w->machine_count);
    struct machine *m = &w->machines[machine];
    int64_t span = outage(w);
    bool one_end = chance(w, 600), other_end = chance(w, 600);
    switch (rnd(w, 8)) {
    case 0: server_crash(w, chance(w, 200) ? span : between(w, 50 * MS, 3 * SEC)); break;
    case 1: machine_restart_agent(w, machine, chance(w, 300) ? span : between(w, 50 * MS, 3 * SEC)); break;
    case 2:
        if (chance(w, 400))
            machine_reboot(w, machine, span);
        break;
    case 3:
    case 4:
        if (!m->link.cut) {
            m->link.cut = true;
            w->result->partitions++;
            trace(w, "machine %d: cut off for %.1f s", machine, (double)span / 1e9);
            at(w, w->now + span, heal_link, machine, 0, NULL);
        }
        break;
    case 5:
    case 6: net_break(w, machine, one_end, other_end); break;
    case 7:
        if (!w->disk.full && chance(w, 300)) {
            w->disk.full = true;
            w->result->full_disks++;
            trace(w, "disk is full for %.1f s", (double)span / 1e9);
            at(w, w->now + span, free_disk, 0, 0, NULL);
        }
        break;
    }
    at(w, w->now + between(w, 200 * MS, w->climate.fault_every_ns), fault, 0, 0, NULL);
}

/* --- one world from beginning to end --- */

static bool step(struct world *w)
{
    if (w->ahead.count == 0 || w->result->failure[0])
        return false;
    struct happening h = take_first(w);
    w->now = h.at;
    w->result->steps++;
    h.fn(w, h.who, h.what, h.data);
    return true;
}

static void calm_down(struct world *w)
{
    w->calm = true;
    w->disk.full = false;
    for (int i = 0; i < w->machine_count; i++)
        w->machines[i].link.cut = false;
    trace(w, "calm from here");
    client_wind_down(w);
}

/* Nothing is under way, so nothing will change but by new faults. Long-waiting tasks may still expire: let them. */
static bool settled(const struct world *w)
{
    struct fg_core_counts counts;
    if (!w->server.up || w->server.degraded || w->server.waiting.count)
        return false;
    fg_core_counts(w->server.core, &counts);
    if (counts.starting || counts.running)
        return false;
    for (int i = 0; i < w->machine_count; i++)
        if (!w->machines[i].connection || w->machines[i].attempts.count)
            return false;
    return true;
}

static void run(struct world *w)
{
    while (w->disk.log.count < w->options.events && step(w)) {}
    calm_down(w);
    int64_t quiet_since = 0;
    for (int64_t end = w->now + 20000 * SEC; w->now < end && step(w);) {
        if (!settled(w))
            quiet_since = 0;
        else if (!quiet_since)
            quiet_since = w->now;
        else if (w->now - quiet_since > 700 * SEC)   /* longer than any queue limit */
            return;
    }
    if (!w->result->failure[0])
        broken(w, "no peace: 20000 s after the last fault something is still under way");
}

static void finish(struct world *w)
{
    struct fg_sim_result *r = w->result;
    if (!r->failure[0])
        oracle_final(w);
    r->events = w->disk.log.count;
    r->simulated_ns = w->now;
    r->hash = w->disk.hash ^ (w->server.core ? fg_core_hash(w->server.core) : 0);
}

static void fini(struct world *w)
{
    for (size_t i = 0; i < w->ahead.count; i++)  /* data of happenings are messages */
        if (w->ahead.items[i].data) {
            fg_vec_fini(&((struct msg *)w->ahead.items[i].data)->attempts);
            free(w->ahead.items[i].data);
        }
    fg_vec_fini(&w->ahead);
    for (size_t i = 0; i < w->server.waiting.count; i++)
        batch_destroy(w->server.waiting.items[i]);
    fg_vec_fini(&w->server.waiting);
    fg_core_destroy(w->server.core);
    for (int i = 0; i < w->machine_count; i++)
        machine_fini(&w->machines[i]);
    client_fini(&w->client);
    oracle_fini(&w->oracle);
    disk_fini(&w->disk);
    free(w);
}

int fg_sim_run(const struct fg_sim_options *options, struct fg_sim_result *ret)
{
    struct world *w = fg_alloc(sizeof *w);
    *ret = (struct fg_sim_result){0};
    w->options = *options;
    w->result = ret;
    w->rng = options->seed;
    w->now = SEC;
    w->climate.fault_every_ns = between(w, 4, 40) * SEC;
    w->climate.slow_write = chance(w, 300) ? 150 : 10;
    w->climate.very_slow_write = (unsigned)rnd(w, 150);
    w->climate.late_message = (unsigned)rnd(w, 100);
    w->climate.long_outage = 50 + (unsigned)rnd(w, 450);
    w->machine_count = 2 + (int)rnd(w, MACHINES_MAX - 1);
    server_start(w);
    for (int i = 0; i < w->machine_count; i++)
        machine_init(w, i);
    client_start(w);
    at(w, w->now + 5 * SEC, fault, 0, 0, NULL);
    run(w);
    finish(w);
    fini(w);
    return ret->failure[0] ? -1 : 0;
}
