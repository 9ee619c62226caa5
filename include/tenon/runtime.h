/* Running .tenon models: the C interface of libtenon_runtime.so.
 *
 * Functions that can fail return an error, null for success; the caller frees it. Structs begin
 * with their size, set by the caller, so that they can grow. Handles are freed by their own
 * function; freeing null does nothing. A model and its functions may be used by many threads at
 * once. Text is UTF-8, owned by the handle it was asked of. */
#ifndef TENON_RUNTIME_H
#define TENON_RUNTIME_H

#include "tenon/types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TENON_ABI_VERSION 1u

typedef struct tenon_error tenon_error;
typedef struct tenon_model tenon_model;
typedef struct tenon_function tenon_function;
typedef struct tenon_result tenon_result;
typedef struct tenon_state tenon_state;

/* Who has to act. */
typedef enum tenon_code {
  TENON_INVALID_ARGUMENT = 1,
  TENON_INVALID_MODEL = 2,
  TENON_NOT_FOUND = 3,
  TENON_UNSUPPORTED = 4,
  TENON_RESOURCE_EXHAUSTED = 5,
  TENON_IO = 6,
  TENON_CANCELLED = 7,
  TENON_INTERNAL = 70
} tenon_code;

typedef struct tenon_options {
  size_t struct_size;
  int32_t threads;               /* 0: one per core */
  int32_t skip_weights_checksum; /* nonzero: load faster, trust the weights */
  int64_t max_loop_iterations;   /* after so many a loop is an error; 0: what the file says */
  const char* const* custom_ops; /* paths of shared libraries with custom ops (custom_op.h) */
  size_t custom_op_count;
  int32_t allow_embedded_code; /* nonzero: run libraries that the file carries; for trusted files */
} tenon_options;

/* An input or output of a function. */
typedef struct tenon_port {
  size_t struct_size;
  const char* name;
  int32_t dtype;
  int32_t rank;        /* -1: unknown */
  const int64_t* dims; /* -1: any size */
} tenon_port;

typedef struct tenon_memory {
  size_t struct_size;
  int64_t arena_bytes;  /* activations of one run */
  int64_t weight_bytes; /* constants, mapped from the file */
  int64_t packed_bytes; /* weights rearranged at load */
} tenon_memory;

/* What a function handle is of, and where it runs. */
typedef struct tenon_function_options {
  size_t struct_size;
  const char* key;       /* null: "serving_default", or the first */
  const char* device;    /* null: "cpu"; or the name of one that tenon_device_name lists */
  const char* precision; /* of real numbers on another device: "fp16", "fp32"; null: its choice */
  const tenon_state* state; /* the variables; null: a set of its own */
} tenon_function_options;

/* The version the library has; call with TENON_ABI_VERSION before anything else. */
TENON_API uint32_t tenon_abi_version(void) TENON_NOEXCEPT;
TENON_API tenon_error* tenon_check_abi(uint32_t version) TENON_NOEXCEPT;

TENON_API int32_t tenon_error_code(const tenon_error* error) TENON_NOEXCEPT;
TENON_API const char* tenon_error_message(const tenon_error* error) TENON_NOEXCEPT;
/* The place in the model or file; empty where unknown. */
TENON_API const char* tenon_error_where(const tenon_error* error) TENON_NOEXCEPT;
TENON_API size_t tenon_error_note_count(const tenon_error* error) TENON_NOEXCEPT;
TENON_API const char* tenon_error_note(const tenon_error* error, size_t index) TENON_NOEXCEPT;
TENON_API void tenon_error_free(tenon_error* error) TENON_NOEXCEPT;

/* `options` may be null. */
TENON_API tenon_error* tenon_model_load(const char* path, const tenon_options* options,
                                        tenon_model** model) TENON_NOEXCEPT;
/* The bytes are copied. */
TENON_API tenon_error* tenon_model_load_bytes(const void* data, size_t size,
                                              const tenon_options* options,
                                              tenon_model** model) TENON_NOEXCEPT;
TENON_API void tenon_model_free(tenon_model* model) TENON_NOEXCEPT;
TENON_API size_t tenon_model_function_count(const tenon_model* model) TENON_NOEXCEPT;
/* Null when there is no function of this index. */
TENON_API const char* tenon_model_function_key(const tenon_model* model,
                                               size_t index) TENON_NOEXCEPT;

/* The function of this key; null: "serving_default", or the first. It keeps the model alive, and is
 * ready: a first run with every open dimension 1 takes no longer than later ones. */
TENON_API tenon_error* tenon_model_function(const tenon_model* model, const char* key,
                                            tenon_function** function) TENON_NOEXCEPT;
