/* engine.c - see engine.h. One step: finish what takes no time, hand out the copy engines and compute slots, then go to the
 * next moment at which anything ends or a time slice is over. */
#include <string.h>

#include "world.h"

#define NEVER UINT64_MAX

struct running { struct fk_queue *queue; struct fk_job *job; unsigned process, rank; };
struct step { struct running compute[FK_LANES * 2], copy[2]; unsigned computes, copies; unsigned contenders; };

static struct fk_job *job_of(const struct fk_queue *queue, uint64_t number)
{
    return (struct fk_job *)&((struct fk_queue *)(uintptr_t)queue)->queue_jobs[number % FK_JOBS];
}

bool fk_job_done(const struct fk_queue *queue, uint64_t number)
{
    return number < queue->tail || job_of(queue, number)->state == FK_DONE;
}

bool fk_job_held(const struct fk_queue *queue, uint64_t number)
{
    const struct fk_job *job = job_of(queue, number);
    return number >= queue->tail && number < queue->head && job->unit == FK_HELD && job->state == FK_ACTIVE;
}

static bool ready(const struct fk_queue *queue, const struct fk_job *job)
{
    for (unsigned i = 0; i < FK_AFTER; i++)
        if (job->after[i] && !fk_job_done(queue, job->after[i]))
            return false;
    return true;
}

static void finish(struct fk_queue *queue, struct fk_job *job, uint64_t now)
{
    unsigned lane = job->lane;
    if (!job->started)
        job->start_ns = now;
    job->started = 1;
    job->state = FK_DONE;
    job->end_ns = now;
    queue->jobs_done++;
    queue->first[lane] = job->next;
    if (!job->next) {
        queue->last[lane] = 0;
        queue->used[lane / 64] &= ~(1ull << lane % 64);
    }
}

static void begin(struct fk_job *job, uint64_t now)
{
    if (!job->started)
        job->start_ns = now;
    job->started = 1;
    job->state = FK_ACTIVE;
}

/* One lane's head. Returns true if it ended at once, so that the lane's next is to be looked at. */
static bool look(struct fk_world *world, struct fk_device *device, struct step *step, unsigned process, struct fk_queue *queue,
                 struct fk_job *job)
{
    struct fk_engine *engine = &device->engine;
    if (job->state == FK_WAITING && !ready(queue, job))
        return false;
    if (job->unit == FK_HELD) {
        if (job->state == FK_WAITING) {
            begin(job, engine->clock_ns);
            fk_change();
        }
        return false;
    }
    if (!job->left_ns) {
        finish(queue, job, engine->clock_ns);
        return true;
    }
    if (job->unit == FK_COMPUTE) {
        job->state = FK_WAITING; /* given slots anew in each step */
        if (step->computes < FK_LANES * 2)
            step->compute[step->computes++] = (struct running){queue, job, process, 0};
        return false;
    }
    unsigned unit = job->unit == FK_COPY_OUT;
    if (job->state == FK_WAITING && !engine->copying[unit]) {
        begin(job, engine->clock_ns);
        engine->copying[unit] = process + 1;
    }
    if (job->state == FK_ACTIVE)
        step->copy[step->copies++] = (struct running){queue, job, process, unit};
    return false;
}

static void collect_process(struct fk_world *world, unsigned d, struct step *step, unsigned process)
{
    struct fk_queue *queue = &world->queue[process][d];
    bool again;
    do {
        again = false;
        unsigned computes = step->computes, copies = step->copies;
        for (unsigned word = 0; word < FK_LANES / 64; word++)
            for (uint64_t bits = queue->used[word]; bits; bits &= bits - 1) {
                unsigned lane = word * 64 + (unsigned)__builtin_ctzll(bits);
                while (queue->first[lane] &&
                       look(world, &world->device[d], step, process, queue, job_of(queue, queue->first[lane])))
                    again = true; /* others may have waited for it */
            }
        if (again) {
            step->computes = computes;
            step->copies = copies;
        }
    } while (again);
    if (!queue->used[0] && !queue->used[1])
        world->device[d].engine.active[process / 64] &= ~(1ull << process % 64);
}

