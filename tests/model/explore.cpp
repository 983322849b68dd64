// What every model needs once: the checker itself, for each number of threads that scenarios have,
// and the library's assertions, which end a schedule here.
#include <magpie/tests/model/model.hpp>

namespace magpie {
namespace detail {

void assertion_failed(const char* expression, const char* file, int line) noexcept {
  if (rl::is_ctx()) {
    rl::ctx().fail_test(expression, rl::test_result_user_assert_failed,
                        rl::debug_info("", file, static_cast<unsigned>(line)));
  }
  std::fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, expression);
  std::abort();
}

}  // namespace detail

namespace model {
namespace {

/// What the checker sees: it makes a new one for each schedule.
template <int Threads>
struct player : rl::test_suite<player<Threads>, Threads> {
  player() { played->make(place); }
  ~player() { played->end(place); }
  void before() { played->before(place); }
  void thread(unsigned index) { played->thread(place, index); }
  void after() { played->after(place); }
};

}  // namespace

template <int Threads>
outcome explore(rl::test_params& params) {
  constexpr rl::thread_id_t threads = Threads;
  using bounded = rl::context_bound_scheduler<threads>;
  using random = rl::random_scheduler<threads>;
  const auto run = params.search_type == rl::sched_random ? rl::run_test<player<Threads>, random>
                                                          : rl::run_test<player<Threads>, bounded>;
  rl::ostringstream state;
  const auto result = run(params, state, false);
  if (result != rl::test_result_success && params.output_stream == &std::cerr) {
    params.initial_state = state.str();  // once more, telling what happens
    params.collect_history = true;
    rl::ostringstream unused;
    run(params, unused, true);
  }
  return {result != rl::test_result_success, params.stop_iteration};
}

template outcome explore<2>(rl::test_params& params);
template outcome explore<3>(rl::test_params& params);
template outcome explore<4>(rl::test_params& params);

}  // namespace model
}  // namespace magpie
