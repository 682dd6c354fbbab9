/* nvml_abi.h - our own declarations of the part of NVML that FastGPU uses: the values and layouts its ABI fixes.
 * Written from the API's documentation, so that building needs no vendor header. Names are the API's own, so nothing
 * that includes this may include a vendor's nvml.h as well. Types only: functions are found at run time (the nvidia
 * backend), exported (the front end) or both (the stand-in); their types are the NVML_FN_* below. */
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef int nvmlReturn_t;
enum {
    NVML_SUCCESS = 0,
    NVML_ERROR_UNINITIALIZED = 1,
    NVML_ERROR_INVALID_ARGUMENT = 2,
    NVML_ERROR_NOT_SUPPORTED = 3,
    NVML_ERROR_NO_PERMISSION = 4,
    NVML_ERROR_ALREADY_INITIALIZED = 5,
    NVML_ERROR_NOT_FOUND = 6,
    NVML_ERROR_INSUFFICIENT_SIZE = 7,
    NVML_ERROR_INSUFFICIENT_POWER = 8,
    NVML_ERROR_DRIVER_NOT_LOADED = 9,
    NVML_ERROR_TIMEOUT = 10,
    NVML_ERROR_IRQ_ISSUE = 11,
    NVML_ERROR_LIBRARY_NOT_FOUND = 12,
    NVML_ERROR_FUNCTION_NOT_FOUND = 13,
    NVML_ERROR_CORRUPTED_INFOROM = 14,
    NVML_ERROR_GPU_IS_LOST = 15,
    NVML_ERROR_RESET_REQUIRED = 16,
    NVML_ERROR_OPERATING_SYSTEM = 17,
    NVML_ERROR_LIB_RM_VERSION_MISMATCH = 18,
    NVML_ERROR_IN_USE = 19,
    NVML_ERROR_MEMORY = 20,
    NVML_ERROR_NO_DATA = 21,
    NVML_ERROR_ARGUMENT_VERSION_MISMATCH = 25,
    NVML_ERROR_UNKNOWN = 999,
};

typedef struct nvmlDevice_st *nvmlDevice_t;
typedef struct nvmlEventSet_st *nvmlEventSet_t;
typedef struct nvmlGpuInstance_st *nvmlGpuInstance_t;

#define NVML_DEVICE_PCI_BUS_ID_BUFFER_SIZE 32
#define NVML_DEVICE_PCI_BUS_ID_BUFFER_V2_SIZE 16
#define NVML_DEVICE_UUID_BUFFER_SIZE 80
#define NVML_DEVICE_NAME_BUFFER_SIZE 64
#define NVML_DEVICE_SERIAL_BUFFER_SIZE 30
#define NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE 80
#define NVML_INIT_FLAG_NO_GPUS 1u
#define NVML_INIT_FLAG_NO_ATTACH 2u

typedef struct {
    char busIdLegacy[NVML_DEVICE_PCI_BUS_ID_BUFFER_V2_SIZE];
    unsigned domain, bus, device;
    unsigned pciDeviceId, pciSubSystemId;
    char busId[NVML_DEVICE_PCI_BUS_ID_BUFFER_SIZE];
} nvmlPciInfo_t;

typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } nvmlMemory_v2_t;
typedef struct { unsigned long long bar1Total, bar1Free, bar1Used; } nvmlBAR1Memory_t;
/* The version word of a versioned struct: its size and its number. */
#define NVML_STRUCT_VERSION(type, number) ((unsigned)(sizeof(type) | (unsigned)(number) << 24))
#define nvmlMemory_v2 NVML_STRUCT_VERSION(nvmlMemory_v2_t, 2)

typedef struct { unsigned gpu, memory; } nvmlUtilization_t;

typedef struct { unsigned pid; unsigned long long usedGpuMemory; } nvmlProcessInfo_v1_t;
/* v2 and v3 of the calls */
typedef struct { unsigned pid; unsigned long long usedGpuMemory; unsigned gpuInstanceId, computeInstanceId; } nvmlProcessInfo_t;
#define NVML_VALUE_NOT_AVAILABLE_ULL 0xffffffffffffffffull
#define NVML_NO_INSTANCE 0xffffffffu

