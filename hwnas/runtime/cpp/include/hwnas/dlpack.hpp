// Running on DLPack tensors, without a copy. Header only; needs <dlpack/dlpack.h> of the embedder.
//
// A tensor must lie in the CPU's memory, be C-contiguous and have exactly the dtype and shape of
// its spec. Tensors stay the caller's: they are borrowed while run() runs.
#ifndef HWNAS_DLPACK_HPP_
#define HWNAS_DLPACK_HPP_

#include <dlpack/dlpack.h>

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "hwnas/switcher.hpp"

namespace hwnas {

// DLPack's dtype of a spec's dtype.
inline DLDataType dlpack_dtype(hwnas_dtype dtype) {
  constexpr std::uint8_t kBool = 6;  // kDLBool, which older headers lack
  switch (dtype) {
    case HWNAS_FLOAT32:
      return {kDLFloat, 32, 1};
    case HWNAS_FLOAT64:
      return {kDLFloat, 64, 1};
    case HWNAS_FLOAT16:
      return {kDLFloat, 16, 1};
    case HWNAS_BFLOAT16:
      return {kDLBfloat, 16, 1};
    case HWNAS_UINT8:
      return {kDLUInt, 8, 1};
    case HWNAS_INT8:
      return {kDLInt, 8, 1};
    case HWNAS_INT16:
      return {kDLInt, 16, 1};
    case HWNAS_INT32:
      return {kDLInt, 32, 1};
    case HWNAS_INT64:
      return {kDLInt, 64, 1};
    case HWNAS_BOOL:
      return {kBool, 8, 1};
    default:
      throw Error(HWNAS_ERROR_INTERNAL, "a dtype that DLPack does not have", "upgrade hwnas");
  }
}

// Address of the first element of `tensor`; Error HWNAS_ERROR_INPUT if it is not as `spec` says.
inline void* dlpack_data(const DLTensor& tensor, const TensorSpec& spec) {
  const auto refuse = [&](const char* why, const char* fix) {
    throw Error(HWNAS_ERROR_INPUT, "the tensor for '" + spec.name() + "' " + why, fix);
  };
  if (tensor.device.device_type != kDLCPU && tensor.device.device_type != kDLCUDAHost) {
    refuse("is not in the CPU's memory", "move it to the CPU first");
  }
  const DLDataType wanted = dlpack_dtype(spec.dtype());
  if (tensor.dtype.code != wanted.code || tensor.dtype.bits != wanted.bits ||
      tensor.dtype.lanes != wanted.lanes) {
    refuse("has another dtype than the subnet's", "convert it first");
  }
  const std::vector<std::int64_t> shape = spec.shape();
  bool same = tensor.ndim >= 0 && static_cast<std::size_t>(tensor.ndim) == shape.size();
  for (std::size_t i = 0; same && i < shape.size(); ++i) same = tensor.shape[i] == shape[i];
  if (!same) refuse("has another shape than the subnet's", "reshape it first");
  std::int64_t stride = 1;
  for (std::size_t i = shape.size(); i-- > 0 && tensor.strides != nullptr && spec.bytes() > 0;) {
    if (shape[i] != 1 && tensor.strides[i] != stride) {  // of a dimension of 1, any stride will do
      refuse("is not C-contiguous", "make it contiguous first");
    }
    stride *= shape[i];
  }
  if (tensor.data == nullptr) return nullptr;
  return static_cast<char*>(tensor.data) + tensor.byte_offset;
}

// Runs one subnet once on DLPack tensors, one per input and output, in order, of its shapes.
inline void run(Switcher& switcher, const std::vector<const DLTensor*>& inputs,
                const std::vector<DLTensor*>& outputs, std::size_t subnet = Switcher::kCurrent) {
  const auto gather = [](const auto& tensors, const std::vector<TensorSpec>& specs, auto& into) {
    for (std::size_t i = 0; i < tensors.size() && i < specs.size(); ++i) {
      if (tensors[i] == nullptr) {
        throw Error(HWNAS_ERROR_INPUT, "the tensor for '" + specs[i].name() + "' is missing",
                    "give a tensor, not a null pointer");
      }
      into.push_back(dlpack_data(*tensors[i], specs[i]));
    }
    into.resize(tensors.size(), nullptr);  // too many are refused by number
  };
  std::vector<const void*> from;
  std::vector<void*> to;
  if (subnet == Switcher::kCurrent) subnet = switcher.current();  // the one that is looked at runs
  gather(inputs, switcher.inputs(subnet), from);
  gather(outputs, switcher.outputs(subnet), to);
  switcher.run(from, to, subnet);
}

}  // namespace hwnas

#endif  // HWNAS_DLPACK_HPP_
