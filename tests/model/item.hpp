/// What the models of channels to one receiver send.
#pragma once

#include <magpie/tests/model/tasks.hpp>

namespace magpie::channels {

/// A value whose memory is watched, and whose lives are counted.
class item {
 public:
  item(int number, int& alive) : number_(number), alive_(&alive) { ++*alive_; }
  item(item&& other) noexcept : number_(other.number_ + 0), alive_(other.alive_) { ++*alive_; }
  ~item() {
    number_ = -1;
    --*alive_;
  }
  int number() const { return number_ + 0; }

 private:
  mutable plain<int> number_;
  int* alive_;
};

}  // namespace magpie::channels
