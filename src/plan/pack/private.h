/* private.h - what the files of plan/pack share. See pack.h.
 *
 *     types --- rows ---> best()          a row is a type's score on every node, and the best of each block of nodes
 *                 ^
 *     nodes -- change log                 a node that changes is written to the log; a row that is asked catches up with it
 */
#pragma once
#include "base/vec.h"
#include "plan/pack.h"

#define PK_NEVER INT64_MIN               /* as a key: does not fit */
#define PK_INDEX_MOST 0xffffffu          /* the last 24 bits of a key */
#define PK_BLOCK 64u                     /* nodes in a block of a row */
#define PK_LOG 16384u                    /* changes kept; a row further behind looks at all nodes */
#define PK_CHAIN 4u                      /* moves of a chain, and none */
#define PK_TYPICAL_MOST 256u            /* typical types kept, the most frequent */
#define PK_VALUE_UNIT 16                 /* values are kept in sixteenths of a thousandth */
#define PK_LEVELS 4u                     /* of what is free of a shape */
#define PK_KNOWN 16384u                 /* a power of two */
#define PK_ROWS_MAX 1024u                /* rows kept; the one asked longest ago gives way */

/* What is free on a node, now or after a placement that is only tried. */
struct pk_room {
    int64_t cpu;                         /* milli */
    int64_t memory;                      /* bytes */
    uint32_t gpus, kind;
    uint16_t milli[FG_PACK_GPUS_MAX];    /* 0..1000 */
};
struct pk_node {
    struct pk_room room;
    struct fg_pack_node whole;
    uint64_t gpu_memory[FG_PACK_GPUS_MAX];
    uint32_t shape;                      /* index of equal empty nodes */
    uint32_t version;                    /* grows with every change */
    uint32_t first_task, tasks;
    bool closed;
    uint32_t value_epoch;                /* value is of this epoch and the present room; 0: to be worked out */
    int64_t value;
};
struct pk_shape {
    struct fg_pack_node whole;
    uint32_t nodes;
    uint64_t free_milli;                 /* of their GPUs */
    uint32_t level;                      /* free_milli in PK_LEVELS of all, rounded up */
    int64_t price;                       /* thousandths, price.c */
};
struct pk_task {
    uint32_t type, node, gpus;           /* node FG_PACK_NONE: free, next is the next free one */
    uint32_t next, prev;
    bool pinned;
};
struct pk_row {
    int64_t *key;                        /* [nodes] score, tightness, index in one number; PK_NEVER */
    uint32_t *version;                   /* [nodes] of the node when key was worked out; 0: never */
    int64_t *block;                      /* [nodes / PK_BLOCK] greatest key */
    FG_VEC(int64_t) empty;               /* by shape: the key of an empty node */
    FG_VEC(int64_t) charged;             /* by shape: the price in these keys, in quanta */
    uint64_t priced;                     /* the pack's, when they were charged */
    uint32_t nodes;                      /* room in the arrays */
    uint32_t epoch;
    bool stale;                          /* some block is */
    uint64_t seen;                       /* position in the log */
    uint64_t used;                       /* when it was last asked */
};
struct pk_type {
    struct fg_pack_type need;
    uint64_t count;                      /* arrived or expected */
    struct pk_row *row;                  /* NULL: none kept */
    uint64_t tasks;                      /* placed now */
    uint64_t beyond_at;                  /* generation of beyond: no task of it can go elsewhere with fewer moves than that */
    uint32_t beyond;
    uint64_t sure_at;                    /* position in the log, and one: it can with so many; 0: not known */
    uint64_t no_chain_at;                /* generation in which fg_pack_open found nothing */
    uint32_t no_chain_most;              /* with so many moves */
};
/* Typical tasks of one kind of need; those of one size (GPUs and share) stand together. */
struct pk_class {
    int64_t cpu, memory;
    uint32_t gpus, milli;
    uint64_t kinds;                      /* never 0 */
    double weight;                       /* of all: 1 */
};
struct pk_size { uint32_t gpus, milli, first, count; };
struct pk_typicals {                     /* fragment.c */
    FG_VEC(struct pk_class) items;
    FG_VEC(struct pk_size) sizes;
};
typedef float pk_v4 __attribute__((vector_size(16)));
typedef uint16_t pk_h8 __attribute__((vector_size(16), aligned(2), may_alias));
struct pk_quad { pk_v4 per_cpu, per_memory; };   /* of four types: 1 / need, in milli-cores and MiB */
struct pk_value {                        /* value.c */
    FG_VEC(struct pk_size) sizes;        /* first: in quads; count: types, the last quad filled up with weight 0 */
    uint32_t stride;                     /* sizes, a multiple of 8 */
    uint16_t *copies, *usable;           /* [0..1000 free][stride] */
    struct pk_quad *quads;
    pk_v4 *weight;                       /* [kinds][quads] */
    uint32_t quad_count;
};

