/* judge.h - does a process of a vGPU go around the front end that keeps its limits? From what was seen of it (look.h) and what
 * the front end's books say. Pure. The rules, top to bottom; the first that fits decides:
 *
 *   1 attached to the lease, or its counters are mapped (the child of a fork): in order
 *   2 no driver loaded, no device file open, and it can be looked at: in order
 *   3 a driver without the loader that would put the front end before it: an offender
 *   4 a driver, and neither the front end nor the variable that loads it: an offender
 *   5 a driver, and FGPU_LEASE names another lease: an offender
 *   6 anything else (starting, hidden, a device file alone): an offender when it stays so
 *
 * Rules 3 to 5 cannot be a moment of an honest start: the loader comes before the driver, and the environment before both.
 * Rule 6 can: a driver may take seconds to come up, and a starved or stopped process as long as it likes. So after GRACE it is one
 * that used GRACE_CPU of the processor since, or sleeps and has used none for IDLE; after PATIENCE any. */
#pragma once
#include "device/look.h"

#define FG_JUDGE_GRACE_NS     INT64_C(5000000000)
#define FG_JUDGE_GRACE_CPU_NS INT64_C(2000000000)
#define FG_JUDGE_IDLE_NS      INT64_C(3000000000)
#define FG_JUDGE_PATIENCE_NS  INT64_C(60000000000)

/* What is remembered of a suspect from look to look. Zeroed: it is none. */
struct fg_suspect {
    pid_t pid;
    int64_t since_ns, since_cpu_ns;      /* when it was first seen so, and the processor time it had used */
    int64_t moved_ns, moved_cpu_ns;      /* when that was last seen to change, or it did not sleep */
};
enum fg_verdict { FG_IN_ORDER, FG_SUSPECT, FG_OFFENDER };
/* odd: what was remembered of it; kept up when it is a suspect. text: 200 bytes, filled for OFFENDER. */
enum fg_verdict fg_judge_process(const struct fg_look *look, pid_t pid, bool member, int64_t now_ns, struct fg_suspect *odd, char *text);

/* What the kernel counts for all processes of a vGPU, and its books. */
struct fg_truth {
    bool known;                          /* a driver counts at all */
    uint64_t memory_bytes, engine_ns;    /* the kernel's */
    uint64_t used_bytes, charged_ns;     /* the books' */
    uint64_t quota_bytes;
    unsigned processes;
    int64_t at_ns;
};
/* Memory: above the quota, and above the books, by more than the driver's own overhead: 256 MiB a process and an eighth.
 * Time: over the span between two looks (a second at least) the device worked for it a fifth of the span longer than was charged.
 * A true answer is to be acted upon when the next look says so, too. before.known false: the first look. */
bool fg_judge_truth(const struct fg_truth *before, const struct fg_truth *now, char *text);
