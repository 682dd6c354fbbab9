/* blobs.c - files to blobs and back: hashed first, sent only when the server has not got them. */
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/api.h"

#define TRANSFER_MS (24 * INT64_C(3600000))

static void blob_path(struct fg_str *path, const char *sha256) { fg_str_addf(path, "/v1/blobs/%s", sha256); }

/* Whether the server has it: 1 or 0, -1 with *err. A HEAD has no body that could say more than 404. */
static int is_there(struct cli *cli, const char *sha256, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str path = {0};
    struct fg_client_answer a;
    struct fg_error e = {0};
    blob_path(&path, sha256);
    struct cli_request req = {.method = "HEAD", .path = path.data};
    int rc = cli_send(cli, &req, &a, &e);
    fg_client_answer_fini(&a);
    if (rc == 0)
        return 1;
    if (e.code == FG_E_NOT_FOUND)
        return 0;
    *err = e;
    return -1;
}

static int transfer(struct cli *cli, const struct fg_client_request *request, struct fg_error *err)
{
    const char *url;
    struct fg_client_answer a;
    if (cli_api_url(cli, &url, err) < 0)
        return -1;
    int rc = fg_client_send(cli_api_client(cli), request, &a, err);
    fg_client_answer_fini(&a);
    return rc;
}

int cli_blob_put_bytes(struct cli *cli, const void *data, size_t n, char ret_sha256[65], struct fg_error *err)
{
    FG_AUTO_STR struct fg_str path = {0};
    fg_sha256_hex(data, n, ret_sha256);
    int there = is_there(cli, ret_sha256, err);
    if (there != 0)
        return there < 0 ? -1 : 0;
    blob_path(&path, ret_sha256);
    struct fg_client_request put = {.method = "PUT",
                                    .path = path.data,
                                    .send = FG_SEND_BYTES,
                                    .bytes = data,
                                    .len = n,
                                    .content_type = "application/octet-stream",
                                    .timeout_ms = TRANSFER_MS};
    return transfer(cli, &put, err);
}

/* -1 FG_E_INVALID when the file changed while it was sent: the server finds other bytes than the hash says. */
static int put_fd(struct cli *cli, int fd, uint64_t size, const char *sha256, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str path = {0};
    int there = is_there(cli, sha256, err);
    if (there != 0)
        return there < 0 ? -1 : 0;
    if (lseek(fd, 0, SEEK_SET) < 0)
        return fg_fail(err, FG_E_IO, "rewind: %m");
    blob_path(&path, sha256);
    struct fg_client_request put = {.method = "PUT",
                                    .path = path.data,
                                    .send = FG_SEND_FD,
                                    .send_fd = fd,
                                    .send_size = size,
                                    .timeout_ms = TRANSFER_MS};
    return transfer(cli, &put, err);
}

int cli_blob_put_file(struct cli *cli, const char *path, char ret_sha256[65], uint64_t *ret_size, struct fg_error *err)
{
    struct stat st;
    uint64_t size;
    FG_AUTO_FD int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return fg_fail(err, FG_E_INVALID, "'%s': %m", path);
    if (!S_ISREG(st.st_mode))
        return fg_fail(err, FG_E_INVALID, "'%s' is not a file", path);
    for (int tries = 0;; tries++) {
        if (lseek(fd, 0, SEEK_SET) < 0 || fg_sha256_fd(fd, ret_sha256, &size, err) < 0)
            return fg_fail_prefix(err, "'%s'", path);
        if (put_fd(cli, fd, size, ret_sha256, err) == 0)
            break;
        if (err->code != FG_E_INVALID || tries > 0)
            return fg_fail_prefix(err, "upload '%s'", path);
    }
    if (ret_size)
        *ret_size = size;
    return 0;
}

int cli_blob_get(struct cli *cli, const char *sha256, int fd, struct fg_error *err)
{
    FG_AUTO_STR struct fg_str path = {0};
    blob_path(&path, sha256);
    struct fg_client_request get = {
        .method = "GET", .path = path.data, .take = FG_TAKE_FD, .take_fd = fd, .timeout_ms = TRANSFER_MS};
    return transfer(cli, &get, err);
}
