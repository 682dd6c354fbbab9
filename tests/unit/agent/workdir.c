/* A manifest is the tenant's: nothing in it reaches beyond the working directory. */
#include "unit.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "agent/internal.h"
#include "base/io.h"
#include "base/json.h"

struct world { char root[200]; struct agent agent; struct attempt attempt; char sha256[65]; };

static void world_open(struct world *w)
{
    *w = (struct world){.attempt = {.agent = &w->agent}};
    unit_folder(w->root, sizeof w->root);
    w->agent.set.cache = fg_path_join(w->root, "cache");
    w->attempt.dir = fg_path_join(w->root, "attempt");
    w->attempt.spec = json_pack("{s:s}", "task_type", "command");
    FG_AUTO_FREE char *work = attempt_path(&w->attempt, "work");
    fg_mkdir_p(w->agent.set.cache, 0700, NULL);
    fg_mkdir_p(work, 0700, NULL);
    fg_sha256_hex("data", 4, w->sha256);
    FG_AUTO_FREE char *blob = pull_cached(&w->agent, w->sha256);
    fg_write_file_atomic(blob, "data", 4, 0600, NULL);
}

static void world_close(struct world *w)
{
    fg_remove_tree(w->root, NULL);
    for (size_t i = 0; i < w->attempt.wants.count; i++)
        free(w->attempt.wants.items[i]);
    fg_vec_fini(&w->attempt.wants);
    json_decref(w->attempt.spec);
    json_decref(w->attempt.manifest);
    free(w->attempt.dir);
    free(w->agent.set.cache);
}

static int place(struct world *w, const char *path, int mode, struct fg_error *err)
{
    json_decref(w->attempt.manifest);
    w->attempt.manifest = json_pack("{s:[{s:s,s:s,s:i}]}", "files", "path", path, "blob", w->sha256, "mode", mode);
    return workdir_place(&w->agent, &w->attempt, err);
}

static void files_and_folders_are_made_with_their_modes(void **state)
{
    struct world w;
    struct fg_error err;
    struct stat st;
    world_open(&w);
    assert_ok(place(&w, "a/b/run.sh", 0755, &err), err);
    FG_AUTO_FREE char *path = attempt_path(&w.attempt, "work/a/b/run.sh");
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_size, 4);
    assert_int_equal(st.st_mode & 07777, 0755);
    assert_ok(place(&w, "secret", 07600, &err), err);        /* no set-user bits */
    FG_AUTO_FREE char *second = attempt_path(&w.attempt, "work/secret");
    assert_int_equal(stat(second, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    world_close(&w);
}

static void paths_that_leave_the_folder_are_refused(void **state)
{
    static const char *const bad[] = {"/etc/passwd", "../x", "a/../../x", "..", ".", "a/b/../../../x", "link/x", "/"};
    struct world w;
    struct fg_error err;
    world_open(&w);
    FG_AUTO_FREE char *link = attempt_path(&w.attempt, "work/link");
    assert_int_equal(symlink("/tmp", link), 0);
    for (size_t i = 0; i < FG_COUNT(bad); i++) {
        err = (struct fg_error){0};
        if (place(&w, bad[i], 0644, &err) != -1)
            fail_msg("'%s' was taken", bad[i]);
    }
    assert_fails(place(&w, "../x", 0644, &err), err, FG_E_INVALID);
    world_close(&w);
}

static void a_file_named_twice_is_refused(void **state)
{
    struct world w;
    struct fg_error err;
    world_open(&w);
    assert_ok(place(&w, "a", 0644, &err), err);
    assert_fails(place(&w, "a", 0644, &err), err, FG_E_INVALID);
    world_close(&w);
}

static void a_manifest_must_list_files_with_path_and_blob(void **state)
{
    static const char *const bad[] = {"{}", "{\"files\":3}", "{\"files\":[{}]}", "{\"files\":[{\"path\":\"a\",\"blob\":\"12\"}]}", "{\"files\":[7]}"};
    struct world w;
    struct fg_error err;
    world_open(&w);
    for (size_t i = 0; i < FG_COUNT(bad); i++) {
        FG_AUTO_JSON json_t *manifest = fg_json_parse(bad[i], strlen(bad[i]), &err);
        assert_fails(workdir_wants(manifest, &w.attempt, &err), err, FG_E_INVALID);
    }
    world_close(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(files_and_folders_are_made_with_their_modes),
        cmocka_unit_test(paths_that_leave_the_folder_are_refused),
        cmocka_unit_test(a_file_named_twice_is_refused),
        cmocka_unit_test(a_manifest_must_list_files_with_path_and_blob),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
