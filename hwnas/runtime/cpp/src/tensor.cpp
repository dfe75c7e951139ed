#include "tensor.hpp"

namespace hwnas::core {
namespace {

struct Row {
  hwnas_dtype dtype;
  std::size_t size;
  const char* name;
};

constexpr Row kRows[] = {
    {HWNAS_FLOAT32, 4, "float32"}, {HWNAS_UINT8, 1, "uint8"},     {HWNAS_INT8, 1, "int8"},
    {HWNAS_INT16, 2, "int16"},     {HWNAS_INT32, 4, "int32"},     {HWNAS_INT64, 8, "int64"},
    {HWNAS_BOOL, 1, "bool"},       {HWNAS_FLOAT16, 2, "float16"}, {HWNAS_FLOAT64, 8, "float64"},
    {HWNAS_BFLOAT16, 2, "bfloat16"}};

const Row* row(hwnas_dtype dtype) {
  for (const Row& found : kRows) {
    if (found.dtype == dtype) return &found;
  }
  return nullptr;
}

}  // namespace

std::string TensorSpec::text() const {
  std::string result = std::string(dtype_name(dtype)) + "[";
  for (std::size_t i = 0; i < shape.size(); ++i) {
    result += (i > 0 ? "," : "") + std::to_string(shape[i]);
  }
  return result + "]";
}

std::optional<hwnas_dtype> dtype_named(std::string_view name) {
  for (const Row& found : kRows) {
    if (name == found.name) return found.dtype;
  }
  return std::nullopt;
}

const char* dtype_name(hwnas_dtype dtype) {
  const Row* found = row(dtype);
  return found == nullptr ? "an unknown dtype" : found->name;
}

std::size_t dtype_size(hwnas_dtype dtype) {
  const Row* found = row(dtype);
  return found == nullptr ? 1 : found->size;
}

std::optional<std::size_t> tensor_bytes(hwnas_dtype dtype, const std::vector<std::int64_t>& shape) {
  std::int64_t elements = 1;
  for (const std::int64_t dim : shape) {
    if (dim < 0 || dim > kMostElements) return std::nullopt;
    // Divided, not multiplied: the product may not fit.
    if (dim > 0 && elements > kMostElements / dim) return std::nullopt;
    elements *= dim;
  }
  return static_cast<std::size_t>(elements) * dtype_size(dtype);
}

}  // namespace hwnas::core
