#include <doctest/doctest.h>

#include <cstdlib>

#include "support.hpp"

TEST_CASE("a bundle opens, and says what it holds") {
  hwnas::Switcher switcher(support::bundle("layers").string());
  CHECK(switcher.names().size() == 6);
  CHECK(switcher.inputs().at(0).name() == "image");
  CHECK(switcher.outputs().at(0).bytes() == 16);
  CHECK(switcher.names().at(switcher.current()) == "d3-h16");
  CHECK(switcher.find("d1-h8") == 0);
  CHECK(switcher.runtime_version().substr(0, 2) == "1.");
  CHECK(std::string(hwnas_version()) == HWNAS_VERSION);
  CHECK(hwnas_abi_version() == HWNAS_ABI_VERSION);
}

TEST_CASE("the first subnet can be chosen; an unknown one is refused with those that there are") {
  hwnas::Options options;
  options.subnet = "d2-h8";
  hwnas::Switcher switcher(support::bundle("layers").string(), options);
  CHECK(switcher.names().at(switcher.current()) == "d2-h8");
  options.subnet = "d9";
  try {
    hwnas::Switcher other(support::bundle("layers").string(), options);
    FAIL("opened");
  } catch (const hwnas::Error& error) {
    CHECK(error.code() == HWNAS_ERROR_UNKNOWN_SUBNET);
    CHECK(std::string(error.what()) == "unknown subnet 'd9'");
    CHECK(error.fix().find("d1-h8, ") != std::string::npos);
  }
  CHECK_THROWS_AS(switcher.find("d9"), hwnas::Error);
  CHECK_THROWS_AS(switcher.set_current(6), hwnas::Error);
  CHECK_THROWS_AS(switcher.prepare(77), hwnas::Error);
}

TEST_CASE("null and wrong arguments give codes") {
  hwnas_switcher* switcher = reinterpret_cast<hwnas_switcher*>(8);
  CHECK(hwnas_open(nullptr, nullptr, &switcher) == HWNAS_ERROR_ARGUMENT);
  CHECK(switcher == nullptr);
  CHECK(hwnas_open("x", nullptr, nullptr) == HWNAS_ERROR_ARGUMENT);
  hwnas_options options = {};
  CHECK(hwnas_open("x", &options, &switcher) == HWNAS_ERROR_ARGUMENT);
  hwnas_options_init(&options);
  options.size = std::size_t{1} << 40;
  CHECK(hwnas_open("x", &options, &switcher) == HWNAS_ERROR_ARGUMENT);
  CHECK(std::string(hwnas_last_error()) == "the options' size is not set");
  hwnas_options_init(&options);
  hwnas_options_init(nullptr);
  const std::string path = support::bundle("layers").string();
  for (const int threads : {0, -1, 1 << 20}) {
    options.threads = threads;
    CHECK(hwnas_open(path.c_str(), &options, &switcher) == HWNAS_ERROR_ARGUMENT);
  }
  CHECK(hwnas_subnet_name(nullptr, 0) == nullptr);
  CHECK(hwnas_run(nullptr, 0, nullptr, nullptr) == HWNAS_ERROR_ARGUMENT);
  CHECK(hwnas_prepare(nullptr, 0) == HWNAS_ERROR_ARGUMENT);
  CHECK(hwnas_set_current(nullptr, 0) == HWNAS_ERROR_ARGUMENT);
  CHECK(hwnas_find_subnet(nullptr, "", nullptr) == HWNAS_ERROR_ARGUMENT);
  hwnas_release_thread(nullptr);
  hwnas_close(nullptr);
  hwnas::Switcher good(path);
  CHECK(hwnas_subnet_name(good.handle(), 6) == nullptr);
  CHECK(hwnas_input(good.handle(), 1) == nullptr);
  CHECK(hwnas_output(good.handle(), 1) == nullptr);
}

TEST_CASE("a missing or foreign library is named") {
  for (const char* library : {"/nowhere/libonnxruntime.so", "libm.so.6"}) {
    hwnas::Options options;
    options.runtime_library = library;
    try {
      hwnas::Switcher switcher(support::bundle("layers").string(), options);
      FAIL("opened");
    } catch (const hwnas::Error& error) {
      CHECK(error.code() == HWNAS_ERROR_RUNTIME);
      CHECK(error.fix().find("HWNAS_ONNXRUNTIME") != std::string::npos);
    }
  }
}

TEST_CASE("any order of thread counts gives the same results; two pools do not go together") {
  const std::string path = support::bundle("layers").string();
  hwnas::Options two, three;
  two.threads = 2;
  three.threads = 3;
  std::string expected, input;
  {
    hwnas::Switcher switcher(path);
    input = support::Expected("layers", switcher).inputs[0];
    expected = support::result(switcher, 0, input);
    hwnas::Switcher second(path, two);  // while one with a single thread is open
    CHECK(support::result(second, 0, input) == expected);
    CHECK_THROWS_AS(hwnas::Switcher(path, three), hwnas::Error);
    CHECK(support::result(switcher, 0, input) == expected);
  }
  {
    hwnas::Switcher first(path, three);  // nobody is left: another pool can be made
    hwnas::Switcher second(path), third(path, three);
    CHECK(support::result(first, 0, input) == expected);
    CHECK(support::result(second, 0, input) == expected);
    CHECK(support::result(third, 0, input) == expected);
    CHECK_THROWS_AS(hwnas::Switcher(path, two), hwnas::Error);
  }
  hwnas::Switcher last(path);
  CHECK(support::result(last, 0, input) == expected);
}

TEST_CASE("options of a newer header are fine as long as they are zero") {
  struct Newer {
    hwnas_options known;
    std::int32_t more, padding;
  } newer = {};
  hwnas_options_init(&newer.known);
  newer.known.size = sizeof newer;
  const std::string path = support::bundle("layers").string();
  hwnas_switcher* switcher = nullptr;
  CHECK(hwnas_open(path.c_str(), &newer.known, &switcher) == HWNAS_OK);
  hwnas_close(switcher);
  newer.more = 1;
  CHECK(hwnas_open(path.c_str(), &newer.known, &switcher) == HWNAS_ERROR_ARGUMENT);
  CHECK(switcher == nullptr);
  CHECK(std::string(hwnas_last_fix()) == "upgrade hwnas, or leave it zero");
}

TEST_CASE("the environment is left alone once the library is loaded") {
  const std::string path = support::bundle("layers").string();
  hwnas::Switcher first(path);
  unsetenv("ORT_DISABLE_TELEMETRY");
  hwnas::Switcher second(path);
  CHECK(std::getenv("ORT_DISABLE_TELEMETRY") == nullptr);
  setenv("ORT_DISABLE_TELEMETRY", "1", 1);
}
