// Where the memory of a NumPy array or of a DLPack tensor is, found without a copy and without
// running Python code. What does not fit as it is goes to hwnas/runtime/arrays.py, which converts
// or refuses it; this file has no words for users.
#ifndef HWNAS_PYTHON_ARRAYS_HPP_
#define HWNAS_PYTHON_ARRAYS_HPP_

#include <nanobind/nanobind.h>

#include <cstdint>
#include <vector>

#include "hwnas/switcher.h"

namespace hwnas::python {

namespace nb = nanobind;

// NumPy's array interface, version 3: what `__array_struct__` holds.
struct ArrayInterface {
  int two;
  int rank;
  char kind;
  int item_bytes;
  int flags;
  Py_ssize_t* shape;
  Py_ssize_t* strides;
  void* data;
  PyObject* description;
};
constexpr int kContiguous = 0x1, kAligned = 0x100, kNative = 0x200, kWriteable = 0x400;

// DLPack 1: a tensor, and the table of functions that a type offers as `__dlpack_c_exchange_api__`.
struct DlTensor {
  void* data;
  int32_t device_type;
  int32_t device_id;
  int32_t rank;
  uint8_t code;
  uint8_t bits;
  uint16_t lanes;
  int64_t* shape;
  int64_t* strides;
  uint64_t byte_offset;
};
struct DlExchange {
  uint32_t major;
  uint32_t minor;
  DlExchange* older;
  void* unused[3];
  int (*view)(void* object, DlTensor* out);
  void* stream;
};
constexpr int32_t kDlCpu = 1;

// One dtype in each protocol's terms.
struct Dtype {
  hwnas_dtype code;
  const char* name;
  char kind;
  uint8_t dl_code;
  uint8_t bytes;
};
constexpr Dtype kDtypes[] = {
    {HWNAS_FLOAT32, "float32", 'f', 2, 4}, {HWNAS_FLOAT16, "float16", 'f', 2, 2},
    {HWNAS_FLOAT64, "float64", 'f', 2, 8}, {HWNAS_BFLOAT16, "bfloat16", 'V', 4, 2},
    {HWNAS_INT8, "int8", 'i', 0, 1},       {HWNAS_INT16, "int16", 'i', 0, 2},
    {HWNAS_INT32, "int32", 'i', 0, 4},     {HWNAS_INT64, "int64", 'i', 0, 8},
    {HWNAS_UINT8, "uint8", 'u', 1, 1},     {HWNAS_BOOL, "bool", 'b', 6, 1},
};

inline const Dtype& dtype_of(hwnas_dtype code) {
  for (const Dtype& dtype : kDtypes) {
    if (dtype.code == code) return dtype;
  }
  throw nb::value_error("the switcher names a dtype that this extension does not know");
}

// Names of attributes, made once; they live as long as the process.
inline PyObject* interned(const char* name) {
  PyObject* made = PyUnicode_InternFromString(name);
  if (made == nullptr) throw nb::python_error();
  return made;
}

inline nb::object array_struct(nb::handle array) {
  static PyObject* const name = interned("__array_struct__");
  PyObject* found = PyObject_GetAttr(array.ptr(), name);
  if (found == nullptr) throw nb::python_error();
  return nb::steal(found);
}

inline const ArrayInterface& interface_of(const nb::object& capsule) {
  void* found = PyCapsule_GetPointer(capsule.ptr(), nullptr);
  if (found == nullptr) throw nb::python_error();
  return *static_cast<const ArrayInterface*>(found);
}

// Address of an array that Python has checked or made; never nullptr.
inline void* checked_address(const nb::object& array) {
  static char nothing;  // an array without elements may have no address
  const nb::object capsule = array_struct(array);
  void* const data = interface_of(capsule).data;
  return data == nullptr ? &nothing : data;
}

// One input or output of a subnet, as Python sees it.
struct Port {
  Port(const hwnas_tensor_spec& spec, nb::handle arrays)
      : type(dtype_of(spec.dtype)),
        dims(spec.shape, spec.shape + spec.rank),
        bytes(spec.bytes),
        name(nb::steal<nb::str>(interned(spec.name))),
        dtype(arrays.attr("as_dtype")(type.name)) {
    nb::list sizes;
    for (const int64_t size : dims) sizes.append(size);
    shape = nb::tuple(sizes);
  }

