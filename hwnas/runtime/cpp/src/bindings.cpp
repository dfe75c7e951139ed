// The Python extension hwnas.runtime._native. This file and python_*.hpp are all that knows Python;
// they stand on the C interface alone.
#include <nanobind/nanobind.h>

#include "hwnas/version.h"

namespace nb = nanobind;

#ifdef HWNAS_HAVE_SWITCHER

#include <nanobind/stl/optional.h>
#include <nanobind/stl/string.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "hwnas/switcher.h"
#include "python_arrays.hpp"
#include "python_ports.hpp"

namespace {

using hwnas::python::Port;
using hwnas::python::Ports;
using hwnas::python::SubnetPorts;

// Runs under way hold a reference, so that closing never takes a handle from under one.
using Handle = std::shared_ptr<hwnas_switcher>;

nb::object steal_or_throw(PyObject* object) {
  if (object == nullptr) throw nb::python_error();
  return nb::steal(object);
}

// Without Python's lock, in its scope.
class Unlocked {
 public:
  Unlocked() : state_(PyEval_SaveThread()) {}
  ~Unlocked() {
    // Where the interpreter has ended meanwhile, Python ends a daemon thread that asks for its
    // lock, by unwinding its stack; that must not pass a destructor. It waits for the process to
    // end instead.
    try {
      PyEval_RestoreThread(state_);
    } catch (...) {
      for (;;) pause();
    }
  }
  Unlocked(const Unlocked&) = delete;
  Unlocked& operator=(const Unlocked&) = delete;

 private:
  PyThreadState* state_;
};

// Text of the core: a path in it need not be UTF-8.
nb::object decoded(const std::string& text) {
  return steal_or_throw(PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()),
                                             "backslashreplace"));
}

[[noreturn]] void raise(hwnas_status code, const std::string& cause, const std::string& fix) {
  const nb::object error = nb::module_::import_("hwnas.runtime.native")
                               .attr("error")(code, decoded(cause), decoded(fix));
  PyErr_SetObject(error.type().ptr(), error.ptr());
  throw nb::python_error();
}

// A path as the file system spells it; nothing for None.
std::optional<std::string> path_of(nb::handle path) {
  if (path.is_none()) return std::nullopt;
  PyObject* bytes = nullptr;
  if (PyUnicode_FSConverter(path.ptr(), &bytes) == 0) throw nb::python_error();
  const nb::object held = nb::steal(bytes);
  return std::string(PyBytes_AS_STRING(bytes), static_cast<size_t>(PyBytes_GET_SIZE(bytes)));
}

const char* c_str(const std::optional<std::string>& text) { return text ? text->c_str() : nullptr; }

// What a run reads and writes: the objects that own the memory, and where that is.
struct Tensors {
  explicit Tensors(size_t count) {
    owners.reserve(count);
    addresses.reserve(count);
  }
  void add(nb::object owner, void* address) {
    owners.push_back(std::move(owner));
    addresses.push_back(address);
  }
  std::vector<nb::object> owners;
  std::vector<void*> addresses;
};

class Switcher {
 public:
  Switcher(nb::handle path, nb::handle runtime_library, const std::optional<std::string>& subnet,
           int32_t threads, bool verify)
      : numpy_(nb::module_::import_("numpy")),
        arrays_(nb::module_::import_("hwnas.runtime.arrays")),
        ndarray_(numpy_.attr("ndarray")),
        empty_(numpy_.attr("empty")) {
    const std::string folder = path_of(path).value_or("");
    const std::optional<std::string> library = path_of(runtime_library);
    hwnas_options options;
    hwnas_options_init(&options);
    options.runtime_library = c_str(library);
    options.subnet = c_str(subnet);
    options.threads = threads;
    options.verify = verify ? 1 : 0;
    hwnas_switcher* opened = nullptr;
    std::string cause, fix;
    hwnas_status status = HWNAS_OK;
    {
      const Unlocked unlocked;
      status = hwnas_open(folder.c_str(), &options, &opened);
      if (status != HWNAS_OK) cause = hwnas_last_error(), fix = hwnas_last_fix();
    }
    if (status != HWNAS_OK) raise(status, cause, fix);
    handle_ = Handle(opened, hwnas_close);
    for (size_t i = 0; i < hwnas_subnet_count(opened); ++i) {
      const nb::str name(hwnas_subnet_name(opened, i));
      names_.append(name);
      index_[name] = i;
    }
    ports_.emplace(opened, names_, arrays_);
    runtime_version_ = nb::str(hwnas_runtime_version(opened));
  }

