#include <magpie/util/errc.hpp>

#include <string>

namespace magpie {
namespace {

class category final : public std::error_category {
 public:
  const char* name() const noexcept override { return "magpie"; }

  std::string message(int code) const override {
    switch (static_cast<errc>(code)) {
      case errc::stopped:
        return "stopped";
      case errc::deadline:
        return "deadline passed";
      case errc::aborted:
        return "task aborted";
      case errc::runtime_shutdown:
        return "runtime is shut down";
      case errc::unsupported:
        return "not supported by this reactor or kernel";
      case errc::closed:
        return "closed";
      case errc::refused:
        return "refused without trying";
    }
    return "unknown magpie error " + std::to_string(code);
  }

  std::error_condition default_error_condition(int code) const noexcept override {
    switch (static_cast<errc>(code)) {
      case errc::stopped:
      case errc::aborted:
        return std::errc::operation_canceled;
      case errc::deadline:
        return std::errc::timed_out;
      case errc::unsupported:
        return std::errc::not_supported;
      default:
        return {code, *this};
    }
  }
};

}  // namespace

// Before other static objects, which may await nothing but may well keep a result.
[[gnu::init_priority(101)]] const std::error_code no_error;

const std::error_category& magpie_category() noexcept {
  static const category instance;
  return instance;
}

}  // namespace magpie
