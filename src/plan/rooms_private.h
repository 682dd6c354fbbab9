/* rooms_private.h - the inside of rooms.h, for the round that uses it. */
#pragma once
#include "plan/market.h"
#include "plan/pack.h"
#include "plan/rooms.h"

enum room_tree { ROOM_SHARE, ROOM_MEMORY, ROOM_FULL, ROOM_TREES, ROOM_NOWHERE = ROOM_TREES };

struct room {
    uint64_t memory_bytes;               /* free */
    uint32_t share_permille, used_permille;
    uint64_t most_memory;                /* free in its subtree, itself included */
    uint32_t most_share;
    uint64_t most_host_bytes;            /* beside the devices there, once that is asked for (beside) */
    uint32_t most_host_milli;
    uint32_t machine, next;              /* its machine's index + 1, and the next device of it, index + 1; 0: none */
    uint32_t left, right;                /* index + 1; 0: none */
    uint32_t model;
    fg_device_id id;
    uint32_t reservation;                /* of the round: index + 1 of the one that holds it; 0: none */
    uint32_t spare_share_permille;       /* what others than the head may take beyond its start */
    uint64_t spare_memory_bytes;
    uint8_t tree;                        /* in which it stands; ROOM_NOWHERE: not usable, or lifted out */
    bool usable, lifted;
};
struct room_model {
    struct fg_plan_device like;          /* id 0, kind owned: what all devices of it are */
    size_t count, usable;
    uint64_t memory, share;              /* free in sum, in the first two trees, and on how many */
    size_t open;
    uint32_t root[ROOM_TREES];
};
struct room_machine {                    /* what is free on its processor, as the room of that says too, but to the thousandth of a core */
    uint64_t bytes;
    uint32_t milli;
    uint32_t first, own;                 /* of its devices, and the one that is the processor: index + 1; 0: none */
    uint32_t packed;                     /* its node in the packer, index + 1; 0: none */
    bool unpacked, dirty;                /* it has a processor and cannot be in the packer; it changed since */
};
struct fg_rooms {
    FG_VEC(struct room) rooms;           /* by device index */
    FG_VEC(struct room_machine) machines;        /* by number - 1 */
    uint64_t host_milli, host_bytes;     /* free on them, in sum */
    struct fg_pack *pack;                /* packed.c; NULL: nobody asked, or what is typical is not known */
    uint64_t pack_next;                  /* arrivals at which it is made anew */
    size_t pack_models, unpacked;        /* models it was made for; machines that only the order of rooms finds */
    FG_VEC(uint32_t) pack_dirty, machine_at;     /* machines that changed; by its node */
    bool beside;                         /* somebody asked for a part of it: what is most below each node is kept */
    FG_VEC(struct room_model) models;
    uint32_t *slots;                     /* model + 1, by hash; 0 empty */
    size_t slot_mask;
    uint64_t memory, share;              /* free in sum, in the first two trees */
    size_t open;                         /* how many stand there */
    struct fg_market *market;            /* what they are worth, as of when so many tasks had arrived; NULL: all the same */
    uint64_t market_next;                /* arrivals at which it is made anew */
    size_t market_models, market_devices;
};

/* The market is of this demand and these devices, roughly: it is made anew when an eighth more has come. */
void rooms_learn(struct fg_rooms *x, const struct fg_demand *demand);
/* rooms.c, for machine.c: what is free on a device alone changed; what is free beside it did. */
void rooms_put(struct fg_rooms *x, size_t at, uint64_t memory_bytes, uint32_t share_permille);
void rooms_refresh(struct fg_rooms *x, size_t at);

/* machine.c */
/* What is free on one changed; of a processor for those who ask beside it, too. */
void rooms_change(struct fg_rooms *x, size_t at, uint64_t memory_bytes, uint32_t share_permille);
/* Take what is asked from a device and its machine (by -1), or give it back (by 1). */
void rooms_take(struct fg_rooms *x, size_t at, const struct fg_ask *ask, int by);
/* From now on searches know what is free beside devices. */
void rooms_look_beside(struct fg_rooms *x);
void rooms_join(struct fg_rooms *x, size_t at, const struct fg_plan_device *d);    /* the device's machine, and what is free of it, are as d says */
void rooms_part(struct fg_rooms *x, size_t at);
static inline const struct room_machine *rooms_machine(const struct fg_rooms *x, const struct room *r)
{
    return r->machine ? &x->machines.items[r->machine - 1] : NULL;
}
static inline bool room_fits(const struct fg_rooms *x, const struct room *r, const struct fg_ask *ask)
{
    const struct room_machine *m = rooms_machine(x, r);
    return ask->memory_bytes <= r->memory_bytes && ask->share_permille <= r->share_permille &&
           ask->host_milli <= (m ? m->milli : 0) && ask->host_bytes <= (m ? m->bytes : 0);
}
/* packed.c */
void rooms_pack_learn(struct fg_rooms *x, const struct fg_demand *demand);
void rooms_pack_touch(struct fg_rooms *x, uint32_t machine);        /* something on it changed */
void rooms_pack_drop(struct fg_rooms *x);
/* Where a need with a part of the processor loses least value, best first: a device of these models (a bit each), or with none a
 * processor itself. At most three. Machines that are unpacked are not looked at. */
size_t rooms_pack_first(struct fg_rooms *x, const struct fg_need *need, uint64_t kinds, uint32_t *ret, size_t max);

/* Take it out of the order, and put it back: what is held for a head is looked at one by one. */
void rooms_lift(struct fg_rooms *x, size_t at, bool out);
/* The first devices of the model in the order that have room for what is asked, at most max of one tree. Returns how many. */
size_t rooms_first(const struct fg_rooms *x, uint32_t model, enum room_tree tree, const struct fg_ask *ask, uint32_t *ret, size_t max);
