/* read.c - Shockwave's and Philly's files to a trace. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/str.h"
#include "base/units.h"
#include "sim/jobs/jobs.h"

#define V100_NANOUSD_PER_H INT64_C(2850000000)   /* Google Cloud, on demand, as Gavel's authors took it */
#define FIELDS_MOST 16

static void one_kind(struct fg_job_trace *t, uint32_t gpus, double round_s, double restart_s)
{
    t->kind_count = 1;
    t->kinds[0] = (struct fg_jobs_kind){gpus, (double)V100_NANOUSD_PER_H / 3600e9};
    t->price_nanousd_per_h[0] = V100_NANOUSD_PER_H;
    snprintf(t->kind_names[0], sizeof t->kind_names[0], "gpu");
    t->round_s = round_s, t->restart_s = restart_s;
}

/* A file's text: what is left of it, and the line read last. */
struct lines { char *copy, *at; int number; };

static void lines_init(struct lines *l, const char *text, size_t length)
{
    l->at = l->copy = fg_strndup(length ? text : "", length);
    l->number = 0;
    if (strncmp(l->at, "\xef\xbb\xbf", 3) == 0)         /* a byte order mark */
        l->at += 3;
}

/* The next line that is not empty, cut at sep into fields (which are changed in place); how many, -1 at the end. */
static int next_line(struct lines *l, char sep, char **fields)
{
    char *line, *end;
    do {
        if (!*l->at)
            return -1;
        line = l->at, end = line + strcspn(line, "\n");
        l->at = *end ? end + 1 : end;
        l->number++;
        if (end > line && end[-1] == '\r')
            end--;
        *end = 0;
    } while (!*line);
    int n = 0;
    for (;;) {
        fields[n++] = line;
        char *cut = strchr(line, sep);
        if (!cut || n == FIELDS_MOST)
            return n;
        *cut = 0;
        line = cut + 1;
    }
}

static bool number(const char *s, double least, double most, double *ret)
{
    char *end;
    *ret = strtod(s, &end);
    return end > s && *end == 0 && isfinite(*ret) && *ret >= least && *ret <= most;
}

static int by_arrival(const void *a, const void *b)
{
    const struct fg_job *x = a, *y = b;
    return x->arrival_s != y->arrival_s ? (x->arrival_s < y->arrival_s ? -1 : 1) : (x->type > y->type) - (x->type < y->type);
}

static void sort_jobs(struct fg_job_trace *t)
{
    if (t->jobs.count)
        qsort(t->jobs.items, t->jobs.count, sizeof *t->jobs.items, by_arrival);
}

static void add_job(struct fg_job_trace *t, double arrival, double length, double gpus)
{
    fg_vec_push(&t->jobs, (struct fg_job){.type = (uint32_t)t->jobs.count, .gpus = (uint32_t)gpus, .arrival_s = arrival,
                                          .deadline_s = INFINITY, .work = length, .left = length, .rate = {1}, .kind = -1});
}

int fg_read_shockwave(const char *text, size_t length, uint32_t gpus, struct fg_job_trace *ret, struct fg_error *err)
{
    struct lines l;
    struct fg_job_trace t = {0};
    char *f[FIELDS_MOST];
    double scale, seconds, arrival;
    one_kind(&t, gpus, 120, 20);
    lines_init(&l, text, length);
    for (int n; (n = next_line(&l, '\t', f)) >= 0;) {
        if (n == 12 && number(f[6], 1, 1e6, &scale) && scale == floor(scale) && number(f[10], 1e-3, 1e9, &seconds) && number(f[11], 0, 1e10, &arrival)) {
            add_job(&t, arrival, seconds, scale);
            continue;
        }
        fg_job_trace_fini(&t);
        free(l.copy);
        fg_fail(err, FG_E_MALFORMED, "line %d is no job: 12 columns apart by tabs, GPUs in the 7th, length in the 11th, arrival in the 12th", l.number);
        return fg_fail_hint(err, "Take a trace with durations, as in Shockwave's traces/reproduce.");
    }
    free(l.copy);
    sort_jobs(&t);
    *ret = t;
    return 0;
}

int fg_read_philly(const char *text, size_t length, const char *cluster, uint32_t most, uint32_t gpus, struct fg_job_trace *ret, struct fg_error *err)
{
    if (length > 1 && (unsigned char)text[0] == 0x1f && (unsigned char)text[1] == 0x8b) {
        fg_fail(err, FG_E_MALFORMED, "the file is compressed");
        return fg_fail_hint(err, "Unpack it first: gunzip -c FILE.csv.gz > FILE.csv");
    }
    struct lines l;
    struct fg_job_trace t = {0};
    char *f[FIELDS_MOST];
    double seconds, count, first = INFINITY;
    one_kind(&t, gpus, 60, 0);
    lines_init(&l, text, length);
    for (int n; (n = next_line(&l, ',', f)) >= 0;) {
        struct tm tm = {0};
        if (t.jobs.count == 0 && fg_streq(f[0], "timestamp"))
            continue;
        char *rest = n >= 5 ? strptime(f[0], "%Y-%m-%d %H:%M:%S", &tm) : NULL;
        if (!rest || *rest || !number(f[1], 0, 1e9, &seconds) || !number(f[2], 0, 1e6, &count) || count != floor(count)) {
            fg_job_trace_fini(&t);
            free(l.copy);
            fg_fail(err, FG_E_MALFORMED, "line %d is no job: timestamp, duration, num_gpus, gpu_time, cluster", l.number);
            return fg_fail_hint(err, "Write e.g. 2017-10-09 07:01:55,66.0,1,66.0,11cb48: seconds, whole GPUs.");
        }
        if (cluster && !fg_streq(f[4], cluster))
            continue;
        if (seconds <= 0 || count < 1) {
            t.left_out++;
            continue;
        }
        t.narrowed += count > gpus;
        double arrival = (double)timegm(&tm);
        first = fmin(first, arrival);
        add_job(&t, arrival, seconds, fmin(count, gpus));
    }
    free(l.copy);
    for (size_t x = 0; x < t.jobs.count; x++)
        t.jobs.items[x].arrival_s -= first;
    sort_jobs(&t);
    if (most && t.jobs.count > most)
        t.jobs.count = most;
    *ret = t;
    return 0;
}
