/// `source_wait`: goes on when whoever made the source come has left it.
#include <magpie/sync/source_wait.hpp>

#include <magpie/tests/sync/world.hpp>

#include <thread>

namespace magpie::tests::source_wait_test {
namespace {

/// Has come, while somebody is still inside.
class slow_source : public detail::wait_source {
 public:
  slow_source() noexcept : wait_source(&has_come) {}

  void come() noexcept { come_.store(true, order::release); }

 private:
  static bool has_come(const wait_source& of) noexcept {
    return static_cast<const slow_source&>(of).come_.load(order::acquire);
  }

  atomic<bool> come_{false};
};

TEST(source_wait, concurrent_waits_for_the_one_who_is_inside) {
  MAGPIE_NEED_KERNEL();
  const auto scenario = []() -> task<> {
    for (int i = 0; i < 100; ++i) {
      slow_source source;
      atomic<bool> inside{false};
      atomic<bool> left{false};
      std::thread other([&] {
        source.lock();
        source.come();
        inside.store(true, order::release);
        for (int k = 0; k < 10; ++k) std::this_thread::yield();
        left.store(true, order::release);
        source.unlock();
      });
      while (!inside.load(order::acquire)) std::this_thread::yield();
      co_await sync::detail::source_wait(source);
      EXPECT_TRUE(left.load(order::acquire));
      other.join();
    }
  };
  EXPECT_TRUE(run_in_cell(scenario()));
}

}  // namespace
}  // namespace magpie::tests::source_wait_test
