// ONNX Runtime's shared library, loaded when it is first needed, and its one environment.
#ifndef HWNAS_SRC_ORT_HPP_
#define HWNAS_SRC_ORT_HPP_

#include <onnxruntime_c_api.h>
#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <mutex>
#include <string>

#include "hwnas/switcher.h"

namespace hwnas::core {

// 21 is the first version that knows session.model_external_initializers_file_folder_path; every
// function that is used here is older. Newer libraries serve older versions of the interface.
constexpr std::uint32_t kOrtApi = 21;

// An object of ONNX Runtime that releases itself.
template <typename T>
using Owned = std::unique_ptr<T, void (*)(T*)>;

// One loaded library. Lives as long as the process, as the library itself does: it cannot be
// unloaded safely, because it starts threads and registers what runs at exit.
class Runtime {
 public:
  // `path` may be null: the environment's HWNAS_ONNXRUNTIME, then a library that is loaded
  // already, then the loader's own search. Failure HWNAS_ERROR_RUNTIME if there is none.
  static Runtime& load(const char* path);

  const OrtApi& api() const { return *api_; }
  const std::string& version() const { return version_; }
  const OrtMemoryInfo* cpu() const { return cpu_.get(); }
  const OrtRunOptions* run_options() const { return run_options_.get(); }

  // Takes `status`. Throws if it is an error: bad_alloc if memory ran out, else Failure `code`.
  void check(OrtStatus* status, const char* what, hwnas_status code = HWNAS_ERROR_RUNTIME,
             const char* fix = nullptr) const;

 private:
  friend class Environment;

  explicit Runtime(const OrtApiBase& base);

  void make_environment(int threads);

  const OrtApi* api_;
  std::string version_;
  Owned<OrtMemoryInfo> cpu_;
  Owned<OrtRunOptions> run_options_;

  std::mutex mutex_;  // guards what follows
  Owned<OrtEnv> environment_;
  pid_t process_ = 0;  // that made the environment; a fork of it has none of its threads
  int pool_ = 1;       // threads of the environment's pool, 1 being none
  int users_ = 0;
  int pooled_users_ = 0;
  int agreed_threads_ = 1;  // of the pooled users
};

// The use of a runtime's environment by one switcher with `threads` threads per run.
//
// ONNX Runtime has one environment per process, and its thread pool is made with it. While nobody
// uses the environment it is made again with the pool that is asked for. When switchers with one
// thread are open already that cannot be done, and the sessions get pools of their own: the same
// results, with more threads.
class Environment {
 public:
  // Failure HWNAS_ERROR_ARGUMENT if other open switchers have another number above 1.
  Environment(Runtime& runtime, int threads);
  ~Environment();
  Environment(const Environment&) = delete;
  Environment& operator=(const Environment&) = delete;

  OrtEnv* get() const { return runtime_.environment_.get(); }
  int threads() const { return threads_; }
  bool shares_pool() const { return shares_pool_; }
  bool is_forked() const;  // this process is not the one that made it

 private:
  Runtime& runtime_;
  int threads_;
  bool shares_pool_ = false;
};

}  // namespace hwnas::core

#endif  // HWNAS_SRC_ORT_HPP_
