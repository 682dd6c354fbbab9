/* slice_cuda.h - a slice of an NVIDIA GPU: the folder that puts our libraries in the driver's place (decision 0021), and what the
 * driver says about who uses the device. One thread.
 *
 *     FOLDER/libcuda.so.1, libcuda.so, libnvidia-ml.so.1, libnvidia-ml.so   -> ours; FOLDER is first in LD_LIBRARY_PATH
 *     FOLDER/driver/libcuda.so.1, libnvidia-ml.so.1                         -> the machine's */
#pragma once
#include "base/error.h"
#include "device/nvml.h"

#define SLICE_HOLDERS_MAX 1024

struct slice_cuda {
    struct fg_nvml *nvml; /* NULL: this slice is none of CUDA's */
    char uuid[80];
    char *folder;
    int lock; /* held while the folder is in use */
    struct fg_nvml_process holders[SLICE_HOLDERS_MAX];
    size_t holder_count;
};
#define SLICE_NO_CUDA ((struct slice_cuda){.lock = -1})

/* device: the lease's; run_folder: where arbiter and slices of this user meet. FG_E_UNSUPPORTED: something is not installed. */
int slice_cuda_open(struct slice_cuda *cuda, const char *run_folder, const char *device, struct fg_error *err);
void slice_cuda_close(struct slice_cuda *cuda); /* removes the folder */
/* LD_LIBRARY_PATH with the folder in front. The caller's to free. */
char *slice_cuda_library_path(const struct slice_cuda *cuda);
/* Ask the driver who holds memory. False: it does not tell. */
bool slice_cuda_look(struct slice_cuda *cuda);
/* As of the last look; NULL: he holds none. */
const struct fg_nvml_process *slice_cuda_holder(const struct slice_cuda *cuda, int pid);

/* A library that is installed with fgpu, seen from the folder of the program fgpu: in the build tree, beside it, in an installation. The
 * caller's to free; NULL with *err. */
char *slice_part(const char *name, struct fg_error *err);
