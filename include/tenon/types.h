/* What the interfaces of Tenon share: element types, strings, tensors. For C and C++. */
#ifndef TENON_TYPES_H
#define TENON_TYPES_H

#include <stddef.h>
#include <stdint.h>

#if defined(__GNUC__)
#define TENON_API __attribute__((visibility("default")))
#else
#define TENON_API
#endif

#ifdef __cplusplus
#define TENON_NOEXCEPT noexcept
extern "C" {
#else
#define TENON_NOEXCEPT
#endif

typedef enum tenon_dtype {
  TENON_NONE = 0,
  TENON_FLOAT32 = 1,
  TENON_FLOAT64 = 2,
  TENON_FLOAT16 = 3,
  TENON_BFLOAT16 = 4,
  TENON_INT8 = 5,
  TENON_INT16 = 6,
  TENON_INT32 = 7,
  TENON_INT64 = 8,
  TENON_UINT8 = 9,
  TENON_UINT16 = 10,
  TENON_UINT32 = 11,
  TENON_UINT64 = 12,
  TENON_BOOL = 13,   /* one byte, 0 or 1 */
  TENON_STRING = 14, /* the elements are tenon_string */
  TENON_COMPLEX64 = 15,
  TENON_COMPLEX128 = 16,
  /* One byte per element, the value in its low bits. */
  TENON_FLOAT8_E4M3FN = 17,
  TENON_FLOAT8_E4M3FNUZ = 18,
  TENON_FLOAT8_E5M2 = 19,
  TENON_FLOAT8_E5M2FNUZ = 20,
  TENON_FLOAT8_E8M0 = 21,
  TENON_FLOAT4_E2M1 = 22,
  TENON_INT4 = 23,
  TENON_UINT4 = 24,
  TENON_INT2 = 25,
  TENON_UINT2 = 26
} tenon_dtype;

typedef struct tenon_string {
  const char* data;
  size_t size;
} tenon_string;

/* A dense row-major tensor. */
typedef struct tenon_tensor {
  size_t struct_size;
  int32_t dtype;
  int32_t rank;
  const int64_t* dims;
  void* data;       /* aligned to the element */
  size_t byte_size; /* of data */
} tenon_tensor;

/* Something a device counts. */
typedef struct tenon_counter {
  size_t struct_size;
  const char* name;
  const char* unit; /* "", "bytes", "seconds", "cycles" */
  double value;
} tenon_counter;

#ifdef __cplusplus
}
#endif

#endif
