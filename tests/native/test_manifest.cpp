#include <doctest/doctest.h>

#include <functional>

#include "failure.hpp"
#include "manifest.hpp"
#include "manifests.hpp"
#include "program.hpp"

using namespace hwnas::core;
using manifests::Json;

namespace {

hwnas_status status_of(const std::string& text) {
  try {
    check_subnets(parse_manifest(text, "m.json"));
  } catch (const Failure& failure) {
    CHECK(std::string(failure.what()).size() > 10);
    CHECK(std::string(failure.fix()).size() > 5);
    return failure.code();
  }
  return HWNAS_OK;
}

hwnas_status lie(const std::function<void(Json&)>& change) {
  Json manifest = manifests::good();
  change(manifest);
  return status_of(manifest.dump());
}

Json& calls(Json& m) { return m["subnets"]["d2"]["program"]["calls"]; }

}  // namespace

TEST_CASE("a good manifest is read, its subnets in their order") {
  const Manifest manifest = parse_manifest(manifests::good().dump(), "m.json");
  CHECK_NOTHROW(check_subnets(manifest));
  CHECK(manifest.subnets[0].name == "z1");
  CHECK(manifest.subnets[1].program.calls[2].segment == 1);
  CHECK(manifest.network().inputs[0].bytes == 16);
  CHECK(manifest.network().inputs[0].text() == "float32[1,4]");
  CHECK(manifest.signatures.size() == 1);
  CHECK(!manifest.finalised);
}

TEST_CASE("a subnet may take and give other shapes than the network") {
  Json good = manifests::good();
  manifests::add_small(good);
  good["subnets"]["again"] = good["subnets"]["s"];
  good["subnets"]["d2"]["inputs"] = nullptr;
  good["subnets"]["z1"]["outputs"] = good["outputs"];  // the same in other words
  const Manifest manifest = parse_manifest(good.dump(), "m.json");
  CHECK_NOTHROW(check_subnets(manifest));
  CHECK(manifest.signatures.size() == 2);
  for (const char* name : {"s", "again"}) {
    for (const Subnet& subnet : manifest.subnets) {
      if (subnet.name != name) continue;
      CHECK(manifest.signature(subnet).inputs[0].text() == "float32[1,3]");
      CHECK(manifest.signature(subnet).outputs[0].text() == "float32[1,5]");
      CHECK(manifest.signature(subnet).input_bytes() == 12);
    }
  }
  CHECK(manifest.subnets[0].signature == 0);
  CHECK(manifest.subnets[1].signature == 0);
}

TEST_CASE("subnets that lie about what they take or give are refused") {
  const std::pair<const char*, std::function<void(Json&)>> lies[] = {
      {"wrong input", [](Json& s) { s["inputs"][0]["shape"] = {1, 4}; }},
      {"wrong output", [](Json& s) { s["outputs"][0]["shape"] = {1, 4}; }},
      {"wrong dtype", [](Json& s) { s["inputs"][0]["dtype"] = "int64"; }},
      {"the network's input", [](Json& s) { s.erase("inputs"); }},
      {"the network's output", [](Json& s) { s["outputs"] = nullptr; }},
      {"another name in", [](Json& s) { s["inputs"][0]["name"] = "z"; }},
      {"another name out", [](Json& s) { s["outputs"][0]["name"] = "z"; }},
      {"no inputs", [](Json& s) { s["inputs"] = Json::array(); }},
      {"no outputs", [](Json& s) { s["outputs"] = Json::array(); }},
      {"one more", [](Json& s) { s["inputs"].push_back(manifests::tensor("z", {1})); }},
      {"no list", [](Json& s) { s["inputs"] = "x"; }},
      {"huge", [](Json& s) { s["inputs"][0]["shape"] = {1LL << 32, 1LL << 32}; }},
  };
  for (const auto& [name, change] : lies) {
    CAPTURE(name);
    CHECK(lie([&, &change = change](Json& m) {
            manifests::add_small(m);
            change(m["subnets"]["s"]);
          }) == HWNAS_ERROR_BUNDLE);
  }
}

TEST_CASE("schema 1 lacks what came later; a newer one is named so") {
  CHECK(lie([](Json& m) { m["schema_version"] = 1, m.erase("finalised"); }) == HWNAS_OK);
  CHECK(lie([](Json& m) { m["schema_version"] = 4, m["more"] = 1; }) == HWNAS_ERROR_NEWER_SCHEMA);
  for (const Json& version : {Json(0), Json(-1), Json("2"), Json(2.0), Json(nullptr), Json(true)}) {
    CHECK(lie([&](Json& m) { m["schema_version"] = version; }) == HWNAS_ERROR_BUNDLE);
  }
}

