/* Custom operators: what a shared library exports so that Tenon can compile and run ops it has no
 * mapping for. For C; custom_op.hpp makes it shorter in C++. See docs/how_to_custom_op.md.
 *
 * The library exports one function, tenon_custom_ops(), which returns a description of its ops. An
 * op is a shape rule and a kernel; both may be called by many threads at once, and both return 0,
 * or another number after writing to call->message what is wrong. Structs begin with their size and
 * grow at their end; a library built with an older header of the same ABI version works. */
#ifndef TENON_CUSTOM_OP_H
#define TENON_CUSTOM_OP_H

#include "tenon/types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TENON_CUSTOM_OP_ABI_VERSION 1u
#define TENON_OP_MAX_RANK 16
#define TENON_OP_MAX_OUTPUTS 64
#define TENON_OP_UNKNOWN (-1) /* a rank or a dimension that is not known yet */

typedef enum tenon_attr_kind {
  TENON_ATTR_INT = 1,
  TENON_ATTR_FLOAT = 2,
  TENON_ATTR_STRING = 3,
  TENON_ATTR_BOOL = 4,
  TENON_ATTR_DTYPE = 5, /* a tenon_dtype */
  TENON_ATTR_TENSOR = 6
} tenon_attr_kind;

/* An attribute of the node, under its name in the source framework. */
typedef struct tenon_op_attr {
  size_t struct_size;
  const char* name;
  int32_t kind;
  int32_t is_list;
  size_t count;                /* elements: 1 unless it is a list */
  const int64_t* ints;         /* of INT, BOOL and DTYPE */
  const double* floats;        /* of FLOAT */
  const tenon_string* strings; /* of STRING */
  const tenon_tensor* tensors; /* of TENSOR */
} tenon_op_attr;

/* Element type and shape as far as they are known. A dimension is a size, or negative: not known
 * yet; equal negative numbers but TENON_OP_UNKNOWN stand for the same size, so that a rule which
 * copies a dimension keeps what is known of it. */
typedef struct tenon_op_type {
  int32_t dtype; /* TENON_NONE: an optional operand that is absent */
  int32_t rank;  /* or TENON_OP_UNKNOWN */
  int64_t dims[TENON_OP_MAX_RANK];
} tenon_op_type;

/* An operand in the shape rule. `data` is its value where that is known, else null. */
typedef struct tenon_op_operand {
  tenon_op_type type;
  const void* data;
} tenon_op_operand;

/* A call of the shape rule: sets the types of the outputs. Called while compiling and for each new
 * set of shapes at run time, when the sizes are known; a size that is still not known then (it
 * depends on data) is left to the kernel, which allocates the output. */
typedef struct tenon_shape_call {
  size_t struct_size;
  char* message; /* room for the text of an error */
  size_t message_size;
  const tenon_op_attr* attrs;
  size_t attr_count;
  const tenon_op_operand* inputs;
  size_t input_count;
  tenon_op_type* outputs; /* room for TENON_OP_MAX_OUTPUTS, all unknown at first */
  size_t output_count; /* what tenon_custom_op.outputs says; a rule may set it where that is -1 */
} tenon_shape_call;

/* A call of the kernel: computes the outputs. */
typedef struct tenon_kernel_call {
  size_t struct_size;
  char* message;
  size_t message_size;
  const tenon_op_attr* attrs;
  size_t attr_count;
  const tenon_tensor* inputs; /* row-major; dtype TENON_NONE where absent; strings: tenon_string */
  size_t input_count;
  tenon_tensor* outputs; /* data to write to; null where the shape rule left the size open, and of
                            strings, which are set one by one */
  size_t output_count;
  void* host;
  /* Gives output `index` its shape and memory; null when there is none. */
  void* (*allocate)(struct tenon_kernel_call* call, size_t index, int32_t dtype, int32_t rank,
                    const int64_t* dims);
  /* Sets element `element` of string output `index`; the bytes are copied. */
  int32_t (*set_string)(struct tenon_kernel_call* call, size_t index, int64_t element,
                        const char* data, size_t size);
} tenon_kernel_call;

typedef struct tenon_custom_op {
  size_t struct_size;
  const char* name;   /* the op's type in the source framework */
  const char* domain; /* its ONNX domain; null or "" for TensorFlow and ai.onnx */
  int32_t min_inputs;
  int32_t max_inputs; /* -1: any number */
  int32_t outputs;    /* -1: as many as the node has, or as the shape rule says */
  int32_t (*infer)(tenon_shape_call* call);
  int32_t (*run)(tenon_kernel_call* call);
} tenon_custom_op;

typedef struct tenon_custom_library {
  size_t struct_size;
  uint32_t abi_version; /* TENON_CUSTOM_OP_ABI_VERSION */
  uint32_t op_count;
  /* Sizes the library was built with: arrays are walked by them. */
  size_t op_size, attr_size, operand_size, type_size, tensor_size;
  const tenon_custom_op* ops;
} tenon_custom_library;

/* The one symbol a library exports. */
TENON_API const tenon_custom_library* tenon_custom_ops(void);

#ifdef __cplusplus
}
#endif

#endif
