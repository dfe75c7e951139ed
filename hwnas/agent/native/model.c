// ONNX Runtime, through its C interface: the library is loaded at run time, from where it is named.
#include "agent.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "onnxruntime_c_api.h"

enum { OLDEST_API = 12, MOST_OUTPUT_RANK = 64 };
static const size_t kAlignment = 64, kLargestModel = (size_t)1 << 31;
static const char kRemake[] = "make the bundle again";

const char* const kProvider = "CPUExecutionProvider";

static const OrtApi* api;
static const char* version;
static OrtEnv* env;
static OrtAllocator* allocator;
static OrtMemoryInfo* memory;

struct model {
  OrtSession* session;
  OrtIoBinding* binding;
  int64_t input_count;
  void** inputs;
  void** copies;  // of the inputs; NULL: not to be written again
  size_t* sizes;
  char** outputs;
  size_t output_count;
};

// True if `status` is none; otherwise fails with its message.
static bool good(OrtStatus* status) {
  if (status == NULL) return true;
  fail("", "ONNX Runtime: %.900s", api->GetErrorMessage(status));
  api->ReleaseStatus(status);
  return false;
}

const char* runtime_version(void) { return version; }

static bool open_library(const char* library) {
  static const char kFix[] = "name ONNX Runtime's libonnxruntime.so for this device";
  setenv("ORT_DISABLE_TELEMETRY", "1", 1);  // it would be measured too
  void* handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
  if (handle == NULL) return fail(kFix, "the runtime cannot be loaded: %s", dlerror());
  const OrtApiBase* (*base)(void) = NULL;
  *(void**)&base = dlsym(handle, "OrtGetApiBase");  // as POSIX asks to convert it
  if (base == NULL) return fail(kFix, "%s is not ONNX Runtime", library);
  version = base()->GetVersionString();
  // The second number of a release counts the versions of its interface.
  int major = 0, offered = 0;
  if (sscanf(version, "%d.%d", &major, &offered) != 2 || major != 1) offered = ORT_API_VERSION;
  for (int wanted = offered < ORT_API_VERSION ? offered : ORT_API_VERSION;
       api == NULL && wanted >= OLDEST_API; --wanted)
    api = base()->GetApi((uint32_t)wanted);
  return api != NULL || fail("use 1.12 or newer", "ONNX Runtime %s is too old", version);
}

static OrtSession* open_session(const void* data, size_t length, const char* folder,
                                const struct settings* settings) {
  OrtSessionOptions* options = NULL;
  OrtSession* session = NULL;
  bool well = good(api->CreateSessionOptions(&options)) &&
              good(api->SetIntraOpNumThreads(options, (int)settings->threads)) &&
              good(api->SetInterOpNumThreads(options, 1)) &&
              good(api->SetSessionExecutionMode(options, ORT_SEQUENTIAL)) &&
              good(api->SetSessionGraphOptimizationLevel(options, ORT_ENABLE_ALL)) &&
              good(api->SetSessionLogSeverityLevel(options, ORT_LOGGING_LEVEL_ERROR)) &&
              (settings->threads > 1 ||
               good(api->AddSessionConfigEntry(options, "session.intra_op.allow_spinning", "0"))) &&
              (folder == NULL ||
               good(api->AddSessionConfigEntry(
                   options, "session.model_external_initializers_file_folder_path", folder))) &&
              good(api->CreateSessionFromArray(env, data, length, options, &session));
  if (options != NULL) api->ReleaseSessionOptions(options);
  return well ? session : NULL;
}

static void* aligned(size_t size) {
  void* found = aligned_alloc(kAlignment, (size / kAlignment + 1) * kAlignment);
  if (found == NULL) fail("free memory on the device", "no memory for %zu bytes", size);
  else memset(found, 0, size);
  return found;
}

// `data` stays in use.
static OrtValue* wrap(const struct dtype* dtype, void* data, size_t size, const int64_t* shape,
                      size_t rank) {
  OrtValue* value = NULL;
  return good(api->CreateTensorWithDataAsOrtValue(memory, data, size, shape, rank,
                                                  (ONNXTensorElementDataType)dtype->onnx, &value))
             ? value
             : NULL;
}

// --- inputs

static bool check_inputs(const OrtSession* session, const struct item* item) {
  size_t count = 0;
  if (!good(api->SessionGetInputCount(session, &count))) return false;
  struct text takes = {0}, gives = {0};
  bool same = (int64_t)count == item->input_count;
  for (int64_t i = 0; i < item->input_count; ++i)
    add(&gives, "%s%s", i ? ", " : "", item->inputs[i].name);
  for (size_t i = 0; i < count; ++i) {
    char* name = NULL;
    OrtTypeInfo* type = NULL;
    const OrtTensorTypeAndShapeInfo* tensor = NULL;
    ONNXTensorElementDataType element = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
    if (!good(api->SessionGetInputName(session, i, allocator, &name)) ||
        !good(api->SessionGetInputTypeInfo(session, i, &type)) ||
        !good(api->CastTypeInfoToTensorInfo(type, &tensor)) ||
        (tensor != NULL && !good(api->GetTensorElementType(tensor, &element))))
      return false;
    add(&takes, "%s%s", i ? ", " : "", name);
    int64_t at = 0;
    while (at < item->input_count && strcmp(item->inputs[at].name, name) != 0) ++at;
    if (at == item->input_count) same = false;
    else if (item->inputs[at].dtype->onnx != (int)element)
      return fail(kRemake, "input %.80s of the model is not %s", name,
                  item->inputs[at].dtype->name);
    api->ReleaseTypeInfo(type);
    allocator->Free(allocator, name);
  }
  if (!same)
    fail(kRemake, "the model takes %.300s, the job gives %.300s", count ? takes.data : "nothing",
         item->input_count ? gives.data : "nothing");
  free(takes.data);
  free(gives.data);
  return same;
}

