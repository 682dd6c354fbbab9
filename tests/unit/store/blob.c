/* blob.c - uploads: whole under their digest or not there at all. */
#include "store_unit.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "store/blob.h"

static const char hello_sha256[] = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";   /* of "hello" */
static const char empty_sha256[] = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

struct room { char folder[200], root[220], tmp[230]; };

static void room_begin(struct room *r)
{
    unit_folder(r->folder, sizeof r->folder);
    snprintf(r->root, sizeof r->root, "%s/blobs", r->folder);
    snprintf(r->tmp, sizeof r->tmp, "%s/tmp", r->root);
}

static void room_end(struct room *r)
{
    struct fg_error err;
    assert_ok(fg_remove_tree(r->folder, &err), err);
}

static int files_in(const char *folder)
{
    FG_AUTO_FREE char *command = fg_asprintf("ls -A '%s' 2>/dev/null | wc -l", folder);
    FILE *out = popen(command, "r");
    int n = -1;
    assert_int_equal(fscanf(out, "%d", &n), 1);
    pclose(out);
    return n;
}

static int upload(struct room *r, const char *expect, const char *text, char sha256[65], struct fg_error *err)
{
    struct fg_blob_writer *w;
    uint64_t size = 0;
    if (fg_blob_begin(r->root, expect, &w, err) < 0)
        return -1;
    for (const char *c = text; *c; c++)
        assert_ok(fg_blob_append(w, c, 1, err), *err);
    if (fg_blob_finish(w, sha256, &size, err) < 0)
        return -1;
    assert_int_equal(size, strlen(text));
    return 0;
}

static void assert_blob(struct room *r, const char *sha256, const char *want)
{
    struct fg_error err;
    char got[100] = "";
    FG_AUTO_FD int fd = -1;
    uint64_t size = 99;
    assert_ok(fg_blob_open(r->root, sha256, &fd, &size, &err), err);
    assert_int_equal(size, strlen(want));
    assert_int_equal(read(fd, got, sizeof got), strlen(want));
    assert_string_equal(got, want);
}

static void bytes_are_found_under_their_digest(void **state)
{
    struct room r;
    struct fg_error err;
    char sha256[65];
    room_begin(&r);
    assert_ok(upload(&r, NULL, "hello", sha256, &err), err);
    assert_string_equal(sha256, hello_sha256);
    assert_blob(&r, hello_sha256, "hello");
    assert_ok(upload(&r, empty_sha256, "", sha256, &err), err);
    assert_blob(&r, empty_sha256, "");
    FG_AUTO_FREE char *path = fg_asprintf("%s/2c/%s", r.root, hello_sha256);
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(files_in(r.tmp), 0);
    room_end(&r);
}

static void the_same_upload_again_is_fine_and_heals_a_damaged_file(void **state)
{
    struct room r;
    struct fg_error err;
    char sha256[65];
    room_begin(&r);
    assert_ok(upload(&r, hello_sha256, "hello", sha256, &err), err);
    FG_AUTO_FREE char *path = fg_asprintf("%s/2c/%s", r.root, hello_sha256);
    assert_int_equal(truncate(path, 2), 0);
    assert_ok(upload(&r, hello_sha256, "hello", sha256, &err), err);
    assert_blob(&r, hello_sha256, "hello");
    room_end(&r);
}

static void other_bytes_than_expected_are_refused_and_leave_nothing(void **state)
{
    struct room r;
    struct fg_error err;
    char sha256[65] = "untouched";
    room_begin(&r);
    assert_fails(upload(&r, hello_sha256, "hellO", sha256, &err), err, FG_E_INVALID);
    assert_has(err.text, hello_sha256);
    assert_string_equal(sha256, "untouched");
    int fd;
    assert_fails(fg_blob_open(r.root, hello_sha256, &fd, NULL, &err), err, FG_E_NOT_FOUND);
    assert_int_equal(files_in(r.tmp), 0);
    assert_fails(upload(&r, "abc", "hello", sha256, &err), err, FG_E_INVALID);
    room_end(&r);
}

