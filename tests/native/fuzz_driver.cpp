// Runs the fuzz target where there is no libFuzzer: over files, and mutations of each that are the
// same every time. Usage: native_fuzz MUTATIONS FILE_OR_FOLDER...
#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <random>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

namespace fs = std::filesystem;

void run(const std::string& bytes) {
  LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
}

class Mutator {
 public:
  explicit Mutator(unsigned seed) : random_(seed) {}

  std::string operator()(std::string bytes) {
    for (std::size_t times = 1 + below(3); times > 0 && bytes.size() > 1; --times) once(bytes);
    return bytes;
  }

 private:
  std::size_t below(std::size_t limit) { return random_() % limit; }

  void once(std::string& bytes) {
    static const char* const kTokens[] = {"-1", "0", "9223372036854775807", "18446744073709551616",
                                          "1e400", "null", "{}", "[]", "\"\"", "\"../x\"",
                                          "\xff\xff\xff\xff\x0f", "\x80\x80", "\\u0000"};
    const std::size_t at = 1 + below(bytes.size() - 1);
    const std::size_t length = std::min(bytes.size() - at, below(24));
    switch (below(7)) {
      case 0:
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << below(8)));
        break;
      case 1:
        bytes[at] = static_cast<char>(below(256));
        break;
      case 2:
        bytes.erase(at, length);
        break;
      case 3:
        bytes.insert(1 + below(bytes.size() - 1), bytes.substr(at, length));
        break;
      case 4:
        bytes.replace(at, length, kTokens[below(std::size(kTokens))]);
        break;
      case 5:
        bytes.resize(at);
        break;
      default:  // a number: changes a size, an offset, an index
        replace_number(bytes, at);
    }
  }

  void replace_number(std::string& bytes, std::size_t at) {
    const std::size_t start = bytes.find_first_of("0123456789", at);
    if (start == bytes.npos) return;
    const std::size_t end = std::min(bytes.find_first_not_of("0123456789", start), bytes.size());
    static const char* const kNumbers[] = {"0", "1", "2", "7", "4294967296", "68719476736"};
    bytes.replace(start, end - start, kNumbers[below(std::size(kNumbers))]);
  }

  std::mt19937 random_;
};

std::vector<fs::path> files(int count, char** names) {
  std::vector<fs::path> found;
  for (int i = 0; i < count; ++i) {
    if (!fs::is_directory(names[i])) {
      found.emplace_back(names[i]);
      continue;
    }
    for (const auto& entry : fs::directory_iterator(names[i])) found.push_back(entry.path());
  }
  std::sort(found.begin(), found.end());
  return found;
}

}  // namespace

int main(int count, char** arguments) {
  const long mutations = count > 1 ? std::atol(arguments[1]) : 0;
  const auto found = files(count - 2, arguments + 2);
  if (count < 3 || found.empty()) {
    std::fputs("usage: native_fuzz MUTATIONS FILE_OR_FOLDER...\n", stderr);
    return 2;
  }
  for (const fs::path& path : found) {
    std::ifstream file(path, std::ios::binary);
    const std::string bytes{std::istreambuf_iterator<char>(file), {}};
    run(bytes);
    Mutator mutate(1);
    for (long i = 0; i < mutations; ++i) run(mutate(bytes));
  }
  std::printf("%zu files, %ld mutations of each\n", found.size(), mutations);
  return 0;
}
