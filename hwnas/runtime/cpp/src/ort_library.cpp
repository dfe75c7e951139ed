#include "ort_library.hpp"

#include <dlfcn.h>

#include <cstdlib>
#include <string>

#include "failure.hpp"

namespace hwnas::core {
namespace {

using GetApiBase = const OrtApiBase*(ORT_API_CALL*)() NO_EXCEPTION;

constexpr char kFix[] =
    "pip install onnxruntime, or set HWNAS_ONNXRUNTIME to the path of libonnxruntime.so";

[[noreturn]] void fail_to_load(const std::string& cause) { fail(HWNAS_ERROR_RUNTIME, cause, kFix); }

const OrtApiBase* base_in(void* library) {
  // The cast that POSIX asks for.
  const auto get = reinterpret_cast<GetApiBase>(dlsym(library, "OrtGetApiBase"));
  return get == nullptr ? nullptr : get();
}

std::string loader_error() {
  const char* text = dlerror();
  return text == nullptr ? "unknown error" : text;
}

// Local, so that its symbols meet no other copy in the process; never unloaded.
void* open_library(const char* path) {
  constexpr int kHow = RTLD_NOW | RTLD_LOCAL;
  if (void* loaded = dlopen(path, kHow | RTLD_NOLOAD)) return loaded;
  // Its telemetry thread would write files and take time; whoever wants it has set the variable.
  setenv("ORT_DISABLE_TELEMETRY", "1", 0);
  return dlopen(path, kHow);
}

const OrtApiBase& named_library(const char* path) {
  void* library = open_library(path);
  if (library == nullptr) fail_to_load("ONNX Runtime cannot be loaded: " + loader_error());
  const OrtApiBase* base = base_in(library);
  if (base == nullptr) fail_to_load(std::string(path) + " is not ONNX Runtime's library");
  return *base;
}

}  // namespace

const OrtApiBase& load_ort_library(const char* path) {
  if (path == nullptr || *path == '\0') path = std::getenv("HWNAS_ONNXRUNTIME");
  if (path != nullptr && *path != '\0') return named_library(path);
  if (const OrtApiBase* base = base_in(RTLD_DEFAULT)) return *base;
  std::string errors;
  for (const char* name : {"libonnxruntime.so.1", "libonnxruntime.so"}) {
    void* library = open_library(name);
    if (library == nullptr) {
      errors += (errors.empty() ? "" : "; ") + loader_error();
    } else if (const OrtApiBase* base = base_in(library)) {
      return *base;
    }
  }
  fail_to_load("ONNX Runtime is not found: " + errors);
}

}  // namespace hwnas::core