  nb::object run(nb::handle inputs, nb::handle subnet, nb::handle out) {
    Handle handle = open();
    // Read once: the arrays are held to the shapes of the subnet that then runs.
    const size_t index = subnet.is_none() ? hwnas_current(handle.get()) : index_of(subnet);
    const Ports& ports = ports_->of(index);
    Tensors read(ports.inputs.size());
    for (const Port& port : ports.inputs) add_input(read, inputs, port, index);
    if (nb::len(inputs) != ports.inputs.size()) refuse_names("input", inputs, ports.inputs);

    Tensors written(ports.outputs.size());
    const nb::object results = steal_or_throw(PyDict_New());
    if (out.is_none()) {
      for (const Port& port : ports.outputs) add_result(written, results, port);
    } else {
      add_outputs(written, results, out, read, index);
    }

    std::string cause, fix;
    hwnas_status status = HWNAS_OK;
    {
      const Unlocked unlocked;
      status = hwnas_run(handle.get(), index, read.addresses.data(), written.addresses.data());
      if (status != HWNAS_OK) cause = hwnas_last_error(), fix = hwnas_last_fix();
      handle.reset();  // the last one closes; not with Python's lock held
    }
    if (status != HWNAS_OK) raise(status, cause, fix);
    return results;
  }

  nb::object current() const {
    const size_t index = handle_ ? hwnas_current(handle_.get()) : last_;
    return nb::borrow(names_[index]);
  }

  void set_current(nb::handle subnet) {
    const Handle handle = open();
    const hwnas_status status = hwnas_set_current(handle.get(), index_of(subnet));
    if (status != HWNAS_OK) raise(status, hwnas_last_error(), hwnas_last_fix());
  }

  nb::object subnets() const { return nb::tuple(names_); }
  nb::object runtime_version() const { return runtime_version_; }
  bool closed() const { return !handle_; }

  void close() {
    if (!handle_) return;
    last_ = hwnas_current(handle_.get());
    Handle handle = std::move(handle_);
    handle_.reset();
    const Unlocked unlocked;
    handle.reset();
  }

 private:
  Handle open() const {
    if (!handle_) raise(-1, "the switcher is closed", "open a new one");
    return handle_;
  }

  // A subnet by name, or by number as in `subnets`.
  size_t index_of(nb::handle subnet) const {
    PyObject* index = subnet.ptr();
    if (!PyLong_CheckExact(index)) {
      index = PyDict_GetItemWithError(index_.ptr(), subnet.ptr());
      if (index == nullptr) refuse_subnet(subnet);
    }
    const size_t number = PyLong_AsSize_t(index);
    if (number == static_cast<size_t>(-1)) {
      if (PyErr_Occurred() == nullptr || PyErr_ExceptionMatches(PyExc_OverflowError) != 0) {
        PyErr_Clear();
        refuse_subnet(subnet);
      }
      throw nb::python_error();
    }
    if (number >= nb::len(names_)) refuse_subnet(subnet);
    return number;
  }

  [[noreturn]] void refuse_subnet(nb::handle subnet) const {
    if (PyErr_Occurred() != nullptr) throw nb::python_error();
    const nb::object error =
        nb::module_::import_("hwnas.errors").attr("UnknownName")("subnet", nb::str(subnet), names_);
    PyErr_SetObject(error.type().ptr(), error.ptr());
    throw nb::python_error();
  }

  // Raises if a name is unknown. Python has the words; called only where the count is wrong.
  void refuse_names(const char* what, nb::handle given, const std::vector<Port>& ports) const {
    nb::list known;
    for (const Port& port : ports) known.append(port.name);
    arrays_.attr("refuse_names")(what, given, known);
  }

  // The value of a plain dict; no object where it has none, or where it is another mapping.
  static nb::object look_up(nb::handle mapping, const Port& port) {
    if (PyDict_CheckExact(mapping.ptr()) == 0) return {};
    PyObject* value = PyDict_GetItemWithError(mapping.ptr(), port.name.ptr());
    if (value == nullptr && PyErr_Occurred() != nullptr) throw nb::python_error();
    return nb::borrow(value);
  }

  void add_input(Tensors& read, nb::handle inputs, const Port& port, size_t subnet) const {
    nb::object owner = look_up(inputs, port);
    void* address = owner.is_valid() ? port.address(owner, ndarray_, false) : nullptr;
    if (address == nullptr) {
      owner = arrays_.attr("given")(inputs, port.name, port.dtype, port.shape,
                                    ports_->told_name(subnet), ports_->takers());
      address = hwnas::python::checked_address(owner);
    }
    read.add(std::move(owner), address);
  }

  void add_result(Tensors& written, nb::handle results, const Port& port) const {
    PyObject* arguments[] = {port.shape.ptr(), port.dtype.ptr()};
    nb::object array = steal_or_throw(PyObject_Vectorcall(empty_.ptr(), arguments, 2, nullptr));
    void* address = hwnas::python::checked_address(array);
    set(results, port, array);
    written.add(std::move(array), address);
  }

