#include <doctest/doctest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <functional>

#include "failure.hpp"
#include "files.hpp"

using namespace hwnas::core;
namespace fs = std::filesystem;

namespace {

struct Temporary {
  Temporary() {
    std::string pattern = (fs::temp_directory_path() / "hwnas-files-XXXXXX").string();
    path = mkdtemp(pattern.data());
    fs::create_directories(path / "in" / "sub");
    std::ofstream(path / "in" / "sub" / "f") << "abc";
    std::ofstream(path / "outside") << "secret";
  }
  ~Temporary() { fs::remove_all(path); }
  fs::path path;
};

hwnas_status status_of(const Folder& folder, const std::string& relative) {
  try {
    folder.file(relative);
  } catch (const Failure& failure) {
    return failure.code();
  }
  return HWNAS_OK;
}

}  // namespace

TEST_CASE("nothing outside the folder is reached") {
  const Temporary temporary;
  const Folder folder((temporary.path / "in").string());
  fs::create_symlink("../outside", temporary.path / "in" / "link");
  fs::create_symlink("sub/f", temporary.path / "in" / "good");
  fs::create_symlink("loop", temporary.path / "in" / "loop");
  fs::create_directory_symlink("..", temporary.path / "in" / "up");
  CHECK(status_of(folder, "sub/f") == HWNAS_OK);
  CHECK(status_of(folder, "good") == HWNAS_OK);
  for (const std::string& name :
       {std::string("../outside"), std::string("sub/../../outside"), std::string("link"),
        std::string("up/outside"), std::string("loop"), std::string(""), std::string("sub/.."),
        (temporary.path / "outside").string(), std::string("/etc/passwd"), std::string("a\0b", 3),
        std::string(100000, 'a'), std::string("..")}) {
    CAPTURE(name);
    CHECK(status_of(folder, name) == HWNAS_ERROR_UNSAFE_PATH);
  }
  for (const char* name : {"missing", "sub", "sub/f/g", "..."}) {
    CHECK(status_of(folder, name) == HWNAS_ERROR_BUNDLE);
  }
}

TEST_CASE("a named pipe is refused, not waited for") {
  const Temporary temporary;
  REQUIRE(mkfifo((temporary.path / "in" / "pipe").c_str(), 0600) == 0);
  CHECK(status_of(Folder((temporary.path / "in").string()), "pipe") == HWNAS_ERROR_BUNDLE);
  CHECK_THROWS_AS(File((temporary.path / "in" / "pipe").string()), Failure);
}

TEST_CASE("files are read whole, hashed and compared by size") {
  const Temporary temporary;
  const std::string path = (temporary.path / "in/sub/f").string();
  CHECK(File(path).read(3) == "abc");
  CHECK_THROWS_AS(File(path).read(2), Failure);
  CHECK(File(path).sha256() == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK_THROWS_AS(File(path).expect_size(4), Failure);
  CHECK_THROWS_AS(Folder((temporary.path / "no").string()), Failure);
  CHECK_THROWS_AS(Folder{path}, Failure);
}

TEST_CASE("a file that is written to or replaced is noticed, a link in its place too") {
  const Temporary temporary;
  const fs::path path = temporary.path / "in/sub/f";
  const auto notices = [&](const std::function<void()>& change) {
    fs::remove(path);
    std::ofstream(path) << "abc";
    const File file(path.string());
    file.expect_unchanged();
    change();
    CHECK_THROWS_AS(file.expect_unchanged(), Failure);
  };
  const fs::path other = temporary.path / "other";
  notices([&] { std::ofstream(path, std::ios::app) << "d"; });
  notices([&] { fs::resize_file(path, 2); });
  notices([&] { fs::remove(path); });
  notices([&] {
    std::ofstream(other) << "abc";
    fs::rename(other, path);
  });
  notices([&] {
    fs::rename(path, other);
    fs::create_symlink(other, path);
  });
  CHECK_THROWS_AS(File(path.string()), Failure);
}
