// The C++ interface, and DLPack.
#include <doctest/doctest.h>

#include <cstring>

#include "hwnas/dlpack.hpp"
#include "support.hpp"

namespace {

struct Image {
  std::int64_t shape[2] = {1, 16};
  std::int64_t strides[2] = {16, 1};
  alignas(64) float data[20] = {};
  DLTensor tensor = {data, {kDLCPU, 0}, 2, {kDLFloat, 32, 1}, shape, strides, 0};
};

}  // namespace

TEST_CASE("a switcher moves, and its vectors are counted") {
  hwnas::Switcher first = hwnas::Switcher::open(support::bundle("layers").string());
  hwnas::Switcher second(std::move(first));
  hwnas::Switcher third(support::bundle("layers").string());
  third = std::move(second);
  float image[16] = {}, logits[4] = {};
  third.set_current("d1-h8");
  third.run({image}, {logits});
  CHECK_THROWS_AS(third.run({}, {logits}), hwnas::Error);
  CHECK_THROWS_AS(third.run({image, image}, {logits}), hwnas::Error);
  CHECK_THROWS_AS(third.run({image}, {logits, logits}), hwnas::Error);
  third.release_thread();
  third.run({image}, {logits});
  float again[4] = {};
  third.set_current("d3-h16");
  third.run({image}, {again}, "d1-h8");
  CHECK(std::memcmp(logits, again, sizeof logits) == 0);
  CHECK_THROWS_AS(third.run({image}, {again}, "d9"), hwnas::Error);
  CHECK(first.runtime_version().empty());  // NOLINT: it was moved from
}

TEST_CASE("DLPack tensors pass without a copy, from where their offset says") {
  hwnas::Switcher switcher(support::bundle("layers").string());
  const support::Expected expected("layers", switcher);
  Image image;
  std::memcpy(image.data + 4, expected.inputs[0].data(), 64);
  image.tensor.byte_offset = 16;
  float logits[4];
  std::int64_t shape[] = {1, 4};
  DLTensor out = {logits, {kDLCPU, 0}, 2, {kDLFloat, 32, 1}, shape, nullptr, 0};
  hwnas::run(switcher, {&image.tensor}, {&out}, 2);
  CHECK(std::memcmp(logits, expected.outputs[0][2].data(), 16) == 0);
}

TEST_CASE("DLPack tensors have the shapes of the subnet that runs") {
  hwnas::Switcher switcher(support::bundle("shapes").string());
  const support::Expected expected("shapes", switcher);
  const std::size_t small = switcher.find("r8-d1-mlp.h16");
  std::vector<float> image(3 * 8 * 8), logits(4), map(16 * 8 * 8);
  std::memcpy(image.data(), expected.inputs[0].data(), image.size() * sizeof(float));
  std::int64_t takes[] = {1, 3, 8, 8}, flat[] = {1, 4}, gives[] = {1, 16, 8, 8};
  DLTensor in = {image.data(), {kDLCPU, 0}, 4, {kDLFloat, 32, 1}, takes, nullptr, 0};
  DLTensor first = {logits.data(), {kDLCPU, 0}, 2, {kDLFloat, 32, 1}, flat, nullptr, 0};
  DLTensor out = {map.data(), {kDLCPU, 0}, 4, {kDLFloat, 32, 1}, gives, nullptr, 0};
  hwnas::run(switcher, {&in}, {&first, &out}, small);
  CHECK(std::memcmp(map.data(), expected.outputs[0][small].data() + 16, map.size() * 4) == 0);
  CHECK_THROWS_AS(hwnas::run(switcher, {&in}, {&first, &out}), hwnas::Error);  // the large one
  switcher.set_current(small);
  CHECK_NOTHROW(hwnas::run(switcher, {&in}, {&first, &out}));
}

TEST_CASE("DLPack tensors that do not fit are refused") {
  hwnas::Switcher switcher(support::bundle("layers").string());
  const hwnas::TensorSpec spec = switcher.inputs()[0];
  Image good;
  CHECK(hwnas::dlpack_data(good.tensor, spec) == good.data);
  good.strides[0] = 99;  // of a dimension of 1: without meaning
  CHECK(hwnas::dlpack_data(good.tensor, spec) == good.data);
  Image device, code, bits, lanes, rank, shape, strides;
  device.tensor.device.device_type = kDLCUDA;
  code.tensor.dtype.code = kDLInt;
  bits.tensor.dtype.bits = 64;
  lanes.tensor.dtype.lanes = 2;
  rank.tensor.ndim = 1;
  shape.shape[1] = 15;
  strides.strides[1] = 2;
  for (const Image* image : {&device, &code, &bits, &lanes, &rank, &shape, &strides}) {
    CHECK_THROWS_AS(hwnas::dlpack_data(image->tensor, spec), hwnas::Error);
  }
  CHECK_THROWS_AS(hwnas::run(switcher, {nullptr}, {}), hwnas::Error);
  CHECK_THROWS_AS(hwnas::run(switcher, {}, {}), hwnas::Error);
  CHECK(hwnas::dlpack_dtype(HWNAS_BFLOAT16).code == kDLBfloat);
  CHECK(hwnas::dlpack_dtype(HWNAS_BOOL).code == 6);
  CHECK_THROWS_AS(hwnas::dlpack_dtype(99), hwnas::Error);
}
