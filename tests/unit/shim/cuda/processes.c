/* The processes of one vGPU: forks, deaths, as many at once as a lease takes, and a quota that changes under them. */
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>

#include "in_slice.h"

#ifdef __SANITIZE_ADDRESS__
#define MANY 48u /* each takes tens of megabytes then */
#else
#define MANY 256u
#endif
#define CONTEXT_BYTES MIB
#define SETUP "devices=1 total=16G context=1M"

struct shared { uint32_t ready, go, refused, over, steps[8], granted[8], wrong; };
static struct shared *shared;

static int set_up(void **state)
{
    shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    setenv("FGPU_CUDA_CONTEXT_BYTES", "1048576", 1);
    make_folder(DRIVER);
    return shared == MAP_FAILED || open_lease(QUOTA, 1000, FG_SHARE_WEIGHTED) ? -1 : 0;
}

/* A process of its own of the vGPU, with a context; the library is loaded in it, not before. */
static pid_t begin(void (*run)(unsigned), unsigned number)
{
    pid_t pid = fork();
    if (pid)
        return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (load_folder(SETUP) || start())
        _exit(2);
    run(number);
    _exit(0);
}

static int end_of(pid_t pid)
{
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void until(const uint32_t *word, uint32_t at_least)
{
    while (__atomic_load_n(word, __ATOMIC_ACQUIRE) < at_least)
        usleep(5000);
}

static void until_used(uint64_t bytes)
{
    for (unsigned i = 0; i < 6000 && used() != bytes; i++)
        usleep(10000); /* until the server has seen who died */
    assert_int_equal(used(), bytes);
}

static uint32_t add(uint32_t *word) { return __atomic_add_fetch(word, 1, __ATOMIC_ACQ_REL); }
static CUresult alloc(CUdeviceptr *pointer, uint64_t bytes) { return CU(cuMemAlloc_v2, cuMemAlloc)(pointer, bytes); }
static CUresult release(CUdeviceptr pointer) { return CU(cuMemFree_v2, cuMemFree)(pointer); }
static uint64_t free_bytes(void)
{
    size_t now = 0, total;
    return CU(cuMemGetInfo_v2, cuMemGetInfo)(&now, &total) ? 0 : now;
}

/* ---- forks ---- */

/* After cuInit a child of fork cannot use the driver; whatever it tries, its parent's memory stays its parent's. */
static void a_parent(unsigned how)
{
    CUdeviceptr pointer, more;
    int status;
    if (alloc(&pointer, 16 * MIB))
        _exit(3);
    uint64_t before = free_bytes();
    pid_t child = fork();
    if (!child) {
        int wrong = alloc(&more, MIB) == CUDA_SUCCESS || release(pointer) == CUDA_SUCCESS || release(pointer) == CUDA_SUCCESS;
        if (how == 1)
            raise(SIGKILL);
        if (how == 2)
            raise(SIGABRT);
        _exit(wrong);
    }
    if (waitpid(child, &status, 0) != child || (how == 0 && status != 0))
        _exit(4);
    for (unsigned i = 0; i < 6000 && free_bytes() != before; i++)
        usleep(10000); /* a context is charged to the child by nobody, so this is at once */
    if (free_bytes() != before || alloc(&more, before) || alloc(&more, 512) != CUDA_ERROR_OUT_OF_MEMORY || release(pointer))
        _exit(5);
    _exit(free_bytes() == 16 * MIB ? 0 : 6);
}

static void a_fork_leaves_the_parents_totals_as_they_are_however_it_ends(void **state)
{
    for (unsigned how = 0; how < 3; how++) {
        assert_int_equal(end_of(begin(a_parent, how)), 0);
        until_used(0);
    }
}

static void holds_and_ends(unsigned how)
{
    CUdeviceptr pointer;
    if (alloc(&pointer, 32 * MIB))
        _exit(3);
    if (how)
        raise(SIGKILL);
}

static void a_process_that_ends_or_is_killed_gives_all_back(void **state)
{
    for (unsigned how = 0; how < 2; how++) {
        assert_int_equal(end_of(begin(holds_and_ends, how)), how ? SIGKILL : 0);
        until_used(0);
    }
}

/* ---- many at once ---- */

static void one_of_many(unsigned number)
{
    CUdeviceptr pointer;
    add(&shared->ready);
    until(&shared->go, 1);
    CUresult result;
    while ((result = alloc(&pointer, MIB)) == CUDA_SUCCESS)
        add(&shared->granted[0]);
    if (result != CUDA_ERROR_OUT_OF_MEMORY)
        add(&shared->wrong);
    add(&shared->over);
    until(&shared->go, 2);
    if (number % 2)
        raise(SIGKILL);
}

static void one_too_many(unsigned number) {}

static void as_many_processes_as_a_lease_takes_share_the_quota_to_the_last_byte(void **state)
{
    pid_t pids[MANY];
    memset(shared, 0, sizeof *shared);
    uint64_t quota = MANY * CONTEXT_BYTES + 100 * MIB;
    set_quota(quota);
    for (unsigned i = 0; i < MANY; i++)
        pids[i] = begin(one_of_many, i);
    until(&shared->ready, MANY);
    assert_int_equal(used(), MANY * CONTEXT_BYTES);
    if (MANY == FG_SLOTS) /* the next one's cuInit says why not */
        assert_int_equal(WEXITSTATUS(end_of(begin(one_too_many, 0))), 2);
    __atomic_store_n(&shared->go, 1, __ATOMIC_RELEASE);
    until(&shared->over, MANY);
    assert_int_equal(shared->wrong, 0);
    assert_int_equal(shared->granted[0], 100);
    assert_int_equal(used(), quota);
    __atomic_store_n(&shared->go, 2, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < MANY; i++)
        assert_int_equal(end_of(pids[i]), i % 2 ? SIGKILL : 0);
    until_used(0);
    set_quota(QUOTA);
}

/* ---- the quota changes ---- */

#define BUSY 4u

/* Takes and gives back until it is told to stop; counts what it has done. */
static void keeps_allocating(unsigned number)
{
    CUdeviceptr held[8] = {0};
    add(&shared->ready);
    for (unsigned i = 0; __atomic_load_n(&shared->go, __ATOMIC_ACQUIRE) == 1; i++) {
        CUdeviceptr *at = &held[i % 8];
        if (*at && release(*at))
            add(&shared->wrong);
        *at = 0;
        CUresult result = alloc(at, (1 + (i + number) % 5) * MIB);
        if (result != CUDA_SUCCESS && result != CUDA_ERROR_OUT_OF_MEMORY)
            add(&shared->wrong);
        if (result == CUDA_SUCCESS)
            add(&shared->granted[number]);
        else
            *at = 0;
        add(&shared->steps[number]);
    }
}

/* Each has begun and ended so many operations since: what was granted by the quota before is in the books. */
static void until_all_have_stepped(uint32_t steps)
{
    uint32_t targets[BUSY];
    for (unsigned i = 0; i < BUSY; i++)
        targets[i] = __atomic_load_n(&shared->steps[i], __ATOMIC_ACQUIRE) + steps + 1;
    for (unsigned i = 0; i < BUSY; i++)
        until(&shared->steps[i], targets[i]);
}

static void a_quota_that_shrinks_and_grows_holds_from_the_next_request_on(void **state)
{
    pid_t pids[BUSY];
    memset(shared, 0, sizeof *shared);
    shared->go = 1;
    for (unsigned i = 0; i < BUSY; i++)
        pids[i] = begin(keeps_allocating, i);
    until(&shared->ready, BUSY);
    for (unsigned round = 0; round < 12; round++) {
        uint64_t small = (BUSY + 4 + round) * MIB; /* below what eight of each would take */
        set_quota(small);
        until_all_have_stepped(24); /* all eight of each were given back once */
        for (unsigned i = 0; i < 20; i++)
            assert_true(used() <= small);
        uint32_t granted = 0, later = 0;
        for (unsigned i = 0; i < BUSY; i++)
            granted += __atomic_load_n(&shared->granted[i], __ATOMIC_ACQUIRE);
        set_quota(QUOTA); /* more than all want: nothing is refused any more */
        until_all_have_stepped(8);
        for (unsigned i = 0; i < BUSY; i++)
            later += __atomic_load_n(&shared->granted[i], __ATOMIC_ACQUIRE);
        assert_true(later >= granted + BUSY * 8);
    }
    __atomic_store_n(&shared->go, 0, __ATOMIC_RELEASE);
    for (unsigned i = 0; i < BUSY; i++)
        assert_int_equal(end_of(pids[i]), 0);
    assert_int_equal(shared->wrong, 0);
    until_used(0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fork_leaves_the_parents_totals_as_they_are_however_it_ends),
        cmocka_unit_test(a_process_that_ends_or_is_killed_gives_all_back),
        cmocka_unit_test(as_many_processes_as_a_lease_takes_share_the_quota_to_the_last_byte),
        cmocka_unit_test(a_quota_that_shrinks_and_grows_holds_from_the_next_request_on),
    };
    return cmocka_run_group_tests(tests, set_up, end);
}
