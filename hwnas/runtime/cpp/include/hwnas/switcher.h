/* The switcher: many subnets over one set of weights, one of them current. C ABI.
 *
 * A switcher opens a bundle that `hwnas export --to bundle` wrote, and runs any of its subnets.
 * ONNX Runtime is not linked: its shared library is loaded when the first switcher is opened.
 *
 * Threads: every function may be called from any thread at any time, except hwnas_close, which
 * must be the last call with its handle. hwnas_run may run in any number of threads at once; each
 * thread binds its own hop buffers when it first runs a subnet, and keeps them until it ends, the
 * switcher is closed or it calls hwnas_release_thread. After that first run, a run takes no lock,
 * allocates nothing of ours and copies no tensor. In destructors of thread-local objects hwnas_run
 * and hwnas_prepare may fail: what the thread had bound may be released by then.
 *
 * Switching: the current subnet is one atomic integer. A run uses the subnet that was current when
 * it was called, whatever happens meanwhile.
 *
 * Ownership: handles belong to the caller and are released with hwnas_close. Strings and specs
 * that a handle gives belong to it and live as long as it. Inputs are only read while hwnas_run
 * runs; outputs are the caller's memory, written in place.
 *
 * Errors: functions that can fail return a code, HWNAS_OK being 0. Text of the calling thread's
 * last failure is what hwnas_last_error and hwnas_last_fix give; it stays until that thread's
 * next failure. No exception crosses this interface.
 *
 * Files: ONNX Runtime maps the weights into memory. The files of an open bundle must not be written
 * to or cut short: results would change, or the process would get SIGBUS. To replace a bundle,
 * write another folder and rename it into its place.
 *
 * Processes: a child of fork() has none of its parent's threads. In it only switchers with 1 thread
 * may be used; those with more can be closed.
 *
 * ONNX Runtime has one environment per process. Where the program has made it already, it is used
 * as it is: it must have global thread pools if a switcher is to have more than 1 thread, and their
 * size is what counts then. Opening loads the library where it is not there yet, and before that
 * sets ORT_DISABLE_TELEMETRY in the environment unless it is set: setting it before other threads
 * start keeps them from reading the environment while it changes.
 *
 * ABI: functions and enumerators are only ever added. Structures that a caller fills begin with
 * their size, as the caller's compiler saw it; what is added to them is zero by default.
 * HWNAS_ABI_VERSION (version.h) counts what is added.
 */
#ifndef HWNAS_SWITCHER_H_
#define HWNAS_SWITCHER_H_

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "hwnas/version.h"

#if defined(_WIN32)
#define HWNAS_API
#elif defined(HWNAS_BUILDING_SWITCHER)
#define HWNAS_API __attribute__((visibility("default")))
#else
#define HWNAS_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef int32_t hwnas_status;
enum {
  HWNAS_OK = 0,
  HWNAS_ERROR_ARGUMENT = 1,       /* a null pointer, an index out of range */
  HWNAS_ERROR_BUNDLE = 2,         /* missing, cut off, altered, or does not fit together */
  HWNAS_ERROR_NEWER_SCHEMA = 3,   /* written by a newer hwnas */
  HWNAS_ERROR_UNSAFE_PATH = 4,    /* names a file outside its folder */
  HWNAS_ERROR_FOREIGN = 5,        /* finalised for another CPU type or runtime version */
  HWNAS_ERROR_UNKNOWN_SUBNET = 6, /* no subnet of that name or index; the text lists them */
  HWNAS_ERROR_INPUT = 7,          /* an input or output is missing, misaligned or of a wrong type */
  HWNAS_ERROR_RUNTIME = 8,        /* ONNX Runtime is missing, too old, or refused something */
  HWNAS_ERROR_MEMORY = 9,         /* out of memory; the switcher stays usable */
  HWNAS_ERROR_INTERNAL = 10       /* a bug in hwnas */
};

/* Cause and fix of the calling thread's last failure; "" if there was none. */
HWNAS_API const char* hwnas_last_error(void);
HWNAS_API const char* hwnas_last_fix(void);

/* HWNAS_VERSION and HWNAS_ABI_VERSION of the library that is running. */
HWNAS_API const char* hwnas_version(void);
HWNAS_API int32_t hwnas_abi_version(void);

typedef struct hwnas_switcher hwnas_switcher;

typedef struct hwnas_options {
  size_t size;                 /* sizeof(hwnas_options) */
  const char* runtime_library; /* path of libonnxruntime; NULL: the environment's
                                  HWNAS_ONNXRUNTIME, then one that is loaded already, then the
                                  loader's libonnxruntime.so.1 */
  const char* subnet;          /* first current subnet; NULL: the one with the most weights */
  int32_t threads;             /* that one run may use; above 1 all switchers of a process share
                                  one pool and must agree */
  int32_t verify;              /* compare the hash of every file before use; otherwise sizes only */
} hwnas_options;

