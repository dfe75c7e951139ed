// An opened bundle: its manifest, checked, and its files.
#ifndef HWNAS_SRC_BUNDLE_HPP_
#define HWNAS_SRC_BUNDLE_HPP_

#include <string>

#include "files.hpp"
#include "manifest.hpp"

namespace hwnas::core {

class Bundle {
 public:
  // Reads the manifest and checks programs, paths and sizes; hashes are checked as files are read.
  Bundle(const std::string& path, bool verify);

  const Folder& folder() const { return folder_; }
  const Manifest& manifest() const { return manifest_; }

  // The serialised graph of a segment: its hash compared, its weights inside the weights file.
  std::string graph(const Segment& segment) const;

  // Compares the hash of the weights file; reads it whole. To be called once.
  void check_weights();

  // ONNX Runtime maps the weights by name: what it has mapped is what was hashed only if the name
  // has led to one untouched file since the bundle was opened. To be called after the sessions.
  void expect_weights_unchanged() const;

 private:
  std::string real_path(const BundleFile& file) const;

  Folder folder_;
  bool verify_;
  Manifest manifest_;
  File weights_;
};

}  // namespace hwnas::core

#endif  // HWNAS_SRC_BUNDLE_HPP_
