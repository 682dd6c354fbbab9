/* shim.h - the CUDA front end of a vGPU: a libcuda.so.1 in the driver's place, inside the task's process.
 *
 *     program -> libcuda.so.1 (this)  --memory---> ledger (reserve, call, settle)      memory.c, pool.c, vmm.c, array.c, overhead.c, lent.c
 *                                     --submits--> gate, in batches between events     submit.c, lane.c, graph.c, capture.c
 *                                     --queries--> the lease's limits                  memory.c
 *                                     --names----> the hook of what the driver answers names.c
 *        all else resolves to the driver's own libcuda.so.1, which is this one's dependency (decision 0021)
 *
 * One copy per link namespace; the driver's functions are looked up when the library is loaded, the lease is attached by
 * cuInit; any thread. Three states: no lease (every call goes on to the driver, cuGetProcAddress hands out the driver's own
 * pointers), attached, and refused: a lease that cannot be used lets cuInit fail, and cuGetErrorString says why.
 * Nothing here prints, exits, takes a signal or registers an exit handler. A limit of this level: a program that loads the
 * driver by its own path is not seen. */
#pragma once
#include "shim/cuda/cuda_abi.h"

#include "cuda_table.h"
#include "vgpu/gate.h"
#include "vgpu/ledger.h"

#define FGCU_EXPORT __attribute__((visibility("default")))
#define FGCU_SLOW   __attribute__((noinline, cold))

struct fgcu {
    void *next[FGCU_ALL];         /* the driver's functions; one it lacks answers CUDA_ERROR_NOT_FOUND */
    void *driver;                 /* its handle; NULL: it could not be found again */
    struct fg_lease lease;
    struct fg_ledger ledger;
    struct fg_gate gate;
    uint32_t attach_lock, looked, attached; /* looked: for a lease; attached: there is one, and it is not refused */
    enum fg_lease_status refused; /* not OK: why cuInit fails */
    uint32_t captures;            /* streams that are being captured now */
    uint32_t unbound;             /* jobs in flight that may wait for an act of the program */
    uint32_t urgent;              /* threads that wait at the gate for something to complete */
    uint32_t unnamed;             /* pointers of cuGetProcAddress that are none of the driver's exports */
};
extern struct fgcu fgcu __attribute__((visibility("hidden")));

/* The driver's function of an export. type: the row's impl. */
#define FGCU_NEXT(export, type) ((fgcu_fn_##type)fgcu.next[FGCU_##export])
/* One that is not wrapped. */
#define fgcu_call(name) ((fgcu_fn_##name)fgcu.next[FGCU_##name])
/* Which export of a row was called. */
#define FGCU_WHICH(type) ((fgcu_fn_##type)fgcu.next[which])

static inline int fgcu_attached(void) { return __builtin_expect(fg_get(&fgcu.attached) != 0, 1); }

/* ---- attach.c ---- */
/* Look for the lease, once. */
void fgcu_attach(void);

/* ---- driver.c ---- */
/* The lease's device is the only one that the program sees. A program that asked for none gets none. */
void fgcu_only_device(const char *device);
/* dlopen a library of the machine that lies with the driver. */
void *fgcu_beside(const char *name, int mode);
/* The hook that the shim exports under this name, or NULL. */
void *fgcu_hook(unsigned function);
const char *fgcu_name(unsigned function);
/* Does the driver have it? */
int fgcu_has(unsigned function);

/* ---- memory.c ---- */
/* What holds memory. Keys of the kinds of one line do not meet. */
enum fgcu_kind { FGCU_LINEAR = 1, FGCU_PITCHED, FGCU_POOLED, FGCU_MANAGED, /* device addresses */
    FGCU_ARRAY, FGCU_MIPMAP, FGCU_EXTERNAL, FGCU_MODULE, FGCU_LIBRARY, FGCU_CONTEXT, FGCU_LIMIT, FGCU_POOL, FGCU_GRAPHS, FGCU_PHYSICAL };
