/* full.c - a disk that is really full: an 8 MiB file system of our own (mount namespace). */
#include "store_unit.h"
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/statvfs.h>
#include "store/blob.h"

static char disk[150];                   /* "" when it could not be made; why says why */
static char why[200];

static bool write_text(const char *path, const char *text)
{
    FG_AUTO_FD int fd = open(path, O_WRONLY | O_CLOEXEC);
    return fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);
}

/* As root a mount namespace is enough; else a user namespace too, where the system allows it. */
static bool own_namespace(void)
{
    uid_t uid = getuid();
    gid_t gid = getgid();
    if (unshare(uid == 0 ? CLONE_NEWNS : CLONE_NEWNS | CLONE_NEWUSER) < 0)
        return false;
    if (uid != 0) {
        FG_AUTO_FREE char *uids = fg_asprintf("0 %d 1", (int)uid);
        FG_AUTO_FREE char *gids = fg_asprintf("0 %d 1", (int)gid);
        if (!write_text("/proc/self/setgroups", "deny") || !write_text("/proc/self/uid_map", uids) || !write_text("/proc/self/gid_map", gids))
            return false;
    }
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
}

static int make_disk(void **state)
{
    char folder[140];
    unit_folder(folder, sizeof folder);
    if (own_namespace() && mount("tmpfs", folder, "tmpfs", 0, "size=8m") == 0) {
        snprintf(disk, sizeof disk, "%s", folder);
        return 0;
    }
    snprintf(why, sizeof why, "no file system of one's own may be mounted here: %s", strerror(errno));
    rmdir(folder);
    return 0;
}

static int drop_disk(void **state)
{
    if (!disk[0])
        return 0;
    umount2(disk, MNT_DETACH);
    return rmdir(disk);
}

static bool skipped(void)
{
    if (!disk[0])
        printf("skipped: %s\n", why);
    return !disk[0];
}

/* Fill what is free but for leave_bytes. */
static void fill_disk(const char *path, size_t leave_bytes)
{
    struct statvfs st;
    assert_int_equal(statvfs(disk, &st), 0);
    size_t room = st.f_bavail * st.f_bsize;
    FG_AUTO_FD int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    if (room > leave_bytes)
        assert_int_equal(posix_fallocate(fd, 0, (off_t)(room - leave_bytes)), 0);
}

static struct fg_store_batch *batch_of(uint64_t n)
{
    struct fg_store_batch *batch = fg_store_batch_create();
    FG_AUTO_FREE char *body = fg_alloc(3001);
    memset(body, 'b', 3000);
    put_event(batch, 2 * n + 1, task_id(n), alice, body);
    put_event(batch, 2 * n + 2, task_id(n), alice, body);
    put_task(batch, task_id(n), alice, 0)->spec = fg_strdup("S");
    return batch;
}

static int count_rows(void *arg, const struct fg_store_task *row, struct fg_error *err) { ++*(uint64_t *)arg; return 0; }

static void assert_holds(struct unit_store *u, uint64_t batches)
{
    struct fg_error err;
    uint64_t seq, tasks = 0;
    int64_t time_ns;
    assert_ok(fg_store_last(u->store, &seq, &time_ns, &err), err);
    assert_int_equal(seq, 2 * batches);
    assert_ok(fg_store_load_live(u->store, count_rows, &tasks, &err), err);
    assert_int_equal(tasks, batches);
}

static void open_on_disk(struct unit_store *u)
{
    struct fg_error err;
    snprintf(u->folder, sizeof u->folder, "%s/data", disk);
    snprintf(u->path, sizeof u->path, "%s/fgpu.db", u->folder);
    assert_ok(fg_mkdir_p(u->folder, 0700, &err), err);
    unit_open(u);
}

static void a_full_disk_refuses_submits_reads_go_on_and_room_brings_it_back(void **state)
{
    if (skipped())
        skip();
    struct unit_store u;
    struct fg_error err;
    FG_AUTO_FREE char *ballast = fg_asprintf("%s/ballast", disk);
    open_on_disk(&u);
    uint64_t n = 0;
    for (int round = 0; round < 4; round++) {
        commit_ok(&u, batch_of(n++));
        fill_disk(ballast, (size_t)round * 20000);
        do
            err = commit(&u, batch_of(n++));
        while (!err.code);
        n--;
        assert_int_equal(err.code, FG_E_STORAGE_FULL);
        assert_holds(&u, n);
        assert_fails(fg_store_resume(u.store, &err), err, FG_E_STORAGE_FULL);
        assert_int_equal(unlink(ballast), 0);
        assert_ok(fg_store_resume(u.store, &err), err);
        assert_holds(&u, n);
    }
    commit_ok(&u, batch_of(n++));
    assert_holds(&u, n);
    unit_close(&u);
    unit_open(&u);                       /* and nothing else is there after a restart */
    assert_holds(&u, n);
    unit_end(&u);
}

static void a_store_opens_on_a_disk_nearly_full_and_says_so_when_not_even_that_fits(void **state)
{
    if (skipped())
        skip();
    struct unit_store u;
    struct fg_error err;
    FG_AUTO_FREE char *ballast = fg_asprintf("%s/ballast", disk);
    open_on_disk(&u);
    commit_ok(&u, batch_of(0));
    unit_close(&u);
    fill_disk(ballast, 0);
    struct fg_store *store = NULL;
    assert_int_equal(fg_store_open(u.path, &store, &err), -1);
    assert_int_equal(err.code, FG_E_STORAGE_FULL);   /* not even the log's index (32 KiB) fits: said as what it is */
    assert_int_equal(unlink(ballast), 0);
    fill_disk(ballast, 100000);
    unit_open(&u);
    assert_holds(&u, 1);
    assert_int_equal(unlink(ballast), 0);
    unit_end(&u);
}

static void an_upload_on_a_full_disk_fails_as_such_and_gives_its_room_back_at_once(void **state)
{
    if (skipped())
        skip();
    struct fg_blob_writer *w;
    struct fg_error err = {0};
    struct statvfs before, after;
    char sha256[65];
    uint64_t size;
    FG_AUTO_FREE char *bytes = fg_alloc(1 << 20);
    FG_AUTO_FREE char *root = fg_asprintf("%s/blobs", disk);
    assert_ok(fg_blob_begin(root, NULL, &w, &err), err);
    assert_int_equal(statvfs(disk, &before), 0);
    int written = 0;
    while (fg_blob_append(w, bytes, 1 << 20, &err) == 0)
        written++;
    assert_int_equal(err.code, FG_E_STORAGE_FULL);
    assert_in_range(written, 5, 8);
    assert_int_equal(statvfs(disk, &after), 0);
    assert_true(after.f_bavail >= before.f_bavail);
    assert_fails(fg_blob_append(w, bytes, 1, &err), err, FG_E_STORAGE_FULL);
    assert_fails(fg_blob_finish(w, sha256, &size, &err), err, FG_E_STORAGE_FULL);
    assert_ok(fg_blob_begin(root, NULL, &w, &err), err);
    assert_ok(fg_blob_append(w, bytes, 1 << 20, &err), err);
    assert_ok(fg_blob_finish(w, sha256, &size, &err), err);
    assert_ok(fg_remove_tree(root, &err), err);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_full_disk_refuses_submits_reads_go_on_and_room_brings_it_back),
        cmocka_unit_test(a_store_opens_on_a_disk_nearly_full_and_says_so_when_not_even_that_fits),
        cmocka_unit_test(an_upload_on_a_full_disk_fails_as_such_and_gives_its_room_back_at_once),
    };
    return cmocka_run_group_tests(tests, make_disk, drop_disk);
}
