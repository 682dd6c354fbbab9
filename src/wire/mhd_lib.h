/* mhd_lib.h - libmicrohttpd, opened when a server starts. Private to the server, in place of <microhttpd.h>.
 *
 * Linked, it and the GnuTLS behind it add 2 to 3 ms to every start of the one binary, and of a hundred starts one serves. */
#pragma once
#include <microhttpd.h>
#include "base/error.h"

#define FG_MHD_LIST(X)                                                                                                 \
    X(start_daemon) X(stop_daemon) X(get_daemon_info) X(get_timeout) X(run) X(get_connection_info)                     \
    X(get_connection_values) X(lookup_connection_value) X(suspend_connection) X(resume_connection)                     \
    X(create_response_from_buffer) X(create_response_from_callback) X(create_response_from_fd_at_offset64)             \
    X(add_response_header) X(queue_response) X(destroy_response)

struct fg_mhd {
#define X(NAME) __typeof__(&MHD_##NAME) NAME;
    FG_MHD_LIST(X)
#undef X
};
extern struct fg_mhd fg_mhd;
/* Fill fg_mhd, once; before any call. FG_E_UNSUPPORTED with a hint. It stays for the life of the process. */
int fg_mhd_open(struct fg_error *err);

#define MHD_start_daemon fg_mhd.start_daemon
#define MHD_stop_daemon fg_mhd.stop_daemon
#define MHD_get_daemon_info fg_mhd.get_daemon_info
#define MHD_get_timeout fg_mhd.get_timeout
#define MHD_run fg_mhd.run
#define MHD_get_connection_info fg_mhd.get_connection_info
#define MHD_get_connection_values fg_mhd.get_connection_values
#define MHD_lookup_connection_value fg_mhd.lookup_connection_value
#define MHD_suspend_connection fg_mhd.suspend_connection
#define MHD_resume_connection fg_mhd.resume_connection
#define MHD_create_response_from_buffer fg_mhd.create_response_from_buffer
#define MHD_create_response_from_callback fg_mhd.create_response_from_callback
#define MHD_create_response_from_fd_at_offset64 fg_mhd.create_response_from_fd_at_offset64
#define MHD_add_response_header fg_mhd.add_response_header
#define MHD_queue_response fg_mhd.queue_response
#define MHD_destroy_response fg_mhd.destroy_response
