/* driver.h - the inside of the stand-in driver: what a process has of contexts, memory, streams and graphs.
 *
 * Locks, in this order: fk_big (this process's objects), then the world's (fk_lock: engines and truth). Callbacks of the
 * program are called under neither. Handles are pointers to these structs and begin with a magic word. */
#pragma once
#include <pthread.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "shim/cuda/cuda_abi.h"
#include "fake_cuda.h"
#include "fake_cuda_symbols.h"
#include "world.h"

#define FK_EXPORT __attribute__((visibility("default")))
/* A function of the driver: declared, then defined. */
#define FK_API(name, params) FK_EXPORT CUresult name params; FK_EXPORT CUresult name params
/* First line of each: counts the call, fails it if a test wants so, waits while a checkpoint holds the process. */
/* What cuda_abi.h lacks. */
enum { CUDA_ERROR_UNSUPPORTED_PTX = 222, CUDA_ERROR_CONTEXT_ALREADY_IN_USE = 216, CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED = 704,
       CUDA_ERROR_PEER_ACCESS_NOT_ENABLED = 705, CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED = 712,
       CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED = 713, CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE = 720 };
#define FK_COUNT(name) do { CUresult entered_ = fk_count(FKS_##name); if (entered_) return entered_; } while (0)
#define FK_ENTER(name) do { CUresult entered_ = fk_enter(FKS_##name); if (entered_) return entered_; } while (0)
/* A function with a variant whose stream 0 is the thread's own (suffix _ptsz or _ptds); both call run_NAME. */
#define FK_BOTH(name, suffix, params, args) \
    FK_API(name, params) { FK_ENTER(name); hStream = fk_default_stream(hStream, false); return run_##name args; } \
    FK_API(name##suffix, params) { FK_ENTER(name##suffix); hStream = fk_default_stream(hStream, true); return run_##name args; }
/* The same for functions that name no stream and use the default one. */
#define FK_BOTH_SYNC(name, params, args) \
    FK_API(name, params) { FK_ENTER(name); CUstream hStream = fk_default_stream(NULL, false); return run_##name args; } \
    FK_API(name##_ptds, params) { FK_ENTER(name##_ptds); CUstream hStream = fk_default_stream(NULL, true); return run_##name args; }

enum { FK_IS_CTX = 0x1c7a0001, FK_IS_STREAM, FK_IS_EVENT, FK_IS_MODULE, FK_IS_FUNC, FK_IS_POOL, FK_IS_ARRAY, FK_IS_MIPMAP,
       FK_IS_GRAPH, FK_IS_NODE, FK_IS_EXEC, FK_IS_LIBRARY, FK_IS_KERNEL, FK_IS_PHYSICAL, FK_IS_EXTERNAL };
#define FK_IS(object, what) ((object) && *(const uint32_t *)(const void *)(object) == (what))
#define FK_LIMITS 9u
#define FK_IPC 2u /* flags of borrowed memory: of cuIpcOpenMemHandle, which has its own way to end */

struct fk_list { struct fk_list *next, *prev; };
void fk_list_init(struct fk_list *list);
void fk_list_add(struct fk_list *list, struct fk_list *item); /* at the end */
void fk_list_remove(struct fk_list *item);                    /* of none: nothing */
#define FK_OF(item, type, member) ((type *)(void *)((char *)(item) - offsetof(type, member)))

struct CUstream_st {
    uint32_t magic, lane, flags;
    int priority;
    bool legacy;
    CUcontext ctx;
    uint64_t last;                 /* its last job; 0 none; read without a lock: fk_last */
    uint64_t id;
    struct fk_capture *capture;    /* being recorded */
    CUgraphNode tips[16];          /* of the capture: what the next node comes after */
    unsigned tip_count;
    struct fk_list link;           /* in ctx->streams */
};

static inline uint64_t fk_last(CUstream stream) { return __atomic_load_n(&stream->last, __ATOMIC_ACQUIRE); }

struct CUctx_st {
    uint32_t magic;
    unsigned device;               /* of the world */
    int ordinal;
    bool primary;
    unsigned flags, retained, api_version;
    uint64_t id, context_bytes, limit_bytes;
    size_t limits[FK_LIMITS];
    uint64_t legacy_last;          /* the legacy stream's last job: blocking streams come after it */
    struct CUstream_st legacy;
    struct fk_list streams, allocs, modules, arrays;
};

/* An address range that a call handed out. */
struct fk_alloc {
    uint64_t base, bytes, charged; /* charged to the device: its true size; 0 where something else is charged */
    enum fk_kind kind;
    unsigned device;
    CUcontext ctx;                 /* dies with it; NULL: with the process */
    CUmemoryPool pool;
    bool graph, live;              /* address of an alloc node; live: a launch allocated it and nothing freed it */
    uint64_t id;
    unsigned flags, export;
    bool reservation, registered;  /* an address range without memory of its own; host memory of the program */
    void *mappings;                /* vmm.c */
    struct fk_list link;
};

struct CUmemPoolHandle_st {
    uint32_t magic;
    unsigned device;
    bool is_default, imported, host;
    CUmemPoolProps props;
    struct fk_list link;
    uint64_t threshold, used, used_high, reserved, reserved_high, live;
    int reuse[3];
    bool destroyed;                /* goes with its last allocation */
};

struct fk_op;
typedef void fk_effect(struct fk_op *op);

/* One thing to be done in a stream or a graph. */
struct fk_op {
    int type;                      /* CUgraphNodeType */
    enum fk_unit unit;
    unsigned slots;
    uint64_t ns;
    fk_effect *effect;             /* on memory, at submission */
    struct { char *to; const char *from; size_t width, height, depth, to_pitch, from_pitch, to_slice, from_slice; } data;
    struct { uint32_t value, element; } set;
    struct { CUhostFn call; void *arg; CUstreamCallback callback; CUstream stream; } host;
    CUDA_KERNEL_NODE_PARAMS kernel; /* kernelParams: not kept */
    CUDA_MEM_ALLOC_NODE_PARAMS memory;
    CUDA_MEMCPY3D copy;            /* as given, for the getters */
    CUDA_MEMSET_NODE_PARAMS memset;
    CUevent event;
    CUgraph child;
    struct { uint64_t address, value; unsigned flags, bytes; } wait; /* bytes 0: no wait */
};

/* --- state.c --- */
extern pthread_mutex_t fk_big;
extern bool fk_ready;
extern int fk_visible[FK_DEVICES], fk_visible_count; /* CUDA ordinal -> the world's device */
CUresult fk_count(unsigned symbol);
CUresult fk_enter(unsigned symbol);
CUresult fk_start(void);                             /* cuInit */
unsigned fk_symbol(const char *name);                /* FKS_COUNT: none */
extern const char *const fk_symbol_names[];
extern const uint32_t fk_symbol_since[];
extern int (*const fk_symbol_address[])(void), (*const fk_symbol_stub[])(void);
int fk_stub(unsigned symbol);
static inline bool fk_device_ok(CUdevice dev) { return dev >= 0 && dev < fk_visible_count; }
static inline uint64_t fk_round(uint64_t n, uint64_t to) { return (n + to - 1) / to * to; }

/* --- context.c --- */
CUcontext fk_current(void);                          /* NULL: none */
CUcontext fk_primary(int ordinal);                   /* NULL if not retained */
CUcontext fk_context_any(int ordinal);               /* some context of the device */
/* The current context or `return CUDA_ERROR_INVALID_CONTEXT`. */
#define FK_CTX(ctx) CUcontext ctx = fk_current(); if (!ctx) return CUDA_ERROR_INVALID_CONTEXT

/* --- va.c: addresses; under fk_big --- */
bool fk_va_take(struct fk_alloc *alloc, uint64_t bytes, uint64_t align);
void fk_va_give(struct fk_alloc *alloc);
struct fk_alloc *fk_va_find(uint64_t address);       /* interior addresses too */

/* --- memory.c; under fk_big --- */
/* Take memory and an address for it. charged: bytes of kind; 0: none (kind's owner is charged). NULL: no room. */
struct fk_alloc *fk_alloc_new(CUcontext ctx, unsigned device, enum fk_kind kind, uint64_t bytes, uint64_t charged);
void fk_alloc_end(struct fk_alloc *alloc);           /* whatever it is */
struct fk_alloc *fk_host_find(const void *address);

/* --- pool.c, graph_memory.c; under fk_big --- */
void fk_pool_alloc_gone(struct fk_alloc *alloc);
void fk_pools_synced(unsigned device);               /* a synchronisation: what is over the thresholds goes back */
void fk_pools_end(unsigned device);                  /* the primary context is reset */
CUresult fk_graph_alloc(CUcontext ctx, CUDA_MEM_ALLOC_NODE_PARAMS *params); /* an address for an alloc node */
void fk_graph_alloc_gone(struct fk_alloc *alloc);    /* freed by the program, or its context ends */
/* Memory for one launch: need at its peak, of which `stay` are not freed in it. */
CUresult fk_graph_reserve(unsigned device, uint64_t need);
void fk_graph_live(uint64_t pointer, bool live);     /* a launch allocated it or freed it */
bool fk_graph_is_live(uint64_t pointer);
void fk_graph_memory_end(unsigned device);
CUresult cuDeviceGetDefaultMemPool(CUmemoryPool *ret, CUdevice dev);
CUresult cuDeviceGetMemPool(CUmemoryPool *ret, CUdevice dev);
CUresult cuDeviceSetMemPool(CUdevice dev, CUmemoryPool pool);

/* --- array.c, module.c --- */
void fk_arrays_end(CUcontext ctx);
void fk_modules_end(CUcontext ctx);
/* Address of an array's memory. */
struct fk_array_view { char *base; size_t pitch, slice, element; };
bool fk_array_view(CUarray array, struct fk_array_view *ret);
const char *fk_function_name(CUfunction func);
bool fk_function_plain(CUfunction func);             /* its name says nothing of what it does */
size_t fk_function_params(CUfunction func, size_t offsets[64], size_t *count);
bool fk_function_ok(CUfunction func);
CUfunction fk_kernel_function(CUkernel kernel);
CUcontext fk_function_ctx(CUfunction func);

/* --- submit.c --- */
CUstream fk_default_stream(CUstream given, bool per_thread); /* never NULL for a stream of the current context; NULL: no context */
bool fk_stream_ok(CUstream stream);
/* Put the operation in the stream, or into the graph being captured. No lock is held by the caller. */
CUresult fk_run(CUstream stream, struct fk_op *op);
/* Nothing is captured and nothing of this process is on the device: an operation of no length is done at once. */
bool fk_quiet(CUstream stream);
/* The same for an operation that is neither captured nor has effects. */
CUresult fk_run_now(CUstream stream, const struct fk_op *op);
/* Same with the number of its job (0: done already). Never captured. */
CUresult fk_submit(CUstream stream, const struct fk_op *op, void (*done)(void *, uint64_t), void *arg, uint64_t *ret_job);
CUresult fk_submit_after(CUstream stream, uint64_t job);
CUresult fk_sync_job(unsigned device, uint64_t job);  /* waits */
CUresult fk_sync_device(unsigned device);
bool fk_idle(unsigned device, uint64_t job);          /* up to date; false: not done */
void fk_forget_arg(unsigned device, void *arg);       /* its done hooks are not called */
void fk_lanes_free(CUstream stream);
void fk_stream_init(CUstream stream, CUcontext ctx, unsigned flags, int priority);
void fk_stream_fini(CUstream stream);

/* --- capture.c --- */
bool fk_no_captures(void);
/* A call that capture forbids: a stream of this thread's interest is being captured in a mode that forbids it. */
CUresult fk_unsafe(void);
#define FK_UNSAFE() do { CUresult unsafe_ = fk_unsafe(); if (unsafe_) return unsafe_; } while (0)
CUresult fk_capture_op(CUstream stream, const struct fk_op *op, CUgraphNode *ret);
CUresult fk_capture_break(CUstream stream, CUresult code); /* invalidates its capture, returns code */
CUresult fk_legacy_touched(CUstream stream);               /* use of the legacy stream while blocking ones are captured */
void fk_capture_left(CUstream stream);                     /* the stream dies */

CUgraphNode fk_capture_join(CUstream stream);              /* one node that comes after all that is captured in the stream */
CUresult fk_capture_fork(CUstream stream, struct fk_capture *from, CUgraphNode tip); /* the stream waits for a captured event */

/* --- event.c --- */
bool fk_event_ok(CUevent event);
uint64_t fk_event_job(CUevent event);
void fk_event_record_now(CUevent event, CUstream stream);

/* --- graph.c, graph_exec.c --- */
CUgraph fk_graph_new(void);
void fk_graph_free(CUgraph graph);
CUgraphNode fk_node_add(CUgraph graph, const CUgraphNode *after, size_t count, const struct fk_op *op);

/* --- launch.c, copy.c --- */
CUresult fk_kernel_op(CUfunction func, const unsigned grid[3], const unsigned block[3], unsigned shared, void **params, void **extra,
                      bool cooperative, struct fk_op *ret);
CUresult fk_copy_op(const CUDA_MEMCPY3D *copy, struct fk_op *ret);
CUresult fk_memset_op(uint64_t to, size_t pitch, uint32_t value, uint32_t element, size_t width, size_t height, struct fk_op *ret);
void fk_data_copy(struct fk_op *op);
void fk_data_set(struct fk_op *op);

/* --- ipc.c: things that another process may open; the world remembers them --- */
struct fk_export *fk_export_find(uint64_t id);       /* NULL: gone */
uint64_t fk_export(unsigned device, enum fk_kind kind, uint64_t bytes, uint64_t pointer); /* 0: no room */
bool fk_export_hold(struct fk_export *e);            /* imported by the calling process; false: by too many */
void fk_export_let_go(uint64_t id);                  /* and no more */
bool fk_export_leave(uint64_t id);                   /* its maker lets go: is it held still? Then it stays the maker's until it is not */
int fk_export_file(uint64_t id);                     /* a file descriptor that carries it, or -1 */
struct fk_export *fk_export_of_file(int fd);

/* --- vmm.c --- */
bool fk_mapped(struct fk_alloc *reservation, uint64_t address, uint64_t bytes); /* all of it has memory */
