#include <doctest/doctest.h>

#include "failure.hpp"
#include "machine.hpp"

using namespace hwnas::core;

TEST_CASE("vector extensions come from the first flags line, in a fixed order") {
  const char* x86 = "processor\t: 0\nflags\t\t: fpu avx2 fma  avx avx512_vnni\nflags\t: amx_tile\n";
  CHECK(isa_of("x86_64", x86) ==
        std::vector<std::string>{"avx", "avx2", "fma", "avx512_vnni"});
  CHECK(isa_of("aarch64", "Features\t: fp asimd bf16 asimddp\n") ==
        std::vector<std::string>{"asimddp", "bf16"});
  for (const char* text : {"", "flags", "flags:", "flags :\n", "no: avx\n", "flags\t: avxx\n"}) {
    CHECK(isa_of("x86_64", text).empty());
  }
  CHECK(isa_of("riscv64", x86).empty());
}

TEST_CASE("a bundle that was finalised for another machine or version is refused") {
  Finalised made{"onnxruntime", "1.32.0", machine_name(), this_isa()};
  CHECK_NOTHROW(check_finalised(made, "1.32.0", "out"));
  const auto refused = [](const Finalised& other) {
    try {
      check_finalised(other, "1.32.0", "out");
    } catch (const Failure& failure) {
      CHECK(std::string(failure.fix()).find("hwnas export") != std::string::npos);
      return failure.code();
    }
    return static_cast<hwnas_status>(HWNAS_OK);
  };
  Finalised version = made, machine = made, isa = made, runtime = made;
  version.version = "1.31.0";
  machine.machine = "m68k";
  isa.isa.push_back("avx1024");
  runtime.runtime = "tvm";
  for (const Finalised& other : {version, machine, isa, runtime}) {
    CHECK(refused(other) == HWNAS_ERROR_FOREIGN);
  }
}
