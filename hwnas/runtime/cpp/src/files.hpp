// Files of a bundle: nothing outside its folder, nothing that is not an ordinary file.
#ifndef HWNAS_SRC_FILES_HPP_
#define HWNAS_SRC_FILES_HPP_

#include <sys/stat.h>

#include <cstdint>
#include <string>

namespace hwnas::core {

class Folder {
 public:
  // Failure HWNAS_ERROR_BUNDLE if there is no such folder.
  explicit Folder(const std::string& path);

  const std::string& path() const { return path_; }          // as it was given
  const std::string& real_path() const { return real_path_; }  // absolute, without links

  // Real path of a file in it. Failure HWNAS_ERROR_UNSAFE_PATH if it would lie outside, also
  // through a link; HWNAS_ERROR_BUNDLE if it is missing or no ordinary file.
  std::string file(const std::string& relative) const;

 private:
  std::string path_;
  std::string real_path_;
};

// An ordinary file, open for reading; `path` leads to it without a link at its end. What is looked
// at here is read, not mapped: a file that is cut short meanwhile is then an error and no signal.
// ONNX Runtime maps the weights all the same, so that this holds only until they are open.
class File {
 public:
  explicit File(const std::string& path);
  ~File();
  File(const File&) = delete;
  File& operator=(const File&) = delete;

  const std::string& path() const { return path_; }
  std::uint64_t size() const { return size_; }

  // All of it. Failure HWNAS_ERROR_BUNDLE if it has more than `largest` bytes.
  std::string read(std::uint64_t largest);

  std::string sha256();

  // Failure HWNAS_ERROR_BUNDLE if its path leads to another file by now, or its content changed.
  void expect_unchanged() const;

  // Failure HWNAS_ERROR_BUNDLE, naming both sizes, if it has not `size` bytes.
  void expect_size(std::uint64_t size) const;

 private:
  std::size_t read_some(void* to, std::size_t size);

  std::string path_;
  int descriptor_ = -1;
  std::uint64_t size_ = 0;
  struct stat opened_ {};  // what it was then
};

}  // namespace hwnas::core

#endif  // HWNAS_SRC_FILES_HPP_
