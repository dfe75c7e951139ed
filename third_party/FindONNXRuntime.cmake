#[=[
ONNX Runtime: the headers of its C interface, and the library where this machine has one.

Headers are looked for in ONNXRUNTIME_INCLUDE_DIR (CMake's variable, then the environment's), in
CMAKE_PREFIX_PATH and where systems keep them. The library is not linked against, as hwnas loads
it at run time: it is looked for only so that tests and examples have one to run with. It is
HWNAS_ONNXRUNTIME of the environment, the one inside Python's onnxruntime package, or a system's.

Gives:
  ONNXRuntime_FOUND        the headers are there, of at least the version that was asked for
  ONNXRuntime_VERSION      of the headers, such as 1.21
  ONNXRuntime_LIBRARY      a shared library's path, or ONNXRuntime_LIBRARY-NOTFOUND
  ONNXRuntime::headers     imported target
]=]
set(ort_suffixes
    onnxruntime
    onnxruntime/core/session
    include
    include/onnxruntime
    include/onnxruntime/core/session)
if(ONNXRUNTIME_INCLUDE_DIR AND NOT EXISTS "${ONNXRUNTIME_INCLUDE_DIR}/onnxruntime_c_api.h")
  # A folder above the headers was named: look below it.
  set(ort_hint "${ONNXRUNTIME_INCLUDE_DIR}")
  unset(ONNXRUNTIME_INCLUDE_DIR)
  unset(ONNXRUNTIME_INCLUDE_DIR CACHE)
endif()
find_path(
  ONNXRUNTIME_INCLUDE_DIR onnxruntime_c_api.h
  PATHS "${ort_hint}" ENV ONNXRUNTIME_INCLUDE_DIR
  PATH_SUFFIXES ${ort_suffixes}
  NO_DEFAULT_PATH)
find_path(
  ONNXRUNTIME_INCLUDE_DIR onnxruntime_c_api.h
  PATH_SUFFIXES ${ort_suffixes}
  DOC "Folder of onnxruntime_c_api.h")
mark_as_advanced(ONNXRUNTIME_INCLUDE_DIR)

if(ONNXRUNTIME_INCLUDE_DIR)
  # The second number of a release counts the versions of its C interface.
  file(STRINGS "${ONNXRUNTIME_INCLUDE_DIR}/onnxruntime_c_api.h" ort_line
       REGEX "^#define ORT_API_VERSION +[0-9]+")
  string(REGEX MATCH "[0-9]+$" ort_api "${ort_line}")
  set(ONNXRuntime_VERSION "1.${ort_api}")
endif()

if(NOT ONNXRuntime_LIBRARY)
  set(ort_found "$ENV{HWNAS_ONNXRUNTIME}")
  if(NOT ort_found)
    find_program(ONNXRUNTIME_PYTHON NAMES "${Python_EXECUTABLE}" python3 python)
    mark_as_advanced(ONNXRUNTIME_PYTHON)
    if(ONNXRUNTIME_PYTHON)
      # Where the package lies, without importing it.
      execute_process(
        COMMAND
          "${ONNXRUNTIME_PYTHON}" -c
          "import importlib.util as u; s = u.find_spec('onnxruntime'); s and print(s.submodule_search_locations[0])"
        OUTPUT_VARIABLE ort_package
        OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
      if(ort_package)
        file(GLOB ort_found "${ort_package}/capi/libonnxruntime.so.*"
             "${ort_package}/capi/libonnxruntime.*.dylib")
        list(POP_FRONT ort_found ort_found)
      endif()
    endif()
  endif()
  if(ort_found AND EXISTS "${ort_found}")
    set(ONNXRuntime_LIBRARY "${ort_found}" CACHE FILEPATH "ONNX Runtime's shared library")
  endif()
  find_library(ONNXRuntime_LIBRARY onnxruntime DOC "ONNX Runtime's shared library")
  mark_as_advanced(ONNXRuntime_LIBRARY)
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(
  ONNXRuntime
  REQUIRED_VARS ONNXRUNTIME_INCLUDE_DIR
  VERSION_VAR ONNXRuntime_VERSION)

if(ONNXRuntime_FOUND AND NOT TARGET ONNXRuntime::headers)
  add_library(ONNXRuntime::headers INTERFACE IMPORTED)
  target_include_directories(ONNXRuntime::headers SYSTEM INTERFACE "${ONNXRUNTIME_INCLUDE_DIR}")
endif()
unset(ort_suffixes)
unset(ort_hint)
unset(ort_found)
unset(ort_package)
unset(ort_line)
unset(ort_api)