static inline uint64_t fgcu_record_key(enum fgcu_kind kind, uint64_t value)
{
    return value ^ (uint64_t)(kind <= FGCU_MANAGED ? 0 : kind) << 58;
}
/* Bits of fg_record.lent. */
enum { FGCU_LENT = 1, FGCU_PUT_BACK = 2 };          /* others may hold it, too; the driver refused to free it */
CUcontext fgcu_context(void);                       /* the current one, or NULL */
/* Reserve; over the quota, look for what the driver gave back meanwhile and try again. 0, or CUDA_ERROR_OUT_OF_MEMORY. */
CUresult fgcu_reserve(uint64_t bytes);
/* The same for what does not grow by what is asked for; growth(what, bytes) is asked anew at each attempt. *ret: reserved. */
typedef uint64_t fgcu_growth(uint64_t what, uint64_t bytes);
CUresult fgcu_reserve_for(fgcu_growth *growth, uint64_t what, uint64_t bytes, uint64_t *ret);
/* After the driver's call: remember what it made, with its true size. 0, or CUDA_ERROR_OUT_OF_MEMORY: undo it, then fgcu_undone. */
CUresult fgcu_made(enum fgcu_kind kind, uint64_t value, uint64_t reserved, uint64_t bytes, CUcontext owner);
void fgcu_undone(enum fgcu_kind kind, uint64_t value);
/* Around a call that frees: *ret is the record. 0: not ours, ask the driver. */
int fgcu_free_begin(enum fgcu_kind kind, uint64_t value, struct fg_record *ret);
CUresult fgcu_free_end(const struct fg_record *record, CUresult result);
/* What the driver takes for a linear allocation. */
uint64_t fgcu_linear_bytes(uint64_t bytes);

/* ---- lent.c ---- */
/* What the record holds may be held by others from now on. */
void fgcu_lend(enum fgcu_kind kind, uint64_t value);
/* Before a call of the driver that may let go of such memory; and after it, for memory that the caller has no more. */
void fgcu_parting(void);
void fgcu_parted(uint64_t bytes);
/* Credit what has come back since. */
void fgcu_lent_returns(void);

/* ---- share.c ---- */
/* The lease is told what this process holds from now on (fg_held_flag). */
void fgcu_mark(uint32_t held);

/* ---- pool.c: memory that the driver keeps for more than one allocation. Its books are the attributes it shows. ---- */
/* Read the reserved bytes of all known pools and of graphs and correct the ledger. */
void fgcu_pools_refresh(void);
/* The same, and let pools give back what they do not use. */
void fgcu_pools_trim(void);
/* Only if something was freed since. */
void fgcu_pools_settle(void);
/* Around a call that begins a capture; what it returns is passed on. And after one that ended it. */
void fgcu_capture_begins(void);
CUresult fgcu_capture_begun(CUresult result);
void fgcu_capture_ended(void);
/* A pool that was not made here is taken for the device's: unless it is the host's. */
void fgcu_pool_seen(CUresult result, const CUmemoryPool *pool, const CUmemLocation *location, int type);
void fgcu_pools_dirty(void);
/* One allocation of the pool was freed. */
void fgcu_pool_freed(uint64_t pool);
/* Its last allocations keep its memory. */
int fgcu_pool_destroyed(uint64_t pool);
/* Others may hold its memory from now on. */
void fgcu_pool_lend(CUmemoryPool pool);
/* The bytes that a further `need` would make the device's graph memory grow by. */
uint64_t fgcu_graphs_growth(uint64_t device, uint64_t need);
/* Read what graphs have reserved. 0, or CUDA_ERROR_OUT_OF_MEMORY: over the quota now. */
CUresult fgcu_graphs_settle(CUdevice device, uint64_t reserved);

/* ---- overhead.c: contexts, modules, limits ---- */
/* What is in use on the device, of everybody; below 0: it cannot be seen. */
int64_t fgcu_device_used(void);
/* A context is gone: so is what it owned, and what was measured in it is no longer waited for. */
void fgcu_context_gone(CUcontext context);