/* The same on a device. Devices but the CPU are plug-ins (device.h), found beside this library and
 * in TENON_DEVICE_PATH; they are loaded when one is asked for. */
TENON_API tenon_error* tenon_model_function_on(const tenon_model* model,
                                               const tenon_function_options* options,
                                               tenon_function** function) TENON_NOEXCEPT;
/* The names of the devices there are, the CPU first; null beyond the last. Loads the plug-ins. */
TENON_API const char* tenon_device_name(size_t index) TENON_NOEXCEPT;
TENON_API void tenon_function_free(tenon_function* function) TENON_NOEXCEPT;
/* The device it runs on. */
TENON_API const char* tenon_function_device(const tenon_function* function) TENON_NOEXCEPT;
/* What the device counted so far (device.h), such as the time it took: predicted where the device
 * is simulated. There are none on the CPU. Names live as long as the handle. */
TENON_API size_t tenon_function_counter_count(const tenon_function* function) TENON_NOEXCEPT;
TENON_API tenon_error* tenon_function_counter(const tenon_function* function, size_t index,
                                              tenon_counter* counter) TENON_NOEXCEPT;
/* What the device has to say: what is computed by the host and why, what was compiled at load. Null
 * beyond the last; valid as long as the handle. There may be more after a run. */
TENON_API const char* tenon_function_notice(const tenon_function* function,
                                            size_t index) TENON_NOEXCEPT;
TENON_API size_t tenon_function_input_count(const tenon_function* function) TENON_NOEXCEPT;
TENON_API size_t tenon_function_output_count(const tenon_function* function) TENON_NOEXCEPT;
TENON_API tenon_error* tenon_function_input(const tenon_function* function, size_t index,
                                            tenon_port* port) TENON_NOEXCEPT;
TENON_API tenon_error* tenon_function_output(const tenon_function* function, size_t index,
                                             tenon_port* port) TENON_NOEXCEPT;

/* Runs on inputs in the order of the ports; they are read where they lie. `outputs` is null or has
 * an entry for each output, whose data is null or the buffer to write it to. */
TENON_API tenon_error* tenon_function_run(const tenon_function* function,
                                          const tenon_tensor* inputs, size_t input_count,
                                          const tenon_tensor* outputs, size_t output_count,
                                          tenon_result** result) TENON_NOEXCEPT;
/* Ends the runs of this handle that are under way, from any thread: each gives TENON_CANCELLED
 * before its next step. Later runs are not affected. */
TENON_API void tenon_function_cancel(const tenon_function* function) TENON_NOEXCEPT;
/* The memory runs on inputs like these take (their data is not looked at). */
TENON_API tenon_error* tenon_function_memory(const tenon_function* function,
                                             const tenon_tensor* inputs, size_t input_count,
                                             tenon_memory* memory) TENON_NOEXCEPT;

TENON_API size_t tenon_result_count(const tenon_result* result) TENON_NOEXCEPT;
/* Fills `tensor`; what it points to lives as long as the result. */
TENON_API tenon_error* tenon_result_output(const tenon_result* result, size_t index,
                                           tenon_tensor* tensor) TENON_NOEXCEPT;
TENON_API void tenon_result_free(tenon_result* result) TENON_NOEXCEPT;

/* Variables that a model assigns keep their values between runs. Each function handle begins with a
 * set of its own, at the initial values; handles that share a set, of any functions of one model,
 * see each other's changes, and their runs follow one another. */
/* The set of this function; freeing the handle leaves the values to the functions that use them. */
TENON_API tenon_error* tenon_function_state(const tenon_function* function,
                                            tenon_state** state) TENON_NOEXCEPT;
/* Like tenon_model_function, with this set. */
TENON_API tenon_error* tenon_model_function_with_state(const tenon_model* model, const char* key,
                                                       const tenon_state* state,
                                                       tenon_function** function) TENON_NOEXCEPT;
TENON_API void tenon_state_free(tenon_state* state) TENON_NOEXCEPT;
TENON_API size_t tenon_state_count(const tenon_state* state) TENON_NOEXCEPT;
/* Name and type of a variable. */
TENON_API tenon_error* tenon_state_variable(const tenon_state* state, size_t index,
                                            tenon_port* port) TENON_NOEXCEPT;
/* A copy of its value, as a result with one output. */
TENON_API tenon_error* tenon_state_get(const tenon_state* state, size_t index,
                                       tenon_result** result) TENON_NOEXCEPT;
/* Copies the value. */
TENON_API tenon_error* tenon_state_set(const tenon_state* state, size_t index,
                                       const tenon_tensor* value) TENON_NOEXCEPT;
/* Every variable gets its initial value. */
TENON_API tenon_error* tenon_state_reset(const tenon_state* state) TENON_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif
