/* client.c - tests of wire/client.h against http_echo, which is given as argv[1]. */
#include "unit.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/json.h"
#include "base/mem.h"
#include "wire/client.h"

static const char *program;

struct echo { pid_t pid; int in, out; char port[8], url[40]; };

static void start_echo(struct echo *e, const char *port)
{
    int in[2], out[2];
    assert_int_equal(pipe(in) + pipe(out), 0);
    e->pid = fork();
    if (e->pid == 0) {
        dup2(in[0], 0);
        dup2(out[1], 1);
        close(in[1]);
        close(out[0]);
        execl(program, program, "127.0.0.1", port, NULL);
        _exit(127);
    }
    close(in[0]);
    close(out[1]);
    e->in = in[1];
    e->out = out[0];
    char line[64] = {0};
    ssize_t n = 0;
    while (n < (ssize_t)sizeof line - 1 && strchr(line, '\n') == NULL) {
        ssize_t got = read(e->out, line + n, sizeof line - 1 - (size_t)n);
        assert_true(got > 0);
        n += got;
    }
    assert_int_equal(sscanf(line, "port %7s", e->port), 1);
    snprintf(e->url, sizeof e->url, "http://127.0.0.1:%s", e->port);
}

static void stop_echo(struct echo *e)
{
    close(e->in);
    int status = 0;
    assert_int_equal(waitpid(e->pid, &status, 0), e->pid);
    close(e->out);
    assert_int_equal(status, 0);
}

static struct echo echo;
static struct fg_client *client;

static int set_up(void **state)
{
    start_echo(&echo, "0");
    struct fg_error err = {0};
    assert_ok(fg_client_open(echo.url, "secret", &client, &err), err);
    return 0;
}

static int tear_down(void **state)
{
    fg_client_close(client);
    stop_echo(&echo);
    return 0;
}

static int fetch(const char *path, struct fg_client_answer *answer, struct fg_error *err)
{
    return fg_client_send(client, &(struct fg_client_request){.path = path}, answer, err);
}

static void an_answer_has_status_type_body_and_request_id(void **state)
{
    struct fg_client_answer a;
    struct fg_error err = {0};
    assert_ok(fetch("/hello", &a, &err), err);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body.data, "{\"hello\":\"world\"}\n");
    assert_string_equal(a.content_type, "application/json");
    assert_int_equal(strlen(a.request_id), 16);
    fg_client_answer_fini(&a);
}

static void requests_of_all_kinds_follow_each_other(void **state)
{
    for (int i = 0; i < 20; i++) {
        struct fg_client_answer a;
        struct fg_error err = {0};
        struct fg_client_request r = {.method = "POST", .path = "/secret", .send = FG_SEND_BYTES, .bytes = "{\"a\":1}", .len = 7,
                                      .headers = "Prefer: wait=1\nIdempotency-Key: k"};
        assert_ok(fg_client_send(client, &r, &a, &err), err);
        assert_string_equal(a.body.data, "{\"a\":1}");
        fg_client_answer_fini(&a);
        r = (struct fg_client_request){.method = "POST", .path = "/nothing"};
        assert_ok(fg_client_send(client, &r, &a, &err), err);
        assert_int_equal(a.status, 204);
        fg_client_answer_fini(&a);
        r = (struct fg_client_request){.method = "HEAD", .path = "/hello"};
        assert_ok(fg_client_send(client, &r, &a, &err), err);
        assert_int_equal(a.taken, 0);
        fg_client_answer_fini(&a);
        r = (struct fg_client_request){.method = "DELETE", .path = "/items/1"};
        assert_ok(fg_client_send(client, &r, &a, &err), err);
        fg_client_answer_fini(&a);
    }
}

static void what_the_server_refuses_comes_back_as_the_same_error(void **state)
{
    struct fg_client_answer a;
    struct fg_error err;
    assert_fails(fetch("/fail/conflict", &a, &err), err, FG_E_CONFLICT);
    assert_string_equal(err.text, "it \"failed\"");
    assert_string_equal(err.pointer, "/a/b");
    assert_string_equal(err.hint, "do better");
    assert_int_equal(a.status, 409);
    assert_has(a.body.data, "urn:fgpu:error:conflict");
    fg_client_answer_fini(&a);
    assert_fails(fetch("/nope", &a, &err), err, FG_E_NOT_FOUND);
    fg_client_answer_fini(&a);
    /* A head of 40 KB is refused by libmicrohttpd itself, without a problem document. */
    char *big = fg_alloc(40001);
    memset(big, 'x', 40000);
    FG_AUTO_FREE char *headers = fg_asprintf("X-Big: %s", big);
    free(big);
    err = (struct fg_error){0};
    assert_int_equal(fg_client_send(client, &(struct fg_client_request){.path = "/hello", .headers = headers}, &a, &err), -1);
    assert_true(err.code == FG_E_INVALID || err.code == FG_E_UNREACHABLE);
    fg_client_answer_fini(&a);
}

