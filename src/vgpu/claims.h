/* claims.h - what the arbiters of one machine have given away of each device, so that users who know nothing of each other never
 * get more together than there is.
 *
 * Each arbiter has one small file in a folder where everybody may make files and nobody may remove another's (/run/lock).
 * It writes what it gave away; the others read. Nothing is locked against each other: who wants to give says so first and
 * looks at the others then, so of two who do that at once at least one sees the other.
 *
 *   alice's arbiter --writes-> fastgpu.claim.1000.NUMBER  <--reads-- bob's arbiter
 *                   --holds--> write lock of its open file   <--asks--- is anybody alive behind it?
 *
 * The lock is of the open file, so whoever holds a duplicate of the descriptor keeps the claim while its arbiter is dead and
 * is replaced. A user can lie about his own use alone, and at worst claims all: then the others are refused, and told whose
 * it is. One thread. */
#pragma once
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include "base/error.h"

#define FG_CLAIMS_ENV "FGPU_CLAIMS_DIR" /* tests only: a folder of their own */

struct fg_claims;
struct fg_claim {
    uint64_t memory_bytes;
    uint32_t share_permille, leases;
    bool alone;                    /* one lease holds the device alone */
};
struct fg_claim_sum {
    struct fg_claim all;           /* saturating; share up to 1000 */
    uint32_t active_permille;      /* share of those who used the device lately */
    uid_t most;                    /* who claims most of the memory, then share */
    unsigned holders;              /* arbiters that claim something of the device */
};

/* The folder: $FGPU_CLAIMS_DIR, or the first of /run/lock, /dev/shm, /tmp that is root's, sticky and open to all. */
const char *fg_claims_folder(void);
/* scope: tells this user's arbiters apart; the next one of the same scope replaces this one. */
int fg_claims_open(struct fg_claims **ret, const char *folder, uint64_t scope, struct fg_error *err);
/* Nothing is claimed any more, though somebody else holds the descriptor. NULL is fine. */
void fg_claims_close(struct fg_claims *claims);
/* Borrowed. */
int fg_claims_fd(const struct fg_claims *claims);

/* device: the same text in every arbiter, at most 127 bytes. FG_E_UNSUPPORTED: too many devices. */
int fg_claims_set(struct fg_claims *claims, const char *device, const struct fg_claim *claim, struct fg_error *err);
/* The device was in use just now. */
void fg_claims_busy(struct fg_claims *claims, const char *device, int64_t now_ns);
/* What all the others claim of the device. */
int fg_claims_others(struct fg_claims *claims, const char *device, int64_t now_ns, struct fg_claim_sum *ret, struct fg_error *err);
