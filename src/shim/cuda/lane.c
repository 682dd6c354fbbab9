/* lane.c - batches of jobs between two events: open, close, and settle by the device's own clock. */
#include <pthread.h>
#include <stdlib.h>

#include "shim/cuda/shim.h"

#define CLOSED    (INT64_MIN / 2)
#define DOUBTS    4
#define RESET_NS  INT64_C(2000000000) /* an elapsed time is a float of milliseconds: 2 s keep it within 0.2 us */

static struct { uint32_t lock; struct fgcu_lane *all; struct fgcu_clock *clocks; } lanes;

/* ---- the calling thread's lanes ---- */

#define WAYS 16
static struct fgcu_lane none = {.left = CLOSED, .named = {(CUstream)-1, (CUstream)-1}};
__thread struct fgcu_lane *fgcu_last_lane = &none;
static __thread struct { struct fgcu_lane *ways[WAYS]; unsigned used; } mine; /* used: a bit for each way that has a lane */

static struct { uint32_t lock, made; pthread_key_t key; } ends;

/* The thread ends: others may take its lanes over, when what it left in flight has completed. */
static void thread_ends(void *unused)
{
    for (unsigned i = 0; i < WAYS; i++) {
        struct fgcu_lane *lane = mine.ways[i];
        if (!lane)
            continue;
        fg_lock(&lane->lock);
        fgcu_lane_close(lane, 0);
        fg_unlock(&lane->lock);
        fg_put(&lane->held, 0);
        mine.ways[i] = NULL;
    }
    mine.used = 0;
    fgcu_last_lane = &none;
}

static void watch_thread(void)
{
    fg_lock(&ends.lock);
    if (!ends.made && pthread_key_create(&ends.key, thread_ends) == 0)
        fg_put(&ends.made, 1);
    fg_unlock(&ends.lock);
    if (fg_get(&ends.made))
        pthread_setspecific(ends.key, &ends);
}

static struct fgcu_lane *take_lane(void)
{
    fg_lock(&lanes.lock);
    struct fgcu_lane *lane = lanes.all;
    for (uint32_t free = 0; lane; lane = lane->next, free = 0)
        if (!fg_get(&lane->first) && fg_cas(&lane->held, &free, 1))
            break;
    if (!lane && (lane = aligned_alloc(64, sizeof *lane))) {
        *lane = (struct fgcu_lane){.left = CLOSED, .held = 1, .next = lanes.all};
        fg_put(&lanes.all, lane);
    }
    fg_unlock(&lanes.lock);
    return lane;
}

static void name_lane(struct fgcu_lane *lane, CUstream stream)
{
    lane->stream = stream;
    lane->named[0] = stream == CU_STREAM_LEGACY ? NULL : stream;
    lane->named[1] = stream == CU_STREAM_PER_THREAD ? NULL : stream;
}

struct fgcu_lane *fgcu_lane(CUstream stream)
{
    unsigned way = (unsigned)((uintptr_t)stream * 0x9e3779b97f4a7c15u >> 60);
    struct fgcu_lane *lane = mine.ways[way], *last = fgcu_last_lane;
    /* An event in the legacy stream waits for all others and they for it: it must not come later than where the program's own
     * work would have made them wait. */
    if (last->stream == CU_STREAM_LEGACY && stream != CU_STREAM_LEGACY && fg_get(&last->open)) {
        fg_lock(&last->lock);
        fgcu_lane_close(last, 0);
        fg_unlock(&last->lock);
    }
    if (!lane) {
        if (!(lane = take_lane()))
            return NULL;
        mine.ways[way] = lane;
        name_lane(lane, stream);
        if (!mine.used)
            watch_thread();
        mine.used |= 1u << way;
    } else if (lane->stream != stream) { /* two streams, one way: the lane goes from one to the other */
        fg_lock(&lane->lock);
        fgcu_lane_close(lane, 0);
        name_lane(lane, stream);
        fg_unlock(&lane->lock);
    }
    fgcu_last_lane = lane;
    return lane;
}

