/* The interface of devices: what stands behind `tenon run --device NAME`. A plug-in is a shared
 * library libtenon_device_NAME.so that exports one function, tenon_device_plugin (at the end of
 * this file); it lists the devices it has, and a device loads functions of .tenon files and
 * executes them. docs/how_to_add_a_device.md says how to write one; `tenon device-test LIBRARY`
 * says whether it keeps to what is written here.
 *
 * Versions: a plug-in says which version of the interface it was built for; the host refuses any
 * other. Within a version, structs only grow at the end: every struct begins with its size, set by
 * the side that made it, and neither side reads beyond it. What is missing there counts as zero.
 *
 * Errors: a function that may fail returns null, or an error that the caller frees by error_free.
 * Outputs are then untouched. Nothing throws or ends the process.
 *
 * Threads: every function may be called by any thread at any time, on the same objects too, with
 * one exception: an object is given back (free, close, destroy, unload) when nobody uses it any
 * more. Executions of one program may be under way in many threads at once; whether they overlap is
 * the device's affair. Objects are given back before the device they are of, executions before
 * their program.
 *
 * Order: what is put on one stream happens in the order it was put there. Streams do not wait for
 * each other but by events. Any operation may be done before its call returns, or later: the caller
 * waits (stream_wait, event_wait, execution_output) before it looks at results or changes memory
 * that an operation reads. A null stream is one of the device's own, in order with itself. */
#ifndef TENON_DEVICE_H
#define TENON_DEVICE_H

#include "tenon/types.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TENON_DEVICE_ABI_VERSION 1u

typedef struct tenon_device tenon_device;             /* an opened device */
typedef struct tenon_buffer tenon_buffer;             /* memory of a device */
typedef struct tenon_stream tenon_stream;             /* operations in order */
typedef struct tenon_event tenon_event;               /* a place in a stream */
typedef struct tenon_program tenon_program;           /* a function, loaded */
typedef struct tenon_execution tenon_execution;       /* one run of it, with its results */
typedef struct tenon_device_error tenon_device_error; /* code, text and place of what went wrong */

enum {
  TENON_DEVICE_SIMULATED = 1,       /* no such device is there; times are predicted */
  TENON_DEVICE_COMPUTES_NOTHING = 2 /* results are zeros */
};

typedef struct tenon_device_info {
  size_t struct_size;
  const char* name;    /* "ascend310p3": unique, lower case; what --device takes */
  const char* title;   /* "Ascend 310P3 (Atlas 300I Pro)" */
  const char* family;  /* what its programs are for beside it: "ascend"; "": none */
  const char* aliases; /* other spellings of the name, separated by spaces */
  const char* checked; /* how it has been verified, in words */
  uint32_t flags;      /* TENON_DEVICE_SIMULATED, … */
  uint64_t memory_bytes;
} tenon_device_info;

typedef struct tenon_device_options {
  size_t struct_size;
  int32_t threads; /* of the host that the device may use; 0: one per core */
} tenon_device_options;

typedef struct tenon_device_memory {
  size_t struct_size;
  uint64_t total_bytes;
  uint64_t used_bytes; /* by buffers that are there now */
  uint64_t peak_bytes; /* at most so far */
  uint64_t alignment;  /* of buffers, in bytes */
} tenon_device_memory;

/* A function of a model to load. Everything is read during the call but `model`, which stays where
 * it is until the program is unloaded. */
typedef struct tenon_load {
  size_t struct_size;
  const void* model; /* a whole .tenon file (docs/file_format.md), aligned to 64: the portable graph
                        and the weights */
  size_t model_size;
  const void* section; /* what the file holds for this device by name: its section of programs
                          behind the name; null where it has none */
  size_t section_size;
  const char* function;  /* its key */
  const char* precision; /* of real numbers: "fp16", "fp32", …; "": the device's choice */
  int32_t skip_weights_checksum;
  int64_t max_loop_iterations;   /* after so many a loop is an error; 0: what the file says */
  const char* const* custom_ops; /* paths of libraries with custom ops */
  size_t custom_op_count;
  int32_t allow_embedded_code; /* nonzero: libraries that the file carries may be run */
} tenon_load;

/* A dense row-major tensor: in a buffer of the device, or in the memory of the host. Strings are
 * always there, as tenon_string. A missing optional input has dtype TENON_NONE. */
typedef struct tenon_operand {
  size_t struct_size;
  int32_t dtype;
  int32_t rank;
  const int64_t* dims;
  tenon_buffer* buffer; /* null: in `data` */
  uint64_t offset;      /* in the buffer, a multiple of 64 */
  void* data;           /* aligned to the element */
  uint64_t byte_size;
} tenon_operand;

typedef struct tenon_execute_options {
  size_t struct_size;
  /* Asked now and then, by a thread of the device's choice: nonzero ends the execution with code
   * TENON_CANCELLED (7). May be null. */
  int32_t (*interrupted)(void* context);
  void* context;
} tenon_execute_options;

