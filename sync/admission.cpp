#include <magpie/sync/admission.hpp>

#include <magpie/runtime/as_result.hpp>
#include <magpie/runtime/budget.hpp>
#include <magpie/runtime/fail.hpp>
#include <magpie/runtime/timeout.hpp>
#include <magpie/util/assert.hpp>
#include <magpie/util/errc.hpp>

#include <algorithm>

namespace magpie::sync {

/// In line, until its end.
class admission::place {
 public:
  explicit place(admission& in) noexcept : in_(&in) {}
  place(const place&) = delete;
  place& operator=(const place&) = delete;
  ~place() { in_->leave_line(too_late_); }

  void is_too_late() noexcept { too_late_ = true; }

 private:
  admission* in_;
  bool too_late_ = false;
};

void admitted::leave() noexcept {
  if (by_ != nullptr) std::exchange(by_, nullptr)->leave();
}

admission::~admission() {
  MAGPIE_ASSERT(counts_.running == 0 && counts_.waiting == 0 &&
                "destroyed while somebody is admitted");
}

admitted admission::admit(semaphore_permit permit) noexcept {
  permit.forget();  // comes back by `leave`
  const lock_scope guard(lock_);
  ++counts_.admitted;
  ++counts_.running;
  return admitted(*this);
}

/// A permit that is there, if nobody waits.  Those that `set_running` could not take away, as they
/// were between two owners, go now.
result<semaphore_permit> admission::try_slot() noexcept {
  for (;;) {
    auto permit = slots_.try_acquire();
    if (!permit) return permit;
    const lock_scope guard(lock_);
    if (surplus_ == 0) return permit;
    --surplus_;
    permit->forget();
  }
}

void admission::leave() noexcept {
  bool replaced = true;
  {
    const lock_scope guard(lock_);
    --counts_.running;
    if (surplus_ != 0) {
      --surplus_;
      replaced = false;
    }
  }
  if (replaced) slots_.add(1);
}

/// Whether there is room in the line, and how long one waits there.
bool admission::join_line(clock::duration& patience) noexcept {
  const clock::time_point now = clock::now();
  const lock_scope guard(lock_);
  if (counts_.waiting >= limits_.waiting) {
    ++counts_.refused_full;
    return false;
  }
  if (counts_.waiting == 0) empty_at_ = now;
  ++counts_.waiting;
  const bool standing = now - empty_at_ > limits_.patience;
  patience = standing ? std::min(limits_.impatience, limits_.patience) : limits_.patience;
  return true;
}

void admission::leave_line(bool too_late) noexcept {
  const lock_scope guard(lock_);
  --counts_.waiting;
  if (too_late) ++counts_.refused_late;
}

result<admitted> admission::try_enter() noexcept {
  auto permit = try_slot();
  if (permit) return admit(*std::move(permit));
  if (permit.error() == errc::closed) return std::unexpected(permit.error());
  const lock_scope guard(lock_);
  ++counts_.refused_full;
  return std::unexpected(errc::refused);
}

task<admitted> admission::enter() {
  co_await consume_budget();  // a loop that is always admitted lets others run, and is stopped
  auto at_once = try_slot();
  if (at_once) co_return admit(*std::move(at_once));
  if (at_once.error() == errc::closed) co_await fail(errc::closed);
  clock::duration patience{};
  if (!join_line(patience)) co_await fail(errc::refused);
  place in_line(*this);
  auto permit = co_await as_result(timeout(patience, slots_.acquire()));
  if (!permit) {
    const bool late = permit.error() == errc::deadline;
    if (late) in_line.is_too_late();
    co_await fail(late ? make_error_code(errc::refused) : permit.error());
  }
  co_return admit(*std::move(permit));
}

void admission::set_running(std::size_t at_once) noexcept {
  std::size_t more = 0;
  {
    const lock_scope guard(lock_);
    const std::size_t before = std::exchange(limits_.running, at_once);
    if (at_once >= before) {
      more = at_once - before;
      const std::size_t paid = std::min(more, surplus_);
      surplus_ -= paid;
      more -= paid;
    } else {
      const std::size_t fewer = before - at_once;
      surplus_ += fewer - slots_.forget(fewer);
    }
  }
  if (more != 0) slots_.add(more);
}

std::size_t admission::running_max() const noexcept {
  const lock_scope guard(lock_);
  return limits_.running;
}

admission_counts admission::counts() const noexcept {
  const lock_scope guard(lock_);
  return counts_;
}

}  // namespace magpie::sync
