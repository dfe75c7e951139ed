// Finding and loading libonnxruntime.
#ifndef HWNAS_SRC_ORT_LIBRARY_HPP_
#define HWNAS_SRC_ORT_LIBRARY_HPP_

#include <onnxruntime_c_api.h>

namespace hwnas::core {

// `path` may be null or empty. Failure HWNAS_ERROR_RUNTIME, saying what was tried.
const OrtApiBase& load_ort_library(const char* path);

}  // namespace hwnas::core

#endif  // HWNAS_SRC_ORT_LIBRARY_HPP_
