/* Memory that was handed to another process: its maker is charged for as long as the device says that it is there. */
#include "in_slice.h"

static const CUmemAllocationProp physical = {.type = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0},
                                             .requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR};
static int to_holder[2], to_maker[2], export_fd[2];

/* Another process of the vGPU, begun before this one has a context: it imports when it is told, and lets go when it is told again.
 * The driver's handle comes by a socket, as programs do it. */
static void hold(void)
{
    CUmemGenericAllocationHandle handle;
    char word, space[CMSG_SPACE(sizeof(int))];
    struct iovec part = {&word, 1};
    if (load_folder("devices=2 total=16G") || start() || write(to_maker[1], "r", 1) != 1)
        _exit(1);
    for (;;) {
        struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
        if (recvmsg(export_fd[1], &message, 0) != 1)
            _exit(0);
        int fd;
        memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof fd);
        CUresult result = CU(cuMemImportFromShareableHandle, cuMemImportFromShareableHandle)(&handle, (void *)(intptr_t)fd, 1);
        close(fd);
        if (write(to_maker[1], result == CUDA_SUCCESS ? "y" : "n", 1) != 1 || read(to_holder[0], &word, 1) != 1)
            _exit(0);
        if (word == 'x')
            _exit(0); /* without letting go */
        CU(cuMemRelease, cuMemRelease)(handle);
        if (write(to_maker[1], "d", 1) != 1)
            _exit(0);
    }
}

static pid_t holder;
#define CONTEXT (64 * MIB) /* the other's */

static int set_up(void **state)
{
    if (open_lease(QUOTA, 1000, FG_SHARE_WEIGHTED) || pipe(to_holder) || pipe(to_maker) || socketpair(AF_UNIX, SOCK_SEQPACKET, 0, export_fd))
        return -1;
    make_folder(DRIVER);
    holder = fork();
    if (!holder) {
        close(to_holder[1]);
        close(export_fd[0]);
        hold();
    }
    close(to_holder[0]);
    close(export_fd[1]);
    char ready;
    return read(to_maker[0], &ready, 1) != 1 || load_folder("devices=2 total=16G") || start() ? -1 : 0;
}

static char answer(void)
{
    char word = 0;
    assert_int_equal(read(to_maker[0], &word, 1), 1);
    return word;
}

static void say(char word) { assert_int_equal(write(to_holder[1], &word, 1), 1); }

/* Export, and wait until the other process holds it. */
static void hand_over(CUmemGenericAllocationHandle handle)
{
    int fd = -1;
    char word = 'h', space[CMSG_SPACE(sizeof fd)] = {0};
    struct iovec part = {&word, 1};
    struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1, .msg_control = space, .msg_controllen = sizeof space};
    assert_cu(CU(cuMemExportToShareableHandle, cuMemExportToShareableHandle)(&fd, handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0));
    struct cmsghdr *head = CMSG_FIRSTHDR(&message);
    *head = (struct cmsghdr){.cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS, .cmsg_len = CMSG_LEN(sizeof fd)};
    memcpy(CMSG_DATA(head), &fd, sizeof fd);
    assert_int_equal(sendmsg(export_fd[0], &message, 0), 1);
    close(fd);
    assert_int_equal(answer(), 'y');
}

static CUmemGenericAllocationHandle create(uint64_t bytes)
{
    CUmemGenericAllocationHandle handle;
    assert_cu(CU(cuMemCreate, cuMemCreate)(&handle, bytes, &physical, 0));
    return handle;
}

static uint64_t free_bytes(void)
{
    size_t free_now = 0, total;
    assert_cu(CU(cuMemGetInfo_v2, cuMemGetInfo)(&free_now, &total));
    return free_now;
}

static void memory_that_another_process_holds_stays_charged_to_its_maker_until_it_lets_go(void **state)
{
    uint64_t before = used();
    CUmemGenericAllocationHandle handle = create(64 * MIB), more = 0;
    hand_over(handle);
    assert_int_equal(used(), before + 64 * MIB); /* once */
    assert_cu(CU(cuMemRelease, cuMemRelease)(handle));
    assert_int_equal(used(), before + 64 * MIB);
    assert_int_equal(free_bytes(), QUOTA - before - 64 * MIB);
    assert_int_equal(CU(cuMemCreate, cuMemCreate)(&more, QUOTA - before, &physical, 0), CUDA_ERROR_OUT_OF_MEMORY);
    say('l');
    assert_int_equal(answer(), 'd');
    assert_cu(CU(cuMemCreate, cuMemCreate)(&more, QUOTA - before, &physical, 0)); /* not a byte less than the quota */
    assert_int_equal(used(), QUOTA);
    assert_cu(CU(cuMemRelease, cuMemRelease)(more));
    assert_int_equal(used(), before);
}

static void what_has_come_back_is_seen_by_who_asks_what_is_free(void **state)
{
    uint64_t before = used();
    CUmemGenericAllocationHandle handle = create(32 * MIB);
    hand_over(handle);
    assert_cu(CU(cuMemRelease, cuMemRelease)(handle));
    assert_int_equal(used(), before + 32 * MIB);
    say('l');
    assert_int_equal(answer(), 'd');
    assert_int_equal(free_bytes(), QUOTA - before);
    assert_int_equal(used(), before);
}

