#include <magpie/runtime/root_group.hpp>

#include <magpie/runtime/context.hpp>
#include <magpie/runtime/scheduler.hpp>
#include <magpie/runtime/worker.hpp>

#include <memory>
#include <new>

namespace magpie {

root_group::root_group(scheduler& owner, std::size_t shards) noexcept
    : owner_(&owner),
      root_(owner),
      scope_(nullptr, root_),
      shard_count_(shards + 1),
      shard_memory_(static_cast<std::byte*>(
          ::operator new(sizeof(stop_scope) * shard_count_, std::nothrow))) {
  MAGPIE_ASSERT(shard_memory_ != nullptr);  // a runtime cannot begin without
  for (std::size_t i = 0; i < shard_count_; ++i) {
    auto* made = ::new (static_cast<void*>(shard_memory_ + i * sizeof(stop_scope)))
        stop_scope(&scope_, root_);
    made->link();  // before tasks of other threads can see it
  }
}

root_group::~root_group() {
  for (std::size_t i = 0; i < shard_count_; ++i) std::destroy_at(&shard(i));
  ::operator delete(shard_memory_);
}

stop_scope& root_group::shard(std::size_t i) noexcept {
  return *std::launder(reinterpret_cast<stop_scope*>(shard_memory_ + i * sizeof(stop_scope)));
}

stop_scope& root_group::parent_scope() noexcept {
  const detail::context* const here = detail::current_context;
  return shard(here != nullptr && here->home == owner_ ? here->index : shard_count_ - 1);
}

void root_group::count_spawn() noexcept {
  detail::context* const here = detail::current_context;
  if (here != nullptr && here->home == owner_) {
    worker_counters::add(static_cast<worker*>(here)->counters().spawned);
  } else {
    foreign_spawned_.fetch_add(1, order::seq_cst);
  }
}

void root_group::count_end() noexcept {
  auto* const here = static_cast<worker*>(detail::current_context);
  if (here != nullptr && here->home == owner_) {
    atomic<std::uint64_t>& ended = here->counters().finished;
    static_cast<void>(
        ended.exchange(ended.load(order::relaxed) + 1, order::seq_cst));  // (D1)
  } else {
    foreign_ended_.fetch_add(1, order::seq_cst);  // (D1)
  }
  if (draining_.load(order::seq_cst) == nullptr || live() != 0) return;
  // The last one: several may think so, one takes the note.
  if (atomic<bool>* empty = draining_.exchange(nullptr, order::seq_cst)) {
    empty->store(true, order::release);
    owner_->wake_first();
  }
}

std::uint64_t root_group::live() const noexcept {
  std::uint64_t ended = foreign_ended_.load(order::seq_cst);
  for (std::size_t i = 0; i < owner_->size(); ++i)
    ended += owner_->at(i).counters().finished.load(order::seq_cst);
  std::uint64_t spawned = foreign_spawned_.load(order::seq_cst);
  for (std::size_t i = 0; i < owner_->size(); ++i)
    spawned += owner_->at(i).counters().spawned.load(order::seq_cst);
  return spawned - ended;
}

void root_group::when_empty(atomic<bool>& empty) noexcept {
  draining_.store(&empty, order::seq_cst);  // (D2)
  if (live() != 0) return;
  if (draining_.exchange(nullptr, order::seq_cst) != nullptr) empty.store(true, order::release);
}

std::uint64_t root_group::visit(void (*visitor)(void*, task_root&), void* context) noexcept {
  for (std::size_t i = 0; i < shard_count_; ++i) shard(i).visit_children(visitor, context);
  return live();
}

}  // namespace magpie
