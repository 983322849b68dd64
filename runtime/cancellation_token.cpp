#include <magpie/runtime/cancellation_token.hpp>

#include <magpie/runtime/frame_pool.hpp>
#include <magpie/runtime/task_root.hpp>

#include <new>

namespace magpie {
namespace {

/// Null when there is no memory.
detail::token_node* make_node(detail::token_node* parent) noexcept {
  void* const memory = frame_allocate(sizeof(detail::token_node));
  return memory != nullptr ? ::new (memory) detail::token_node(parent) : nullptr;
}

}  // namespace

void detail::free_node(token_node& node) noexcept {
  node.~token_node();
  frame_free(&node, sizeof(token_node));
}

cancellation_token::cancellation_token() noexcept : node_(make_node(nullptr)) {}

cancellation_token cancellation_token::child_token() const noexcept {
  return cancellation_token(node_ != nullptr ? make_node(node_) : nullptr);
}

namespace detail {

/// Begins the wait; false: the token is cancelled, or the scope is stopped.
bool token_wait_operation::wait() noexcept {
  lock_scope guard(*node_);
  if (node_->cancelled()) return false;
  waits_ = true;  // before anybody can see it
  waiter_.work = this;
  waiter_.root = &scope().root();
  if (!begin()) {
    waits_ = false;
    return false;
  }
  node_->insert(waiter_);
  return true;
}

std::coroutine_handle<> token_wait_operation::start(detail::continuation to,
                                                    stop_scope& scope) noexcept {
  prepare(to, scope);
  // What does not wait goes through the queue, never inline: a loop that ignores a stop would spin.
  if (node_ == nullptr || !wait()) this_context().post_last(*this);
  return std::noop_coroutine();
}

void token_wait_operation::woken(runnable& work) noexcept {
  auto& self = static_cast<token_wait_operation&>(static_cast<operation&>(work));
  if (self.waits_ && !self.end()) return;
  const bool stopped = self.waits_ ? self.stopped_ : self.scope().stop_requested();
  resume(stopped ? deliver_error(self.continuation(), errc::stopped)
                 : deliver(self.continuation()));
}

void token_wait_operation::cancel_wait(operation& op) noexcept {
  auto& self = static_cast<token_wait_operation&>(op);
  if (!self.node_->remove(self.waiter_)) return;  // the token was faster: that is the outcome
  self.stopped_ = true;
  self.scope().root().post(self);
}

}  // namespace detail
}  // namespace magpie
