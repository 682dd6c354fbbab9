/* Our declarations against AMD's headers (those of ROCm 5 in Debian; later ones, where they are installed): sizes, offsets, numbers.
 * The structures that HIP shares with CUDA's driver interface are compared, too. Nothing runs but the compiler. */
#define __HIP_PLATFORM_AMD__ 1
#define dim3 hip_dim3
#define hipExtent real_hipExtent
#define hipPitchedPtr real_hipPitchedPtr
#define hipPos real_hipPos
#define hipChannelFormatDesc real_hipChannelFormatDesc
#define hipMemcpy3DParms real_hipMemcpy3DParms
#define hipLaunchParams real_hipLaunchParams
#define hipStream_t real_hipStream_t
#define hipEvent_t real_hipEvent_t
#define hipFunction_t real_hipFunction_t
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wstrict-prototypes"
#include <hip/hip_runtime_api.h>
#pragma GCC diagnostic pop
#undef dim3
#undef hipExtent
#undef hipPitchedPtr
#undef hipPos
#undef hipChannelFormatDesc
#undef hipMemcpy3DParms
#undef hipLaunchParams
#undef hipStream_t
#undef hipEvent_t
#undef hipFunction_t

#include "shim/hip/hip_abi.h"

#define SIZE(ours, theirs)          _Static_assert(sizeof(ours) == sizeof(theirs), #ours)
#define PLACE(ours, a, theirs, b)   _Static_assert(offsetof(ours, a) == offsetof(theirs, b), #ours "." #a)
#define NUMBER(ours, theirs)        _Static_assert((int)(ours) == (int)(theirs), #ours)

SIZE(dim3, hip_dim3);
SIZE(hipExtent, real_hipExtent);
SIZE(hipPitchedPtr, real_hipPitchedPtr);
PLACE(hipPitchedPtr, pitch, real_hipPitchedPtr, pitch);
SIZE(hipChannelFormatDesc, real_hipChannelFormatDesc);
PLACE(hipChannelFormatDesc, w, real_hipChannelFormatDesc, w);
PLACE(hipMemcpy3DParms, extent, real_hipMemcpy3DParms, extent);
SIZE(hipLaunchParams, real_hipLaunchParams);
PLACE(hipLaunchParams, gridDim, real_hipLaunchParams, gridDim);
PLACE(hipLaunchParams, stream, real_hipLaunchParams, stream);
SIZE(CUDA_ARRAY_DESCRIPTOR, HIP_ARRAY_DESCRIPTOR);
PLACE(CUDA_ARRAY_DESCRIPTOR, NumChannels, HIP_ARRAY_DESCRIPTOR, NumChannels);
SIZE(CUDA_ARRAY3D_DESCRIPTOR, HIP_ARRAY3D_DESCRIPTOR);
PLACE(CUDA_ARRAY3D_DESCRIPTOR, Flags, HIP_ARRAY3D_DESCRIPTOR, Flags);
SIZE(CUDA_MEMCPY2D, hip_Memcpy2D);
PLACE(CUDA_MEMCPY2D, WidthInBytes, hip_Memcpy2D, WidthInBytes);
PLACE(CUDA_MEMCPY2D, Height, hip_Memcpy2D, Height);
SIZE(CUmemPoolProps, hipMemPoolProps);
PLACE(CUmemPoolProps, location, hipMemPoolProps, location);
#if HIP_VERSION_MAJOR > 5
PLACE(CUmemAllocationProp, location, hipMemAllocationProp, location);
#endif
SIZE(CUmemGenericAllocationHandle, hipMemGenericAllocationHandle_t);
PLACE(CUDA_EXTERNAL_MEMORY_HANDLE_DESC, size, hipExternalMemoryHandleDesc, size);
#if HIP_VERSION_MAJOR < 6
_Static_assert(offsetof(hipDeviceProp_t, totalGlobalMem) == HIP_PROPERTIES_TOTAL_R0000, "totalGlobalMem");
#else
_Static_assert(offsetof(hipDeviceProp_t, totalGlobalMem) == HIP_PROPERTIES_TOTAL_R0600, "totalGlobalMem");
#endif
NUMBER(CUDA_SUCCESS, hipSuccess);
NUMBER(CUDA_ERROR_INVALID_VALUE, hipErrorInvalidValue);
NUMBER(CUDA_ERROR_OUT_OF_MEMORY, hipErrorOutOfMemory);
NUMBER(CUDA_ERROR_NO_DEVICE, hipErrorNoDevice);
NUMBER(CUDA_ERROR_NOT_READY, hipErrorNotReady);
NUMBER(CUDA_ERROR_NOT_SUPPORTED, hipErrorNotSupported);
NUMBER(CUDA_ERROR_STREAM_CAPTURE_IMPLICIT, hipErrorStreamCaptureImplicit);
NUMBER(CU_STREAM_CAPTURE_STATUS_ACTIVE, hipStreamCaptureStatusActive);
NUMBER(CU_STREAM_CAPTURE_MODE_RELAXED, hipStreamCaptureModeRelaxed);
NUMBER(CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT, hipMemPoolAttrReservedMemCurrent);
NUMBER(CU_MEMPOOL_ATTR_USED_MEM_CURRENT, hipMemPoolAttrUsedMemCurrent);
NUMBER(CU_MEM_LOCATION_TYPE_DEVICE, hipMemLocationTypeDevice);
NUMBER(CU_MEM_ALLOC_GRANULARITY_MINIMUM, hipMemAllocationGranularityMinimum);
NUMBER(CU_AD_FORMAT_HALF, HIP_AD_FORMAT_HALF);
NUMBER(CU_AD_FORMAT_FLOAT, HIP_AD_FORMAT_FLOAT);
NUMBER(HIP_ARRAY_LAYERED, hipArrayLayered);
NUMBER(HIP_ARRAY_CUBEMAP, hipArrayCubemap);
_Static_assert((uintptr_t)CU_STREAM_PER_THREAD == (uintptr_t)hipStreamPerThread, "hipStreamPerThread");

int main(void) { return 0; }