static void an_aborted_upload_leaves_nothing(void **state)
{
    struct room r;
    struct fg_error err;
    struct fg_blob_writer *w;
    room_begin(&r);
    assert_ok(fg_blob_begin(r.root, NULL, &w, &err), err);
    assert_ok(fg_blob_append(w, "half", 4, &err), err);
    assert_int_equal(files_in(r.tmp), 1);
    fg_blob_abort(w);
    fg_blob_abort(NULL);
    assert_int_equal(files_in(r.tmp), 0);
    room_end(&r);
}

static void only_a_digest_opens_a_file(void **state)
{
    static const char *const bad[] = { "", "..", "../../../etc/passwd", "2CF24DBA5FB0A30E26E83B2AC5B9E29E1B161E5C1FA7425E73043362938B9824",
        "/f24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b982" };
    struct room r;
    struct fg_error err;
    int fd;
    room_begin(&r);
    for (size_t i = 0; i < FG_COUNT(bad); i++)
        assert_fails(fg_blob_open(r.root, bad[i], &fd, NULL, &err), err, FG_E_NOT_FOUND);
    /* a link in a blob's place is not followed */
    char sha256[65];
    assert_ok(upload(&r, NULL, "hello", sha256, &err), err);
    FG_AUTO_FREE char *path = fg_asprintf("%s/2c/%s", r.root, hello_sha256);
    assert_int_equal(unlink(path), 0);
    assert_int_equal(symlink("/etc/passwd", path), 0);
    assert_fails(fg_blob_open(r.root, hello_sha256, &fd, NULL, &err), err, FG_E_IO);
    room_end(&r);
}

static void cleaning_removes_what_a_killed_process_left_and_spares_running_uploads(void **state)
{
    struct room r;
    struct fg_error err;
    struct fg_blob_writer *w;
    size_t removed = 99;
    room_begin(&r);
    assert_ok(fg_blob_clean(r.root, &removed, &err), err);
    assert_int_equal(removed, 0);
    pid_t pid = fork();
    if (pid == 0) {
        for (int i = 0; i < 3; i++)
            if (fg_blob_begin(r.root, NULL, &w, NULL) < 0 || fg_blob_append(w, "half", 4, NULL) < 0)
                _exit(1);
        kill(getpid(), SIGKILL);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_ok(fg_blob_begin(r.root, hello_sha256, &w, &err), err);
    assert_ok(fg_blob_append(w, "hello", 5, &err), err);
    assert_int_equal(files_in(r.tmp), 4);
    assert_ok(fg_blob_clean(r.root, &removed, &err), err);
    assert_int_equal(removed, 3);
    char sha256[65];
    assert_ok(fg_blob_finish(w, sha256, NULL, &err), err);
    assert_blob(&r, hello_sha256, "hello");
    room_end(&r);
}

static void *upload_many(void *arg)
{
    struct fg_error err;
    char sha256[65];
    for (int i = 0; i < 20; i++)
        if (upload(arg, hello_sha256, "hello", sha256, &err) < 0 || fg_blob_clean(((struct room *)arg)->root, NULL, &err) < 0)
            return arg;
    return NULL;
}

static void threads_may_upload_the_same_bytes_at_once(void **state)
{
    struct room r;
    pthread_t threads[4];
    room_begin(&r);
    for (size_t i = 0; i < FG_COUNT(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, upload_many, &r), 0);
    for (size_t i = 0; i < FG_COUNT(threads); i++) {
        void *failed;
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_blob(&r, hello_sha256, "hello");
    assert_int_equal(files_in(r.tmp), 0);
    room_end(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_are_found_under_their_digest),
        cmocka_unit_test(the_same_upload_again_is_fine_and_heals_a_damaged_file),
        cmocka_unit_test(other_bytes_than_expected_are_refused_and_leave_nothing),
        cmocka_unit_test(an_aborted_upload_leaves_nothing),
        cmocka_unit_test(only_a_digest_opens_a_file),
        cmocka_unit_test(cleaning_removes_what_a_killed_process_left_and_spares_running_uploads),
        cmocka_unit_test(threads_may_upload_the_same_bytes_at_once),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
