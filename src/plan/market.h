/* market.h - what tasks have asked for of late, and what devices are worth to them: which of two devices that cost a task the
 * same it should leave to others. Pure: times come in with the tasks; equal calls give equal answers. One thread.
 *
 *     demand   needs (kind, share, memory) and how many tasks asked so; halves every half-life
 *     lost     = value(free before) - value(free after) + price(kind) x what is taken       [thousandths of a device]
 *
 * value and price are those of plan/pack, as `fgpu simulate --policy fastgpu` has them, for devices that stand alone: what the
 * types that arrive can use of what is free, and typed demand over supply (decisions 0023, 0024, 0052). */
#pragma once
#include "plan/place.h"

struct fg_demand;
struct fg_demand *fg_demand_create(int64_t half_life_ns);       /* 0: never forgets */
void fg_demand_destroy(struct fg_demand *d);
/* A task with this need arrived; need is complete. */
void fg_demand_add(struct fg_demand *d, const struct fg_need *need, int64_t now_ns);
size_t fg_demand_count(const struct fg_demand *d);               /* of needs that are kept */
const struct fg_need *fg_demand_at(const struct fg_demand *d, size_t at, uint64_t *ret_count);
uint64_t fg_demand_arrived(const struct fg_demand *d);          /* in all, forgotten ones included */

struct fg_market;
/* Of these models, of which count[i] devices there are (like: kind and memory), and this demand; NULL: nothing is scarce or
 * bound, so that it would tell no device from another. At most 64 models. */
struct fg_market *fg_market_create(const struct fg_demand *d, const struct fg_plan_device *const *like, const size_t *count, size_t models);
void fg_market_destroy(struct fg_market *m);
/* What is lost where need is placed on a device of the model with so much free (usable: the lesser of share and memory), in steps of 20. */
int64_t fg_market_lost(struct fg_market *m, size_t model, uint32_t usable_permille, uint32_t taken_permille);
