/* submit.c - one job: wait for the vGPU's turn, give it to the driver, and see that somebody measures it. */
#include <errno.h>
#include <linux/futex.h>
#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "shim/cuda/shim.h"

#define QUANTUM_MOST   UINT64_C(500000) /* prepaid for one batch */
#define QUANTUM_LEAST  UINT64_C(20000)
#define QUANTA         16                /* batches of what may be in flight */
#define SAMPLE         32                /* every so many batches, one of a single job */
#define TICK_URGENT_NS 50000u
#define TICK_SHARED_NS 200000u
#define TICK_ALONE_NS  2000000u
#define IDLE_TICKS     50

/* ---- the helper: closes what its thread left open, settles what nobody else does ---- */

enum { HELPER_NONE, HELPER_AWAKE, HELPER_ASLEEP };
static struct { uint32_t state, lock, epoch; } helper;

static void nap(uint32_t expected, uint64_t ns)
{
    struct timespec limit = {(time_t)(ns / 1000000000), (long)(ns % 1000000000)};
    syscall(SYS_futex, &helper.state, FUTEX_WAIT_PRIVATE, expected, ns ? &limit : NULL, NULL, 0);
}

static uint64_t tick(void)
{
    if (fg_get(&fgcu.urgent))
        return TICK_URGENT_NS;
    return fg_get(&fgcu.lease.limits->drain_ns) ? TICK_SHARED_NS : TICK_ALONE_NS;
}

static void *help(void *unused)
{
    unsigned idle = 0;
    fgcu_relax();
    for (;;) {
        idle = fgcu_visit_all(1) ? 0 : idle + 1;
        if (idle < IDLE_TICKS) {
            nap(HELPER_AWAKE, tick());
            continue;
        }
        fg_put(&helper.state, HELPER_ASLEEP);
        if (!fgcu_visit_all(1)) /* nothing came between the look and the word */
            nap(HELPER_ASLEEP, 0);
        fg_put(&helper.state, HELPER_AWAKE);
        idle = 0;
    }
    return NULL;
}

/* Signals are the program's: none is handled in this thread. */
static int start_helper(void)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    pthread_t thread;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, 256 * 1024);
    int failed = pthread_create(&thread, &attributes, help, NULL);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failed;
}

