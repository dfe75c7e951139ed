#include "machine.hpp"

#include <sys/utsname.h>

#include <algorithm>
#include <fstream>
#include <unordered_set>

#include "failure.hpp"

namespace hwnas::core {
namespace {

constexpr const char* kX86[] = {
    "avx",      "avx2",     "fma",         "f16c",        "avx512f",  "avx512bw",  "avx512dq",
    "avx512vl", "avx512_vnni", "avx512_bf16", "avx_vnni", "amx_tile", "amx_int8", "amx_bf16"};
constexpr const char* kArm[] = {"asimdhp", "asimddp", "i8mm", "bf16", "sve", "sve2"};

std::unordered_set<std::string_view> first_flags(std::string_view cpuinfo) {
  std::unordered_set<std::string_view> words;
  while (!cpuinfo.empty()) {
    const std::size_t end = std::min(cpuinfo.find('\n'), cpuinfo.size());
    const std::string_view line = cpuinfo.substr(0, end);
    cpuinfo.remove_prefix(std::min(end + 1, cpuinfo.size()));
    const std::size_t colon = line.find(':');
    if (colon == line.npos) continue;
    const std::string_view key = line.substr(0, line.find_first_of(" \t:"));
    if (key != "flags" && key != "Features") continue;
    for (std::size_t at = colon + 1; at < line.size();) {
      const std::size_t stop = std::min(line.find_first_of(" \t", at), line.size());
      words.insert(line.substr(at, stop - at));
      at = stop + 1;
    }
    break;
  }
  return words;
}

std::string joined(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : " ") + name;
  return text.empty() ? "no vector extension" : text;
}

}  // namespace

std::string machine_name() {
  struct utsname found {};
  return uname(&found) == 0 ? found.machine : "unknown";
}

std::vector<std::string> isa_of(std::string_view machine, std::string_view cpuinfo) {
  const auto present = first_flags(cpuinfo);
  std::vector<std::string> isa;
  const auto pick = [&](const auto& names) {
    for (const char* name : names) {
      if (present.count(name) > 0) isa.emplace_back(name);
    }
  };
  if (machine == "x86_64") pick(kX86);
  if (machine == "aarch64") pick(kArm);
  return isa;
}

std::vector<std::string> this_isa() {
  std::ifstream file("/proc/cpuinfo");
  std::string text, line;
  while (std::getline(file, line)) {
    text += line + "\n";
    if (line.compare(0, 5, "flags") == 0 || line.compare(0, 8, "Features") == 0) break;
  }
  return isa_of(machine_name(), text);
}

void check_finalised(const Finalised& made, const std::string& runtime_version,
                     const std::string& bundle) {
  const std::string wanted =
      made.runtime + " " + made.version + " on " + made.machine + " with " + joined(made.isa);
  const std::string found =
      "onnxruntime " + runtime_version + " on " + machine_name() + " with " + joined(this_isa());
  if (wanted != found) {
    fail(HWNAS_ERROR_FOREIGN,
         bundle + " was finalised for " + wanted + "; this is " + found,
         "make it for this machine: hwnas export BUNDLE_OR_SPACE --to bundle --finalise -o OUT");
  }
}

}  // namespace hwnas::core
