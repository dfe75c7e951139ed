#include "files.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <new>
#include <string_view>

#include "failure.hpp"
#include "sha256.hpp"

namespace hwnas::core {
namespace {

// Empty, with errno set, if there is nothing at `path`.
std::string resolved(const std::string& path) {
  const std::unique_ptr<char, void (*)(void*)> real(realpath(path.c_str(), nullptr), std::free);
  if (real == nullptr && errno == ENOMEM) throw std::bad_alloc();
  return real == nullptr ? std::string() : std::string(real.get());
}

bool lexically_inside(std::string_view relative) {
  if (relative.empty() || relative.size() >= PATH_MAX || relative.front() == '/') return false;
  if (relative.find('\0') != std::string_view::npos) return false;
  for (std::size_t start = 0; start <= relative.size();) {
    const std::size_t end = std::min(relative.find('/', start), relative.size());
    if (relative.substr(start, end - start) == "..") return false;
    start = end + 1;
  }
  return true;
}

}  // namespace

Folder::Folder(const std::string& path) : path_(path), real_path_(resolved(path)) {
  struct stat found {};
  const bool there = !real_path_.empty() && stat(real_path_.c_str(), &found) == 0;
  if (!there) fail(HWNAS_ERROR_BUNDLE, path + " does not exist", "check the path");
  if (!S_ISDIR(found.st_mode)) fail_bundle(path + " is not a bundle: it is not a folder");
}

std::string Folder::file(const std::string& relative) const {
  bool inside = lexically_inside(relative);
  std::string real;
  if (inside) {
    real = resolved(real_path_ + "/" + relative);
    if (real.empty() && errno != ELOOP) fail_bundle(path_ + "/" + relative + " is missing");
    const std::string prefix = real_path_ == "/" ? real_path_ : real_path_ + "/";
    inside = real.compare(0, prefix.size(), prefix) == 0;
  }
  if (!inside) {
    fail(HWNAS_ERROR_UNSAFE_PATH,
         path_ + ": the manifest names " + in_quotes(relative) + ", which is outside the bundle",
         "get the bundle again from where it was made; do not use this one");
  }
  struct stat found {};
  // Before it is opened: opening a named pipe would wait.
  if (stat(real.c_str(), &found) != 0 || !S_ISREG(found.st_mode)) {
    fail_bundle(path_ + "/" + relative + " is missing");
  }
  return real;
}

File::File(const std::string& path) : path_(path) {
  // Links were resolved before: one that is there now was put there since.
  descriptor_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
  if (descriptor_ < 0) fail_bundle(path + " cannot be read: " + std::strerror(errno));
  struct stat found {};
  const bool ordinary = fstat(descriptor_, &found) == 0 && S_ISREG(found.st_mode);
  if (!ordinary) {
    close(descriptor_);
    fail_bundle(path + " is not an ordinary file");
  }
  size_ = static_cast<std::uint64_t>(found.st_size);
  opened_ = found;
}

File::~File() { close(descriptor_); }

std::size_t File::read_some(void* to, std::size_t size) {
  for (;;) {
    const ssize_t got = ::read(descriptor_, to, size);
    if (got >= 0) return static_cast<std::size_t>(got);
    if (errno != EINTR) fail_bundle(path_ + " cannot be read: " + std::strerror(errno));
  }
}

std::string File::read(std::uint64_t largest) {
  if (size_ > largest) {
    fail_bundle(path_ + " has " + std::to_string(size_) + " bytes, more than " +
                std::to_string(largest));
  }
  std::string bytes(static_cast<std::size_t>(size_), '\0');
  std::size_t done = 0;
  while (done < bytes.size()) {
    const std::size_t got = read_some(bytes.data() + done, bytes.size() - done);
    if (got == 0) fail_bundle(path_ + " was cut short while it was read");
    done += got;
  }
  return bytes;
}

std::string File::sha256() {
  constexpr std::size_t kChunk = 256u << 10;  // stays in the second-level cache
  const std::unique_ptr<char[]> chunk(new char[kChunk]);
  Sha256 hash;
  while (const std::size_t got = read_some(chunk.get(), kChunk)) hash.update(chunk.get(), got);
  return hash.hex();
}

void File::expect_unchanged() const {
  const auto same = [&](const struct stat& now) {
    const auto equal = [](const timespec& a, const timespec& b) {
      return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
    };
    return now.st_dev == opened_.st_dev && now.st_ino == opened_.st_ino &&
           now.st_size == opened_.st_size && equal(now.st_mtim, opened_.st_mtim) &&
           equal(now.st_ctim, opened_.st_ctim);
  };
  struct stat by_name {};
  struct stat by_descriptor {};
  if (lstat(path_.c_str(), &by_name) != 0 || fstat(descriptor_, &by_descriptor) != 0 ||
      !same(by_name) || !same(by_descriptor)) {
    fail_bundle(path_ + " was changed or replaced while it was opened");
  }
}

void File::expect_size(std::uint64_t size) const {
  if (size_ != size) {
    fail_bundle(path_ + " has " + std::to_string(size_) + " bytes, the manifest says " +
                std::to_string(size));
  }
}

}  // namespace hwnas::core