static void memory_that_others_let_go_first_is_credited_at_once(void **state)
{
    uint64_t before = used();
    CUmemGenericAllocationHandle handle = create(32 * MIB);
    hand_over(handle);
    say('l');
    assert_int_equal(answer(), 'd');
    assert_int_equal(used(), before + 32 * MIB);
    assert_cu(CU(cuMemRelease, cuMemRelease)(handle));
    assert_int_equal(used(), before);
}

static void a_mapping_keeps_exported_memory_as_any_other(void **state)
{
    uint64_t before = used();
    CUdeviceptr at;
    CUmemGenericAllocationHandle handle = create(32 * MIB);
    CUresult (*reserve)(CUdeviceptr *, size_t, size_t, CUdeviceptr, unsigned long long) = symbol("cuMemAddressReserve");
    assert_cu(reserve(&at, 32 * MIB, 0, 0, 0));
    assert_cu(CU(cuMemMap, cuMemMap)(at, 32 * MIB, 0, handle, 0));
    hand_over(handle);
    assert_cu(CU(cuMemRelease, cuMemRelease)(handle));
    say('l');
    assert_int_equal(answer(), 'd');
    assert_int_equal(used(), before + 32 * MIB);
    assert_cu(CU(cuMemUnmap, cuMemUnmap)(at, 32 * MIB));
    assert_int_equal(used(), before);
}

static void linear_memory_with_an_ipc_handle_is_credited_when_the_device_says_that_it_is_free(void **state)
{
    struct fgcu_ipc handle;
    CUdeviceptr pointer;
    uint64_t before = used();
    assert_cu(CU(cuMemAlloc_v2, cuMemAlloc)(&pointer, 16 * MIB));
    assert_cu(CU(cuIpcGetMemHandle, cuIpcGetMemHandle)(&handle, pointer));
    assert_int_equal(used(), before + 16 * MIB);
    assert_cu(CU(cuMemFree_v2, cuMemFree)(pointer));
    assert_int_equal(used(), before); /* the stand-in takes it from who has opened it */
    assert_cu(CU(cuMemAlloc_v2, cuMemAlloc)(&pointer, 16 * MIB));
    assert_cu(CU(cuIpcGetMemHandle, cuIpcGetMemHandle)(&handle, pointer));
    assert_cu(CU(cuMemFreeAsync, cuMemFreeAsync)(pointer, NULL));
    assert_cu(CU(cuCtxSynchronize, cuCtxSynchronize)());
    assert_int_equal(free_bytes(), QUOTA - before);
    assert_int_equal(used(), truth() + CONTEXT);
}

static void an_exported_pool_is_credited_when_it_is_gone(void **state)
{
    CUmemoryPool own;
    CUdeviceptr pointer;
    CUmemPoolProps props = {.allocType = CU_MEM_ALLOCATION_TYPE_PINNED, .location = {CU_MEM_LOCATION_TYPE_DEVICE, 0},
                            .handleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR};
    uint64_t before = used();
    int fd = -1;
    assert_cu(CU(cuMemPoolCreate, cuMemPoolCreate)(&own, &props));
    assert_cu(CU(cuMemPoolExportToShareableHandle, cuMemPoolExportToShareableHandle)(&fd, own, 1, 0));
    assert_cu(CU(cuMemAllocFromPoolAsync, cuMemAllocFromPoolAsync)(&pointer, MIB, own, NULL));
    assert_int_equal(used(), before + 32 * MIB);
    assert_cu(CU(cuMemPoolDestroy, cuMemPoolDestroy)(own));
    assert_int_equal(used(), truth() + CONTEXT);
    assert_cu(CU(cuMemFree_v2, cuMemFree)(pointer));
    assert_int_equal(free_bytes(), QUOTA - before);
    assert_int_equal(used(), truth() + CONTEXT);
    close(fd);
}

/* The last: the other process ends. Its death lets go, as the driver has it. */
static void a_holder_that_dies_lets_go(void **state)
{
    uint64_t before = used();
    int status;
    CUmemGenericAllocationHandle handle = create(64 * MIB), more;
    hand_over(handle);
    assert_cu(CU(cuMemRelease, cuMemRelease)(handle));
    assert_int_equal(used(), before + 64 * MIB);
    say('x');
    assert_int_equal(waitpid(holder, &status, 0), holder);
    while (used() > before - CONTEXT + 64 * MIB)
        usleep(10000); /* until the vGPU has seen its death */
    assert_cu(CU(cuMemCreate, cuMemCreate)(&more, QUOTA - before + CONTEXT, &physical, 0));
    assert_cu(CU(cuMemRelease, cuMemRelease)(more));
    assert_true_books();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_that_another_process_holds_stays_charged_to_its_maker_until_it_lets_go),
        cmocka_unit_test(what_has_come_back_is_seen_by_who_asks_what_is_free),
        cmocka_unit_test(memory_that_others_let_go_first_is_credited_at_once),
        cmocka_unit_test(a_mapping_keeps_exported_memory_as_any_other),
        cmocka_unit_test(linear_memory_with_an_ipc_handle_is_credited_when_the_device_says_that_it_is_free),
        cmocka_unit_test(an_exported_pool_is_credited_when_it_is_gone),
        cmocka_unit_test(a_holder_that_dies_lets_go),
    };
    return cmocka_run_group_tests(tests, set_up, end);
}
