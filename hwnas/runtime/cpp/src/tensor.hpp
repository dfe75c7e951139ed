// Name, dtype and shape of a tensor.
#ifndef HWNAS_SRC_TENSOR_HPP_
#define HWNAS_SRC_TENSOR_HPP_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hwnas/switcher.h"

namespace hwnas::core {

// Elements of a tensor; a file that says more is not asked for the memory.
constexpr std::int64_t kMostElements = std::int64_t{1} << 36;
constexpr std::size_t kHighestRank = 32;

struct TensorSpec {
  std::string name;
  hwnas_dtype dtype = HWNAS_FLOAT32;
  std::vector<std::int64_t> shape;
  std::size_t bytes = 0;  // C-contiguous

  bool fits(const TensorSpec& other) const { return dtype == other.dtype && shape == other.shape; }
  std::string text() const;  // such as "float32[1,16]"
};

std::optional<hwnas_dtype> dtype_named(std::string_view name);  // by NumPy's name
const char* dtype_name(hwnas_dtype dtype);
std::size_t dtype_size(hwnas_dtype dtype);

// Bytes of one tensor; nothing if it has more than kMostElements elements.
std::optional<std::size_t> tensor_bytes(hwnas_dtype dtype, const std::vector<std::int64_t>& shape);

}  // namespace hwnas::core

#endif  // HWNAS_SRC_TENSOR_HPP_