/* ---- capture.c ---- */
int fgcu_capturing(CUstream stream);
/* Let this thread, of ours, query events while another captures in global mode. */
void fgcu_relax(void);

/* ---- lane.c, submit.c ----
 *
 * A lane is one thread's way onto one stream. Jobs go in batches: what a batch may take is paid at the gate before its
 * first job; the jobs after that cost one subtraction. Events before the first and after the last job measure it.
 *
 *      gate --prepay--> [start] job job job ... [end]  --cuEventQuery--> settle(start, end)
 *                       open, left > 0           closed: full, or the thread waits, or nothing came for a while
 *
 * A kernel that was never measured, and every 32nd batch, is a batch of one: from these the costs are learnt. */
struct fgcu_lane {
    int64_t left;                 /* prepaid ns that are left: 48, jobs: 16; below 0: no open batch. Lowered by its own thread only */
    CUstream named[2];            /* the stream as calls name it: NULL for the default one, of calls without and with _ptsz */
    CUstream stream;              /* the same, never NULL */
    uint32_t lock;                /* all below */
    uint32_t held;                /* by a living thread */
    struct fgcu_batch *open, *first, *last; /* first..last: closed, in order */
    uint64_t budget_ns;
    int64_t seen_left;            /* by the helper at its last look */
    uint32_t looks, busy;         /* of the helper at the open batch: how often, and how often the stream had work */
    uint32_t opens, doubts;       /* batches so far; batches of one to come, since costs seem to have changed */
    int64_t closed_left;          /* left when a batch was closed: more has been taken since where left is not below 0 */
    uint64_t late_ns;             /* so much, of as many jobs: charged with the next batch */
    uint32_t late_jobs;
    struct fgcu_lane *next;       /* of all lanes; they are reused, never freed */
} __attribute__((aligned(64)));

struct fgcu_batch {
    struct fgcu_batch *next;
    struct fgcu_clock *clock;
    struct fgcu_lane *lane;
    CUevent start, end;
    struct fg_ticket ticket;
    uint64_t spent_ns;            /* what its jobs are expected to take */
    uint64_t late_ns;             /* and jobs before it, that are in no batch */
    int64_t opened_ns, closed_ns; /* when its thread began and ended to submit it */
    uint64_t credit_bytes;        /* memory that is free when it has completed */
    uint32_t looks, busy;         /* the lane's, when it was closed */
    int single, unbound;
};

/* A context's events and its device's time. */
struct fgcu_clock {
    struct fgcu_clock *next;
    CUcontext context;            /* NULL: place is free */
    struct fgcu_batch *idle;      /* with their events */
    CUevent anchor;
    int64_t anchor_ns;
};

enum fgcu_submit_flag { FGCU_SYNC = 1, FGCU_UNBOUND = 2, FGCU_ALONE = 4 /* in no batch with others */ };
enum fgcu_submit_mode { FGCU_PASSED, FGCU_JOINED, FGCU_BLIND, FGCU_OPENED };
struct fgcu_submit {
    struct fgcu_lane *lane;
    struct fgcu_batch *batch;
    struct fg_ticket ticket;
    uint64_t predicted_ns, budget_ns, credit_bytes;
    unsigned mode, flags;
};
/* Waits for the vGPU's turn. Not 0: answer that. */
CUresult fgcu_begin(struct fgcu_submit *submit, CUstream stream, uint64_t key, unsigned flags);
/* After the driver's call. Returns its result. */
CUresult fgcu_end(struct fgcu_submit *submit, CUresult result);

