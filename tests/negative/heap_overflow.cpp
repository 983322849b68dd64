// Plants a write behind the end of heap memory; with an argument, the same program without it.

#include <cstdio>

int main(int count, char**) {
  const bool correct = count > 1;
  int* volatile memory = new int[1000]();
  memory[correct ? 999 : 1000] = 1;
  std::printf("%d\n", memory[999]);
  delete[] memory;
}