static int file_of(size_t size)
{
    char path[] = "/tmp/fastgpu-client-XXXXXX";
    int fd = mkstemp(path);
    assert_true(fd >= 0);
    unlink(path);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}

static void files_go_up_and_down(void **state)
{
    struct fg_client_answer a;
    struct fg_error err = {0};
    FG_AUTO_FD int up = file_of(5000000), down = file_of(0);
    struct fg_client_request r = {.method = "PUT", .path = "/upload/x", .send = FG_SEND_FD, .send_fd = up, .send_size = 5000000};
    assert_ok(fg_client_send(client, &r, &a, &err), err);
    assert_string_equal(a.body.data, "{\"bytes\":5000000}");
    fg_client_answer_fini(&a);
    r = (struct fg_client_request){.path = "/file?size=100000", .take = FG_TAKE_FD, .take_fd = down};
    assert_ok(fg_client_send(client, &r, &a, &err), err);
    struct stat st;
    assert_int_equal(fstat(down, &st), 0);
    assert_int_equal(st.st_size, 100000);
    assert_int_equal(a.taken, 100000);
    assert_int_equal(a.body.len, 0);
    fg_client_answer_fini(&a);
    /* An error does not end up in the file. */
    r = (struct fg_client_request){.path = "/nope", .take = FG_TAKE_FD, .take_fd = down};
    assert_fails(fg_client_send(client, &r, &a, &err), err, FG_E_NOT_FOUND);
    assert_int_equal(fstat(down, &st), 0);
    assert_int_equal(st.st_size, 100000);
    fg_client_answer_fini(&a);
}

static void an_upload_that_is_refused_or_runs_dry_says_so(void **state)
{
    struct fg_client_answer a;
    struct fg_error err;
    FG_AUTO_FD int up = file_of(6000000);
    struct fg_client_request r = {.method = "PUT", .path = "/upload/refused", .send = FG_SEND_FD, .send_fd = up, .send_size = 6000000};
    assert_fails(fg_client_send(client, &r, &a, &err), err, FG_E_STORAGE_FULL);
    fg_client_answer_fini(&a);
    assert_int_equal(lseek(up, 0, SEEK_SET), 0);
    r.path = "/upload/half";
    err = (struct fg_error){0};
    assert_int_equal(fg_client_send(client, &r, &a, &err), -1);
    assert_true(err.code == FG_E_STORAGE_FULL || err.code == FG_E_UNREACHABLE);   /* cut after 4 MiB of a refused body */
    fg_client_answer_fini(&a);
    assert_int_equal(lseek(up, 0, SEEK_SET), 0);
    r.path = "/upload/x";
    r.send_size = 7000000;
    assert_fails(fg_client_send(client, &r, &a, &err), err, FG_E_IO);
    assert_has(err.text, "shorter");
    fg_client_answer_fini(&a);
}

static int keep_line(void *arg, const char *line, size_t n, struct fg_error *err)
{
    fg_str_addf(arg, "[%s]", line);
    return fg_streq(line, "data: tick 2") ? 1 : 0;
}

static void lines_come_one_by_one_until_enough(void **state)
{
    struct fg_client_answer a;
    struct fg_error err = {0};
    FG_AUTO_STR struct fg_str out = {0};
    struct fg_client_request r = {.path = "/ticks?n=100000&ms=5", .take = FG_TAKE_LINES, .line = keep_line, .line_arg = &out};
    assert_ok(fg_client_send(client, &r, &a, &err), err);
    assert_string_equal(out.data, "[id: 1][data: tick 1][][id: 2][data: tick 2]");
    fg_client_answer_fini(&a);
}

static void waiting_ends_in_time_or_when_interrupted(void **state)
{
    static volatile sig_atomic_t stop;
    struct fg_client_answer a;
    struct fg_error err;
    struct fg_client_request r = {.path = "/later?ms=60000", .timeout_ms = 100};
    assert_fails(fg_client_send(client, &r, &a, &err), err, FG_E_TIMEOUT);
    fg_client_answer_fini(&a);
    stop = 1;
    fg_client_stop_on(client, &stop);
    r.timeout_ms = 0;
    assert_fails(fg_client_send(client, &r, &a, &err), err, FG_E_TIMEOUT);
    assert_has(err.text, "interrupted");
    fg_client_answer_fini(&a);
    fg_client_stop_on(client, NULL);
}

