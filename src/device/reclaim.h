/* reclaim.h - when may the device memory of an idle vGPU be given to others, and when must it come back? Pure: (state, what is
 * seen, now) -> what to do. Decision 0026.
 *
 *                  idle for idle_ns, wanted            put aside
 *      RUNNING ------------------------> PARKING ------------------> PARKED <------------+
 *         ^  ^                              |                          | a call          | no room: again each second,
 *         |  +------ busy, refused, gone ---+                          v                 | on another device when one has room
 *         +--------------------------------------------------------- RESTORING ---------+
 *                                                                      |
 *      a driver that calls the process lost, that does not answer three times, or no room for patience_ns: FAILED
 *
 * "A call" is: the front end rang, a job or a waiting thread is in the books, the processes use the processor as if they had
 * woken, or peek_ns are over. The last two are for calls that the front end does not wrap: they wait inside the driver and
 * nobody rings. So a vGPU whose processes are busy on the host is not parked at all.
 *
 * One that is told to move is parked as it runs: its gate is closed, what is under way drains, and it comes back at once. */
#pragma once
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum fg_reclaim_state { FG_RECLAIM_RUNNING, FG_RECLAIM_PARKING, FG_RECLAIM_PARKED, FG_RECLAIM_RESTORING, FG_RECLAIM_FAILED };
enum fg_reclaim_when { FG_RECLAIM_WANTED, FG_RECLAIM_ALWAYS };  /* only when others may lack memory; whenever idle */

struct fg_reclaim_params {
    int64_t idle_ns;         /* 0: nobody is parked; who is parked comes back */
    enum fg_reclaim_when when;
    int64_t patience_ns;     /* without room; 0: 10 min */
    int64_t peek_ns;         /* parked at most so long, twice as long each time in vain, eight times at most; 0: 10 min */
    int64_t step_ns;         /* of one attempt to park or restore, beside its bytes; 0: 60 s */
};

/* What the driver part says of what it was told to do. */
enum fg_reclaim_reply {
    FG_REPLY_NONE,           /* at it still, or nothing to do */
    FG_REPLY_DONE,
    FG_REPLY_BUSY,           /* park: its work did not drain; it runs on */
    FG_REPLY_REFUSED,        /* park: the driver cannot, it runs on; restore elsewhere: not there */
    FG_REPLY_NO_ROOM,        /* restore: still aside */
    FG_REPLY_BROKEN,         /* the driver calls the process failed */
    FG_REPLY_GONE,           /* its processes ended */
    FG_REPLY_LOST,           /* the helper died or was killed: where the processes stand is not known */
};
struct fg_reclaim_input {
    bool idle;               /* nothing in flight, nobody waits, and all of its processes are known */
    bool movable;            /* it never held memory that cannot be put aside */
    bool wanted;             /* others may lack memory */
    bool host_room;          /* the host has memory for the copy */
    bool room, elsewhere;    /* for it to come back: where it was, on another device of the kind */
    bool ordered;            /* it is to come back elsewhere, called or not, and nowhere else until that is taken back */
    bool told;               /* it is to be parked, idle or not, to be brought back elsewhere */
    bool urgent;             /* it is in the place of one who has called: parked at once if it is idle */
    uint32_t processes;
    uint64_t members;        /* a word that changes when its processes change */
    uint64_t work;           /* a word that changes with every job and every change of its memory */
    uint32_t bell;
    uint64_t used_bytes;
    int64_t host_ns;         /* processor time of its processes */
    enum fg_reclaim_reply reply;
};
enum fg_reclaim_action {
    FG_RECLAIM_NOTHING,
    FG_RECLAIM_PARK,         /* close its gate, then put its processes aside: all or none */
    FG_RECLAIM_RESTORE,      /* bring back all that is aside or locked */
    FG_RECLAIM_RESTORE_ELSEWHERE,
    FG_RECLAIM_ABANDON,      /* kill the helper; says LOST to itself */
    FG_RECLAIM_OPEN,         /* it runs: open its gate */
    FG_RECLAIM_END,          /* end the task; why says why. Once. */
};
struct fg_reclaim {
    enum fg_reclaim_state state;
    const char *why;         /* of the last change, a sentence's end; never NULL after a step */
    bool called;             /* it wants its memory back */
    bool peeked;             /* nothing called: peek_ns were over */
    int64_t idle_since_ns, since_ns;   /* since: in this state */
    int64_t not_before_ns;   /* of the next attempt to park or to restore */
    int64_t deadline_ns;     /* of the attempt that runs */
    int64_t lacking_since_ns;          /* no room; 0: not */
    int64_t host_ns, quiet_permille;   /* at since or idle_since; how much of a processor it used while idle */
    uint64_t work, members, refused_members;
    uint32_t bell;
    unsigned losses, busies, peeks;
    bool ended, not_elsewhere, began;
};

/* A vGPU that was parked by an agent before this one: it comes back at once. */
void fg_reclaim_adopt(struct fg_reclaim *reclaim);
/* One look; often while it is not RUNNING, seldom else. *reclaim: zeroed, or from a step before. */
enum fg_reclaim_action fg_reclaim_step(struct fg_reclaim *reclaim, const struct fg_reclaim_params *params, const struct fg_reclaim_input *in, int64_t now_ns);
const char *fg_reclaim_state_name(enum fg_reclaim_state state);