static bool bind_inputs(struct model* model, const struct item* item, int64_t seed, bool again) {
  size_t count = (size_t)item->input_count;
  model->input_count = item->input_count;
  model->inputs = take(count, sizeof *model->inputs);
  model->copies = again ? take(count, sizeof *model->copies) : NULL;
  model->sizes = take(count, sizeof *model->sizes);
  for (size_t i = 0; i < count; ++i) {
    const struct tensor* tensor = &item->inputs[i];
    size_t size = model->sizes[i] = (size_t)tensor->count * tensor->dtype->size;
    model->inputs[i] = aligned(size);
    if (again) model->copies[i] = aligned(size);
    if (model->inputs[i] == NULL || (again && model->copies[i] == NULL)) return false;
    fill_input(tensor, (int64_t)i, seed, model->inputs[i]);
    if (again) memcpy(model->copies[i], model->inputs[i], size);
    OrtValue* value =
        wrap(tensor->dtype, model->inputs[i], size, tensor->shape, (size_t)tensor->rank);
    if (value == NULL || !good(api->BindInput(model->binding, tensor->name, value))) return false;
  }
  return true;
}

void model_refresh(struct model* model) {
  for (int64_t i = 0; i < model->input_count; ++i)
    memcpy(model->inputs[i], model->copies[i], model->sizes[i]);
}

// --- outputs

// Where its size is known ahead the output is written in place, else the runtime allocates it.
static bool bind_output(struct model* model, size_t index) {
  OrtTypeInfo* type = NULL;
  const OrtTensorTypeAndShapeInfo* tensor = NULL;
  ONNXTensorElementDataType element = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  size_t rank = 0;
  int64_t shape[MOST_OUTPUT_RANK];
  if (!good(api->SessionGetOutputName(model->session, index, allocator, &model->outputs[index])) ||
      !good(api->SessionGetOutputTypeInfo(model->session, index, &type)) ||
      !good(api->CastTypeInfoToTensorInfo(type, &tensor)))
    return false;
  if (tensor != NULL && (!good(api->GetTensorElementType(tensor, &element)) ||
                         !good(api->GetDimensionsCount(tensor, &rank))))
    return false;
  const struct dtype* dtype = dtype_of_onnx((int)element);
  bool fixed = dtype != NULL && rank <= MOST_OUTPUT_RANK;
  if (fixed && !good(api->GetDimensions(tensor, shape, rank))) return false;
  size_t size = fixed ? dtype->size : 0;
  for (size_t i = 0; fixed && i < rank; ++i) {
    fixed = shape[i] >= 0 && (shape[i] == 0 || size <= SIZE_MAX / 2 / (size_t)shape[i]);
    if (fixed) size *= (size_t)shape[i];
  }
  api->ReleaseTypeInfo(type);
  if (!fixed) return good(api->BindOutputToDevice(model->binding, model->outputs[index], memory));
  void* data = aligned(size);
  OrtValue* value = data == NULL ? NULL : wrap(dtype, data, size, shape, rank);
  return value != NULL && good(api->BindOutput(model->binding, model->outputs[index], value));
}

// --- models

struct model* model_load(const struct item* item, const struct settings* settings,
                         const char* blobs, const char* data, bool again) {
  size_t length = 0;
  char *path = join(blobs, item->model_sha256), *folder = realpath(data, NULL);
  char* bytes = read_file(path, kLargestModel, &length);
  free(path);
  if (bytes == NULL) return NULL;
  struct model* model = take(1, sizeof *model);
  model->session = open_session(bytes, length, folder != NULL ? folder : data, settings);
  free(bytes);
  free(folder);
  if (model->session == NULL || !check_inputs(model->session, item) ||
      !good(api->CreateIoBinding(model->session, &model->binding)) ||
      !bind_inputs(model, item, settings->seed, again) ||
      !good(api->SessionGetOutputCount(model->session, &model->output_count)))
    return NULL;  // the process ends with it
  model->outputs = take(model->output_count, sizeof *model->outputs);
  for (size_t i = 0; i < model->output_count; ++i)
    if (!bind_output(model, i)) return NULL;
  return model;
}

bool model_run(struct model* model, int64_t* ns) {
  int64_t start = now_ns();
  OrtStatus* status = api->RunWithBinding(model->session, NULL, model->binding);
  *ns = now_ns() - start;
  if (*ns < 1) *ns = 1;  // a coarse clock
  return good(status);
}

