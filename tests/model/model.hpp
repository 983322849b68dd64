/// The frame of a model check.  Include it first, before any header of Magpie.
///
/// A scenario is a small concurrent program over the structure under test:
///
///   struct two_owners : magpie::model::scenario<two_owners, 2> {
///     void before();            // optional, one thread
///     void thread(unsigned i);  // on every thread
///     void after();             // optional, one thread: checks what must hold in the end
///   };
///
/// and `main` calls `magpie::model::run`.  Every scenario is explored exhaustively up to its bound
/// of preemptions and then at random; then every mutant (mutation.hpp) must be killed by at least
/// one scenario, except those that are declared equivalent, each with its reason.
///
/// Arguments: `--bound=N` raises every smaller bound to N, `--random=N` sets the random schedules
/// for each scenario, `--verbose` prints each step, `--no-mutants` leaves them out.
#pragma once

#include <magpie/tests/model/atomic.hpp>
#include <magpie/util/cache_line.hpp>

#include <chrono>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <new>
#include <string>
#include <string_view>
#include <vector>

namespace magpie::model {

template <typename Derived, int Threads>
struct scenario {
  static constexpr int threads = Threads;

  scenario() = default;
  scenario(const scenario&) = delete;
  scenario& operator=(const scenario&) = delete;

  void before() {}
  void after() {}
};

/// A thread's bed: `sleep` returns after a `wake` that came before or comes meanwhile.  A sleep
/// that nobody ends is reported as a deadlock.
class bed {
 public:
  bed() { event_.init(false, false, rl::debug_info("bed")); }
  ~bed() { event_.deinit(rl::debug_info("bed")); }
  void sleep() { static_cast<void>(event_.wait(false, false, rl::debug_info("sleep"))); }
  void wake() { event_.set(rl::debug_info("wake")); }

 private:
  rl::generic_event event_;
};

struct outcome {
  bool failed;
  std::uint64_t schedules;
};

/// A bound for what has too many schedules even without preemption: it is explored at random alone.
inline constexpr unsigned random_only = ~0U;

/// A scenario without its type, so that the checker is compiled once for each number of threads.
struct script {
  std::size_t size;
  void (*make)(void* at);
  void (*end)(void* at);
  void (*before)(void* at);
  void (*thread)(void* at, unsigned index);
  void (*after)(void* at);
};

template <typename Scenario>
inline constexpr script script_of{
    .size = sizeof(Scenario),
    .make = [](void* at) { ::new (at) Scenario; },
    .end = [](void* at) { static_cast<Scenario*>(at)->~Scenario(); },
    .before = [](void* at) { static_cast<Scenario*>(at)->before(); },
    .thread = [](void* at, unsigned index) { static_cast<Scenario*>(at)->thread(index); },
    .after = [](void* at) { static_cast<Scenario*>(at)->after(); },
};

inline const script* played = nullptr;  ///< What every player plays.
inline void* place = nullptr;           ///< Where; the same for every schedule.

/// Explores what is played with that many threads (2 to 4): explore.cpp, so that the checker is
/// compiled once and not with every model.
template <int Threads>
outcome explore(rl::test_params& params);

struct scenario_entry {
  const char* name;
  unsigned bound;
  const script* acts;
  outcome (*explore)(rl::test_params& params);
};

template <typename Scenario>
scenario_entry entry(const char* name, unsigned bound) {
  static_assert(alignof(Scenario) <= cache_line_size);
  return {name, bound, &script_of<Scenario>, explore<Scenario::threads>};
}

struct equivalent {
  const char* mutant;
  const char* reason;
};

struct plan {
  const char* name;
  std::vector<scenario_entry> scenarios;
  std::vector<std::string> files;  // where to look for operations to mutate
  std::vector<const char*> logic_mutants = {};
  std::vector<equivalent> equivalents = {};
  std::uint64_t random_schedules = 50'000;
};

class runner {
 public:
  runner(const plan& what, int argc, char** argv) : plan_(what), random_(what.random_schedules) {
    for (int i = 1; i < argc; ++i) {
      const std::string_view argument = argv[i];
      if (argument.starts_with("--bound=")) {
        least_bound_ = static_cast<unsigned>(std::atoi(argv[i] + 8));
      } else if (argument.starts_with("--random=")) {
        random_ = std::strtoull(argv[i] + 9, nullptr, 10);
      } else if (argument == "--verbose") {
        verbose_ = true;
      } else if (argument == "--no-mutants") {
        mutants_ = false;
      } else {
        std::fprintf(stderr, "unknown argument %s\n", argv[i]);
        std::exit(2);
      }
    }
  }

