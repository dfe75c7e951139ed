#include "session.hpp"

#include <cstring>
#include <utility>

#include "failure.hpp"

namespace hwnas::core {
namespace {

Owned<OrtSessionOptions> make_options(const Runtime& runtime, const Environment& environment,
                                      const Bundle& bundle) {
  const OrtApi& api = runtime.api();
  OrtSessionOptions* options = nullptr;
  runtime.check(api.CreateSessionOptions(&options), "make session options");
  Owned<OrtSessionOptions> owned(options, api.ReleaseSessionOptions);
  const auto check = [&](OrtStatus* status) { runtime.check(status, "set session options"); };
  const auto set = [&](const char* key, const char* value) {
    check(api.AddSessionConfigEntry(options, key, value));
  };
  // A finalised graph is optimised already: to do it again takes time and may change results.
  check(api.SetSessionGraphOptimizationLevel(
      options, bundle.manifest().finalised ? ORT_DISABLE_ALL : ORT_ENABLE_ALL));
  check(api.SetSessionLogSeverityLevel(options, ORT_LOGGING_LEVEL_FATAL));
  set("session.model_external_initializers_file_folder_path",
      bundle.folder().real_path().c_str());
  set("session.use_env_allocators", "1");
  // Nothing but what was looked at: the runtime's own format would be taken by its first bytes.
  set("session.load_model_format", "ONNX");
  if (environment.shares_pool()) {
    check(api.DisablePerSessionThreads(options));
  } else {
    check(api.SetIntraOpNumThreads(options, environment.threads()));
    check(api.SetInterOpNumThreads(options, 1));
    set("session.intra_op.allow_spinning", "0");  // pools would take the cores from each other
  }
  return owned;
}

class SessionPorts {
 public:
  SessionPorts(const Runtime& runtime, const OrtSession* session)
      : runtime_(runtime), api_(runtime.api()), session_(session) {
    check(api_.GetAllocatorWithDefaultOptions(&allocator_));
  }

  bool same(const std::vector<TensorSpec>& specs, bool inputs) const {
    std::size_t count = 0;
    check((inputs ? api_.SessionGetInputCount : api_.SessionGetOutputCount)(session_, &count));
    if (count != specs.size()) return false;
    for (std::size_t i = 0; i < count; ++i) {
      if (!same(specs[i], i, inputs)) return false;
    }
    return true;
  }

 private:
  void check(OrtStatus* status) const { runtime_.check(status, "describe a session"); }

  bool same(const TensorSpec& spec, std::size_t index, bool inputs) const {
    char* name = nullptr;
    check((inputs ? api_.SessionGetInputName : api_.SessionGetOutputName)(session_, index,
                                                                          allocator_, &name));
    const bool named = spec.name == name;
    check(api_.AllocatorFree(allocator_, name));
    OrtTypeInfo* type = nullptr;
    check((inputs ? api_.SessionGetInputTypeInfo : api_.SessionGetOutputTypeInfo)(session_, index,
                                                                                  &type));
    const Owned<OrtTypeInfo> owned(type, api_.ReleaseTypeInfo);
    const OrtTensorTypeAndShapeInfo* tensor = nullptr;  // belongs to `type`
    check(api_.CastTypeInfoToTensorInfo(type, &tensor));
    if (!named || tensor == nullptr) return false;
    ONNXTensorElementDataType dtype{};
    check(api_.GetTensorElementType(tensor, &dtype));
    std::size_t rank = 0;
    check(api_.GetDimensionsCount(tensor, &rank));
    std::vector<std::int64_t> shape(rank);
    check(api_.GetDimensions(tensor, shape.data(), rank));
    return spec.dtype == static_cast<hwnas_dtype>(dtype) && spec.shape == shape;
  }

  const Runtime& runtime_;
  const OrtApi& api_;
  const OrtSession* session_;
  OrtAllocator* allocator_ = nullptr;
};

}  // namespace

Owned<OrtSession> open_session(const Runtime& runtime, const Environment& environment,
                               const Bundle& bundle, const Segment& segment) {
  const std::string what = in_quotes(segment.id) + " of " + bundle.folder().path();
  const auto options = make_options(runtime, environment, bundle);
  const std::string graph = bundle.graph(segment);
  OrtSession* session = nullptr;
  OrtStatus* status = runtime.api().CreateSessionFromArray(
      environment.get(), graph.data(), graph.size(), options.get(), &session);
  // Of the environment nothing can be asked: the text is all that tells.
  if (status != nullptr && environment.shares_pool() &&
      std::strstr(runtime.api().GetErrorMessage(status), "EnvCreatedWithGlobalThreadPools")) {
    runtime.api().ReleaseStatus(status);
    fail(HWNAS_ERROR_ARGUMENT,
         "this process has made ONNX Runtime's one environment already, without a shared pool",
         "open the first switcher before the program's own OrtEnv is made, or use 1 thread");
  }
  runtime.check(status, ("load " + what).c_str(), HWNAS_ERROR_BUNDLE);
  Owned<OrtSession> owned(session, runtime.api().ReleaseSession);
  const SessionPorts ports(runtime, session);
  if (!ports.same(segment.inputs, true) || !ports.same(segment.outputs, false)) {
    fail_bundle(what + " does not take and give what the manifest says");
  }
  return owned;
}

}  // namespace hwnas::core