  // Address of `value` if a runtime can use it as it is; nullptr if Python has to look at it.
  void* address(nb::handle value, nb::handle ndarray, bool write) const {
    auto* const numpy = reinterpret_cast<PyTypeObject*>(ndarray.ptr());
    return PyObject_TypeCheck(value.ptr(), numpy) ? numpy_address(value, write)
                                                  : exchange_address(value.ptr());
  }

  const Dtype& type;
  std::vector<int64_t> dims;
  size_t bytes;
  nb::str name;
  nb::object dtype;
  nb::tuple shape;

 private:
  template <typename Size>
  bool same_shape(int rank, const Size* sizes) const {
    if (static_cast<size_t>(rank) != dims.size()) return false;
    for (size_t i = 0; i < dims.size(); ++i) {
      if (static_cast<int64_t>(sizes[i]) != dims[i]) return false;
    }
    return true;
  }

  void* numpy_address(nb::handle value, bool write) const {
    const nb::object capsule = array_struct(value);
    const ArrayInterface& array = interface_of(capsule);
    const int flags = kContiguous | kAligned | kNative | (write ? kWriteable : 0);
    if ((array.flags & flags) != flags || array.kind != type.kind ||
        array.item_bytes != type.bytes || !same_shape(array.rank, array.shape)) {
      return nullptr;
    }
    // Kind V is any dtype that NumPy does not know by itself.
    if (type.kind == 'V' && !value.attr("dtype").is(dtype)) return nullptr;
    return array.data;
  }

  void* exchange_address(PyObject* value) const {
    static PyObject* const attribute = interned("__dlpack_c_exchange_api__");
    PyObject* found = PyObject_GetAttr(reinterpret_cast<PyObject*>(Py_TYPE(value)), attribute);
    if (found == nullptr) return PyErr_Clear(), nullptr;
    const nb::object capsule = nb::steal(found);
    if (PyCapsule_IsValid(found, "dlpack_exchange_api") == 0) return nullptr;
    const auto* api =
        static_cast<const DlExchange*>(PyCapsule_GetPointer(found, "dlpack_exchange_api"));
    if (api->major != 1 || api->view == nullptr) return nullptr;
    DlTensor tensor{};
    if (api->view(value, &tensor) != 0) return PyErr_Clear(), nullptr;
    if (tensor.device_type != kDlCpu || tensor.code != type.dl_code || tensor.lanes != 1 ||
        tensor.bits != 8 * type.bytes || !same_shape(tensor.rank, tensor.shape) ||
        !contiguous(tensor)) {
      return nullptr;
    }
    char* const data = static_cast<char*>(tensor.data) + tensor.byte_offset;
    if (reinterpret_cast<uintptr_t>(data) % type.bytes != 0) return nullptr;
    return is_negated(value) ? nullptr : data;
  }

  // Whether a tensor of torch stands for the negative of its memory, which DLPack cannot say. (The
  // conjugate, its other such mark, is for complex numbers alone.)
  static bool is_negated(PyObject* value) {
    static PyObject* const method = interned("is_neg");
    PyObject* found = PyObject_CallMethodNoArgs(value, method);
    if (found == nullptr) {
      const bool lacks_it = PyErr_ExceptionMatches(PyExc_AttributeError) != 0;  // is not torch's
      return PyErr_Clear(), !lacks_it;
    }
    const nb::object held = nb::steal(found);
    return found != Py_False;
  }

  bool contiguous(const DlTensor& tensor) const {
    if (tensor.strides == nullptr || bytes == 0) return true;
    int64_t step = 1;
    for (size_t i = dims.size(); i-- > 0; step *= dims[i]) {
      if (dims[i] != 1 && tensor.strides[i] != step) return false;
    }
    return true;
  }
};

}  // namespace hwnas::python

#endif  // HWNAS_PYTHON_ARRAYS_HPP_