/* Counters (tenon_counter) of a program that every device has: executions, launches (kernels
 * started), host_nodes (nodes of the model left to the host, all executions), bytes_in and
 * bytes_out (copied from and to the host for executions), memory_bytes (of the device, at most,
 * constants included), seconds (what executions took: measured, or predicted where the device is
 * simulated), last_seconds (of the last one). Others are the device's own. Their names live as long
 * as the program. */
typedef struct tenon_device_api {
  size_t struct_size;
  uint32_t abi_version; /* TENON_DEVICE_ABI_VERSION */
  /* The sizes of the structs above, as the plug-in was built: info, options, memory, load, operand,
   * execute options, counter. */
  uint32_t struct_sizes[7];
  const char* name; /* of the plug-in, with its version: "simulated 0.1.0" */

  /* 1 the caller's value is wrong, 2 the model is malformed, 3 not found, 4 unsupported, 5 out of
   * memory, 6 the operating system, 7 cancelled, 70 a bug of the device. */
  int32_t (*error_code)(const tenon_device_error* error);
  /* What was wrong, what was expected, what to do. */
  const char* (*error_message)(const tenon_device_error* error);
  /* The node of the user's model, the file, …; "" where unknown. */
  const char* (*error_where)(const tenon_device_error* error);
  void (*error_free)(tenon_device_error* error);

  size_t (*device_count)(void);
  /* The texts live as long as the library. */
  tenon_device_error* (*device_info)(size_t index, tenon_device_info* info);
  tenon_device_error* (*open)(size_t index, const tenon_device_options* options,
                              tenon_device** device);
  void (*close)(tenon_device* device);

  tenon_device_error* (*memory)(tenon_device* device, tenon_device_memory* memory);
  /* What the device has not left is an error of code 5. Zero bytes are a buffer, too. */
  tenon_device_error* (*allocate)(tenon_device* device, uint64_t bytes, tenon_buffer** buffer);
  void (*free)(tenon_buffer* buffer);
  /* Beyond the buffer is an error of code 1, and nothing is copied. */
  tenon_device_error* (*copy_in)(tenon_buffer* buffer, uint64_t offset, const void* from,
                                 uint64_t bytes, tenon_stream* stream);
  tenon_device_error* (*copy_out)(const tenon_buffer* buffer, uint64_t offset, void* to,
                                  uint64_t bytes, tenon_stream* stream);

  tenon_device_error* (*stream_create)(tenon_device* device, tenon_stream** stream);
  void (*stream_destroy)(tenon_stream* stream); /* when all that was put there is done */
  /* Until all that was put there is done. The first error of those operations, if any. */
  tenon_device_error* (*stream_wait)(tenon_stream* stream);
  /* What is put on the stream from now on waits for the event. */
  tenon_device_error* (*stream_wait_event)(tenon_stream* stream, tenon_event* event);
  tenon_device_error* (*event_create)(tenon_device* device, tenon_event** event);
  void (*event_destroy)(tenon_event* event);
  /* The event is what is on the stream now; an earlier record of it is forgotten. */
  tenon_device_error* (*event_record)(tenon_event* event, tenon_stream* stream);
  /* An event that was never recorded is done. */
  tenon_device_error* (*event_done)(tenon_event* event, int32_t* done);
  tenon_device_error* (*event_wait)(tenon_event* event);
  /* Between two events that are done; of a simulated device: that passed on the host. */
  tenon_device_error* (*event_seconds)(tenon_event* from, tenon_event* to, double* seconds);

  tenon_device_error* (*load)(tenon_device* device, const tenon_load* load,
                              tenon_program** program);
  void (*unload)(tenon_program* program);
  /* Inputs in the order of the function, of the types it takes; those of variables behind the
   * others. Wrong numbers and types are errors of code 1. `options` may be null. */
  tenon_device_error* (*execute)(tenon_program* program, tenon_stream* stream,
                                 const tenon_operand* inputs, size_t input_count,
                                 const tenon_execute_options* options, tenon_execution** execution);
  size_t (*execution_output_count)(const tenon_execution* execution);
  /* Waits for the execution; the error of the execution, if any. What the operand points to, a
   * buffer among it, lives as long as the execution; its sizes may depend on data. */
  tenon_device_error* (*execution_output)(tenon_execution* execution, size_t index,
                                          tenon_operand* output);
  void (*execution_free)(tenon_execution* execution);

  size_t (*counter_count)(tenon_program* program);
  tenon_device_error* (*counter)(tenon_program* program, size_t index, tenon_counter* counter);
  /* What the user should know, in sentences: what is not computed by the device and why, what was
   * compiled at load. They grow while new sizes of inputs are executed; valid as long as the
   * program. Null: there is no such notice. */
  const char* (*notice)(tenon_program* program, size_t index);
} tenon_device_api;

/* What a plug-in exports. `host_version` is the version of the host; a plug-in may return null
 * where it does not work with it. The table lives as long as the library. */
typedef const tenon_device_api* (*tenon_device_plugin_function)(uint32_t host_version);
TENON_API const tenon_device_api* tenon_device_plugin(uint32_t host_version) TENON_NOEXCEPT;

#ifdef __cplusplus
}
#endif

#endif
