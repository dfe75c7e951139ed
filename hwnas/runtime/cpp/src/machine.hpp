// This machine's CPU type, and whether a finalised bundle was made for it.
#ifndef HWNAS_SRC_MACHINE_HPP_
#define HWNAS_SRC_MACHINE_HPP_

#include <string>
#include <string_view>
#include <vector>

#include "manifest.hpp"

namespace hwnas::core {

// As `uname -m` says, such as "x86_64".
std::string machine_name();

// The vector extensions, in a fixed order, that the first "flags" or "Features" line of a
// /proc/cpuinfo names. What ONNX Runtime's choice of kernels and layouts depends on.
std::vector<std::string> isa_of(std::string_view machine, std::string_view cpuinfo);

// The same of this machine.
std::vector<std::string> this_isa();

// Failure HWNAS_ERROR_FOREIGN, naming both, if `made` is for another runtime or CPU type.
void check_finalised(const Finalised& made, const std::string& runtime_version,
                     const std::string& bundle);

}  // namespace hwnas::core

#endif  // HWNAS_SRC_MACHINE_HPP_
