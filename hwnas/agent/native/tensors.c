// Inputs that come out the same on every machine, and outputs held against what is expected.
#include "agent.h"

#include <math.h>
#include <string.h>

#include "onnxruntime_c_api.h"

static const struct dtype kDtypes[] = {
    {"float32", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT, 4, 'f'},
    {"float64", ONNX_TENSOR_ELEMENT_DATA_TYPE_DOUBLE, 8, 'f'},
    {"float16", ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16, 2, 'f'},
    {"bool", ONNX_TENSOR_ELEMENT_DATA_TYPE_BOOL, 1, 'b'},
    {"int8", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, 1, 'i'},
    {"int16", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT16, 2, 'i'},
    {"int32", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32, 4, 'i'},
    {"int64", ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64, 8, 'i'},
    {"uint8", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, 1, 'u'},
    {"uint16", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT16, 2, 'u'},
    {"uint32", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT32, 4, 'u'},
    {"uint64", ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT64, 8, 'u'},
};

const struct dtype* dtype_named(const char* name) {
  for (size_t i = 0; i < sizeof kDtypes / sizeof *kDtypes; ++i)
    if (strcmp(kDtypes[i].name, name) == 0) return &kDtypes[i];
  return NULL;
}

const struct dtype* dtype_of_onnx(int onnx) {
  for (size_t i = 0; i < sizeof kDtypes / sizeof *kDtypes; ++i)
    if (kDtypes[i].onnx == onnx) return &kDtypes[i];
  return NULL;
}

// To half precision, ties to even. Inputs are below 2 and above 2^-24, or 0.
static uint16_t to_half(float value) {
  uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
  int exponent = (int)(bits >> 23 & 0xff) - 127 + 15;
  uint32_t mantissa = (bits & 0x7fffff) | 0x800000;
  int drop = 13;
  if (exponent <= 0) {  // subnormal there
    drop += 1 - exponent;
    exponent = 0;
    if (drop > 24) return sign;
  }
  uint32_t kept = mantissa >> drop, half = 1u << (drop - 1), rest = mantissa & ((1u << drop) - 1);
  if (rest > half || (rest == half && (kept & 1))) ++kept;
  // Adding lets a carry run into the exponent, as it should.
  return (uint16_t)(sign + (exponent == 0 ? kept : ((uint32_t)(exponent - 1) << 10) + kept));
}

static double from_half(uint16_t half) {
  int exponent = half >> 10 & 31, mantissa = half & 1023;
  double value = exponent == 31  ? (mantissa ? NAN : INFINITY)
                 : exponent == 0 ? ldexp(mantissa, -24)
                                 : ldexp(mantissa + 1024, exponent - 25);
  return half & 0x8000 ? -value : value;
}

void fill_input(const struct tensor* tensor, int64_t index, int64_t seed, void* data) {
  uint64_t state = (uint64_t)seed + ((uint64_t)index + 1) * 0x9E3779B97F4A7C15u;
  char* to = data;
  size_t size = tensor->dtype->size;
  for (int64_t i = 0; i < tensor->count; ++i, to += size) {
    uint64_t z = splitmix64(state + (uint64_t)i);
    if (tensor->dtype->kind != 'f') {
      memset(to, 0, size);
      *(to + (*(const char*)&(const uint16_t){1} ? 0 : size - 1)) = (char)(z & 1);
      continue;
    }
    // From -sqrt(3) to sqrt(3): standard deviation 1.
    float value = (float)((double)((int64_t)(z >> 40) - 8388608) * (1.7320508 / 8388608));
    double wide = value;
    uint16_t half = to_half(value);
    memcpy(to, size == 4 ? (void*)&value : size == 8 ? (void*)&wide : (void*)&half, size);
  }
}

static double element(const struct dtype* dtype, const char* at) {
#define AS(letter, type)                                           \
  if (dtype->kind == (letter) && dtype->size == sizeof(type)) {    \
    type value;                                                    \
    memcpy(&value, at, sizeof value);                              \
    return (double)value;                                          \
  }
  AS('f', float)
  AS('f', double)
  AS('i', int8_t)
  AS('i', int16_t)
  AS('i', int32_t)
  AS('i', int64_t)
  AS('u', uint16_t)
  AS('u', uint32_t)
  AS('u', uint64_t)
#undef AS
  uint16_t half;
  if (dtype->kind != 'f') return *(const unsigned char*)at;
  memcpy(&half, at, sizeof half);
  return from_half(half);
}

double compare_output(const struct expected* expected, const void* data) {
  const struct dtype* dtype = expected->tensor.dtype;
  int64_t count = expected->tensor.count;
  double worst = 0, sum = 0, squares = 0;
  for (int64_t i = 0; i < count; ++i) {
    double got = element(dtype, (const char*)data + (size_t)i * dtype->size);
    sum += got;
    squares += got * got;
    if (i % expected->step != 0) continue;
    float want;
    memcpy(&want, expected->values + 4 * (i / expected->step), sizeof want);
    if (!isfinite(want)) continue;
    if (!isfinite(got)) return INFINITY;
    worst = fmax(worst, fabs(got - (double)want));
  }
  double mean = count > 0 ? sum / (double)count : 0;
  double rms = count > 0 ? sqrt(squares / (double)count) : 0;
  double differences[] = {fabs(mean - expected->mean), fabs(rms - expected->rms)};
  for (int i = 0; i < 2; ++i)
    worst = isfinite(differences[i]) ? fmax(worst, differences[i]) : INFINITY;
  return worst / fmax(expected->rms, 1e-12);
}
