/* explain.c - decisions in words: the rule that placed a task, and what each device lacks for one that waits. */
#include <stdio.h>
#include <string.h>

#include "base/units.h"
#include "plan/place.h"

const char *fg_rule_text(enum fg_rule rule)
{
    switch (rule) {
    case FG_RULE_ONLY_FIT: return "the only device with room";
    case FG_RULE_LEAST_COST: return "least expected cost of the devices with room";
    case FG_RULE_FINISH_FIRST: return "equal cost: the earlier expected end";
    case FG_RULE_PACK: return "equal cost and end: the fullest device that still has room";
    case FG_RULE_INDEX: return "equal in all else: the lowest device id";
    case FG_RULE_DEADLINE: return "a cheaper device would miss its deadline";
    case FG_RULE_VALUE: return "equal cost and end: of these kinds the one that other tasks need least (least value lost)";
    case FG_RULE_WHOLE_PLAN: return "all tasks of the plan together cost less so";
    }
    return "?";
}

/* "25", "12.5" */
static const char *percent(char *buf, size_t n, uint32_t permille)
{
    snprintf(buf, n, permille % 10 ? "%u.%u" : "%u", permille / 10, permille % 10);
    return buf;
}

/* "4", "0.5" */
static const char *cores(char *buf, size_t n, uint32_t milli)
{
    int left = snprintf(buf, n, "%u.%03u", milli / 1000, milli % 1000);
    while (left > 0 && (buf[left - 1] == '0' || buf[left - 1] == '.')) {
        bool point = buf[--left] == '.';
        buf[left] = 0;
        if (point)
            break;
    }
    return buf;
}

/* What the whole machine could never give beside the device. */
static bool never_beside(const struct fg_plan_device *d, const struct fg_ask *ask, struct fg_block *b)
{
    char want[40], has[40];
    if ((ask->host_milli || ask->host_bytes) && !d->cores) {
        b->cpus_missing_milli = ask->host_milli;
        b->host_missing_bytes = ask->host_bytes;
        snprintf(b->text, sizeof b->text, "the task asks for cores or memory beside it, and no processor of its machine is known");
        return true;
    }
    if (ask->host_milli > (uint64_t)d->cores * 1000) {
        b->cpus_missing_milli = ask->host_milli - d->cores * 1000;
        snprintf(b->text, sizeof b->text, "its machine has %u cores; the task needs %s beside it", d->cores, cores(want, sizeof want, ask->host_milli));
        return true;
    }
    if (ask->host_bytes > d->host_memory_bytes) {
        b->host_missing_bytes = ask->host_bytes - d->host_memory_bytes;
        snprintf(b->text, sizeof b->text, "its machine has %s of memory; the task needs %s beside it",
                 fg_format_bytes(has, sizeof has, d->host_memory_bytes), fg_format_bytes(want, sizeof want, ask->host_bytes));
        return true;
    }
    return false;
}

/* It never can: true, with the text. */
static bool never_fits(const struct fg_plan_device *d, const struct fg_need *need, struct fg_block *b)
{
    char want[40], has[40];
    struct fg_ask ask = fg_ask_of(d, need);
    b->reason = FG_REASON_INVALID;
    if (need->device_kind[0] && strcmp(need->device_kind, d->kind) != 0) {
        snprintf(b->text, sizeof b->text, "it is of kind '%.50s'; the task asks for '%.50s'", d->kind, need->device_kind);
        return true;
    }
    if (ask.memory_bytes > d->memory_bytes) {
        b->memory_missing_bytes = ask.memory_bytes - d->memory_bytes;
        snprintf(b->text, sizeof b->text, "the whole device has %s of memory; the task needs %s",
                 fg_format_bytes(has, sizeof has, d->memory_bytes), fg_format_bytes(want, sizeof want, ask.memory_bytes));
        return true;
    }
    if (ask.share_permille > 1000) {
        b->share_missing_permille = ask.share_permille - 1000;
        snprintf(b->text, sizeof b->text, "the task needs more than the whole device");
        return true;
    }
    return never_beside(d, &ask, b);
}

/* What is not free of the machine's processor, behind what is not free of the device. */
static bool lacks_beside(const struct fg_plan_device *d, const struct fg_ask *ask, struct fg_block *b)
{
    char want[40], has[40];
    size_t len = strlen(b->text);
    const char *also = len ? "; " : "";
    if (ask->host_milli > d->host_free_milli) {
        b->cpus_missing_milli = ask->host_milli - d->host_free_milli;
        snprintf(b->text + len, sizeof b->text - len, "%sneeds %s cores beside it, the machine has %s free", also,
                 cores(want, sizeof want, ask->host_milli), cores(has, sizeof has, d->host_free_milli));
        also = "; ";
    }
    len = strlen(b->text);
    if (ask->host_bytes > d->host_free_bytes) {
        b->host_missing_bytes = ask->host_bytes - d->host_free_bytes;
        snprintf(b->text + len, sizeof b->text - len, "%sneeds %s beside it, the machine has %s free", also,
                 fg_format_bytes(want, sizeof want, ask->host_bytes), fg_format_bytes(has, sizeof has, d->host_free_bytes));
    }
    return b->cpus_missing_milli || b->host_missing_bytes;
}

/* It cannot now: true, with the text and what is missing. */
static bool lacks_room(const struct fg_plan_device *d, const struct fg_need *need, struct fg_block *b)
{
    char memory[40], share[16];
    struct fg_ask ask = fg_ask_of(d, need);
    b->reason = FG_REASON_WAITING_CAPACITY;
    if (ask.memory_bytes > d->memory_free_bytes)
        b->memory_missing_bytes = ask.memory_bytes - d->memory_free_bytes;
    if (ask.share_permille > d->share_free_permille)
        b->share_missing_permille = ask.share_permille - d->share_free_permille;
    fg_format_bytes(memory, sizeof memory, b->memory_missing_bytes);
    percent(share, sizeof share, b->share_missing_permille);
    if (!d->usable)
        snprintf(b->text, sizeof b->text, "its machine is not connected, or the device is not healthy");
    else if (b->memory_missing_bytes && b->share_missing_permille)
        snprintf(b->text, sizeof b->text, "needs %s more memory and %s %% more share", memory, share);
    else if (b->memory_missing_bytes)
        snprintf(b->text, sizeof b->text, "needs %s more memory", memory);
    else if (b->share_missing_permille)
        snprintf(b->text, sizeof b->text, "needs %s %% more share", share);
    return (d->usable && lacks_beside(d, &ask, b)) || b->text[0];
}

size_t fg_explain(const struct fg_snapshot *snap, const struct fg_plan_task *task, struct fg_block *blocks, size_t max)
{
    size_t n = 0;
    if (snap->device_count == 0 && max > 0) {
        blocks[n] = (struct fg_block){.task = task->id, .reason = FG_REASON_WAITING_CAPACITY};
        snprintf(blocks[n++].text, sizeof blocks->text, "no machine has connected yet; fgpu agent adds one");
    }
    for (size_t i = 0; i < snap->device_count && n < max; i++) {
        const struct fg_plan_device *d = &snap->devices[i];
        blocks[n] = (struct fg_block){.task = task->id, .device = d->id};
        if (never_fits(d, &task->need, &blocks[n]) || lacks_room(d, &task->need, &blocks[n]))
            n++;
    }
    return n;
}