typedef struct {
    unsigned pid;
    unsigned long long timeStamp; /* us */
    unsigned smUtil, memUtil, encUtil, decUtil;
} nvmlProcessUtilizationSample_t;

typedef struct {
    unsigned long long timeStamp;
    unsigned pid, smUtil, memUtil, encUtil, decUtil, jpgUtil, ofaUtil;
} nvmlProcessUtilizationInfo_v1_t;
typedef struct {
    unsigned version, processSamplesCount;
    unsigned long long lastSeenTimeStamp;
    nvmlProcessUtilizationInfo_v1_t *procUtilArray;
} nvmlProcessesUtilizationInfo_v1_t;

typedef struct {
    unsigned pid;
    unsigned long long usedGpuMemory;
    unsigned gpuInstanceId, computeInstanceId;
    unsigned long long usedGpuCcProtectedMemory;
} nvmlProcessDetail_v1_t;
typedef struct {
    unsigned version, mode; /* mode: 0 compute, 1 graphics, 2 MPS */
    unsigned numProcArrayEntries;
    nvmlProcessDetail_v1_t *procArray;
} nvmlProcessDetailList_v1_t;

typedef struct {
    nvmlDevice_t device;
    unsigned long long eventType, eventData;
    unsigned gpuInstanceId, computeInstanceId;
} nvmlEventData_t;
#define nvmlEventTypeSingleBitEccError 0x1ull
#define nvmlEventTypeDoubleBitEccError 0x2ull
#define nvmlEventTypePState 0x4ull
#define nvmlEventTypeXidCriticalError 0x8ull
#define nvmlEventTypeClock 0x10ull

/* clocks event (throttle) reasons */
#define nvmlClocksEventReasonGpuIdle 0x1ull
#define nvmlClocksEventReasonApplicationsClocksSetting 0x2ull
#define nvmlClocksEventReasonSwPowerCap 0x4ull
#define nvmlClocksEventReasonHwSlowdown 0x8ull
#define nvmlClocksEventReasonSyncBoost 0x10ull
#define nvmlClocksEventReasonSwThermalSlowdown 0x20ull
#define nvmlClocksEventReasonHwThermalSlowdown 0x40ull
#define nvmlClocksEventReasonHwPowerBrakeSlowdown 0x80ull

enum { NVML_MEMORY_ERROR_TYPE_CORRECTED = 0, NVML_MEMORY_ERROR_TYPE_UNCORRECTED = 1 };
enum { NVML_VOLATILE_ECC = 0, NVML_AGGREGATE_ECC = 1 };
enum { NVML_TEMPERATURE_GPU = 0 };
enum { NVML_CLOCK_GRAPHICS = 0, NVML_CLOCK_SM = 1, NVML_CLOCK_MEM = 2 };
enum { NVML_FEATURE_DISABLED = 0, NVML_FEATURE_ENABLED = 1 };
enum { NVML_COMPUTEMODE_DEFAULT = 0, NVML_COMPUTEMODE_PROHIBITED = 2, NVML_COMPUTEMODE_EXCLUSIVE_PROCESS = 3 };
enum { NVML_DEVICE_MIG_DISABLE = 0, NVML_DEVICE_MIG_ENABLE = 1 };

typedef struct {
    unsigned multiprocessorCount, sharedCopyEngineCount, sharedDecoderCount, sharedEncoderCount, sharedJpegCount, sharedOfaCount;
    unsigned gpuInstanceSliceCount, computeInstanceSliceCount;
    unsigned long long memorySizeMB;
} nvmlDeviceAttributes_t;

/* Memory limits per cgroup, driver r615 and later. */
typedef struct { const char *nameSpace; unsigned long long softLimit, hardLimit; } nvmlSetMemoryLimits_v1_t; /* nameSpace: a cgroup's path */
typedef struct { const char *nameSpace; unsigned long long softLimit, hardLimit, currentUsed; } nvmlGetMemoryLimits_v1_t;
#define NVML_DEVICE_MEMORY_LIMIT_MAX 0xffffffffffffffffull