/* Oldest first; what has begun stays. */
static bool goes_before(const struct running *a, const struct running *b)
{
    if (a->job->started != b->job->started)
        return a->job->started;
    if (a->rank != b->rank)
        return a->rank < b->rank;
    return a->process < b->process;
}

static void sort(struct running *list, unsigned n)
{
    for (unsigned i = 1; i < n; i++)
        for (unsigned k = i; k && goes_before(&list[k], &list[k - 1]); k--) {
            struct running swap = list[k];
            list[k] = list[k - 1];
            list[k - 1] = swap;
        }
}

static uint64_t number_of(const struct running *r)
{
    uint64_t at = (uint64_t)(r->job - r->queue->queue_jobs), base = r->queue->tail - r->queue->tail % FK_JOBS;
    return base + at >= r->queue->tail ? base + at : base + at + FK_JOBS;
}

/* Whose turn is it? Keeps the owner until its slice is over or it has nothing to do. */
static void choose_owner(struct fk_world *world, struct fk_engine *engine, struct step *step)
{
    uint64_t wants[FK_PROCESSES / 64] = {0};
    for (unsigned i = 0; i < step->computes; i++)
        wants[step->compute[i].process / 64] |= 1ull << step->compute[i].process % 64;
    step->contenders = 0;
    for (unsigned i = 0; i < FK_PROCESSES / 64; i++)
        step->contenders += (unsigned)__builtin_popcountll(wants[i]);
    if (!step->contenders) {
        engine->owner = 0;
        engine->slice_end_ns = NEVER;
        return;
    }
    unsigned owner = engine->owner ? engine->owner - 1 : FK_PROCESSES - 1;
    bool busy = engine->owner && wants[owner / 64] >> owner % 64 & 1;
    if (busy && step->contenders > 1 && engine->slice_end_ns == NEVER)
        engine->slice_end_ns = engine->clock_ns + world->slice_ns;
    if (!busy || (step->contenders > 1 && engine->clock_ns >= engine->slice_end_ns)) {
        do
            owner = (owner + 1) % FK_PROCESSES;
        while (!(wants[owner / 64] >> owner % 64 & 1));
        engine->owner = owner + 1;
        engine->slice_end_ns = engine->clock_ns + world->slice_ns;
    }
    if (step->contenders == 1)
        engine->slice_end_ns = NEVER;
}

/* Leave in step->compute those that run now. */
static void give_slots(struct fk_world *world, struct fk_engine *engine, struct step *step)
{
    choose_owner(world, engine, step);
    for (unsigned i = 0; i < step->computes; i++) {
        uint64_t mine = number_of(&step->compute[i]);
        for (unsigned k = 0; k < step->computes; k++)
            step->compute[i].rank += step->compute[k].process == step->compute[i].process && number_of(&step->compute[k]) < mine;
    }
    sort(step->compute, step->computes);
    unsigned free = world->slots, kept = 0;
    for (unsigned i = 0; i < step->computes && free; i++) {
        struct running *r = &step->compute[i];
        if (!world->mps && r->process + 1 != engine->owner)
            continue;
        if (r->job->slots > free)
            break;
        free -= r->job->slots;
        begin(r->job, engine->clock_ns);
        step->compute[kept++] = *r;
    }
    step->computes = kept;
}

static void progress(struct fk_engine *engine, struct step *step, uint64_t ns)
{
    for (unsigned i = 0; i < step->computes; i++) {
        step->compute[i].job->left_ns -= ns;
        step->compute[i].queue->slot_ns += ns * step->compute[i].job->slots;
    }
    for (unsigned i = 0; i < step->copies; i++)
        step->copy[i].job->left_ns -= ns;
    if (step->computes)
        engine->busy_ns += ns;
    if (step->copies)
        engine->copy_busy_ns += ns;
    engine->clock_ns += ns;
}

static void end_those_done(struct fk_engine *engine, struct step *step)
{
    for (unsigned i = 0; i < step->computes; i++)
        if (!step->compute[i].job->left_ns)
            finish(step->compute[i].queue, step->compute[i].job, engine->clock_ns);
    for (unsigned i = 0; i < step->copies; i++)
        if (!step->copy[i].job->left_ns) {
            engine->copying[step->copy[i].rank] = 0;
            finish(step->copy[i].queue, step->copy[i].job, engine->clock_ns);
        }
}