struct pk_fill_table {
    uint32_t first, hosts, gpus;         /* place in at; steps of the host and of GPUs, lines of gpus + 1 */
    float weight;                        /* part of the arrivals with GPUs that may run on the kind, and how much it counts */
};
struct pk_fill {                         /* fill.c */
    FG_VEC(float) at;
    struct pk_fill_table table[FG_PACK_KINDS_MAX];
    double step;                         /* of the host: milli-cores, or bytes by_memory */
    bool by_memory;
    double gpu_bound;                    /* 1: GPUs are what runs out; 0: the host is */
    double beside;                       /* weight of fill where they are */
};

struct pk_known { uint64_t room; int64_t worth; };           /* score.c */
struct pk_movable { uint64_t at; FG_VEC(bool) types; };     /* chain.c; at: position in the log, and one */

struct fg_pack {
    struct fg_pack_options options;
    FG_VEC(struct pk_node) nodes;
    FG_VEC(struct pk_shape) shapes;
    FG_VEC(struct pk_type) types;
    uint32_t *type_slots, type_slot_count;   /* hash of needs -> type + 1 */
    FG_VEC(struct pk_task) tasks;
    uint32_t free_task;
    uint64_t task_count;
    uint32_t *log;                       /* [PK_LOG] changed nodes */
    uint64_t log_at;
    uint64_t generation;                 /* grows when room may have appeared: a task ends or moves, a node comes, goes, opens or closes */
    struct pk_movable movable[PK_CHAIN];
    uint64_t clock;                      /* of row uses */
    uint32_t rows;
    uint64_t expected, learned_at;       /* sum of counts; what it was when typicals were made */
    uint32_t epoch;                      /* of typicals and prices */
    struct pk_value value;               /* fastgpu's */
    struct pk_fill fill;                 /* likewise */
    struct pk_known *known;              /* [PK_KNOWN], from the first worth on */
    uint64_t filled_at;                  /* expected when it was made; 0: not yet */
    FG_VEC(uint32_t) shape_of;           /* [nodes] their shapes once more, close together */
    FG_VEC(int64_t) shift;               /* row.c */
    uint64_t levels, priced;             /* grows when a level changes; what it was when prices were made */
    struct pk_typicals by_count;         /* the FGD authors' */
    struct fg_pack_totals totals;
    int64_t cpu_most;                    /* largest node, for tightness */
};

/* pack.c */
struct pk_room pk_room_after(const struct pk_node *n, const struct fg_pack_type *t, uint32_t gpus);
bool pk_fits_whole(const struct fg_pack_node *n, const struct fg_pack_type *t);
/* Move a task; it keeps its number. */
void pk_relocate(struct fg_pack *p, uint32_t task, const struct fg_pack_choice *to);
void pk_touch(struct fg_pack *p, uint32_t node);
/* learn.c: typicals and prices of the present epoch; and what decisions need beside them. */
void pk_learn(struct fg_pack *p);
void pk_ready(struct fg_pack *p);
/* Thousandths of each GPU that a type counts as. */
uint32_t pk_part(const struct fg_pack *p, const struct fg_pack_type *t);
/* price.c */
void pk_price(struct fg_pack *p);
uint32_t pk_level(const struct pk_shape *s);
void pk_supply(struct fg_pack *p, uint32_t shape, int64_t free_milli);   /* so much more is free of the shape: prices may follow */
/* fill.c: expected thousandths, weighted; classes with those that need no GPU. */
void pk_fill_make(struct pk_fill *f, const struct fg_pack *p, const struct pk_class *classes, size_t n);
void pk_fill_fini(struct pk_fill *f);
float pk_fill_at(const struct pk_fill *f, const struct pk_room *room);
/* value.c */
void pk_value_make(struct pk_value *v, const struct pk_class *classes, size_t n);
void pk_value_fini(struct pk_value *v);
int64_t pk_value(const struct pk_value *v, const struct pk_room *room);
/* fragment.c */
void pk_typicals_make(struct pk_typicals *ret, const struct pk_class *classes, size_t n);
void pk_typicals_fini(struct pk_typicals *t);
double pk_fragment(const struct pk_typicals *typicals, const struct pk_room *room);
/* score.c: the best GPUs of a node and the key of that; PK_NEVER: does not fit. */
int64_t pk_score(struct fg_pack *p, uint32_t type, uint32_t node, uint32_t *ret_gpus);
uint64_t pk_lot(uint64_t seed, uint64_t version, uint64_t node);
int64_t pk_rank(const struct fg_pack *p, uint32_t node);
/* The price of a task of this type on a node of this shape, in quanta of score; fastgpu's alone. */
int64_t pk_charge(const struct fg_pack *p, uint32_t shape, const struct fg_pack_type *t);
int64_t pk_key_score(const struct fg_pack *p, int64_t key);
/* row.c */
void pk_row_drop(struct fg_pack *p, struct pk_type *t);
const struct pk_row *pk_row_of(struct fg_pack *p, uint32_t type);
