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

}  // namespace magpie
