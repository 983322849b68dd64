#include <magpie/runtime/epoll_slab.hpp>

#include <sys/epoll.h>

#include <atomic>
#include <new>

namespace magpie {

epoll_slab::registration* epoll_slab::take() noexcept {
  for (;;) {
    {
      lock_scope held(lock_);
      if (free_ != nullptr) {
        registration* taken = free_;
        free_ = taken->next_free;
        --free_count_;
        return taken;
      }
      if (made_ < chunk_count_ * chunk_size) {
        registration* taken = at(made_);
        taken->index = made_++;
        return taken;
      }
    }
    if (!grow()) return nullptr;
  }
}

bool epoll_slab::grow() noexcept {
  auto* chunk = new (std::nothrow) registration[chunk_size];
  if (chunk == nullptr) return false;
  lock_.lock();
  const bool needed = free_ == nullptr && made_ == chunk_count_ * chunk_size;
  const bool room = chunk_count_ < chunks_max;
  if (needed && room) {
    chunks_[chunk_count_].store(chunk, order::release);  // (B) pairs with (A)
    ++chunk_count_;
    chunk = nullptr;
  }
  lock_.unlock();
  delete[] chunk;  // somebody else was faster, or the table is full
  return room || !needed;
}

void epoll_slab::give(registration& closed) noexcept {
  lock_scope held(lock_);
  closed.next_free = free_;
  free_ = &closed;
  ++free_count_;
}

void epoll_slab::abandon(int epoll) noexcept {
  lock_.lock();
  const std::uint32_t made = made_;
  lock_.unlock();
  for (std::uint32_t i = 0; i != made; ++i) {
    while (!at(i)->abandon(epoll)) thread_yield();
  }
}

std::size_t epoll_slab::capacity() noexcept {
  lock_scope held(lock_);
  return std::size_t{chunk_count_} * chunk_size;
}

std::size_t epoll_slab::used() noexcept {
  lock_scope held(lock_);
  return made_ - free_count_;
}

epoll_slab& epoll_registrations() noexcept {
  static constinit epoll_slab slab;
  return slab;
}

bool end_registration(descriptor& io) noexcept {
  // Acquire pairs with the release of the thread that registered: the index is visible.
  void* taken = std::atomic_ref<void*>(io.registration).exchange(nullptr, order::acq_rel);
  if (taken == nullptr) return false;
  auto& registration = *static_cast<epoll_slab::registration*>(taken);
  const int epoll = registration.close();
  const bool registered = epoll != epoll_slab::registration::no_epoll;
  // A duplicate may keep the file open, and its events would go on for good.
  if (registered) ::epoll_ctl(epoll, EPOLL_CTL_DEL, io.fd, nullptr);
  registration.closed();
  epoll_registrations().give(registration);
  return registered;
}

}  // namespace magpie
