// The Python extension hwnas.runtime._native: the only file that knows Python.
#include <nanobind/nanobind.h>

#include "hwnas/version.h"

namespace nb = nanobind;

NB_MODULE(_native, m) {
  m.doc() = "The native part of hwnas.runtime.";
  m.def(
      "version", [] { return HWNAS_VERSION; },
      "Return the version that the extension was built from.");
}
