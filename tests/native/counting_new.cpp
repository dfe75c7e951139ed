#include "counting_new.hpp"

#include <atomic>
#include <cstddef>
#include <cstdlib>
#include <new>

namespace {

std::atomic<long> allocated{0};
std::atomic<long> left{counting::kNever};
std::atomic<bool> failed{false};

void* allocate(std::size_t size, std::size_t alignment) noexcept {
  ++allocated;
  if (left.load() >= 0 && left.fetch_sub(1) == 0) {
    failed = true;
    return nullptr;
  }
  if (alignment <= alignof(std::max_align_t)) return std::malloc(size == 0 ? 1 : size);
  return std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
}

void* or_throw(void* memory) {
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}

}  // namespace

// Not seen by shared libraries: ONNX Runtime's allocations are neither counted nor made to fail.
// The operators cannot be declared hidden, because the compiler has declared them already.
#define HWNAS_HIDDEN(symbol) __asm__(".hidden " symbol)
HWNAS_HIDDEN("_Znwm");
HWNAS_HIDDEN("_Znam");
HWNAS_HIDDEN("_ZnwmSt11align_val_t");
HWNAS_HIDDEN("_ZnamSt11align_val_t");
HWNAS_HIDDEN("_ZnwmRKSt9nothrow_t");
HWNAS_HIDDEN("_ZnamRKSt9nothrow_t");
HWNAS_HIDDEN("_ZdlPv");
HWNAS_HIDDEN("_ZdaPv");
HWNAS_HIDDEN("_ZdlPvm");
HWNAS_HIDDEN("_ZdaPvm");
HWNAS_HIDDEN("_ZdlPvSt11align_val_t");
HWNAS_HIDDEN("_ZdaPvSt11align_val_t");
HWNAS_HIDDEN("_ZdlPvmSt11align_val_t");
HWNAS_HIDDEN("_ZdaPvmSt11align_val_t");
HWNAS_HIDDEN("_ZdlPvRKSt9nothrow_t");
HWNAS_HIDDEN("_ZdaPvRKSt9nothrow_t");

namespace counting {

long allocations() { return allocated; }
void fail_after(long count) {
  failed = false;
  left = count;
}
bool has_failed() { return failed; }

}  // namespace counting

void* operator new(std::size_t size) { return or_throw(allocate(size, 1)); }
void* operator new[](std::size_t size) { return or_throw(allocate(size, 1)); }
void* operator new(std::size_t size, std::align_val_t alignment) {
  return or_throw(allocate(size, static_cast<std::size_t>(alignment)));
}
void* operator new[](std::size_t size, std::align_val_t alignment) {
  return or_throw(allocate(size, static_cast<std::size_t>(alignment)));
}
void* operator new(std::size_t size, const std::nothrow_t&) noexcept { return allocate(size, 1); }
void* operator new[](std::size_t size, const std::nothrow_t&) noexcept { return allocate(size, 1); }
void operator delete(void* memory) noexcept { std::free(memory); }
void operator delete[](void* memory) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete[](void* memory, std::size_t, std::align_val_t) noexcept { std::free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { std::free(memory); }