/* ---- a context's events ---- */

static struct fgcu_clock *clock_of(CUcontext context)
{
    struct fgcu_clock *clock = fg_get(&lanes.clocks), *place = NULL;
    for (; clock; clock = clock->next)
        if (fg_get(&clock->context) == context)
            return clock;
    fg_lock(&lanes.lock);
    for (clock = lanes.clocks; clock && clock->context != context; clock = clock->next)
        place = clock->context ? place : clock;
    if (!clock && (clock = place ? place : calloc(1, sizeof *clock))) {
        if (!place) {
            clock->next = lanes.clocks;
            fg_put(&lanes.clocks, clock);
        }
        clock->idle = NULL;
        clock->anchor = NULL;
        fg_put(&clock->context, context);
    }
    fg_unlock(&lanes.lock);
    return clock;
}

static struct fgcu_batch *take_batch(struct fgcu_clock *clock)
{
    fg_lock(&lanes.lock);
    struct fgcu_batch *batch = clock->idle;
    if (batch)
        clock->idle = batch->next;
    fg_unlock(&lanes.lock);
    if (batch || !(batch = calloc(1, sizeof *batch)))
        return batch;
    batch->clock = clock;
    if (fgcu_call(cuEventCreate)(&batch->start, CU_EVENT_DEFAULT) == CUDA_SUCCESS &&
        fgcu_call(cuEventCreate)(&batch->end, CU_EVENT_DEFAULT) == CUDA_SUCCESS)
        return batch;
    if (batch->start)
        fgcu_call(cuEventDestroy_v2)(batch->start);
    free(batch);
    return NULL;
}

void fgcu_batch_drop(struct fgcu_batch *batch)
{
    if (!batch->clock) { /* its context is gone, and the events with it */
        free(batch);
        return;
    }
    fg_lock(&lanes.lock);
    batch->next = batch->clock->idle;
    batch->clock->idle = batch;
    fg_unlock(&lanes.lock);
}

/* The first event of a context is what all others are measured from. */
static int has_anchor(struct fgcu_clock *clock, CUstream stream)
{
    if (fg_get(&clock->anchor))
        return 1;
    CUevent anchor = NULL;
    if (fgcu_call(cuEventCreate)(&anchor, CU_EVENT_DEFAULT) != CUDA_SUCCESS)
        return 0;
    fg_lock(&lanes.lock);
    int ours = !clock->anchor && fgcu_call(cuEventRecord)(anchor, stream) == CUDA_SUCCESS;
    if (ours) {
        clock->anchor_ns = fg_boot_ns();
        fg_put(&clock->anchor, anchor);
    }
    fg_unlock(&lanes.lock);
    if (!ours)
        fgcu_call(cuEventDestroy_v2)(anchor);
    return fg_get(&clock->anchor) != NULL;
}

struct fgcu_batch *fgcu_batch_start(struct fgcu_lane *lane)
{
    CUcontext context = fgcu_context();
    struct fgcu_clock *clock = context ? clock_of(context) : NULL;
    if (!clock || !has_anchor(clock, lane->stream))
        return NULL;
    struct fgcu_batch *batch = take_batch(clock);
    if (batch && fgcu_call(cuEventRecord)(batch->start, lane->stream) != CUDA_SUCCESS) {
        fgcu_batch_drop(batch); /* the stream is another context's, or no stream */
        batch = NULL;
    }
    if (batch) {
        batch->credit_bytes = 0;
        batch->late_ns = 0;
        batch->unbound = 0;
        batch->next = NULL;
        batch->lane = lane;
        batch->opened_ns = fg_boot_ns();
    }
    return batch;
}

/* ---- settling ---- */

/* Nothing measured, or not at all: what its jobs were expected to take, at the end of what is settled already. */
static void settle_expected(struct fgcu_batch *batch)
{
    uint64_t busy = fg_get(&fgcu.lease.slot->busy_until_ns);
    batch->ticket.key = 0; /* nothing is learnt from a guess */
    fg_gate_settle(&fgcu.gate, &batch->ticket, busy, busy + batch->late_ns + (batch->spent_ns ? batch->spent_ns : 1));
}

