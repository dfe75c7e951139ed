// Bundles that are cut short, changed or lie: a code and a text, never a crash.
#include <doctest/doctest.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <nlohmann/json.hpp>
#include <thread>

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

TEST_CASE("that the weights were altered is said before what follows from it") {
  const support::Copy copy("layers");
  std::string weights = support::read(copy / "weights.safetensors");
  weights.back() = static_cast<char>(weights.back() ^ 1);
  support::write(copy / "weights.safetensors", weights);
  Json manifest = Json::parse(support::read(copy / "manifest.json"));
  for (auto& [id, segment] : manifest["segments"].items()) segment["inputs"][0]["name"] = "other";
  support::write(copy / "manifest.json", manifest.dump());
  CHECK(support::open_status(copy.path()) == HWNAS_ERROR_BUNDLE);
  CHECK(std::string(hwnas_last_error()).find("SHA-256") != std::string::npos);
}

TEST_CASE("weights that are replaced while they are opened are never run") {
  const support::Copy copy("layers");
  const fs::path path = copy / "weights.safetensors", next = copy / "next";
  const std::string good = support::read(path);
  std::string other = good;
  for (std::size_t i = good.size() - 1024; i < good.size(); ++i) other[i] = 0;
  std::atomic<bool> stop{false};
  std::thread replacing([&] {
    for (int i = 0; !stop; ++i) {
      support::write(next, i % 2 == 0 ? other : good);
      fs::rename(next, path);
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
  });
  int wrong = 0, refused = 0;
  for (int i = 0; i < 100; ++i) {
    try {
      hwnas::Switcher switcher(copy.path());
      const support::Expected expected("layers", switcher);
      for (std::size_t k = 0; k < expected.outputs[0].size(); ++k) {
        wrong += support::result(switcher, k, expected.inputs[0]) != expected.outputs[0][k];
      }
    } catch (const hwnas::Error& error) {
      CHECK(error.code() == HWNAS_ERROR_BUNDLE);
      ++refused;
    }
  }
  stop = true;
  replacing.join();
  MESSAGE("refused ", refused, " of 100");
  CHECK(wrong == 0);
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
