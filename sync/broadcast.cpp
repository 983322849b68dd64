#include <magpie/sync/broadcast.hpp>

namespace magpie::sync::detail {

fanout_core& no_broadcast() noexcept {
  struct closed_core final : fanout_core {
    closed_core() noexcept : fanout_core(true) {}
  };
  static closed_core instance;
  return instance;
}

}  // namespace magpie::sync::detail
