/// `named("reader 7")`: a name for a task, given where it is spawned.
///
/// The name of a string literal is a pointer; any other text is copied into the task, up to
/// `task_name::size_max` bytes.  A `task_name` only points at its text: it is made for the call
/// that takes it.
#pragma once

#include <cstddef>
#include <string_view>

namespace magpie {

class task_name {
 public:
  /// Longer names are cut.
  static constexpr std::size_t size_max = 39;

  constexpr task_name(std::string_view text, bool literal) noexcept
      : text_(text), literal_(literal) {}

  constexpr std::string_view text() const noexcept { return text_; }
  /// The text ends with a zero and is never freed.
  constexpr bool is_literal() const noexcept { return literal_; }

 private:
  std::string_view text_;
  bool literal_;
};

/// A name that is a literal.  Cost: nothing.
template <std::size_t N>
consteval task_name named(const char (&literal)[N]) noexcept {
  return task_name(std::string_view(literal), true);
}

/// Any other name.  Cost: one block from the pool when the task is spawned; without memory for it
/// the task has no name.
constexpr task_name named(std::string_view text) noexcept { return task_name(text, false); }
/// The same for what was written into an array, which is no literal.
template <std::size_t N>
constexpr task_name named(char (&text)[N]) noexcept {
  return task_name(std::string_view(text), false);
}

}  // namespace magpie