static void no_server_is_unreachable_with_the_way_out(void **state)
{
    struct fg_client *other = NULL;
    struct fg_client_answer a;
    struct fg_error err = {0};
    assert_ok(fg_client_open("http://127.0.0.1:1/", NULL, &other, &err), err);
    assert_fails(fg_client_send(other, &(struct fg_client_request){.path = "/"}, &a, &err), err, FG_E_UNREACHABLE);
    assert_has(err.hint, "fgpu up");
    assert_int_equal(a.status, 0);
    fg_client_answer_fini(&a);
    fg_client_close(other);
}

static void a_proxy_of_the_environment_is_not_asked_for_loopback(void **state)
{
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    struct fg_client_answer a;
    struct fg_error err = {0};
    assert_ok(fetch("/hello", &a, &err), err);
    fg_client_answer_fini(&a);
    unsetenv("http_proxy");
}

static void what_is_no_url_or_key_is_refused(void **state)
{
    const char *bad[] = {"", "127.0.0.1:8470", "ftp://x", "http://", "http://a b", "http://x?y", "http://u:p@x", "file:///etc/passwd"};
    struct fg_client *c = NULL;
    struct fg_error err;
    for (size_t i = 0; i < FG_COUNT(bad); i++)
        assert_fails(fg_client_open(bad[i], NULL, &c, &err), err, FG_E_INVALID);
    assert_fails(fg_client_open("http://x", "a\nb", &c, &err), err, FG_E_INVALID);
    assert_fails(fg_client_open("http://x", "", &c, &err), err, FG_E_INVALID);
}

static void text_is_escaped_for_paths(void **state)
{
    FG_AUTO_STR struct fg_str out = {0};
    fg_client_escape(&out, "a/b c?\xc3\xa9-_.~%");
    assert_string_equal(out.data, "a%2Fb%20c%3F%C3%A9-_.~%25");
}

struct seen { struct echo *echo; int count, restart_at; };

static int see(void *arg, const struct fg_sse_event *event, struct fg_error *err)
{
    struct seen *seen = arg;
    char want[32];
    snprintf(want, sizeof want, "tick %d", ++seen->count);
    assert_string_equal(event->data, want);
    if (seen->count == seen->restart_at) {
        char port[8];
        memcpy(port, seen->echo->port, sizeof port);
        stop_echo(seen->echo);
        start_echo(seen->echo, port);
    }
    return 0;
}

static void a_followed_stream_survives_a_restart_without_hole_or_repeat(void **state)
{
    struct fg_error err = {0};
    struct seen seen = {&echo, 0, 7};
    assert_ok(fg_client_follow(client, "/ticks?n=15&ms=5", NULL, 10000, see, &seen, &err), err);
    assert_int_equal(seen.count, 15);
    seen = (struct seen){&echo, 10, -1};
    assert_ok(fg_client_follow(client, "/ticks?n=12&ms=5", "10", 10000, see, &seen, &err), err);
    assert_int_equal(seen.count, 12);
    assert_fails(fg_client_follow(client, "/nope", NULL, 10000, see, &seen, &err), err, FG_E_NOT_FOUND);
}

int main(int argc, char **argv)
{
    program = argc > 1 ? argv[1] : "http_echo";
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_answer_has_status_type_body_and_request_id),
        cmocka_unit_test(requests_of_all_kinds_follow_each_other),
        cmocka_unit_test(what_the_server_refuses_comes_back_as_the_same_error),
        cmocka_unit_test(files_go_up_and_down),
        cmocka_unit_test(an_upload_that_is_refused_or_runs_dry_says_so),
        cmocka_unit_test(lines_come_one_by_one_until_enough),
        cmocka_unit_test(waiting_ends_in_time_or_when_interrupted),
        cmocka_unit_test(no_server_is_unreachable_with_the_way_out),
        cmocka_unit_test(a_proxy_of_the_environment_is_not_asked_for_loopback),
        cmocka_unit_test(what_is_no_url_or_key_is_refused),
        cmocka_unit_test(text_is_escaped_for_paths),
        cmocka_unit_test(a_followed_stream_survives_a_restart_without_hole_or_repeat),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