/* --- the calls --- */
typedef nvmlReturn_t NVML_FN_void(void);
typedef nvmlReturn_t NVML_FN_flags(unsigned flags);
typedef const char *NVML_FN_error(nvmlReturn_t);
typedef nvmlReturn_t NVML_FN_text(char *text, unsigned length);
typedef nvmlReturn_t NVML_FN_number(int *value);
typedef nvmlReturn_t NVML_FN_count(unsigned *count);
typedef nvmlReturn_t NVML_FN_by_index(unsigned index, nvmlDevice_t *device);
typedef nvmlReturn_t NVML_FN_by_text(const char *text, nvmlDevice_t *device);
typedef nvmlReturn_t NVML_FN_device_text(nvmlDevice_t device, char *text, unsigned length);
typedef nvmlReturn_t NVML_FN_device_uint(nvmlDevice_t device, unsigned *value);
typedef nvmlReturn_t NVML_FN_device_ull(nvmlDevice_t device, unsigned long long *value);
typedef nvmlReturn_t NVML_FN_device_2ints(nvmlDevice_t device, int *first, int *second);
typedef nvmlReturn_t NVML_FN_device_2uints(nvmlDevice_t device, unsigned *first, unsigned *second);
typedef nvmlReturn_t NVML_FN_device_by_uint(nvmlDevice_t device, unsigned which, unsigned *value);
typedef nvmlReturn_t NVML_FN_device_child(nvmlDevice_t device, unsigned index, nvmlDevice_t *child);
typedef nvmlReturn_t NVML_FN_device_parent(nvmlDevice_t child, nvmlDevice_t *parent);
typedef nvmlReturn_t NVML_FN_pci(nvmlDevice_t device, nvmlPciInfo_t *pci);
typedef nvmlReturn_t NVML_FN_memory(nvmlDevice_t device, nvmlMemory_t *memory);
typedef nvmlReturn_t NVML_FN_memory_v2(nvmlDevice_t device, nvmlMemory_v2_t *memory);
typedef nvmlReturn_t NVML_FN_bar1(nvmlDevice_t device, nvmlBAR1Memory_t *memory);
typedef nvmlReturn_t NVML_FN_utilization(nvmlDevice_t device, nvmlUtilization_t *utilization);
typedef nvmlReturn_t NVML_FN_processes_v1(nvmlDevice_t device, unsigned *count, nvmlProcessInfo_v1_t *infos);
typedef nvmlReturn_t NVML_FN_processes(nvmlDevice_t device, unsigned *count, nvmlProcessInfo_t *infos);
typedef nvmlReturn_t NVML_FN_process_list(nvmlDevice_t device, nvmlProcessDetailList_v1_t *list);
typedef nvmlReturn_t NVML_FN_process_samples(nvmlDevice_t device, nvmlProcessUtilizationSample_t *samples, unsigned *count,
                                             unsigned long long since_us);
typedef nvmlReturn_t NVML_FN_processes_samples(nvmlDevice_t device, nvmlProcessesUtilizationInfo_v1_t *samples);
typedef nvmlReturn_t NVML_FN_ecc(nvmlDevice_t device, unsigned type, unsigned counter, unsigned long long *count);
typedef nvmlReturn_t NVML_FN_event_create(nvmlEventSet_t *set);
typedef nvmlReturn_t NVML_FN_event_free(nvmlEventSet_t set);
typedef nvmlReturn_t NVML_FN_event_register(nvmlDevice_t device, unsigned long long types, nvmlEventSet_t set);
typedef nvmlReturn_t NVML_FN_event_wait(nvmlEventSet_t set, nvmlEventData_t *data, unsigned timeout_ms);
typedef nvmlReturn_t NVML_FN_attributes(nvmlDevice_t device, nvmlDeviceAttributes_t *attributes);
typedef nvmlReturn_t NVML_FN_set_limits(nvmlDevice_t device, nvmlSetMemoryLimits_v1_t *limits);
typedef nvmlReturn_t NVML_FN_get_limits(nvmlDevice_t device, nvmlGetMemoryLimits_v1_t *limits);
