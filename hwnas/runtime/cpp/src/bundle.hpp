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

  // Compares the hash of the weights file; reads it whole.
  void check_weights() const;

 private:
  std::string real_path(const BundleFile& file) const;

  Folder folder_;
  bool verify_;
  Manifest manifest_;
};

}  // namespace hwnas::core

#endif  // HWNAS_SRC_BUNDLE_HPP_
