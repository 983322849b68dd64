// Plants a data race; with an argument, the same program without it.

#include <atomic>
#include <cstdio>
#include <thread>

int main(int count, char**) {
  const bool correct = count > 1;
  int plain = 0;
  std::atomic<int> shared = 0;
  auto add = [&] {
    for (int i = 0; i < 1000; ++i) {
      if (correct)
        shared.fetch_add(1, std::memory_order_relaxed);
      else
        plain = plain + 1;
    }
  };
  std::thread first(add);
  std::thread second(add);
  first.join();
  second.join();
  std::printf("%d %d\n", plain, shared.load(std::memory_order_relaxed));
}