/* Defaults: NULL, NULL, 1, 1. Compiled into the caller, whose structure may be another version's
   than the library's. */
static inline void hwnas_options_init(hwnas_options* options) {
  if (options == NULL) return;
  memset(options, 0, sizeof *options);
  options->size = sizeof *options;
  options->threads = 1;
  options->verify = 1;
}

/* Open the bundle in the folder `path`. `options` may be NULL. On failure *out is NULL. */
HWNAS_API hwnas_status hwnas_open(const char* path, const hwnas_options* options,
                                  hwnas_switcher** out);

/* Release everything. NULL is allowed. No other call with this handle may be under way. */
HWNAS_API void hwnas_close(hwnas_switcher* switcher);

/* Version of the ONNX Runtime that runs, such as "1.32.0". */
HWNAS_API const char* hwnas_runtime_version(const hwnas_switcher* switcher);

/* Subnets, in the order of the manifest. A name is NULL if `index` is out of range. */
HWNAS_API size_t hwnas_subnet_count(const hwnas_switcher* switcher);
HWNAS_API const char* hwnas_subnet_name(const hwnas_switcher* switcher, size_t index);
HWNAS_API hwnas_status hwnas_find_subnet(const hwnas_switcher* switcher, const char* name,
                                         size_t* index);

/* The subnet that runs unless a call names its own. Setting it is one atomic store. */
HWNAS_API size_t hwnas_current(const hwnas_switcher* switcher);
HWNAS_API hwnas_status hwnas_set_current(hwnas_switcher* switcher, size_t index);

typedef int32_t hwnas_dtype; /* numbered as ONNX's TensorProto.DataType */
enum {
  HWNAS_FLOAT32 = 1,
  HWNAS_UINT8 = 2,
  HWNAS_INT8 = 3,
  HWNAS_INT16 = 5,
  HWNAS_INT32 = 6,
  HWNAS_INT64 = 7,
  HWNAS_BOOL = 9,
  HWNAS_FLOAT16 = 10,
  HWNAS_FLOAT64 = 11,
  HWNAS_BFLOAT16 = 16
};

typedef struct hwnas_tensor_spec {
  const char* name;
  hwnas_dtype dtype;
  int32_t rank;
  const int64_t* shape; /* rank numbers */
  size_t bytes;         /* of one tensor, C-contiguous */
} hwnas_tensor_spec;

/* Inputs and outputs of the network, each as the subnet has it that takes or gives the most: memory
   of that size is enough for every subnet, but one that takes less reads it as being of its own
   shape. NULL if out of range. */
HWNAS_API size_t hwnas_input_count(const hwnas_switcher* switcher);
HWNAS_API const hwnas_tensor_spec* hwnas_input(const hwnas_switcher* switcher, size_t index);
HWNAS_API size_t hwnas_output_count(const hwnas_switcher* switcher);
HWNAS_API const hwnas_tensor_spec* hwnas_output(const hwnas_switcher* switcher, size_t index);

/* Inputs and outputs of one subnet, by its index. Where the network has elastic dimensions, such as
   the resolution, subnets differ in shapes; names, order and number are the network's. Subnets that
   take and give the same have the same specs, by address. NULL if out of range.
   Since HWNAS_ABI_VERSION 2. */
HWNAS_API const hwnas_tensor_spec* hwnas_subnet_input(const hwnas_switcher* switcher, size_t subnet,
                                                      size_t index);
HWNAS_API const hwnas_tensor_spec* hwnas_subnet_output(const hwnas_switcher* switcher,
                                                       size_t subnet, size_t index);

#define HWNAS_CURRENT ((size_t)-1)

/* Run one subnet once.
 *
 * subnet   an index, for this call alone, or HWNAS_CURRENT.
 * inputs   one pointer per input, in order: C-contiguous, aligned to its element, only read.
 * outputs  one pointer per output, in order; must not overlap an input.
 *
 * Inputs and outputs are as large as the specs of the subnet that runs say. Where subnets differ in
 * shapes and another thread may switch, read hwnas_current once, and give that index.
 */
HWNAS_API hwnas_status hwnas_run(hwnas_switcher* switcher, size_t subnet,
                                 const void* const* inputs, void* const* outputs);

/* Bind the calling thread's buffers for a subnet (or HWNAS_CURRENT) now, not in its first run. */
HWNAS_API hwnas_status hwnas_prepare(hwnas_switcher* switcher, size_t subnet);

/* Give back what the calling thread has bound. */
HWNAS_API void hwnas_release_thread(hwnas_switcher* switcher);

#ifdef __cplusplus
} /* extern "C" */
#endif

#endif /* HWNAS_SWITCHER_H_ */