void fk_advance(struct fk_world *world, unsigned d, uint64_t now)
{
    struct fk_engine *engine = &world->device[d].engine;
    while (engine->clock_ns <= now) {
        if (!engine->active[0] && !engine->active[1])
            break;
        struct step step;
        step.computes = step.copies = step.contenders = 0;
        for (unsigned word = 0; word < 2; word++)
            for (uint64_t bits = engine->active[word]; bits; bits &= bits - 1)
                collect_process(world, d, &step, word * 64 + (unsigned)__builtin_ctzll(bits));
        give_slots(world, engine, &step);
        uint64_t next = step.contenders > 1 && !world->mps ? engine->slice_end_ns - engine->clock_ns : NEVER;
        for (unsigned i = 0; i < step.computes; i++)
            next = step.compute[i].job->left_ns < next ? step.compute[i].job->left_ns : next;
        for (unsigned i = 0; i < step.copies; i++)
            next = step.copy[i].job->left_ns < next ? step.copy[i].job->left_ns : next;
        if (next > now - engine->clock_ns) {
            progress(engine, &step, now - engine->clock_ns);
            return;
        }
        progress(engine, &step, next);
        end_those_done(engine, &step);
    }
    if (engine->clock_ns < now)
        engine->clock_ns = now;
}

uint64_t fk_push(struct fk_world *world, unsigned process, unsigned d, const struct fk_job *like)
{
    struct fk_queue *queue = &world->queue[process][d];
    uint64_t number = queue->head;
    struct fk_job *job = job_of(queue, number);
    *job = *like;
    job->next = 0;
    job->start_ns = job->end_ns = 0;
    job->started = 0;
    job->state = FK_WAITING;
    unsigned lane = job->lane;
    if (queue->first[lane]) /* not `last`: whoever brought the lane up to date may have died before it cleared that */
        job_of(queue, queue->last[lane])->next = number;
    else
        queue->first[lane] = number;
    queue->last[lane] = number;
    queue->used[lane / 64] |= 1ull << lane % 64;
    queue->head++;
    world->device[d].engine.active[process / 64] |= 1ull << process % 64;
    return number;
}

void fk_job_release(struct fk_queue *queue, uint64_t number, uint64_t now)
{
    if (fk_job_held(queue, number))
        finish(queue, job_of(queue, number), now);
    fk_change();
}

uint64_t fk_job_bound(const struct fk_queue *queue, uint64_t number, uint64_t now)
{
    if (fk_job_done(queue, number))
        return now;
    uint64_t sum = 0;
    for (uint64_t at = queue->first[job_of(queue, number)->lane]; at; at = job_of(queue, at)->next) {
        if (job_of(queue, at)->unit == FK_HELD)
            return now;
        sum += job_of(queue, at)->left_ns;
        if (at == number)
            break;
    }
    return now + sum;
}

uint64_t fk_next_change(const struct fk_world *world, unsigned d)
{
    const struct fk_engine *engine = &world->device[d].engine;
    uint64_t next = engine->slice_end_ns;
    for (unsigned process = 0; process < world->processes; process++) {
        const struct fk_queue *queue = &world->queue[process][d];
        if (!(engine->active[process / 64] >> process % 64 & 1))
            continue;
        for (unsigned lane = 0; lane < FK_LANES; lane++) {
            const struct fk_job *job = queue->first[lane] ? job_of(queue, queue->first[lane]) : NULL;
            if (job && job->state == FK_ACTIVE && job->unit != FK_HELD && engine->clock_ns + job->left_ns < next)
                next = engine->clock_ns + job->left_ns;
        }
    }
    return next;
}

void fk_queue_reset(struct fk_world *world, unsigned process, unsigned d)
{
    struct fk_engine *engine = &world->device[d].engine;
    struct fk_queue *queue = &world->queue[process][d];
    if (queue->head == queue->tail && queue->head <= 1)
        return;
    memset(queue, 0, sizeof *queue);
    queue->head = queue->tail = 1;
    engine->active[process / 64] &= ~(1ull << process % 64);
    engine->owner = engine->owner == process + 1 ? 0 : engine->owner;
    for (unsigned i = 0; i < 2; i++)
        if (engine->copying[i] == process + 1)
            engine->copying[i] = 0;
    fk_change();
}
