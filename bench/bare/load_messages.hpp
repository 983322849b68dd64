// What the load generator sends and expects. The bytes of a connection's stream are a pure function
// of (connection, position), so that a send can stop and go on anywhere, and an echo is checked
// without keeping what was sent. A message is
//   byte 0 'P', or 'C' to make the server compute | 1-3 "mag" | 4-7 connection | 8-15 number | text
// cut off at its size; messages below 16 bytes carry no connection and no number.
#pragma once

#include <magpie/bench/bare/common.hpp>

#include <algorithm>
#include <array>
#include <vector>

namespace bare {

class message_stream {
 public:
  static constexpr std::size_t header_size = 16;

  message_stream(std::size_t size, double compute_share)
      : size_(size),
        batch_(std::max<std::size_t>(1, std::min<std::size_t>(64, (64U << 10) / size))),
        threshold_(static_cast<std::uint64_t>(compute_share * 1e9)),
        out_(batch_ * size) {
    for (std::size_t index = 0; index < out_.size(); ++index) {
      out_[index] = static_cast<char>((index % size * 131 + 7) & 0xff);
    }
  }

  std::size_t size() const noexcept { return size_; }

  /// True for the requests that ask the server to compute: a fixed, evenly spread choice.
  bool computes(std::uint32_t connection, std::uint64_t number) const noexcept {
    if (threshold_ == 0) return false;
    std::uint64_t mixed = (number << 20 | connection) * 0x9e37'79b9'7f4a'7c15U;
    mixed = (mixed ^ mixed >> 29) * 0xbf58'476d'1ce4'e5b9U;
    return (mixed ^ mixed >> 32) % 1'000'000'000U < threshold_;
  }

  /// Up to `count` messages from message `number` on, without the first `offset` bytes.
  std::string_view bytes(std::uint32_t connection, std::uint64_t number, std::size_t offset,
                         std::uint64_t count) noexcept {
    const auto messages = static_cast<std::size_t>(std::min<std::uint64_t>(count, batch_));
    for (std::size_t index = 0; index < messages; ++index) {
      const auto header = make_header(connection, number + index);
      std::memcpy(out_.data() + index * size_, header.data(), std::min(size_, header_size));
    }
    return {out_.data() + offset, messages * size_ - offset};
  }

  /// Checks `part`, found at `offset` of message `number`: its header and its end always, all of it
  /// in small messages and in one large message of 64.
  bool check(std::uint32_t connection, std::uint64_t number, std::size_t offset,
             std::string_view part) noexcept {
    auto position = offset;
    if (position < header_size) {
      const auto header = make_header(connection, number);
      const auto length = std::min({part.size(), header_size - position, size_ - position});
      if (std::memcmp(part.data(), header.data() + position, length) != 0) return false;
      part.remove_prefix(length);
      position += length;
    }
    constexpr std::size_t checked_end = 64;
    if (size_ > 4 * checked_end && number % 64 != 0 && part.size() > checked_end) {
      position += part.size() - checked_end;
      part.remove_prefix(part.size() - checked_end);
    }
    return std::memcmp(part.data(), out_.data() + position, part.size()) == 0;
  }

 private:
  std::array<char, header_size> make_header(std::uint32_t connection,
                                            std::uint64_t number) const noexcept {
    std::array<char, header_size> header{computes(connection, number) ? 'C' : 'P', 'm', 'a', 'g'};
    std::memcpy(header.data() + 4, &connection, 4);
    std::memcpy(header.data() + 8, &number, 8);
    if (size_ < header_size) std::fill(header.begin() + 4, header.end(), '.');
    return header;
  }

  std::size_t size_;
  std::size_t batch_;
  std::uint64_t threshold_;
  std::vector<char> out_;
};

}  // namespace bare
