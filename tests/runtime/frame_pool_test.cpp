#include <magpie/runtime/frame_pool.hpp>

#include <gtest/gtest.h>

#include <cstdint>
#include <cstring>
#include <set>
#include <thread>
#include <utility>
#include <vector>

namespace {

using magpie::frame_allocate;
using magpie::frame_free;
using magpie::frame_pool_counts;
using magpie::frame_pool_stats;

constexpr bool pooled = MAGPIE_FRAME_POOL_BYPASS == 0;

class frame_pool : public testing::Test {
 protected:
  void SetUp() override { magpie::frame_pool_trim(); }
  void TearDown() override {
    magpie::frame_pool_fail_nth(0);
    magpie::frame_pool_trim();
  }
};

std::uint64_t mallocs() { return frame_pool_stats().mallocs; }

TEST_F(frame_pool, gives_usable_memory_of_every_size) {
  std::vector<std::pair<unsigned char*, std::size_t>> blocks;
  for (std::size_t size = 1; size <= 5000; size += 7) {
    auto* memory = static_cast<unsigned char*>(frame_allocate(size));
    ASSERT_NE(memory, nullptr);
    EXPECT_EQ(reinterpret_cast<std::uintptr_t>(memory) % alignof(std::max_align_t), 0U);
    std::memset(memory, static_cast<int>(size % 251), size);
    blocks.emplace_back(memory, size);
  }
  for (const auto& [memory, size] : blocks) {
    for (std::size_t i = 0; i != size; ++i) {
      ASSERT_EQ(memory[i], size % 251);
    }
    frame_free(memory, size);
  }
  frame_free(nullptr, 10);
  void* none = frame_allocate(0);
  frame_free(none, 0);
}

TEST_F(frame_pool, recycles_what_was_freed_last) {
  if (!pooled) {
    GTEST_SKIP() << "the pool is off under AddressSanitizer";
  }
  void* a = frame_allocate(200);
  void* b = frame_allocate(256);
  frame_free(a, 200);
  frame_free(b, 256);
  EXPECT_EQ(frame_allocate(193), b);  // the same class, 193 to 256
  EXPECT_EQ(frame_allocate(256), a);
  void* other_class = frame_allocate(192);
  EXPECT_NE(other_class, a);
  frame_free(a, 256);
  frame_free(b, 193);
  frame_free(other_class, 192);
}

TEST_F(frame_pool, asks_malloc_only_for_the_peak) {
  const std::uint64_t before = mallocs();
  std::vector<void*> blocks;
  for (int round = 0; round != 50; ++round) {
    for (int i = 0; i != 100; ++i) {
      blocks.push_back(frame_allocate(128));
    }
    while (!blocks.empty()) {
      frame_free(blocks.back(), 128);
      blocks.pop_back();
    }
  }
  EXPECT_EQ(mallocs() - before, pooled ? 100U : 5000U);
}

TEST_F(frame_pool, large_blocks_are_not_kept) {
  const frame_pool_counts before = frame_pool_stats();
  for (int i = 0; i != 10; ++i) {
    frame_free(frame_allocate(2049), 2049);
  }
  const frame_pool_counts after = frame_pool_stats();
  EXPECT_EQ(after.mallocs - before.mallocs, 10U);
  EXPECT_EQ(after.frees - before.frees, 10U);
}

TEST_F(frame_pool, nothing_is_given_out_twice) {
  std::set<void*> live;
  std::vector<void*> order;
  for (int i = 0; i != 1000; ++i) {
    void* memory = frame_allocate(64);
    EXPECT_TRUE(live.insert(memory).second);
    order.push_back(memory);
  }
  for (void* memory : order) {
    frame_free(memory, 64);  // far more than the list holds: halves go to the depot
  }
  live.clear();
  for (void*& memory : order) {
    memory = frame_allocate(64);
    EXPECT_TRUE(live.insert(memory).second);
  }
  for (void* memory : order) {
    frame_free(memory, 64);
  }
}

/// Frames made on one thread and destroyed on another come round through the depot.
TEST_F(frame_pool, recycles_across_threads) {
  const frame_pool_counts before = frame_pool_stats();
  std::vector<void*> blocks(200);
  for (int round = 0; round != 50; ++round) {
    for (void*& memory : blocks) {
      memory = frame_allocate(512);
      std::memset(memory, round, 512);
    }
    std::thread([&] {
      for (void* memory : blocks) {
        frame_free(memory, 512);
      }
    }).join();
  }
  const frame_pool_counts after = frame_pool_stats();
  if (pooled) {
    EXPECT_LE(after.mallocs - before.mallocs, 400U);  // of 10,000
    EXPECT_GT(after.depot_gets - before.depot_gets, 50U);
    EXPECT_GT(after.depot_puts - before.depot_puts, 50U);
  }
  magpie::frame_pool_trim();
  const frame_pool_counts trimmed = frame_pool_stats();
  EXPECT_EQ(trimmed.mallocs - before.mallocs, trimmed.frees - before.frees);
}

TEST_F(frame_pool, the_depot_is_bounded) {
  if (!pooled) {
    GTEST_SKIP() << "the pool is off under AddressSanitizer";
  }
  const frame_pool_counts before = frame_pool_stats();
  std::vector<void*> blocks(20'000);
  for (void*& memory : blocks) {
    memory = frame_allocate(64);
  }
  for (void* memory : blocks) {
    frame_free(memory, 64);
  }
  const frame_pool_counts after = frame_pool_stats();
  EXPECT_EQ(after.depot_puts - before.depot_puts, 64U);
  EXPECT_GT(after.frees - before.frees, 15'000U);
}

/// The class of 64 bytes: a list holds 128 blocks, a chain 64.
TEST_F(frame_pool, a_list_filled_from_the_depot_keeps_its_bound) {
  if (!pooled) {
    GTEST_SKIP() << "the pool is off under AddressSanitizer";
  }
  std::vector<void*> blocks(256);
  const auto allocate = [&](std::size_t from, std::size_t to) {
    for (; from != to; ++from) {
      blocks[from] = frame_allocate(64);
    }
  };
  const auto free = [&](std::size_t from, std::size_t to) {
    for (; from != to; ++from) {
      frame_free(blocks[from], 64);
    }
  };
  allocate(0, 256);
  free(0, 256);
  const frame_pool_counts before = frame_pool_stats();
  allocate(0, 129);
  EXPECT_EQ(frame_pool_stats().depot_gets - before.depot_gets, 1U);
  free(0, 65);
  EXPECT_EQ(frame_pool_stats().depot_puts, before.depot_puts);
  free(65, 66);
  EXPECT_EQ(frame_pool_stats().depot_puts - before.depot_puts, 1U);
  free(66, 129);
  EXPECT_EQ(frame_pool_stats().mallocs, before.mallocs);
}

/// Runs when its thread ends, after or before the pool's own hook: both have to work.
struct frees_late {
  void* memory = nullptr;
  ~frees_late() {
    frame_free(memory, 100);
    frame_free(frame_allocate(100), 100);
  }
};

TEST_F(frame_pool, a_thread_that_ends_leaves_nothing_behind) {
  const frame_pool_counts before = frame_pool_stats();
  for (const bool pool_first : {false, true}) {
    std::thread([&] {
      thread_local frees_late first;
      thread_local frees_late second;
      void* early = pool_first ? frame_allocate(300) : nullptr;
      first.memory = frame_allocate(100);
      second.memory = frame_allocate(100);
      frame_free(early, 300);
    }).join();
  }
  magpie::frame_pool_trim();
  const frame_pool_counts after = frame_pool_stats();
  EXPECT_EQ(after.mallocs - before.mallocs, after.frees - before.frees);
}

TEST_F(frame_pool, the_nth_allocation_can_be_made_to_fail) {
  for (std::uint64_t n = 1; n <= 3; ++n) {
    frame_free(frame_allocate(100), 100);  // warm lists must not hide it
    magpie::frame_pool_fail_nth(n);
    for (std::uint64_t i = 1; i <= 5; ++i) {
      void* memory = frame_allocate(i * 700);
      EXPECT_EQ(memory == nullptr, i == n);
      frame_free(memory, i * 700);
    }
  }
  magpie::frame_pool_fail_nth(1);
  magpie::frame_pool_fail_nth(0);
  void* memory = frame_allocate(10);
  EXPECT_NE(memory, nullptr);
  frame_free(memory, 10);
  std::thread([] {
    void* elsewhere = frame_allocate(10);
    EXPECT_NE(elsewhere, nullptr);
    frame_free(elsewhere, 10);
  }).join();
}

TEST_F(frame_pool, many_threads_share_the_depot) {
  std::vector<std::thread> threads;
  for (int i = 0; i != 4; ++i) {
    threads.emplace_back([i] {
      std::vector<std::pair<unsigned char*, std::size_t>> blocks;
      for (int round = 0; round != 200; ++round) {
        for (int k = 0; k != 100; ++k) {
          const std::size_t size = static_cast<std::size_t>((k * 37 + round) % 2300 + 1);
          auto* memory = static_cast<unsigned char*>(frame_allocate(size));
          ASSERT_NE(memory, nullptr);
          memory[0] = static_cast<unsigned char>(i);
          memory[size - 1] = static_cast<unsigned char>(i);
          blocks.emplace_back(memory, size);
        }
        for (const auto& [memory, size] : blocks) {
          EXPECT_EQ(memory[0], i);
          EXPECT_EQ(memory[size - 1], i);
          frame_free(memory, size);
        }
        blocks.clear();
      }
    });
  }
  for (std::thread& thread : threads) {
    thread.join();
  }
}

}  // namespace
