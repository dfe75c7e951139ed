#include "ort.hpp"

#include <unistd.h>

#include <cstring>
#include <map>
#include <new>

#include "failure.hpp"
#include "ort_library.hpp"

namespace hwnas::core {
namespace {

// ONNX Runtime has no code for it: the text is all that tells.
bool is_out_of_memory(const char* message) {
  return std::strstr(message, "std::bad_alloc") != nullptr ||
         std::strstr(message, "Failed to allocate memory for requested buffer") != nullptr;
}

}  // namespace

Runtime& Runtime::load(const char* path) {
  static std::mutex mutex;
  // Never destroyed: switchers of threads that outlive main() may still use them.
  static auto& loaded = *new std::map<const OrtApiBase*, std::unique_ptr<Runtime>>;
  const std::lock_guard lock(mutex);
  const OrtApiBase& base = load_ort_library(path);
  std::unique_ptr<Runtime>& runtime = loaded[&base];
  if (runtime == nullptr) runtime.reset(new Runtime(base));
  return *runtime;
}

Runtime::Runtime(const OrtApiBase& base)
    : api_(base.GetApi(kOrtApi)),
      version_(base.GetVersionString()),
      cpu_(nullptr, nullptr),
      run_options_(nullptr, nullptr),
      environment_(nullptr, nullptr) {
  if (api_ == nullptr) {
    fail(HWNAS_ERROR_RUNTIME, "ONNX Runtime " + version_ + " is too old",
         "install 1." + std::to_string(kOrtApi) + " or newer");
  }
  OrtMemoryInfo* cpu = nullptr;
  check(api_->CreateCpuMemoryInfo(OrtArenaAllocator, OrtMemTypeDefault, &cpu), "describe memory");
  cpu_ = {cpu, api_->ReleaseMemoryInfo};
  OrtRunOptions* options = nullptr;
  check(api_->CreateRunOptions(&options), "make run options");
  run_options_ = {options, api_->ReleaseRunOptions};
}

void Runtime::check(OrtStatus* status, const char* what, hwnas_status code,
                    const char* fix) const {
  if (status == nullptr) return;
  const Owned<OrtStatus> owned(status, api_->ReleaseStatus);
  const char* message = api_->GetErrorMessage(status);
  if (is_out_of_memory(message)) throw std::bad_alloc();
  if (fix == nullptr) {
    fix = code == HWNAS_ERROR_BUNDLE
              ? "make the bundle again with this version, or upgrade onnxruntime"
              : "check that this version of onnxruntime works";
  }
  fail(code, "ONNX Runtime " + version_ + " cannot " + what + ": " + message, fix);
}

void Runtime::make_environment(int threads) {
  environment_.reset();
  OrtEnv* made = nullptr;
  if (threads == 1) {
    check(api_->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "hwnas", &made), "start");
  } else {
    OrtThreadingOptions* options = nullptr;
    check(api_->CreateThreadingOptions(&options), "make threading options");
    const Owned<OrtThreadingOptions> owned(options, api_->ReleaseThreadingOptions);
    check(api_->SetGlobalIntraOpNumThreads(options, threads), "set the number of threads");
    check(api_->SetGlobalInterOpNumThreads(options, 1), "set the number of threads");
    check(api_->CreateEnvWithGlobalThreadPools(ORT_LOGGING_LEVEL_FATAL, "hwnas", options, &made),
          "start");
  }
  Owned<OrtEnv> environment(made, api_->ReleaseEnv);
  check(api_->DisableTelemetryEvents(made), "turn telemetry off");
  // One arena for all sessions: with one each, a chain is slower and takes more memory.
  OrtStatus* status = api_->CreateAndRegisterAllocator(made, cpu_.get(), nullptr);
  if (status != nullptr && std::strstr(api_->GetErrorMessage(status), "already") != nullptr) {
    api_->ReleaseStatus(status);  // by somebody else in this process: as good
    status = nullptr;
  }
  check(status, "share an arena");
  environment_ = std::move(environment);
  pool_ = threads;
  process_ = getpid();
}

Environment::Environment(Runtime& runtime, int threads) : runtime_(runtime), threads_(threads) {
  const std::lock_guard lock(runtime.mutex_);
  const bool pooled = threads > 1;
  if (pooled && runtime.environment_ != nullptr && runtime.process_ != getpid()) {
    fail(HWNAS_ERROR_RUNTIME,
         "this process was forked from one that had ONNX Runtime's threads; a fork has none",
         "fork before the first switcher is opened, start workers by exec, or use 1 thread");
  }
  if (pooled && runtime.pooled_users_ > 0 && runtime.agreed_threads_ != threads) {
    fail(HWNAS_ERROR_ARGUMENT,
         "this process already runs subnets with " + std::to_string(runtime.agreed_threads_) +
             " threads, not " + std::to_string(threads),
         "use one number of threads per process");
  }
  const bool remake = pooled && runtime.users_ == 0 && runtime.pool_ != threads;
  if (runtime.environment_ == nullptr || remake) runtime.make_environment(threads);
  shares_pool_ = pooled && runtime.pool_ == threads;
  ++runtime.users_;
  if (pooled) {
    ++runtime.pooled_users_;
    runtime.agreed_threads_ = threads;
  }
}

bool Environment::is_forked() const { return runtime_.process_ != getpid(); }

Environment::~Environment() {
  const std::lock_guard lock(runtime_.mutex_);
  --runtime_.users_;
  if (threads_ > 1) --runtime_.pooled_users_;
}

}  // namespace hwnas::core
