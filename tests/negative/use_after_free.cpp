// Plants a use after free; with an argument, the same program without it.

#include <cstdio>

int main(int count, char**) {
  int* volatile memory = new int[1000]();
  const bool correct = count > 1;
  if (!correct) delete[] memory;
  std::printf("%d\n", memory[10]);
  if (correct) delete[] memory;
}
