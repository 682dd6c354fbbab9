/* engine.h - the stand-in device's engines: compute slots shared in time slices, two copy engines, ordered queues.
 *
 *     process A: lanes (streams) --\                         / compute slots 0..n-1, held by one process for a slice
 *     process B: lanes (streams) ---> heads that are ready --- copy in, copy out
 *
 * Nobody drives it: whoever looks at it brings it up to the present (fk_advance), so a run is exactly determined by what was
 * submitted when. A job knows its length; a kernel that does not fill the device takes some of the slots only. Processes
 * with compute work hold the slots in turn, one slice each, and a kernel that is not done at its end goes on in the next
 * turn (with mps=1 they share the slots instead). All under the world's lock. */
#pragma once
#include <stdbool.h>
#include <stdint.h>

#define FK_JOBS 1024u  /* of a process on a device, not finished or not yet collected */
#define FK_LANES 128u
#define FK_AFTER 3u

enum fk_unit { FK_NONE, FK_COMPUTE, FK_COPY_IN, FK_COPY_OUT, FK_HELD }; /* held: ends when its process says so */
enum fk_job_state { FK_EMPTY, FK_WAITING, FK_ACTIVE, FK_DONE };

struct fk_job {
    uint64_t after[FK_AFTER];  /* sequence numbers of this queue that come first; 0 none */
    uint64_t next;             /* in its lane */
    uint64_t left_ns, start_ns, end_ns;
    uint16_t lane;
    uint8_t unit, state, slots, started;
};

struct fk_queue {
    uint64_t head, tail;       /* jobs tail .. head-1 are in the ring, at sequence % FK_JOBS; numbers begin at 1 */
    uint64_t first[FK_LANES];  /* head of a lane; 0 empty */
    uint64_t last[FK_LANES];
    uint64_t used[FK_LANES / 64]; /* lanes that are not empty */
    uint64_t slot_ns;          /* slot time used: / slots is device time */
    uint64_t jobs_done;
    struct fk_job queue_jobs[FK_JOBS];
};

struct fk_engine {
    uint64_t clock_ns, slice_end_ns;
    uint64_t busy_ns;          /* time with any kernel resident: what NVML calls utilisation */
    uint64_t copy_busy_ns;
    uint64_t active[2];        /* bits: processes whose queue has jobs that are not done */
    uint32_t owner;            /* process + 1 that holds the compute slots; 0 nobody */
    uint32_t copying[2];       /* process + 1 of each copy engine */
};

struct fk_world;
/* Bring a device's engines up to now. */
void fk_advance(struct fk_world *world, unsigned device, uint64_t now);
/* Append a job to a lane of a process's queue, which must have room (fk_room) and be advanced. Returns its number. */
uint64_t fk_push(struct fk_world *world, unsigned process, unsigned device, const struct fk_job *job);
bool fk_job_done(const struct fk_queue *queue, uint64_t number);
/* A held job is active and waits for its process. */
bool fk_job_held(const struct fk_queue *queue, uint64_t number);
void fk_job_release(struct fk_queue *queue, uint64_t number, uint64_t now);
static inline bool fk_room(const struct fk_queue *queue) { return queue->head - queue->tail < FK_JOBS - 1; }
/* No sooner than this can the job end, seen from now; now itself if that is not known (something before it is held). */
uint64_t fk_job_bound(const struct fk_queue *queue, uint64_t number, uint64_t now);
/* When anything that runs may end or a slice is over; UINT64_MAX: nothing runs. The device is up to date. */
uint64_t fk_next_change(const struct fk_world *world, unsigned device);
/* All work of a process on a device is gone. */
void fk_queue_reset(struct fk_world *world, unsigned process, unsigned device);