  void add_outputs(Tensors& written, nb::handle results, nb::handle out, const Tensors& read,
                   size_t subnet) const {
    const Ports& ports = ports_->of(subnet);
    const bool plain = PyDict_CheckExact(out.ptr()) != 0;
    size_t known = 0;
    std::vector<bool> given;
    for (const Port& port : ports.outputs) {
      const nb::object value = look_up(out, port);
      known += value.is_valid() ? 1 : 0;
      const bool absent = plain && (!value.is_valid() || value.is_none());
      nb::object owner = value;
      void* address = value.is_valid() ? port.address(value, ndarray_, true) : nullptr;
      if (address == nullptr && !absent) {
        owner = arrays_.attr("taken")(out, port.name, port.dtype, port.shape,
                                      ports_->told_name(subnet));
        if (!owner.is_none()) address = hwnas::python::checked_address(owner);
      }
      given.push_back(address != nullptr);
      if (address == nullptr) {
        add_result(written, results, port);
      } else {
        set(results, port, value.is_valid() ? value : nb::object(out[port.name]));
        written.add(std::move(owner), address);
      }
    }
    if (known != nb::len(out)) refuse_names("output", out, ports.outputs);
    refuse_overlap(ports, read, written, given);
  }

  // Outputs that the caller gave must lie apart from the inputs and from each other.
  void refuse_overlap(const Ports& ports, const Tensors& read, const Tensors& written,
                      const std::vector<bool>& given) const {
    const std::vector<Port>&inputs = ports.inputs, &outputs = ports.outputs;
    const auto meet = [](const void* a, const Port& p, const void* b, const Port& q) {
      const auto x = reinterpret_cast<uintptr_t>(a);
      const auto y = reinterpret_cast<uintptr_t>(b);
      return std::max(x, y) < std::min(x + p.bytes, y + q.bytes);
    };
    const auto refuse = [&](const Port& port, const char* what, const Port& other) {
      arrays_.attr("refuse_overlap")(port.name, what, other.name);
    };
    for (size_t i = 0; i < outputs.size(); ++i) {
      if (!given[i]) continue;
      const void* const own = written.addresses[i];
      for (size_t k = 0; k < inputs.size(); ++k) {
        if (meet(own, outputs[i], read.addresses[k], inputs[k])) {
          refuse(outputs[i], "input", inputs[k]);
        }
      }
      for (size_t k = 0; k < i; ++k) {
        if (given[k] && meet(own, outputs[i], written.addresses[k], outputs[k])) {
          refuse(outputs[i], "output", outputs[k]);
        }
      }
    }
  }

  static void set(nb::handle results, const Port& port, const nb::object& value) {
    if (PyDict_SetItem(results.ptr(), port.name.ptr(), value.ptr()) != 0) throw nb::python_error();
  }

  Handle handle_;
  size_t last_ = 0;  // the current subnet when it was closed
  nb::object numpy_, arrays_, ndarray_, empty_, runtime_version_;
  nb::list names_;
  nb::dict index_;
  std::optional<SubnetPorts> ports_;
};

void bind_switcher(nb::module_& m) {
  nb::class_<Switcher>(m, "Switcher", "An open bundle; see hwnas.runtime.Switcher.")
      .def(nb::init<nb::handle, nb::handle, std::optional<std::string>, int32_t, bool>(),
           nb::arg("path"), nb::arg("runtime_library").none() = nb::none(),
           nb::arg("subnet").none() = nb::none(), nb::arg("threads") = 1, nb::arg("verify") = true,
           nb::sig("def __init__(self, path: str | os.PathLike[str], runtime_library: str | "
                   "os.PathLike[str] | None = None, subnet: str | None = None, threads: int = 1, "
                   "verify: bool = True) -> None"))
      .def("run", &Switcher::run, nb::arg("inputs"), nb::arg("subnet").none() = nb::none(),
           nb::arg("out").none() = nb::none(),
           nb::sig("def run(self, inputs: collections.abc.Mapping[str, typing.Any], subnet: str | "
                   "int | None = None, out: collections.abc.Mapping[str, typing.Any] | None = "
                   "None) -> dict[str, typing.Any]"),
           "Run one subnet once, with Python's lock released.")
      .def_prop_ro("subnets", &Switcher::subnets, nb::sig("def subnets(self) -> tuple[str, ...]"),
                   "Names of the subnets, in the order of the manifest.")
      .def_prop_rw("current", &Switcher::current, &Switcher::set_current,
                   nb::for_getter(nb::sig("def current(self) -> str")),
                   nb::for_setter(nb::sig("def current(self, subnet: str | int) -> None")),
                   "Name of the current subnet; set by name or by number.")
      .def_prop_ro("runtime_version", &Switcher::runtime_version,
                   nb::sig("def runtime_version(self) -> str"),
                   "Version of the ONNX Runtime that runs.")
      .def_prop_ro("closed", &Switcher::closed, "Whether it was closed.")
      .def("close", &Switcher::close, "Release everything; runs under way end well.");
}

}  // namespace

#endif  // HWNAS_HAVE_SWITCHER

NB_MODULE(_native, m) {
  m.doc() = "The native part of hwnas.runtime.";
  m.def(
      "version", [] { return HWNAS_VERSION; },
      "Return the version that the extension was built from.");
#ifdef HWNAS_HAVE_SWITCHER
  // A switcher may well be open when the interpreter ends; that is no mistake to print. Of other
  // extensions it may be one: theirs is another domain.
  nb::set_leak_warnings(false);
  m.attr("has_switcher") = true;
  bind_switcher(m);
#else
  m.attr("has_switcher") = false;
#endif
}