extern __thread struct fgcu_lane *fgcu_last_lane __attribute__((visibility("hidden")));
/* The calling thread's lane for the stream. NULL: no memory. */
struct fgcu_lane *fgcu_lane(CUstream stream);
/* Locked. End the open batch. foreign: not the lane's own thread. */
void fgcu_lane_close(struct fgcu_lane *lane, int foreign);
/* A job of this kind was measured alone. */
void fgcu_remember_cost(uint64_t key);
/* Locked. Settle what has completed, in order. Its context must be current. */
void fgcu_lane_settle(struct fgcu_lane *lane);
/* Locked. A batch with its first event recorded on the lane's stream, or NULL. */
struct fgcu_batch *fgcu_batch_start(struct fgcu_lane *lane);
/* Locked. The batch did not come to be. */
void fgcu_batch_drop(struct fgcu_batch *batch);
/* The calling thread waits, or asks whether it must: close its batches. */
void fgcu_before_wait(void);
/* It waited: settle them; see what was freed. */
void fgcu_after_wait(void);
/* Settle what has completed in all lanes of all threads; close what is open, or, patient, what got no job since the last look.
 * Returns whether anything is left. */
int fgcu_visit_all(int patient);
/* Around a driver's call that may end a context of which work is in flight. */
void fgcu_visits_stop(void);
void fgcu_visits_go_on(void);
/* Close and settle all that can be. */
void fgcu_settle_all(void);
/* Close what is open in all lanes. */
void fgcu_close_all(void);
/* The stream goes away. */
void fgcu_stream_gone(CUstream stream);
/* The context goes away, or (dead) is gone already: nothing in it is waited for any more. */
void fgcu_clock_gone(CUcontext context, int dead);
/* Something is open or in flight: the helper thread should look now and then. */
void fgcu_helper_wake(void);

/* ---- the way in ---- */
static inline CUstream fgcu_stream(CUstream stream, int own_thread)
{
    return __builtin_expect(stream != NULL, 1) ? stream : own_thread ? CU_STREAM_PER_THREAD : CU_STREAM_LEGACY;
}

/* Jobs of one key are expected to cost the same: function or kernel, and size to a quarter of a power of two, which is what
 * the exponent and the first two bits after it of a floating-point number say. */
static inline uint64_t fgcu_key(unsigned function, uint64_t handle, uint64_t size)
{
    union { double number; uint64_t bits; } class = {.number = (double)(int64_t)size};
    return (handle + (function << 8 | 1)) ^ class.bits >> 50 << 48;
}

/* May the job go on what is prepaid? Most do, so this is kept to a few instructions in registers that no argument is in. */
static inline int fgcu_fast(CUstream stream, int own_thread, uint64_t key)
{
    struct fgcu_lane *lane = fgcu_last_lane;
    if (__builtin_expect(lane->named[own_thread] != stream, 0))
        return 0;
    const struct fg_cost *cost = fg_gate_cost(&fgcu.gate, key);
    if (__builtin_expect(__atomic_load_n(&cost->key, __ATOMIC_RELAXED) != key, 0))
        return 0;
    int64_t take = (int64_t)(__atomic_load_n(&cost->mean_ns, __ATOMIC_RELAXED) << 16) - 1;
    /* Not one locked instruction: the lane is this thread's. Another that closes it between the load and the store is not seen
     * before the prepaid time is used up; what goes until then is found by fgcu_lane_close (late). */
    int64_t left = __atomic_load_n(&lane->left, __ATOMIC_RELAXED) - take;
    if (__builtin_expect(left < 0, 0))
        return 0;
    __atomic_store_n(&lane->left, left, __ATOMIC_RELAXED);
    return 1;
}

static inline uint64_t fgcu_area(const CUDA_MEMCPY2D *copy) { return copy ? copy->WidthInBytes * copy->Height : 0; }
static inline uint64_t fgcu_volume(const CUDA_MEMCPY3D *copy)
{
    return copy ? copy->WidthInBytes * copy->Height * copy->Depth : 0;
}
static inline uint64_t fgcu_volume_peer(const CUDA_MEMCPY3D_PEER *copy)
{
    return copy ? copy->WidthInBytes * copy->Height * copy->Depth : 0;
}
static inline uint64_t fgcu_blocks(const CUlaunchConfig *config)
{
    return config ? (uint64_t)config->gridDimX * config->gridDimY * config->gridDimZ : 0;
}
static inline uint64_t fgcu_sum(const size_t *sizes, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; sizes && i < count; i++)
        sum += sizes[i];
    return sum;
}