TEST_CASE("manifests that lie are refused") {
  const std::pair<const char*, std::function<void(Json&)>> lies[] = {
      {"no object", [](Json& m) { m = Json::array(); }},
      {"form", [](Json& m) { m["form"] = "space"; }},
      {"unknown key", [](Json& m) { m["surprise"] = 1; }},
      {"no weights", [](Json& m) { m.erase("weights"); }},
      {"missing segment", [](Json& m) { m["segments"].erase("b"); }},
      {"wrong shape", [](Json& m) { m["segments"]["b"]["inputs"][0]["shape"] = {1, 5}; }},
      {"wrong dtype", [](Json& m) { m["segments"]["b"]["outputs"][0]["dtype"] = "int64"; }},
      {"unknown dtype", [](Json& m) { m["inputs"][0]["dtype"] = "string"; }},
      {"negative", [](Json& m) { m["inputs"][0]["shape"][0] = -1; }},
      {"fraction", [](Json& m) { m["inputs"][0]["shape"][0] = 1.5; }},
      {"huge", [](Json& m) { m["inputs"][0]["shape"] = {1LL << 40, 4}; }},
      {"overflow", [](Json& m) { m["inputs"][0]["shape"] = {1LL << 32, 1LL << 32, 4}; }},
      {"rank", [](Json& m) { m["inputs"][0]["shape"] = std::vector<int>(33, 1); }},
      {"huge file", [](Json& m) { m["weights"]["bytes"] = 1e30; }},
      {"hash", [](Json& m) { m["weights"]["sha256"] = "AB"; }},
      {"loop", [](Json& m) { calls(m)[1]["inputs"][0] = "v2"; }},
      {"own output", [](Json& m) { calls(m)[1]["inputs"][0] = "v1"; }},
      {"written twice", [](Json& m) { calls(m)[2]["outputs"][0] = "v1"; }},
      {"writes an input", [](Json& m) { calls(m)[2]["outputs"][0] = "x"; }},
      {"too few values", [](Json& m) { calls(m)[2]["inputs"] = Json::array(); }},
      {"too many values", [](Json& m) { calls(m)[2]["outputs"].push_back("v9"); }},
      {"no calls", [](Json& m) { calls(m) = Json::array(); }},
      {"output unknown", [](Json& m) { m["subnets"]["d2"]["program"]["outputs"]["y"] = "v9"; }},
      {"output is input", [](Json& m) { m["subnets"]["d2"]["program"]["outputs"]["y"] = "x"; }},
      {"output misfit", [](Json& m) { m["subnets"]["d2"]["program"]["outputs"]["y"] = "v2"; }},
      {"output missing", [](Json& m) { m["subnets"]["d2"]["program"]["outputs"].erase("y"); }},
      {"input missing", [](Json& m) { m["subnets"]["d2"]["program"]["inputs"] = Json::array(); }},
      {"input twice", [](Json& m) { m["inputs"].push_back(m["inputs"][0]); }},
      {"no subnets", [](Json& m) { m["subnets"] = Json::object(); }},
      {"subnet name", [](Json& m) { m["subnets"]["../d"] = m["subnets"]["d2"]; }},
      {"hidden name", [](Json& m) { m["subnets"][".d"] = m["subnets"]["d2"]; }},
      {"segment name", [](Json& m) { m["segments"]["a b"] = m["segments"]["a"]; }},
      {"segment gives nothing", [](Json& m) { m["segments"]["c"] = m["segments"]["b"],
                                              m["segments"]["c"]["outputs"] = Json::array(); }},
      {"address", [](Json& m) { m["weights"]["file"] = "*/_ORT_MEM_ADDR_/*"; }},
      {"file name", [](Json& m) { m["segments"]["a"]["file"] = "segments/a b.onnx"; }},
      {"long file name", [](Json& m) { m["weights"]["file"] = std::string(401, 'w'); }},
      {"null in a name", [](Json& m) { m["inputs"][0]["name"] = std::string("x\0y", 3); }},
      {"finalised", [](Json& m) { m["finalised"] = {{"runtime", "onnxruntime"}}; }},
      {"finalised type", [](Json& m) { m["finalised"] = "yes"; }},
  };
  for (const auto& [name, change] : lies) {
    CAPTURE(name);
    CHECK(lie(change) == HWNAS_ERROR_BUNDLE);
  }
}

TEST_CASE("a tensor without elements, a scalar and a finalised record are fine") {
  Json manifest = manifests::good();
  manifest["finalised"] = {{"runtime", "onnxruntime"}, {"version", "1.32.0"}, {"machine", "x86_64"},
                           {"isa", {"avx"}},           {"options", Json::object()}};
  CHECK(status_of(manifest.dump()) == HWNAS_OK);
  CHECK(tensor_bytes(HWNAS_FLOAT64, {}) == 8u);
  CHECK(tensor_bytes(HWNAS_FLOAT64, {kMostElements, 0}) == 0u);
  CHECK(tensor_bytes(HWNAS_FLOAT64, {kMostElements}) == std::size_t{8} << 36);
  CHECK(!tensor_bytes(HWNAS_INT8, {kMostElements, 2}));
  CHECK(!tensor_bytes(HWNAS_INT8, {kMostElements + 1, 0}));
  CHECK(!tensor_bytes(HWNAS_INT8, {-1}));
}

TEST_CASE("a manifest that is cut short or has a byte changed is refused or read, never more") {
  const std::string text = manifests::good().dump();
  for (std::size_t length = 0; length < text.size(); length += 7) {
    CHECK(status_of(text.substr(0, length)) == HWNAS_ERROR_BUNDLE);
  }
  int refused = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    for (const int bit : {0, 4, 7}) {
      std::string changed = text;
      changed[i] = static_cast<char>(changed[i] ^ (1 << bit));
      refused += status_of(changed) != HWNAS_OK ? 1 : 0;
    }
  }
  CHECK(refused > static_cast<int>(text.size()));
}
