/* jobs.c - job traces are read line by line or refused with the line; what comes of a replay is worked out by hand. */
#include "sim/jobs/jobs.h"

#include <math.h>

#include "unit.h"

#define HEAD "timestamp,duration,num_gpus,gpu_time,cluster\n"
#define SHOCK "x\tx\tx\tx\tx\tx\t%s\tx\tx\tx\t600\t0\n"

static int philly(const char *text, const char *cluster, struct fg_job_trace *t, struct fg_error *err)
{
    return fg_read_philly(text, strlen(text), cluster, 0, 4, t, err);
}

static void refuse(const char *text, const char *part)
{
    struct fg_job_trace t;
    struct fg_error err = {0};
    assert_fails(philly(text, NULL, &t, &err), err, FG_E_MALFORMED);
    assert_has(err.text, part);
}

/* Bugs: a byte order mark made the head line a job; empty lines were not counted; half a GPU was none. */
static void a_line_that_is_no_job_is_refused_by_its_number(void **state)
{
    refuse(HEAD "\n\r\n2017-10-09 07:01:55,66.0,1,66.0,a\nx\n", "line 5 is no job");
    refuse(HEAD "2017-10-09 07:01:55,nan,1,66.0,a\n", "line 2 is no job");
    refuse(HEAD "2017-10-09 07:01:55,-1,1,66.0,a\n", "line 2 is no job");
    refuse(HEAD "2017-10-09 07:01:55,10,1.5,66.0,a\n", "line 2 is no job");
    refuse(HEAD "2017-13-09 07:01:55,10,1,66.0,a\n", "line 2 is no job");
    refuse(HEAD "2017-10-09 07:01:55,10", "line 2 is no job");
    refuse("\x1f\x8b\x08", "the file is compressed");
    for (const char *const *x = (const char *const[]){"nan", "1.5", "0", "x", NULL}; *x; x++) {
        FG_AUTO_FREE char *text = fg_asprintf(SHOCK, *x);
        struct fg_job_trace t;
        struct fg_error err = {0};
        assert_fails(fg_read_shockwave(text, strlen(text), 4, &t, &err), err, FG_E_MALFORMED);
        assert_has(err.text, "line 1 is no job");
    }
}

/* Jobs without a GPU or without length are none; one larger than the cluster gets all of it; the first arrival is time 0. */
static void a_trace_is_read_in_order_of_arrival(void **state)
{
    const char *text = "\xef\xbb\xbf" HEAD "2017-10-09 00:02:00,30,9,1,a\r\n\r\n2017-10-09 00:01:00,60,1,1,a\r\n"
                       "2017-10-09 00:01:30,0,1,1,a\n2017-10-09 00:01:30,9,0,1,a\n2017-10-09 00:00:00,9,1,1,b";
    struct fg_job_trace t;
    struct fg_error err = {0};
    assert_ok(philly(text, "a", &t, &err), err);
    assert_int_equal(t.jobs.count, 2);
    assert_true(t.jobs.items[0].arrival_s == 0 && t.jobs.items[0].work == 60);
    assert_true(t.jobs.items[1].arrival_s == 60 && t.jobs.items[1].gpus == 4);
    assert_int_equal(t.narrowed, 1);
    fg_job_trace_fini(&t);
    assert_ok(philly(HEAD "2017-10-09 07:01:55,0,1,0,a\n2017-10-09 07:01:55,9,0,0,a\n2017-10-09 07:01:55,9,1,9,a\n", "a", &t, &err), err);
    assert_int_equal(t.jobs.count, 1);
    assert_int_equal(t.left_out, 2);
    fg_job_trace_fini(&t);
    assert_ok(philly("", NULL, &t, &err), err);
    assert_int_equal(t.jobs.count, 0);
    fg_job_trace_fini(&t);
}

/* Two jobs of 90 s on one GPU, rounds of 60 s: first come, first served, the first runs 0..90 and holds its place until the next
 * round, 120; the second 120..210. 180 s of a V100 at 2.85 $/h: 0.1425 $. */
static void a_replay_in_turn_is_what_it_is_by_hand(void **state)
{
    const char *text = HEAD "2017-10-09 00:00:00,90,1,1,a\n2017-10-09 00:00:00,90,1,1,a\n";
    struct fg_job_trace t;
    struct fg_job_run run;
    struct fg_error err = {0};
    assert_ok(fg_read_philly(text, strlen(text), NULL, 0, 1, &t, &err), err);
    assert_ok(fg_replay_jobs(&t, FG_JOBS_FIFO, &run, &err), err);
    assert_true(run.makespan_s == 210 && run.mean_jct_s == 150 && run.mean_wait_s == 60);
    assert_true(run.ends[0].jct_s == 90 && run.ends[1].jct_s == 210);
    assert_int_equal(run.cost_nanousd, 142500000);
    fg_job_run_fini(&run);
    fg_job_trace_fini(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_that_is_no_job_is_refused_by_its_number),
        cmocka_unit_test(a_trace_is_read_in_order_of_arrival),
        cmocka_unit_test(a_replay_in_turn_is_what_it_is_by_hand),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
