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
        stop_scope(&scope_, root_, stop_scope::kind::shard);
    made->link();  // before tasks of other threads can see it
    if (i < shards) owner.at(i).spawn_scope = made;
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
  return here != nullptr && here->home == owner_ ? *here->spawn_scope : shard(shard_count_ - 1);
}

void root_group::count_spawn() noexcept {
  detail::context* const here = detail::current_context;
  if (here != nullptr && here->home == owner_) {
    here->count_spawn();
  } else {
    foreign_spawned_.fetch_add(1, order::release);
  }
}

void root_group::count_end() noexcept {
  detail::context* const here = detail::current_context;
  MAGPIE_ASSERT(here != nullptr && here->home == owner_);  // tasks end on their workers
  // Release with live()'s acquire: who sees the task ended sees its frame destroyed.
  here->count_end();
}

std::uint64_t root_group::live() const noexcept {
  std::uint64_t ended = 0;
  for (std::size_t i = 0; i < owner_->size(); ++i)
    ended += owner_->at(i).ended.load(order::acquire);
  std::uint64_t spawned = foreign_spawned_.load(order::acquire);
  for (std::size_t i = 0; i < owner_->size(); ++i)
    spawned += owner_->at(i).spawned.load(order::acquire);
  return spawned - ended;
}

std::uint64_t root_group::visit(void (*visitor)(void*, task_root&), void* context) noexcept {
  for (std::size_t i = 0; i < shard_count_; ++i) shard(i).visit_children(visitor, context);
  return live();
}

}  // namespace magpie
