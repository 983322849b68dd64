// Plants a leak; with an argument, the same program without it.

#include <cstdio>

namespace {

[[gnu::noinline]] int* allocate() { return new int[1000]; }

}  // namespace

int main(int count, char**) {
  const int* volatile memory = allocate();
  std::printf("%p\n", static_cast<const void*>(memory));
  if (count > 1) delete[] memory;
  memory = nullptr;
}