/* Between jobs that came slowly the device was idle, for as long as it took to submit them at most. So a batch took what its
 * jobs were expected to (give or take half of it), but never less than its span without that time. When that lower bound
 * is far above what was expected, costs have changed: the lane learns anew from batches of one. Between the two bounds lies
 * what the helper saw when it looked in now and then: the stream had work or not. Few looks, or half of them, say little: timers
 * of the program and of the helper go off together, and then it sees each job begin. */
static int64_t busy_ns(struct fgcu_batch *batch, int64_t span)
{
    int64_t submitting = batch->closed_ns - batch->opened_ns;
    int64_t least = span - submitting, most = (int64_t)(batch->spent_ns + batch->spent_ns / 2 + 2000);
    if (least < 0)
        least = 0;
    int sure = batch->looks >= 4 && batch->busy * 4 >= batch->looks * 3;
    int64_t seen = sure ? least + (span - least) * batch->busy / batch->looks : least;
    if (span <= most)
        return span;
    if (seen > most)
        fg_put(&batch->lane->doubts, DOUBTS);
    return seen > most ? seen : most;
}

static void settle_measured(struct fgcu_batch *batch)
{
    struct fgcu_clock *clock = batch->clock;
    float since = 0, lasted = 0;
    fg_lock(&lanes.lock);
    int known = fgcu_call(cuEventElapsedTime)(&since, clock->anchor, batch->start) == CUDA_SUCCESS &&
                fgcu_call(cuEventElapsedTime)(&lasted, batch->start, batch->end) == CUDA_SUCCESS;
    int64_t start = clock->anchor_ns + (int64_t)(since * 1e6f), end = start + (int64_t)(lasted * 1e6f);
    if (known && end - clock->anchor_ns > RESET_NS) {
        CUevent anchor = clock->anchor;
        clock->anchor = batch->end;
        batch->end = anchor;
        clock->anchor_ns = end;
    }
    fg_unlock(&lanes.lock);
    if (!known || start <= 0) {
        settle_expected(batch);
        return;
    }
    if (!batch->single) {
        uint64_t busy = (uint64_t)busy_ns(batch, end - start), beside_ns = fg_get(&fgcu.lease.limits->beside_us) * UINT64_C(1000);
        start = end - (int64_t)(beside_ns ? fg_gate_apart(batch->spent_ns, busy, beside_ns) : busy) - (int64_t)batch->late_ns; /* of that, what is charged already is not charged again */
    }
    fg_gate_settle(&fgcu.gate, &batch->ticket, (uint64_t)start, (uint64_t)(end > start ? end : start + 1));
    if (batch->single)
        fgcu_remember_cost(batch->ticket.key);
}

static void finish(struct fgcu_batch *batch, int measured)
{
    if (measured)
        settle_measured(batch);
    else
        settle_expected(batch);
    if (batch->unbound)
        fg_add(&fgcu.unbound, -1u);
    if (batch->credit_bytes)
        fg_ledger_credit(&fgcu.ledger, batch->credit_bytes);
    fgcu_batch_drop(batch);
}

/* A batch leaves the lane when it is settled: who has waited for the stream and finds the lane empty, without its lock, finds the memory
 * credited, too. */
void fgcu_lane_settle(struct fgcu_lane *lane)
{
    for (struct fgcu_batch *batch; (batch = lane->first);) {
        CUresult result = FGCU_NEXT(cuEventQuery, cuEventQuery)(batch->end);
        if (result == CUDA_ERROR_NOT_READY)
            return;
        struct fgcu_batch *next = batch->next;
        finish(batch, result == CUDA_SUCCESS);
        fg_put(&lane->first, next);
    }
    lane->last = NULL;
}

/* No batch is open, and the lane's own thread has gone on taking from what was prepaid for the last: its store came after our
 * exchange, at most once for each time that another thread closed a batch. */
