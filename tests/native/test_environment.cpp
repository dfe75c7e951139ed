// In a program that has made ONNX Runtime's environment before the first switcher is opened.
#include <dlfcn.h>
#include <doctest/doctest.h>
#include <onnxruntime_c_api.h>

#include <cstdlib>

#include "support.hpp"

TEST_CASE("an environment without a pool is no place for more than one thread") {
  void* library = dlopen(std::getenv("HWNAS_ONNXRUNTIME"), RTLD_NOW | RTLD_LOCAL);
  REQUIRE(library != nullptr);
  using GetApiBase = const OrtApiBase* (*)();
  const auto base = reinterpret_cast<GetApiBase>(dlsym(library, "OrtGetApiBase"));
  REQUIRE(base != nullptr);
  const OrtApi* api = base()->GetApi(21);
  OrtEnv* environment = nullptr;
  REQUIRE(api->CreateEnv(ORT_LOGGING_LEVEL_FATAL, "embedder", &environment) == nullptr);

  const std::string path = support::bundle("layers").string();
  hwnas::Options two;
  two.threads = 2;
  for (int i = 0; i < 2; ++i) {
    try {
      hwnas::Switcher switcher(path, two);
      FAIL("opened");
    } catch (const hwnas::Error& error) {
      CHECK(error.code() == HWNAS_ERROR_ARGUMENT);
      CHECK(std::string(error.what()).find("without a shared pool") != std::string::npos);
      CHECK(error.fix().find("1 thread") != std::string::npos);
    }
    hwnas::Switcher switcher(path);
    const support::Expected expected("layers", switcher);
    CHECK(support::result(switcher, 0, expected.inputs[0]) == expected.outputs[0][0]);
  }
  api->ReleaseEnv(environment);
}