  int run() {
    for (const scenario_entry& s : plan_.scenarios) {
      if (!passes(s)) {
        std::printf("model %s: scenario %s FAILED\n", plan_.name, s.name);
        return 1;
      }
    }
    std::printf("model %s: %llu schedules exhaustive at bound", plan_.name,
                static_cast<unsigned long long>(bounded_schedules_));
    for (const scenario_entry& s : plan_.scenarios) {
      if (s.bound != random_only) {
        std::printf("%c%u", &s == plan_.scenarios.data() ? ' ' : ',', bound_of(s));
      }
    }
    std::printf(" and %llu random", static_cast<unsigned long long>(random_schedules_));
    const bool good = !mutants_ || all_mutants_die();
    std::puts("");
    return good ? 0 : 1;
  }

 private:
  // Random schedules of each scenario against a mutant: most die early in one of the scenarios,
  // and a few tries in each cost less than many in one that has nothing to do with the mutant.
  static constexpr std::uint64_t mutant_tries[] = {500, 5'000, 50'000};

  unsigned bound_of(const scenario_entry& s) const {
    return s.bound > least_bound_ ? s.bound : least_bound_;
  }

  outcome search(const scenario_entry& s, rl::scheduler_type_e type, std::uint64_t iterations,
                 std::ostream& out) {
    rl::test_params params;
    std::ostream nowhere(nullptr);
    params.output_stream = &out;
    params.progress_stream = &nowhere;
    params.search_type = type;
    params.context_bound = bound_of(s);
    params.iteration_count = iterations;
    const auto begin = std::chrono::steady_clock::now();
    played = s.acts;
    place = ::operator new(played->size, std::align_val_t(cache_line_size));
    const outcome result = s.explore(params);
    ::operator delete(place, std::align_val_t(cache_line_size));
    if (verbose_) {
      const auto ms = std::chrono::duration_cast<std::chrono::milliseconds>(
          std::chrono::steady_clock::now() - begin);
      std::fprintf(stderr, "  %s %s: %llu schedules, %lld ms%s\n", s.name,
                   type == rl::sched_random ? "random" : "bounded",
                   static_cast<unsigned long long>(result.schedules),
                   static_cast<long long>(ms.count()), result.failed ? ", FAILED" : "");
    }
    return result;
  }

  bool passes(const scenario_entry& s) {
    engine.turn_off();
    if (s.bound != random_only) {
      const outcome bounded = search(s, rl::sched_bound, 0, std::cerr);
      bounded_schedules_ += bounded.schedules;
      if (bounded.failed) {
        return false;
      }
    }
    if (random_ == 0) {
      return true;
    }
    const outcome random = search(s, rl::sched_random, random_, std::cerr);
    random_schedules_ += random.schedules;
    return !random.failed;
  }

  bool dies(const mutant& m, bool expected) {
    engine.turn_on(m);
    std::ostream nowhere(nullptr);
    for (const std::uint64_t tries : mutant_tries) {
      for (const scenario_entry& s : plan_.scenarios) {
        if (search(s, rl::sched_random, tries, nowhere).failed) {
          return true;
        }
      }
    }
    // What is declared equivalent is not searched to the end each time.
    for (const scenario_entry& s : plan_.scenarios) {
      if (expected && s.bound != random_only && search(s, rl::sched_bound, 0, nowhere).failed) {
        return true;
      }
    }
    return false;
  }

  const equivalent* declared(const mutant& m) const {
    for (const equivalent& e : plan_.equivalents) {
      if (m.name == e.mutant) {
        return &e;
      }
    }
    return nullptr;
  }

  bool all_mutants_die() {
    std::vector<mutant> mutants = engine.mutants(plan_.files);
    for (const char* name : plan_.logic_mutants) {
      mutants.push_back({.name = name});
    }
    std::size_t killed = 0;
    std::size_t equivalents = 0;
    bool good = true;
    std::string findings;
    for (const mutant& m : mutants) {
      const equivalent* excuse = declared(m);
      const bool dead = dies(m, excuse == nullptr);
      killed += dead ? 1 : 0;
      if (verbose_) {
        std::fprintf(stderr, "mutant %s: %s\n", m.name.c_str(), dead ? "killed" : "survives");
      }
      if (excuse != nullptr) {
        ++equivalents;
      }
      if (dead == (excuse != nullptr)) {
        good = false;
        findings += "\n  " + m.name + (dead ? " is declared equivalent but dies" : " SURVIVES");
      }
    }
    std::printf("; %zu mutants killed of %zu", killed, mutants.size() - equivalents);
    if (equivalents != 0) {
      std::printf(", %zu more declared equivalent", equivalents);
    }
    if (equivalents != plan_.equivalents.size()) {
      good = false;
      findings += "\n  a declared equivalent is no mutant any more";
    }
    std::fputs(findings.c_str(), stdout);
    engine.turn_off();
    return good;
  }

  plan plan_;
  std::uint64_t random_;
  unsigned least_bound_ = 0;
  bool verbose_ = false;
  bool mutants_ = true;
  std::uint64_t bounded_schedules_ = 0;
  std::uint64_t random_schedules_ = 0;
};

inline int run(const plan& what, int argc, char** argv) { return runner(what, argc, argv).run(); }

}  // namespace magpie::model
