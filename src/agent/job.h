/* job.h - work that blocks, on the pool; its end in the loop. */
#pragma once
struct agent;
/* run(arg) on a thread, then done(arg) in the loop. arg belongs to the job until done, which frees it. */
void job_start(struct agent *a, void (*run)(void *arg), void (*done)(void *arg), void *arg);