static bool check_value(OrtValue* value, const struct expected* expected, double* error) {
  OrtTensorTypeAndShapeInfo* info = NULL;
  ONNXTensorElementDataType element = ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  size_t rank = 0;
  int64_t shape[MOST_OUTPUT_RANK];
  int tensor = 0;
  void* data = NULL;
  *error = 1.0 / 0.0;
  if (!good(api->IsTensor(value, &tensor))) return false;
  if (!tensor) return true;
  if (!good(api->GetTensorTypeAndShape(value, &info)) ||
      !good(api->GetTensorElementType(info, &element)) ||
      !good(api->GetDimensionsCount(info, &rank)))
    return false;
  bool same = (int)element == expected->tensor.dtype->onnx &&
              (int64_t)rank == expected->tensor.rank && rank <= MOST_OUTPUT_RANK;
  if (same && !good(api->GetDimensions(info, shape, rank))) return false;
  for (size_t i = 0; same && i < rank; ++i) same = shape[i] == expected->tensor.shape[i];
  api->ReleaseTensorTypeAndShapeInfo(info);
  if (!same) return true;
  if (!good(api->GetTensorMutableData(value, &data))) return false;
  *error = compare_output(expected, data);
  return true;
}

bool model_check(struct model* model, const struct item* item, double* error, bool* passes) {
  OrtValue** values = NULL;
  size_t count = 0;
  *error = 0;
  *passes = true;
  if (!good(api->GetBoundOutputValues(model->binding, allocator, &values, &count))) return false;
  for (int64_t i = 0; i < item->expected_count; ++i) {
    const struct expected* expected = &item->expected[i];
    double found = 1.0 / 0.0;
    for (size_t j = 0; j < count && j < model->output_count; ++j)
      if (strcmp(model->outputs[j], expected->tensor.name) == 0 &&
          !check_value(values[j], expected, &found))
        return false;
    if (found > *error) *error = found;
    if (!(found <= expected->tolerance)) *passes = false;
  }
  for (size_t i = 0; i < count; ++i) api->ReleaseValue(values[i]);
  if (values != NULL) allocator->Free(allocator, values);
  return true;
}

// y[8,8] = x[8,8] @ w, all of w ones: serialised ONNX up to the 256 bytes of w, which are its end.
static const unsigned char kSmallest[] =
    {
        0x08, 0x0a,                          // ir_version 10
        0x42, 0x04, 0x0a, 0x00, 0x10, 0x14,  // opset_import "" 20
        0x3a, 0xcf, 0x02,                    // graph of 335 bytes
        0x0a, 0x11, 0x0a, 0x01, 'x',  0x0a, 0x01, 'w',  0x12, 0x01, 'y',
        0x22, 0x06, 'M',  'a',  't',  'M',  'u',  'l',  // node
        0x12, 0x01, 'g',                                // name
        0x5a, 0x13, 0x0a, 0x01, 'x',  0x12, 0x0e, 0x0a, 0x0c, 0x08, 0x01,
        0x12, 0x08, 0x0a, 0x02, 0x08, 0x08, 0x0a, 0x02, 0x08, 0x08,  // input
        0x62, 0x13, 0x0a, 0x01, 'y',  0x12, 0x0e, 0x0a, 0x0c, 0x08, 0x01,
        0x12, 0x08, 0x0a, 0x02, 0x08, 0x08, 0x0a, 0x02, 0x08, 0x08,  // output
        0x2a, 0x8c, 0x02, 0x08, 0x08, 0x08, 0x08, 0x10, 0x01, 0x42, 0x01,
        'w',  0x4a, 0x80, 0x02,  // initializer, raw_data
};

bool runtime_start(const char* library, const struct settings* settings) {
  static int64_t shape[] = {8, 8};
  const struct tensor x = {"x", dtype_named("float32"), 2, 64, shape};
  const struct item item = {.input_count = 1, .inputs = (struct tensor*)&x};
  unsigned char bytes[sizeof kSmallest + 256];
  memcpy(bytes, kSmallest, sizeof kSmallest);
  for (size_t i = 0; i < 64; ++i) memcpy(bytes + sizeof kSmallest + 4 * i, &(float){1}, 4);
  struct model model = {0};
  int64_t ns;
  // The first session of a process costs memory that is not to be booked on an item.
  if (!open_library(library) || !good(api->CreateEnv(ORT_LOGGING_LEVEL_ERROR, "hwnas", &env)) ||
      !good(api->GetAllocatorWithDefaultOptions(&allocator)) ||
      !good(api->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &memory)))
    return false;
  model.session = open_session(bytes, sizeof bytes, NULL, settings);
  if (model.session == NULL || !good(api->CreateIoBinding(model.session, &model.binding)) ||
      !bind_inputs(&model, &item, settings->seed, false) ||
      !good(api->BindOutputToDevice(model.binding, "y", memory)) || !model_run(&model, &ns))
    return false;
  api->ReleaseIoBinding(model.binding);
  api->ReleaseSession(model.session);
  return true;
}
