// Bundles that are cut short, changed or lie: a code and a text, never a crash.
#include <doctest/doctest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "support.hpp"

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

namespace {

std::vector<fs::path> files_of(const support::Copy& copy) {
  std::vector<fs::path> files;
  for (const auto& entry : fs::recursive_directory_iterator(copy.path())) {
    if (entry.is_regular_file() && entry.path().filename() != ".hwnas.json") {
      files.push_back(entry.path());
    }
  }
  return files;
}

hwnas_status after(const std::function<void(Json&)>& change) {
  const support::Copy copy("layers");
  Json manifest = Json::parse(support::read(copy / "manifest.json"));
  change(manifest);
  support::write(copy / "manifest.json", manifest.dump());
  return support::open_status(copy.path());
}

}  // namespace

TEST_CASE("every file cut short at every 64th of its length is refused") {
  const support::Copy copy("layers");
  for (const fs::path& file : files_of(copy)) {
    CAPTURE(file);
    const std::string bytes = support::read(file);
    for (std::size_t part = 0; part < 64; ++part) {
      support::write(file, bytes.substr(0, bytes.size() * part / 64));
      CHECK(support::open_status(copy.path()) == HWNAS_ERROR_BUNDLE);
    }
    fs::remove(file);
    CHECK(support::open_status(copy.path()) == HWNAS_ERROR_BUNDLE);
    support::write(file, bytes);
  }
  CHECK(support::open_status(copy.path()) == HWNAS_OK);
}

TEST_CASE("a changed byte in a graph or in the weights is refused") {
  const support::Copy copy("layers");
  for (const fs::path& file : files_of(copy)) {
    if (file.filename() == "manifest.json") continue;
    CAPTURE(file);
    const std::string bytes = support::read(file);
    for (std::size_t i = 0; i < bytes.size(); i += 1 + bytes.size() / 10) {
      std::string changed = bytes;
      changed[i] = static_cast<char>(changed[i] ^ (1 << (i % 8)));
      support::write(file, changed);
      CHECK(support::open_status(copy.path()) == HWNAS_ERROR_BUNDLE);
      support::open_status(copy.path(), false);  // not compared: whatever it says, no crash
    }
    support::write(file, bytes);
  }
}

TEST_CASE("a changed byte in the manifest is refused or read") {
  const support::Copy copy("layers");
  const std::string bytes = support::read(copy / "manifest.json");
  for (std::size_t i = 0; i < bytes.size(); i += 1 + bytes.size() / 300) {
    std::string changed = bytes;
    changed[i] = static_cast<char>(changed[i] ^ (1 << (i % 7)));
    support::write(copy / "manifest.json", changed);
    support::open_status(copy.path());
  }
}

TEST_CASE("a manifest that lies about its files is refused") {
  CHECK(after([](Json&) {}) == HWNAS_OK);
  const auto weights = [](const char* key, const Json& value) {
    return after([&](Json& m) { m["weights"][key] = value; });
  };
  CHECK(weights("file", "../x") == HWNAS_ERROR_UNSAFE_PATH);
  CHECK(weights("file", "/etc/passwd") == HWNAS_ERROR_UNSAFE_PATH);
  CHECK(weights("file", "manifest.json") == HWNAS_ERROR_BUNDLE);
  CHECK(weights("bytes", 8607) == HWNAS_ERROR_BUNDLE);
  CHECK(weights("sha256", std::string(64, '0')) == HWNAS_ERROR_BUNDLE);
  CHECK(after([](Json& m) { m["segments"]["stem.base"]["file"] = "segments"; }) ==
        HWNAS_ERROR_BUNDLE);
  CHECK(after([](Json& m) { m["segments"]["stem.base"]["inputs"][0]["name"] = "other"; }) ==
        HWNAS_ERROR_BUNDLE);
  CHECK(after([](Json& m) {  // consistent in itself, but not what the graphs are
          for (auto& [id, segment] : m["segments"].items()) {
            for (const char* side : {"inputs", "outputs"}) segment[side][0]["shape"][0] = 2;
          }
          for (const char* side : {"inputs", "outputs"}) m[side][0]["shape"][0] = 2;
        }) == HWNAS_ERROR_BUNDLE);
  CHECK(std::string(hwnas_last_error()).find("what the manifest says") != std::string::npos);
}

TEST_CASE("links that lead out of the bundle are refused") {
  const support::Copy copy("layers");
  const fs::path outside = copy.path() + ".outside";
  fs::rename(copy / "weights.safetensors", outside);
  fs::create_symlink(outside, copy / "weights.safetensors");
  CHECK(support::open_status(copy.path()) == HWNAS_ERROR_UNSAFE_PATH);
  fs::remove(outside);
}

TEST_CASE("finalised bundles run here as they are, and nowhere else") {
  hwnas::Switcher switcher(support::bundle("finished").string());
  const std::string version = switcher.runtime_version();
  CHECK(after([](Json& m) {
          m["schema_version"] = 2;
          m["finalised"] = {{"runtime", "onnxruntime"}, {"version", "0.0.1"}, {"machine", "x"},
                            {"isa", Json::array()},     {"options", Json::object()}};
        }) == HWNAS_ERROR_FOREIGN);
  CHECK(std::string(hwnas_last_error()).find(version) != std::string::npos);
  CHECK(std::string(hwnas_last_error()).find("0.0.1") != std::string::npos);
  CHECK(std::string(hwnas_last_fix()).find("--finalise") != std::string::npos);
}

TEST_CASE("other forms and newer schemas are named so") {
  CHECK(after([](Json& m) { m["form"] = "space"; }) == HWNAS_ERROR_BUNDLE);
  CHECK(after([](Json& m) { m["schema_version"] = 9; }) == HWNAS_ERROR_NEWER_SCHEMA);
  CHECK(std::string(hwnas_last_error()).find("schema_version 9") != std::string::npos);
  CHECK(support::open_status("/nowhere") == HWNAS_ERROR_BUNDLE);
  CHECK(support::open_status("/") == HWNAS_ERROR_BUNDLE);
  CHECK(support::open_status("/etc/passwd") == HWNAS_ERROR_BUNDLE);
}