static void find_late(struct fgcu_lane *lane, int64_t left)
{
    lane->late_ns += (uint64_t)((lane->closed_left >> 16) - (left >> 16));
    lane->late_jobs += (uint32_t)((left & 0xffff) - (lane->closed_left & 0xffff));
}

void fgcu_lane_close(struct fgcu_lane *lane, int foreign)
{
    int64_t left = __atomic_exchange_n(&lane->left, CLOSED, __ATOMIC_ACQ_REL);
    struct fgcu_batch *batch = lane->open;
    if (!batch && left >= 0)
        find_late(lane, left);
    lane->closed_left = left;
    if (!batch)
        return;
    if (left >= 0) { /* not a batch of one */
        uint32_t jobs = (left & 0xffff) + lane->late_jobs;
        batch->spent_ns = lane->budget_ns - (uint64_t)(left >> 16);
        batch->late_ns = lane->late_ns;
        lane->late_ns = lane->late_jobs = 0;
        if (jobs > 1)
            fg_gate_count(&fgcu.gate, &batch->ticket, jobs - 1);
    }
    /* another thread's default stream cannot be named from here */
    int named = !foreign || lane->stream != CU_STREAM_PER_THREAD;
    if (!named || fgcu_call(cuEventRecord)(batch->end, lane->stream) != CUDA_SUCCESS) {
        finish(batch, 0);
        fg_put(&lane->open, NULL);
        return;
    }
    batch->closed_ns = fg_boot_ns();
    batch->looks = lane->looks;
    batch->busy = lane->busy;
    batch->next = NULL;
    if (lane->last)
        lane->last->next = batch;
    lane->last = batch;
    if (!lane->first)
        fg_put(&lane->first, batch);
    fg_put(&lane->open, NULL); /* last: it is open or in the list to who looks without the lock */
}

/* ---- all of a thread's, all of a context's, all ---- */

void fgcu_before_wait(void)
{
    if (!fgcu_attached())
        return;
    for (unsigned used = mine.used; used; used &= used - 1) {
        struct fgcu_lane *lane = mine.ways[__builtin_ctz(used)];
        if (!fg_get(&lane->open))
            continue;
        fg_lock(&lane->lock);
        fgcu_lane_close(lane, 0);
        fg_unlock(&lane->lock);
    }
}

void fgcu_after_wait(void)
{
    if (!fgcu_attached() || fg_get(&fgcu.captures))
        return;
    for (unsigned used = mine.used; used; used &= used - 1) {
        struct fgcu_lane *lane = mine.ways[__builtin_ctz(used)];
        if (!fg_get(&lane->first))
            continue;
        fg_lock(&lane->lock);
        fgcu_lane_settle(lane);
        fg_unlock(&lane->lock);
    }
    fgcu_pools_settle();
}

/* Whoever enters a context that is not his own holds this, and who may end one behind our back: a context that was entered is
 * there until it was left. Before a lane's lock. */
static uint32_t visiting;
void fgcu_visits_stop(void) { fg_lock(&visiting); }
void fgcu_visits_go_on(void) { fg_unlock(&visiting); }

void fgcu_close_all(void)
{
    CUcontext popped;
    fgcu_before_wait();
    fgcu_visits_stop();
    for (struct fgcu_lane *lane = fg_get(&lanes.all); lane; lane = lane->next) {
        if (!fg_get(&lane->open))
            continue;
        fg_lock(&lane->lock);
        if (lane->open && fgcu_call(cuCtxPushCurrent_v2)(lane->open->clock->context) == CUDA_SUCCESS) {
            fgcu_lane_close(lane, 1);
            fgcu_call(cuCtxPopCurrent_v2)(&popped);
        }
        fg_unlock(&lane->lock);
    }
    fgcu_visits_go_on();
}

static CUcontext context_of(const struct fgcu_lane *lane)
{
    const struct fgcu_batch *batch = lane->open ? lane->open : lane->first;
    return batch ? batch->clock->context : NULL;
}

