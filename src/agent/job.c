/* job.c - see job.h */
#include "agent/job.h"

#include "agent/internal.h"

struct job { uv_work_t work; struct agent *agent; void (*run)(void *), (*done)(void *); void *arg; };

static void on_work(uv_work_t *work)
{
    struct job *job = work->data;
    job->run(job->arg);
}

static void on_done(uv_work_t *work, int status)
{
    struct job *job = work->data;
    (void)status;
    job->agent->jobs--;
    job->done(job->arg);
    free(job);
}

void job_start(struct agent *a, void (*run)(void *arg), void (*done)(void *arg), void *arg)
{
    struct job *job = fg_alloc(sizeof *job);
    *job = (struct job){.agent = a, .run = run, .done = done, .arg = arg};
    job->work.data = job;
    a->jobs++;
    uv_queue_work(&a->loop, &job->work, on_work, on_done);
}
