#include "bundle.hpp"

#include <sys/stat.h>

#include "failure.hpp"
#include "graph.hpp"
#include "json.hpp"
#include "program.hpp"
#include "sha256.hpp"

namespace hwnas::core {
namespace {

Manifest read_manifest(const Folder& folder) {
  const std::string name = folder.path() + "/manifest.json";
  struct stat found {};
  if (stat((folder.real_path() + "/manifest.json").c_str(), &found) != 0) {
    fail_bundle(folder.path() + " is not a bundle: it has no manifest.json");
  }
  return parse_manifest(File(folder.file("manifest.json")).read(kLargestJson), name);
}

void expect_hash(bool same, const std::string& path) {
  if (!same) fail_bundle(path + " was altered: its SHA-256 is not the manifest's");
}

}  // namespace

Bundle::Bundle(const std::string& path, bool verify)
    : folder_(path),
      verify_(verify),
      manifest_(read_manifest(folder_)),
      weights_(real_path(manifest_.weights)) {
  check_subnets(manifest_);
  weights_.expect_size(manifest_.weights.bytes);
  for (const Segment& segment : manifest_.segments) {
    File(real_path(segment.graph)).expect_size(segment.graph.bytes);
  }
}

std::string Bundle::real_path(const BundleFile& file) const { return folder_.file(file.file); }

std::string Bundle::graph(const Segment& segment) const {
  File file(real_path(segment.graph));
  file.expect_size(segment.graph.bytes);
  std::string bytes = file.read(kLargestGraph);
  const std::string what = folder_.path() + "/" + segment.graph.file;
  if (verify_) {
    expect_hash(sha256_hex(bytes.data(), bytes.size()) == segment.graph.sha256, what);
  }
  check_graph(bytes, manifest_.weights.file, manifest_.weights.bytes, what);
  return bytes;
}

void Bundle::check_weights() {
  if (!verify_) return;
  expect_hash(weights_.sha256() == manifest_.weights.sha256,
              folder_.path() + "/" + manifest_.weights.file);
}

void Bundle::expect_weights_unchanged() const {
  weights_.expect_unchanged();
  if (real_path(manifest_.weights) != weights_.path()) {
    fail_bundle(weights_.path() + " was replaced while it was opened");
  }
}

}  // namespace hwnas::core