/* Locked. Has the open batch's stream work now? Another thread's default stream cannot be asked. */
static void look_in(struct fgcu_lane *lane)
{
    if (lane->stream == CU_STREAM_PER_THREAD)
        return;
    CUresult result = FGCU_NEXT(cuStreamQuery, cuStreamQuery)(lane->stream);
    lane->looks += result == CUDA_SUCCESS || result == CUDA_ERROR_NOT_READY;
    lane->busy += result == CUDA_ERROR_NOT_READY;
}

/* One lane, from any thread. patient: leave alone what still gets jobs. Returns whether something is left in it. */
static int visit(struct fgcu_lane *lane, int patient)
{
    fgcu_visits_stop();
    fg_lock(&lane->lock);
    CUcontext context = context_of(lane), popped;
    if (context && fgcu_call(cuCtxPushCurrent_v2)(context) == CUDA_SUCCESS) {
        int64_t left = fg_get(&lane->left);
        if (lane->open && (!patient || left == lane->seen_left))
            fgcu_lane_close(lane, 1);
        else if (lane->open)
            look_in(lane);
        lane->seen_left = left;
        fgcu_lane_settle(lane);
        fgcu_call(cuCtxPopCurrent_v2)(&popped);
    }
    int busy = lane->open || lane->first;
    fg_unlock(&lane->lock);
    fgcu_visits_go_on();
    return busy;
}

int fgcu_visit_all(int patient)
{
    int busy = 0;
    for (struct fgcu_lane *lane = fg_get(&lanes.all); lane; lane = lane->next)
        if (fg_get(&lane->open) || fg_get(&lane->first))
            busy |= visit(lane, patient);
    return busy;
}

void fgcu_settle_all(void)
{
    fgcu_before_wait(); /* our own, by their own thread */
    if (!fg_get(&fgcu.captures))
        fgcu_visit_all(0);
}

void fgcu_stream_gone(CUstream stream)
{
    for (struct fgcu_lane *lane = fg_get(&lanes.all); lane; lane = lane->next) {
        if (lane->stream != stream || !fg_get(&lane->open))
            continue;
        fg_lock(&lane->lock);
        if (lane->stream == stream)
            fgcu_lane_close(lane, 1);
        fg_unlock(&lane->lock);
    }
}

/* Locked. What is of the context is settled, as expected where it is not done. Of a dead one nothing may be asked. */
static void abandon(struct fgcu_lane *lane, const struct fgcu_clock *clock, int dead)
{
    struct fgcu_batch *open = lane->open;
    if (open && open->clock == clock && dead) {
        lane->closed_left = __atomic_exchange_n(&lane->left, CLOSED, __ATOMIC_ACQ_REL);
        finish(open, 0);
        fg_put(&lane->open, NULL);
    } else if (open && open->clock == clock) {
        fgcu_lane_close(lane, 1);
    }
    struct fgcu_batch **at = &lane->first, *batch;
    lane->last = NULL;
    while ((batch = *at)) {
        if (batch->clock != clock) {
            lane->last = batch;
            at = &batch->next;
            continue;
        }
        struct fgcu_batch *next = batch->next;
        finish(batch, !dead && FGCU_NEXT(cuEventQuery, cuEventQuery)(batch->end) == CUDA_SUCCESS);
        fg_put(at, next);
    }
}

void fgcu_clock_gone(CUcontext context, int dead)
{
    struct fgcu_clock *clock = fg_get(&lanes.clocks);
    while (clock && clock->context != context)
        clock = clock->next;
    if (!clock || !context)
        return;
    for (struct fgcu_lane *lane = fg_get(&lanes.all); lane; lane = lane->next) {
        fg_lock(&lane->lock);
        abandon(lane, clock, dead);
        fg_unlock(&lane->lock);
    }
    fg_lock(&lanes.lock);
    struct fgcu_batch *idle = clock->idle;
    clock->idle = NULL;
    clock->anchor = NULL;
    fg_put(&clock->context, NULL);
    fg_unlock(&lanes.lock);
    while (idle) { /* the events die with their context */
        struct fgcu_batch *batch = idle;
        idle = batch->next;
        free(batch);
    }
}