void fgcu_helper_wake(void)
{
    uint32_t state = fg_get(&helper.state);
    if (__builtin_expect(state == HELPER_AWAKE && helper.epoch == fgcu.lease.epoch, 1))
        return;
    int saved = errno;
    if (state == HELPER_ASLEEP && helper.epoch == fgcu.lease.epoch) {
        fg_put(&helper.state, HELPER_AWAKE);
        syscall(SYS_futex, &helper.state, FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
    } else {
        fg_lock(&helper.lock);
        if ((fg_get(&helper.state) == HELPER_NONE || helper.epoch != fgcu.lease.epoch)) { /* a child has none */
            helper.epoch = fgcu.lease.epoch;
            fg_put(&helper.state, HELPER_AWAKE);
            if (start_helper() != 0)
                fg_put(&helper.state, HELPER_NONE); /* no thread: submits settle, as far as they come */
        }
        fg_unlock(&helper.lock);
    }
    errno = saved;
}

/* ---- through the gate ---- */

static enum fg_gate_status enter(struct fgcu_submit *submit, uint64_t key, unsigned how)
{
    return submit->budget_ns ? fg_gate_prepay(&fgcu.gate, submit->budget_ns, how, &submit->ticket)
                             : fg_gate_enter(&fgcu.gate, key, how, &submit->ticket);
}

/* What we are about to wait for may be done already, or may still lie in an open batch. */
static enum fg_gate_status pass(struct fgcu_submit *submit, uint64_t key)
{
    unsigned how = fg_get(&fgcu.unbound) ? FG_GATE_UNBOUND : 0;
    enum fg_gate_status status = enter(submit, key, how | FG_GATE_NOWAIT);
    if (status == FG_GATE_BUSY) {
        fgcu_settle_all();
        status = enter(submit, key, how | FG_GATE_NOWAIT);
    }
    if (status == FG_GATE_BUSY) {
        fg_add(&fgcu.urgent, 1);
        fgcu_helper_wake();
        status = enter(submit, key, how);
        fg_add(&fgcu.urgent, -1u);
    }
    return status;
}

static uint64_t quantum(void)
{
    uint64_t share = fg_get(&fgcu.lease.limits->inflight_ns) / QUANTA;
    return share < QUANTUM_LEAST ? QUANTUM_LEAST : share > QUANTUM_MOST ? QUANTUM_MOST : share;
}

/* ---- what jobs cost, once they have been pushed out of the gate's table by others of the same place ----
 *
 * A training step has a thousand kinds of kernels. One that the gate does not know counts as all that may be in flight, so two
 * that keep pushing each other out would stop the device at each launch. Sets of four, the oldest goes. */

#define SETS 4096u
static struct { struct fg_cost ways[4]; uint32_t next; } costs[SETS];

static struct fg_cost *known_cost(uint64_t key)
{
    uint64_t set = key * 0xd6e8feb86659fd93u >> 52;
    for (unsigned i = 0; i < 4; i++)
        if (fg_get(&costs[set].ways[i].key) == key)
            return &costs[set].ways[i];
    return NULL;
}

void fgcu_remember_cost(uint64_t key)
{
    uint64_t mean = fg_gate_predict(&fgcu.gate, key), set = key * 0xd6e8feb86659fd93u >> 52;
    struct fg_cost *cost = known_cost(key);
    if (!mean)
        return;
    if (!cost)
        cost = &costs[set].ways[fg_add(&costs[set].next, 1) % 4];
    fg_put(&cost->mean_ns, mean);
    fg_put(&cost->key, key); /* torn with another's: a wrong guess, corrected soon */
}

/* Of one job; 0: never measured. What was pushed out comes back. */
static uint64_t predict(uint64_t key)
{
    uint64_t mean = fg_gate_predict(&fgcu.gate, key);
    if (mean)
        return mean;
    const struct fg_cost *cost = known_cost(key);
    if (!cost || !(mean = fg_get(&cost->mean_ns)))
        return 0;
    struct fg_cost *place = fg_gate_cost(&fgcu.gate, key);
    fg_put(&place->mean_ns, mean);
    fg_put(&place->key, key);
    return mean;
}

/* Is there room in the open batch? Otherwise it is closed. */
static int join(struct fgcu_lane *lane, uint64_t predicted_ns, unsigned flags)
{
    int64_t take = (int64_t)(predicted_ns << 16) - 1;
    int joined = 0;
    fg_lock(&lane->lock);
    if (lane->open && predicted_ns && !flags && fg_get(&lane->left) >= take) {
        fg_put(&lane->left, lane->left - take);
        joined = 1;
    }
    if (!joined)
        fgcu_lane_close(lane, 0);
    if (lane->first && !fg_get(&fgcu.captures))
        fgcu_lane_settle(lane);
    fg_unlock(&lane->lock);
    return joined;
}

/* What to prepay for a batch that begins with such a job; 0: it will be a batch of one. */
static uint64_t budget(struct fgcu_lane *lane, uint64_t predicted_ns)
{
    uint64_t room = quantum();
    if (fg_get(&fgcu.captures)) /* the stream may be drawn into a capture after any call: nothing of ours stays open in it */
        return 0;
    if (!predicted_ns || predicted_ns * 2 > room || ++lane->opens % SAMPLE == 0)
        return 0;
    if (fg_get(&lane->doubts)) {
        fg_add(&lane->doubts, -1u);
        return 0;
    }
    return room;
}

static int measures(void) { return !(fg_get(&fgcu.lease.limits->flags) & FG_LIMIT_UNGATED); }

CUresult fgcu_begin(struct fgcu_submit *submit, CUstream stream, uint64_t key, unsigned flags)
{
    *submit = (struct fgcu_submit){.mode = FGCU_PASSED, .flags = flags};
    if (!fgcu_attached() || (fg_get(&fgcu.captures) && fgcu_capturing(stream)))
        return CUDA_SUCCESS;
    struct fgcu_lane *lane = fgcu_lane(stream);
    submit->predicted_ns = predict(key);
    submit->mode = FGCU_JOINED;
    if (lane && join(lane, submit->predicted_ns, flags))
        return CUDA_SUCCESS;
    if (lane && !flags && measures())
        submit->budget_ns = budget(lane, submit->predicted_ns);
    if (pass(submit, key) != FG_GATE_PASS)
        return CUDA_ERROR_DEVICE_UNAVAILABLE;
    submit->mode = FGCU_BLIND;
    if (lane && measures()) {
        submit->lane = lane;
        fg_lock(&lane->lock);
        submit->batch = fgcu_batch_start(lane);
        fg_unlock(&lane->lock);
        if (submit->batch)
            submit->mode = FGCU_OPENED;
    }
    return CUDA_SUCCESS;
}

/* The batch is the lane's: either it waits for more jobs, or it ends here. */
static void keep(struct fgcu_submit *submit)
{
    struct fgcu_lane *lane = submit->lane;
    struct fgcu_batch *batch = submit->batch;
    batch->ticket = submit->ticket;
    batch->spent_ns = submit->predicted_ns ? submit->predicted_ns : submit->ticket.predicted_ns;
    batch->single = !submit->budget_ns;
    batch->credit_bytes = submit->credit_bytes;
    if (submit->flags & FGCU_UNBOUND) {
        batch->unbound = 1;
        fg_add(&fgcu.unbound, 1);
    }
    fg_lock(&lane->lock);
    fg_put(&lane->open, batch);
    lane->looks = lane->busy = 0;
    lane->budget_ns = submit->budget_ns;
    if (batch->single)
        fgcu_lane_close(lane, 0);
    else
        fg_put(&lane->left, (int64_t)(submit->budget_ns - submit->predicted_ns) << 16 | 1);
    if (fg_get(&fgcu.captures)) /* begun since its budget was chosen */
        fgcu_lane_close(lane, 0);
    fg_unlock(&lane->lock);
    fgcu_helper_wake();
}

CUresult fgcu_end(struct fgcu_submit *submit, CUresult result)
{
    if (submit->mode == FGCU_OPENED && result == CUDA_SUCCESS) {
        keep(submit);
        if (submit->flags & FGCU_SYNC)
            fgcu_after_wait();
    } else if (submit->mode == FGCU_OPENED || submit->mode == FGCU_BLIND) {
        if (submit->batch)
            fgcu_batch_drop(submit->batch);
        if (result == CUDA_SUCCESS) {
            fg_gate_settle(&fgcu.gate, &submit->ticket, 0, 0);
            fg_ledger_credit(&fgcu.ledger, submit->credit_bytes);
        } else {
            fg_gate_cancel(&fgcu.gate, &submit->ticket);
        }
    }
    return result;
}

/* ---- where a program waits, or asks whether it must ---- */

CUresult fgcu_do_cuCtxSynchronize(unsigned which)
{
    fgcu_before_wait();
    CUresult result = FGCU_WHICH(cuCtxSynchronize)();
    fgcu_after_wait();
    return result;
}

CUresult fgcu_do_cuCtxSynchronize_v2(unsigned which, CUcontext context)
{
    fgcu_before_wait();
    CUresult result = FGCU_WHICH(cuCtxSynchronize_v2)(context);
    fgcu_after_wait();
    return result;
}

CUresult fgcu_do_cuStreamSynchronize(unsigned which, CUstream stream)
{
    fgcu_before_wait();
    CUresult result = FGCU_WHICH(cuStreamSynchronize)(stream);
    fgcu_after_wait();
    return result;
}

CUresult fgcu_do_cuEventSynchronize(unsigned which, CUevent event)
{
    fgcu_before_wait();
    CUresult result = FGCU_WHICH(cuEventSynchronize)(event);
    fgcu_after_wait();
    return result;
}

/* Who asks may submit at once again, so a batch is ended for it only while others want the device and should know early
 * that it is idle. */
static int asked(void) { return fgcu_attached() && fg_get(&fgcu.lease.limits->drain_ns); }

CUresult fgcu_do_cuStreamQuery(unsigned which, CUstream stream)
{
    int wanted = asked();
    if (wanted)
        fgcu_before_wait();
    CUresult result = FGCU_WHICH(cuStreamQuery)(stream);
    if (wanted && result == CUDA_SUCCESS)
        fgcu_after_wait();
    return result;
}

CUresult fgcu_do_cuEventQuery(unsigned which, CUevent event)
{
    int wanted = asked();
    if (wanted)
        fgcu_before_wait();
    CUresult result = FGCU_WHICH(cuEventQuery)(event);
    if (wanted && result == CUDA_SUCCESS)
        fgcu_after_wait();
    return result;
}

CUresult fgcu_do_cuStreamDestroy(unsigned which, CUstream stream)
{
    if (fgcu_attached())
        fgcu_stream_gone(stream);
    return FGCU_WHICH(cuStreamDestroy)(stream);
}
