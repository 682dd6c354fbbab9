/* fault_vfs.h - SQLite's file layer with a switch that makes the n-th write or sync fail. Passes everything else on to the
 * real one. Register it before the store is opened. */
#pragma once
#include <sqlite3.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum fault_call { FAULT_WRITE, FAULT_SYNC };
static struct {
    sqlite3_vfs vfs, *real;
    atomic_int armed, call, result;      /* armed: calls until the fault; 0 none. From then on all fail until disarmed */
    atomic_int writes, syncs, hits;
} fault;

struct fault_file { sqlite3_file base; };
static inline sqlite3_file *fault_real(sqlite3_file *file) { return (sqlite3_file *)((struct fault_file *)file + 1); }

static inline void fault_arm(enum fault_call call, int nth, int result)
{
    fault.hits = 0;
    fault.result = result;
    fault.call = (int)call;
    fault.armed = nth;
}
static inline void fault_disarm(void) { fault.armed = 0; }

static inline bool fault_due(enum fault_call call)
{
    atomic_fetch_add(call == FAULT_WRITE ? &fault.writes : &fault.syncs, 1);
    int left = atomic_load(&fault.armed);
    if (left == 0 || fault.call != (int)call)
        return false;
    if (left > 1) {
        fault.armed = left - 1;
        return false;
    }
    fault.hits++;
    return true;
}

static int f_close(sqlite3_file *f) { return fault_real(f)->pMethods->xClose(fault_real(f)); }
static int f_read(sqlite3_file *f, void *p, int n, sqlite3_int64 at) { return fault_real(f)->pMethods->xRead(fault_real(f), p, n, at); }
static int f_write(sqlite3_file *f, const void *p, int n, sqlite3_int64 at)
{
    return fault_due(FAULT_WRITE) ? fault.result : fault_real(f)->pMethods->xWrite(fault_real(f), p, n, at);
}
static int f_sync(sqlite3_file *f, int flags)
{
    return fault_due(FAULT_SYNC) ? fault.result : fault_real(f)->pMethods->xSync(fault_real(f), flags);
}
static int f_truncate(sqlite3_file *f, sqlite3_int64 n) { return fault_real(f)->pMethods->xTruncate(fault_real(f), n); }
static int f_size(sqlite3_file *f, sqlite3_int64 *n) { return fault_real(f)->pMethods->xFileSize(fault_real(f), n); }
static int f_lock(sqlite3_file *f, int level) { return fault_real(f)->pMethods->xLock(fault_real(f), level); }
static int f_unlock(sqlite3_file *f, int level) { return fault_real(f)->pMethods->xUnlock(fault_real(f), level); }
static int f_reserved(sqlite3_file *f, int *out) { return fault_real(f)->pMethods->xCheckReservedLock(fault_real(f), out); }
static int f_control(sqlite3_file *f, int op, void *arg) { return fault_real(f)->pMethods->xFileControl(fault_real(f), op, arg); }
static int f_sector(sqlite3_file *f) { return fault_real(f)->pMethods->xSectorSize(fault_real(f)); }
static int f_device(sqlite3_file *f) { return fault_real(f)->pMethods->xDeviceCharacteristics(fault_real(f)); }
static int f_shm_map(sqlite3_file *f, int page, int size, int extend, void volatile **p) { return fault_real(f)->pMethods->xShmMap(fault_real(f), page, size, extend, p); }
static int f_shm_lock(sqlite3_file *f, int at, int n, int flags) { return fault_real(f)->pMethods->xShmLock(fault_real(f), at, n, flags); }
static void f_shm_barrier(sqlite3_file *f) { fault_real(f)->pMethods->xShmBarrier(fault_real(f)); }
static int f_shm_unmap(sqlite3_file *f, int del) { return fault_real(f)->pMethods->xShmUnmap(fault_real(f), del); }

static const sqlite3_io_methods fault_methods = {
    .iVersion = 2, .xClose = f_close, .xRead = f_read, .xWrite = f_write, .xTruncate = f_truncate, .xSync = f_sync, .xFileSize = f_size,
    .xLock = f_lock, .xUnlock = f_unlock, .xCheckReservedLock = f_reserved, .xFileControl = f_control, .xSectorSize = f_sector,
    .xDeviceCharacteristics = f_device, .xShmMap = f_shm_map, .xShmLock = f_shm_lock, .xShmBarrier = f_shm_barrier, .xShmUnmap = f_shm_unmap,
};

static int f_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *f, int flags, int *ret_flags)
{
    f->pMethods = NULL;
    int rc = fault.real->xOpen(fault.real, name, fault_real(f), flags, ret_flags);
    if (rc == SQLITE_OK)
        f->pMethods = &fault_methods;
    return rc;
}

static inline void fault_register(void)
{
    fault.real = sqlite3_vfs_find(NULL);
    fault.vfs = *fault.real;
    fault.vfs.pNext = NULL;
    fault.vfs.zName = "fault";
    fault.vfs.szOsFile = fault.real->szOsFile + (int)sizeof(struct fault_file);
    fault.vfs.xOpen = f_open;
    sqlite3_vfs_register(&fault.vfs, 1);
}
