/// A doubly linked list whose links live in its elements.
///
/// Idea: circular, with the list itself as the node between last and first, so that linking and
/// unlinking have no special cases and an element leaves its list without knowing which one it is.
///
/// Invariants: for every node n of a list n.next.previous == n; a node that is in no list has null
/// links.  A node must leave its list before it dies; a list must be empty when it dies.
/// An element that lives in several lists derives from one node type for each
/// (`struct by_age : list_node {}`) and names it as the second parameter of the list.
/// Not synchronised: the owner of the list says who may call.
#pragma once

#include <magpie/util/assert.hpp>

#include <cstddef>
#include <type_traits>

namespace magpie {

template <typename T, typename Node>
class intrusive_list;

class list_node {
 public:
  list_node() noexcept = default;
  list_node(const list_node&) = delete;
  list_node& operator=(const list_node&) = delete;
  ~list_node() { MAGPIE_DEBUG_ASSERT(!linked()); }

  /// Whether the node is in some list.
  bool linked() const noexcept { return next_ != nullptr; }

  /// Leaves the list that the node is in.
  void unlink() noexcept {
    MAGPIE_DEBUG_ASSERT(linked());
    previous_->next_ = next_;
    next_->previous_ = previous_;
    next_ = nullptr;
    previous_ = nullptr;
  }

 private:
  template <typename T, typename Node>
  friend class intrusive_list;

  void link_before(list_node& position) noexcept {
    MAGPIE_DEBUG_ASSERT(!linked());
    next_ = &position;
    previous_ = position.previous_;
    previous_->next_ = this;
    position.previous_ = this;
  }

  list_node* next_ = nullptr;
  list_node* previous_ = nullptr;
};

template <typename T, typename Node = list_node>
class intrusive_list {
 public:
  intrusive_list() noexcept { reset(); }
  ~intrusive_list() {
    MAGPIE_DEBUG_ASSERT(empty());
    root_.next_ = nullptr;
    root_.previous_ = nullptr;
  }
  intrusive_list(const intrusive_list&) = delete;
  intrusive_list& operator=(const intrusive_list&) = delete;

  bool empty() const noexcept { return root_.next_ == &root_; }

  /// Whether exactly one element is in the list.
  bool single() const noexcept { return !empty() && root_.next_ == root_.previous_; }

  void push_back(T& element) noexcept { node_of(element).link_before(root_); }
  void push_front(T& element) noexcept { node_of(element).link_before(*root_.next_); }
  static void insert_before(T& position, T& element) noexcept {
    node_of(element).link_before(node_of(position));
  }

  /// The ends, or null when empty.
  T* front() const noexcept { return empty() ? nullptr : element_of(root_.next_); }
  T* back() const noexcept { return empty() ? nullptr : element_of(root_.previous_); }

  /// The element after `element`, or null.
  T* next(T& element) const noexcept {
    list_node* node = node_of(element).next_;
    return node == &root_ ? nullptr : element_of(node);
  }

  T* pop_front() noexcept {
    T* element = front();
    if (element != nullptr) {
      remove(*element);
    }
    return element;
  }

  T* pop_back() noexcept {
    T* element = back();
    if (element != nullptr) {
      remove(*element);
    }
    return element;
  }

  /// Takes `element` out of whichever list of this kind it is in.
  static void remove(T& element) noexcept { node_of(element).unlink(); }

  /// Moves all of `other` behind the last element.  Cost: constant.
  void append(intrusive_list& other) noexcept {
    MAGPIE_DEBUG_ASSERT(this != &other);
    if (other.empty()) {
      return;
    }
    list_node* first = other.root_.next_;
    list_node* last = other.root_.previous_;
    first->previous_ = root_.previous_;
    root_.previous_->next_ = first;
    last->next_ = &root_;
    root_.previous_ = last;
    other.reset();
  }

  /// Cost: walks the list.
  std::size_t count() const noexcept {
    std::size_t elements = 0;
    for (const list_node* node = root_.next_; node != &root_; node = node->next_) {
      ++elements;
    }
    return elements;
  }

  void check_invariants() const noexcept {
    for (const list_node* node = &root_;;) {
      MAGPIE_ASSERT(node->next_ != nullptr && node->next_->previous_ == node);
      node = node->next_;
      if (node == &root_) {
        return;
      }
    }
  }

 private:
  static Node& node_of(T& element) noexcept {
    static_assert(std::is_base_of_v<list_node, Node> && std::is_base_of_v<Node, T>);
    return element;
  }
  static T* element_of(list_node* node) noexcept {
    return static_cast<T*>(static_cast<Node*>(node));
  }
  void reset() noexcept {
    root_.next_ = &root_;
    root_.previous_ = &root_;
  }

  list_node root_;
};

}  // namespace magpie
