/* rooms.h - what is free on each device, in an order in which the best one with room is found without looking at all.
 *
 *     model (kind, size, prices) -- root[ROOM_SHARE]   devices of which more of the share is used than of the memory
 *                                \- root[ROOM_MEMORY]  the others
 *                                \- root[ROOM_FULL]    those with no share or no memory left
 *
 * Devices of one model cost a task the same, so among them the rules of place.h leave two: the fullest, then the lowest id.
 * Each root is a treap in that order; every node knows the most memory and the most share that is free below it. Where the
 * share decides how full a device is, what has share enough is all that comes after one place in the order, and the
 * memory alone is searched for; in the other treap it is the reverse. So a search is O(log n), and so is a change.
 *
 * Tasks may ask for a part of the machine's processor beside the device (machine.c). Once one has, every node also knows the most
 * that is free beside the devices below it, so that a device is found fast though most machines have no processor left.
 *
 * One round of fg_place() at a time may use it. No clock, no I/O; not for two threads at once. */
#pragma once
#include "plan/place.h"

struct fg_rooms;
struct fg_rooms *fg_rooms_create(void);
void fg_rooms_destroy(struct fg_rooms *rooms);
/* The device at index `at` of the snapshots to come is as d says. at: one that was set before, or the next. */
void fg_rooms_set(struct fg_rooms *rooms, size_t at, const struct fg_plan_device *d);
/* Devices of this kind cost so much from now on. Room is where it was: O(models), whatever devices there are. */
void fg_rooms_price(struct fg_rooms *rooms, const struct fg_price *price);
/* What the device at index `at` costs, into d. */
void fg_rooms_price_at(const struct fg_rooms *rooms, size_t at, struct fg_plan_device *d);
size_t fg_rooms_count(const struct fg_rooms *rooms);
/* Forget those from index count on. */
void fg_rooms_cut(struct fg_rooms *rooms, size_t count);

/* How many of this need could start at most, by what is free in sum on the models that can hold it. O(models). */
size_t fg_rooms_most(const struct fg_rooms *rooms, const struct fg_need *need);
/* What is free on usable devices that have both some memory and some share left: in sum, and at most on one. */
struct fg_rooms_free { uint64_t memory, largest_memory, share; uint32_t largest_share; };
void fg_rooms_free(const struct fg_rooms *rooms, struct fg_rooms_free *ret);
/* Whether it is in order, and says of its device `at` what d says. For tests and checks: O(all) for the order. */
bool fg_rooms_sound(const struct fg_rooms *rooms);
bool fg_rooms_same(const struct fg_rooms *rooms, size_t at, const struct fg_plan_device *d);
